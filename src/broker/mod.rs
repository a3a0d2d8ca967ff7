//! One broker: the rooms below it, wired together, and an answer for each API.
//!
//! A [`Broker`] is made by [`Broker::open`] from a data dir, then told its address, and from then on takes frames
//! ([`Broker::handle`]) until its shutdown begins. `handlers/` holds one file an API; what several of them need
//! (finding a partition, making a topic) is here and in `topics`; `fetch_session` keeps what consumers asked for
//! before, `follower_sessions` what followers did, `groups` runs the group coordinator over its internal topic, and `background` does what is due from time
//! to time. The broker never knows of sockets.

mod background;
mod configs;
mod fetch_session;
mod follower_sessions;
mod groups;
mod handlers;
mod options;
mod partitions;
mod topics;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::watch;

use crate::common::clock::SharedClock;
use crate::common::ids::{NodeId, Uuid};
use crate::common::shutdown::Shutdown;
use crate::config::Values;
use crate::controller::Controller;
use crate::metadata::{Image, Refusal, plan};
use crate::protocol::{ApiKey, Frame, Str};
use crate::replica::ReplicaManager;
use fetch_session::FetchSessions;
use follower_sessions::FollowerSessions;
use groups::Groups;

pub use options::{BrokerOptions, OpenError};

/// What becomes of a request.
#[derive(Debug)]
pub enum Reply {
    /// These bytes go out.
    Send(Frame),
    /// Nothing goes out, and the connection lives on.
    Nothing,
    /// The connection ends, for this reason.
    Close(String),
}

/// The APIs that a broker answers, and so advertises.
pub fn served_apis() -> &'static [ApiKey] {
    handlers::SERVED
}

/// A reply that is under way.
pub type ReplyFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// One client's connection, as far as the broker cares.
#[derive(Debug)]
pub struct Connection {
    /// Rises with each connection.
    pub id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Held by the request whose turn it is to write. Requests begin in their order and this lock is fair, so what one
    /// connection writes lands in the order in which it was sent, even where the first of them must open a log.
    turn: tokio::sync::Mutex<()>,
}

/// Who this broker is.
#[derive(Debug, Clone)]
pub struct Node {
    /// `node.id`.
    pub id: NodeId,
    /// The cluster's id, from meta.properties.
    pub cluster_id: Str,
    /// The data dir's id.
    pub directory_id: Uuid,
    /// `broker.rack`.
    pub rack: Option<Str>,
}

/// One broker.
#[derive(Debug)]
pub struct Broker {
    node: Node,
    /// What it was started with.
    properties: Arc<Values>,
    /// The same under what was set while it runs.
    values: watch::Sender<Arc<Values>>,
    clock: SharedClock,
    socket_clock: SharedClock,
    shutdown: Shutdown,
    controller: Arc<Controller>,
    replicas: Arc<ReplicaManager>,
    groups: Groups,
    fetch_sessions: FetchSessions,
    follower_sessions: FollowerSessions,
    endpoint: OnceLock<(Str, i32)>,
    producer_ids: topics::ProducerIds,
    connections: AtomicU64,
}

impl Broker {
    /// Notes a new connection.
    pub fn connect(&self, peer: SocketAddr) -> Arc<Connection> {
        let id = self.connections.fetch_add(1, Ordering::Relaxed);
        Arc::new(Connection { id, peer, turn: tokio::sync::Mutex::default() })
    }

    /// Works on one request.
    pub fn handle(self: &Arc<Self>, connection: &Arc<Connection>, frame: Bytes) -> ReplyFuture {
        handlers::handle(self, connection, frame)
    }

    /// Tells the address under which clients reach this broker, and registers it there; once, before the first request.
    pub async fn advertise(&self, host: &str, port: u16) -> Result<(), Refusal> {
        // A second address would be a second listener, which there is not yet; the first one holds.
        let _ = self.endpoint.set((Str::from(host), i32::from(port)));
        let (id, host, log_dir) = (self.node.id, host.to_owned(), self.node.directory_id);
        let register = move |image: &Image| {
            let mut records = plan::register_broker(image, id, (&host, port), log_dir);
            records.extend(plan::elect_leaders(image, id));
            Ok(((), records))
        };
        self.change(register, false).await?;
        self.lead_what_is_open();
        Ok(())
    }

    /// Who this broker is.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The cluster's metadata.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// How many bytes of deleted segments are still held, by tables that were read of them, or for a moment by a reply on
    /// its way: the disk has them back when those are dropped.
    pub fn held_bytes(&self) -> u64 {
        self.replicas.dir().handles().held_bytes()
    }

    pub(crate) fn endpoint(&self) -> (Str, i32) {
        self.endpoint.get().cloned().unwrap_or_default()
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    pub(crate) fn socket_clock(&self) -> &SharedClock {
        &self.socket_clock
    }

    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    pub(crate) fn fetch_sessions(&self) -> &FetchSessions {
        &self.fetch_sessions
    }

    pub(crate) fn follower_sessions(&self) -> &FollowerSessions {
        &self.follower_sessions
    }
}
