//! Listeners and connections: bytes in, bytes out.
//!
//! A [`Server`] binds the broker's listeners, accepts connections up to `max.connections`, and serves each in a task of
//! its own (`connection`), cutting what comes into frames ([`frame`]). What a request means, only the broker knows.
//! When the broker's shutdown begins, no connection is accepted any more and each one writes its last replies.

mod connection;
pub mod frame;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::warn;

use crate::broker::Broker;
use crate::common::buffer::BufferPool;
use crate::common::clock::SharedClock;
use crate::common::shutdown::Shutdown;
use crate::common::transport::{Listener, SharedTransport};
use connection::Session;
use frame::FrameReader;

/// How many bytes of request buffers are kept for later requests.
const KEPT_BUFFERS: usize = 16 << 20;
/// How long the listener rests when the system has no more files or memory for connections.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What a server allows.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest request in bytes (`socket.request.max.bytes`).
    pub request_bytes: usize,
    /// How many connections at once; more wait to be accepted (`max.connections`).
    pub connections: usize,
    /// How long a connection may send nothing; `None` for ever (`connections.max.idle.ms`).
    pub idle: Option<Duration>,
}

/// A listener that was bound and does not accept yet: its address is known, so the broker can advertise it.
#[derive(Debug)]
pub struct Server {
    listener: Box<dyn Listener>,
    address: SocketAddr,
}

impl Server {
    /// Binds `host:port`; port 0 takes any free one.
    pub async fn bind(transport: &SharedTransport, host: &str, port: u16) -> io::Result<Server> {
        let listener = transport.bind(host, port).await?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections and serves them until `shutdown` begins.
    pub fn start(self, broker: Arc<Broker>, limits: Limits, clock: SharedClock, shutdown: Shutdown) {
        let accepting = self.accept(broker, limits, clock, shutdown.clone());
        shutdown.spawn(accepting);
    }

    async fn accept(self, broker: Arc<Broker>, limits: Limits, clock: SharedClock, shutdown: Shutdown) {
        let pool = BufferPool::new(KEPT_BUFFERS);
        let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        loop {
            let place = tokio::select! {
                place = places.clone().acquire_owned() => place,
                () = shutdown.begun() => return,
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.begun() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(reason) => {
                    warn!(address = %self.address, %reason, "could not accept a connection");
                    clock.sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let session = Session {
                broker: broker.clone(),
                clock: clock.clone(),
                shutdown: shutdown.clone(),
                max_idle: limits.idle,
                reader: FrameReader::new(pool.clone(), limits.request_bytes),
            };
            shutdown.spawn(async move {
                connection::serve(session, stream, peer).await;
                drop(place);
            });
        }
    }
}
