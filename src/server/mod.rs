//! Listeners and connections: bytes in, bytes out.
//!
//! A [`Server`] binds the broker's listeners, accepts the connections that have a place (`gate`), and serves each in a
//! task of its own (`connection`), cutting what comes into frames ([`frame`]). What a request means, only the broker
//! knows. When the broker's shutdown begins, no connection is accepted any more and each one writes its last replies.

mod connection;
pub mod frame;
mod gate;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::broker::{self, Broker};
use crate::common::buffer::BufferPool;
use crate::common::clock::SharedClock;
use crate::common::shutdown::Shutdown;
use crate::common::transport::{Listener, SharedTransport};
use crate::config::{Values, broker as key};
use crate::protocol::Str;
use connection::Session;
use frame::{FrameReader, Intake};
use gate::Gate;

/// How many bytes of request buffers are kept for later requests.
const KEPT_BUFFERS: usize = 16 << 20;
/// How long the listener rests when the system has no more files or memory for connections.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How many connections a server allows, as the configs say now.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// `max.connections`
    connections: usize,
    /// `max.connections.per.ip`
    per_address: usize,
}

impl Limits {
    fn of(values: &Values) -> Limits {
        let count = |limit: i32| usize::try_from(limit).unwrap_or(0);
        Limits {
            connections: count(values.get(key::MAX_CONNECTIONS)),
            per_address: count(values.get(key::MAX_CONNECTIONS_PER_IP)),
        }
    }
}

/// A listener that was bound and does not accept yet: its address is known, so the broker can advertise it.
#[derive(Debug)]
pub struct Server {
    listener: Box<dyn Listener>,
    role: broker::Listener,
    name: Str,
    address: SocketAddr,
}

impl Server {
    /// Binds `host:port` for whom `role` says, as the listener of this name; port 0 takes any free one.
    pub async fn bind(
        transport: &SharedTransport,
        host: &str,
        port: u16,
        (role, name): (broker::Listener, &str),
    ) -> io::Result<Server> {
        let listener = transport.bind(host, port).await?;
        let address = listener.local_addr()?;
        Ok(Server { listener, role, name: Str::from(name), address })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections and serves them until the broker's shutdown begins.
    pub fn start(self, broker: Arc<Broker>, clock: SharedClock) {
        let shutdown = broker.shutdown().clone();
        shutdown.clone().spawn(self.accept(broker, clock, shutdown));
    }

    async fn accept(self, broker: Arc<Broker>, clock: SharedClock, shutdown: Shutdown) {
        let mut configs = broker.watch_values();
        let values = configs.borrow().clone();
        let intake = Intake::new(
            BufferPool::new(KEPT_BUFFERS),
            usize::try_from(values.get(key::SOCKET_REQUEST_MAX_BYTES)).unwrap_or(0),
            usize::try_from(values.get(key::QUEUED_MAX_REQUEST_BYTES)).ok(),
        );
        // Else the system keeps megabytes for each connection that does not read.
        if let Ok(bytes) = usize::try_from(values.get(key::SOCKET_SEND_BUFFER_BYTES))
            && let Err(reason) = self.listener.limit_send_buffer(bytes)
        {
            warn!(address = %self.address, %reason, "the send buffer cannot have the size of socket.send.buffer.bytes");
        }
        let max_idle = u64::try_from(values.get(key::CONNECTIONS_MAX_IDLE_MS)).ok().map(Duration::from_millis);
        let gate = Gate::default();
        loop {
            let limits = Limits::of(&configs.borrow_and_update());
            gate.shrink(limits.connections);
            let full = gate.count() >= limits.connections;
            let accepted = tokio::select! {
                biased;
                () = shutdown.begun() => return,
                // The broker, which holds the other end, is held here.
                _ = configs.changed() => continue,
                () = gate.left(), if full => continue,
                accepted = self.listener.accept(), if !full => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(reason) => {
                    warn!(address = %self.address, %reason, "could not accept a connection");
                    tokio::select! {
                        () = clock.sleep(ACCEPT_REST) => continue,
                        () = shutdown.begun() => return,
                    }
                }
            };
            let place = match gate.enter(peer.ip(), limits.per_address, clock.monotonic()) {
                Ok(place) => place,
                Err(count) => {
                    info!(%peer, "connection closed: its address has {count} already (max.connections.per.ip)");
                    continue;
                }
            };
            let session = Session {
                broker: broker.clone(),
                listener: self.role,
                name: self.name.clone(),
                clock: clock.clone(),
                shutdown: shutdown.clone(),
                max_idle,
                reader: FrameReader::new(intake.clone()),
                place,
            };
            shutdown.spawn(connection::serve(session, stream, peer));
        }
    }
}
