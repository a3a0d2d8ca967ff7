//! Controllers over connections: the [`QuorumNetwork`] that is used when nobody gives another.
//!
//! There is one connection to each address, made when it is needed and again when it has ended. The messages are our own
//! and are not negotiated: whoever does not know them closes the connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::network::{Asking, QuorumNetwork};
use super::types::Voter;
use crate::client::Doors;
use crate::client::connection::{Connection, ConnectionOptions};
use crate::protocol::messages::quorum_append::{QuorumAppendRequest, QuorumAppendResponse};
use crate::protocol::messages::quorum_hello::{QuorumHelloRequest, QuorumHelloResponse};
use crate::protocol::messages::quorum_snapshot::{QuorumSnapshotRequest, QuorumSnapshotResponse};
use crate::protocol::messages::quorum_vote::{QuorumVoteRequest, QuorumVoteResponse};
use crate::protocol::{Request, Str};

/// The version of our messages.
const VERSION: i16 = 0;

/// The others, over connections.
#[derive(Debug)]
pub(super) struct Connections {
    doors: Doors,
    timeout: Duration,
    slots: parking_lot::Mutex<HashMap<(String, u16), Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot(Mutex<Option<Arc<Connection>>>);

impl Connections {
    /// Gives up a connection whose answer takes longer than `timeout`.
    pub(super) fn new(doors: Doors, timeout: Duration) -> Connections {
        Connections { doors, timeout, slots: parking_lot::Mutex::default() }
    }

    async fn connection(&self, to: &Voter) -> Result<Arc<Connection>, String> {
        let address = (to.host.clone(), to.port);
        let slot = self.slots.lock().entry(address).or_default().clone();
        let mut slot = slot.0.lock().await;
        if let Some(open) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(open.clone());
        }
        let stream = self.doors.transport.connect(&to.host, to.port);
        let stream = tokio::select! {
            stream = stream => stream.map_err(|error| format!("{to}: {error}"))?,
            () = self.doors.clock.sleep(self.timeout) => return Err(format!("{to} does not take the connection")),
        };
        let options = ConnectionOptions {
            client_id: Str::from_static("strandline-controller"),
            request_timeout: self.timeout,
            max_idle: None,
        };
        let address = format!("{}:{}", to.host, to.port).into();
        let opened = Connection::open(&self.doors, stream, address, options).await;
        let opened = opened.map_err(|error| error.to_string())?;
        *slot = Some(opened.clone());
        Ok(opened)
    }

    fn ask<'a, R: Request + Send + Sync + 'a>(&'a self, to: &'a Voter, request: R) -> Asking<'a, R::Response>
    where
        R::Response: Send,
    {
        Box::pin(async move {
            let connection = self.connection(to).await?;
            connection.call_at(&request, VERSION, self.timeout).await.map_err(|error| error.to_string())
        })
    }
}

impl QuorumNetwork for Connections {
    fn vote<'a>(&'a self, to: &'a Voter, request: QuorumVoteRequest) -> Asking<'a, QuorumVoteResponse> {
        self.ask(to, request)
    }

    fn append<'a>(&'a self, to: &'a Voter, request: QuorumAppendRequest) -> Asking<'a, QuorumAppendResponse> {
        self.ask(to, request)
    }

    fn snapshot<'a>(&'a self, to: &'a Voter, request: QuorumSnapshotRequest) -> Asking<'a, QuorumSnapshotResponse> {
        self.ask(to, request)
    }

    fn hello<'a>(&'a self, to: &'a Voter, request: QuorumHelloRequest) -> Asking<'a, QuorumHelloResponse> {
        self.ask(to, request)
    }
}
