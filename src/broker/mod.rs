//! One broker: the rooms below it, wired together, and an answer for each API.
//!
//! A [`Broker`] is made by [`Broker::open`] from a data dir, then told its address, and from then on takes frames
//! ([`Broker::handle`]) until its shutdown begins. `handlers/` holds one file an API; what several of them need
//! (finding a partition, making a topic) is here and in `topics`; `fetch_session` keeps what consumers asked for
//! before, `follower_sessions` what followers did and `throttling` what they are not given yet, `groups` runs the group
//! coordinator over its internal topic, and `background` does what is due from time to time.
//!
//! With others it is a cluster: `lifecycle` joins it and leaves it, `publisher` carries out what the metadata says,
//! `to_controller` asks the active controller, and `controlling` is what that one does; `disk` is what becomes of it when its
//! disk fails, and `request_faults` what a test has it refuse. The broker never knows of sockets.

mod background;
mod configs;
mod controlling;
mod disk;
mod fetch_session;
mod follower_sessions;
mod groups;
mod handlers;
mod lifecycle;
mod options;
mod partitions;
mod probe;
mod publisher;
mod replication;
mod request_faults;
#[cfg(test)]
mod simulation;
mod throttling;
mod to_controller;
mod topics;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::client::Doors;
use crate::common::clock::SharedClock;
use crate::common::ids::{NodeId, Uuid};
use crate::common::shutdown::Shutdown;
use crate::config::Values;
use crate::controller::Controller;
use crate::metadata::records::BrokerEndpoint;
use crate::protocol::{ApiKey, Frame, Str};
use crate::replica::ReplicaManager;
use controlling::Controlling;
use disk::DiskFailures;
use fetch_session::FetchSessions;
use follower_sessions::FollowerSessions;
use groups::Groups;
use lifecycle::Lifecycle;
use publisher::Published;
use to_controller::ToController;

pub use handlers::{can_be_refused, can_be_refused_for_a_topic};
pub use options::{BrokerOptions, OpenError};
pub use request_faults::{RequestFault, RequestFaults};

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

/// The APIs that a broker answers to clients, and so advertises.
pub fn served_apis() -> impl Iterator<Item = ApiKey> {
    handlers::SERVED.iter().copied().filter(|key| !key.spec().internal)
}

/// A reply that is under way.
pub type ReplyFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// For whom a listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Clients, and brokers that follow.
    Client,
    /// Brokers and controllers among themselves (`controller.listener.names`).
    Controller,
}

/// One client's connection, as far as the broker cares.
#[derive(Debug)]
pub struct Connection {
    /// Rises with each connection.
    pub id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Which kind of listener it came by.
    pub listener: Listener,
    /// That listener's name: who comes by it is told of others' of the same name. Empty where it came by none.
    pub listener_name: Str,
    /// Since when it has been there, on the sockets' clock.
    since: Duration,
    /// The broker whose heartbeats come by it; -1 for none.
    broker: AtomicI32,
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
    /// Where it is reached, once it has joined.
    endpoints: OnceLock<Vec<BrokerEndpoint>>,
    /// The listener by which other brokers are reached.
    inter_broker: String,
    doors: Doors,
    to_controller: ToController,
    lifecycle: Lifecycle,
    published: Published,
    controlling: Controlling,
    producer_ids: topics::ProducerIds,
    disk_failures: DiskFailures,
    request_faults: RequestFaults,
    connections: AtomicU64,
}

impl Broker {
    /// Notes a new connection.
    pub fn connect(&self, peer: SocketAddr, listener: Listener, listener_name: Str) -> Arc<Connection> {
        let id = self.connections.fetch_add(1, Ordering::Relaxed);
        let since = self.socket_clock.monotonic();
        Arc::new(Connection {
            id,
            peer,
            listener,
            listener_name,
            since,
            broker: AtomicI32::new(-1),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Whether a connection has been there for this time.
    pub(crate) fn has_long_had(&self, connection: &Connection, time: Duration) -> bool {
        self.socket_clock.monotonic() >= connection.since + time
    }

    /// The connection of this broker to itself, as it were.
    fn connect_self(&self) -> Arc<Connection> {
        self.connect(SocketAddr::from(([127, 0, 0, 1], 0)), Listener::Controller, Str::default())
    }

    /// Works on one request.
    pub fn handle(self: &Arc<Self>, connection: &Arc<Connection>, frame: Bytes) -> ReplyFuture {
        handlers::handle(self, connection, frame)
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

    /// The requests that are to be answered with an error.
    pub fn request_faults(&self) -> &RequestFaults {
        &self.request_faults
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
