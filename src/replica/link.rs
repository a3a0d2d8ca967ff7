//! The way to a leader over a connection of its own, made when it is needed and made anew after it has ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::fetcher::{Asking, LeaderLink, Leaders, LinkError};
use crate::client::Doors;
use crate::client::connection::{Connection, ConnectionOptions};
use crate::common::ids::NodeId;
use crate::protocol::messages::fetch::{FetchRequest, FetchResponse, ReplicaState};
use crate::protocol::messages::list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
use crate::protocol::{ApiKey, Request, Str};

/// The first version of Fetch that names topics by their ids, as a follower does.
const BY_ID: i16 = 13;
/// The first version of Fetch that tells the epoch of the follower's registration.
const WITH_BROKER_EPOCH: i16 = 15;

/// Where a broker is.
pub type AddressOf = Arc<dyn Fn(NodeId) -> Option<(String, u16)> + Send + Sync>;

/// Leaders by their addresses.
pub(super) struct Connected {
    pub(super) local: NodeId,
    pub(super) doors: Doors,
    pub(super) address_of: AddressOf,
    /// `replica.socket.timeout.ms`
    pub(super) timeout: Duration,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Leaders for Arc<Connected> {
    fn link(&self, leader: NodeId) -> Arc<dyn LeaderLink> {
        Arc::new(Link { all: self.clone(), leader, connection: tokio::sync::Mutex::default() })
    }
}

/// The way to one of them.
#[derive(Debug)]
struct Link {
    all: Arc<Connected>,
    leader: NodeId,
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
}

impl Link {
    async fn connection(&self) -> Result<Arc<Connection>, LinkError> {
        let mut known = self.connection.lock().await;
        let address = (self.all.address_of)(self.leader);
        let (host, port) = address.ok_or_else(|| {
            let leader = self.leader;
            LinkError(format!("broker {leader} is not registered, or has no listener named as ours for brokers"))
        })?;
        let address: Arc<str> = format!("{host}:{port}").into();
        // A broker that was started anew may be somewhere else.
        if let Some(connection) = known.as_ref().filter(|known| !known.is_closed() && *known.address() == address) {
            return Ok(connection.clone());
        }
        *known = None;
        let Doors { transport, clock, .. } = &self.all.doors;
        let stream = tokio::select! {
            stream = transport.connect(&host, port) => stream.map_err(|cause| LinkError(format!("{address}: {cause}")))?,
            () = clock.sleep(self.all.timeout) => {
                return Err(LinkError(format!("connecting to {address} took longer than {:?}", self.all.timeout)));
            }
        };
        let options = ConnectionOptions {
            client_id: Str::from(format!("broker-{}-fetcher-{}", self.all.local, self.leader)),
            request_timeout: self.all.timeout,
            max_idle: None,
        };
        let opened = Connection::open(&self.all.doors, stream, address, options).await;
        let connection = opened.map_err(|error| LinkError(error.to_string()))?;
        *known = Some(connection.clone());
        Ok(connection)
    }

    async fn call<R: Request>(&self, request: &R, version: i16) -> Result<R::Response, LinkError> {
        let connection = self.connection().await?;
        let timeout = self.all.timeout;
        connection.call_at(request, version, timeout).await.map_err(|error| LinkError(error.to_string()))
    }

    async fn version(&self, api: ApiKey) -> Result<i16, LinkError> {
        self.connection().await?.version(api).map_err(|error| LinkError(error.to_string()))
    }
}

impl LeaderLink for Link {
    fn fetch(&self, mut request: FetchRequest) -> Asking<'_, FetchResponse> {
        Box::pin(async move {
            let version = self.version(ApiKey::Fetch).await?;
            if version < BY_ID {
                let sentence = format!("broker {} speaks Fetch {version}, and a follower needs {BY_ID}", self.leader);
                return Err(LinkError(sentence));
            }
            if version < WITH_BROKER_EPOCH {
                let state = std::mem::take(&mut request.replica_state);
                request.replica_id = state.replica_id;
                request.replica_state = ReplicaState::default();
            }
            self.call(&request, version).await
        })
    }

    fn list_offsets(&self, request: ListOffsetsRequest) -> Asking<'_, ListOffsetsResponse> {
        Box::pin(async move {
            let version = self.version(ApiKey::ListOffsets).await?;
            self.call(&request, version).await
        })
    }
}
