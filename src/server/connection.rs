//! One connection: requests come in a row, are worked on together, and are answered in their order.
//!
//! A request that must wait (a fetch with nothing to read, a member joining its group) does not hold up the work on
//! those behind it, only their replies. At most [`PIPELINED`] requests of a connection are under way; the next stays in
//! the socket, so a client that sends faster than it reads slows down by itself. A frame that makes no sense ends the
//! connection with a logged reason: nothing after it can be trusted.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tracing::{debug, warn};

use super::frame::{FrameError, FrameReader};
use crate::broker::{Broker, Connection, Reply, ReplyFuture};
use crate::common::clock::SharedClock;
use crate::common::shutdown::Shutdown;
use crate::common::transport::BoxStream;

/// How many requests of one connection may be under way.
const PIPELINED: usize = 64;
/// How long a connection may take for its last replies once the broker stops.
const DRAIN: Duration = Duration::from_secs(2);

/// A request that is under way, or its reply that waits for those before it.
enum Slot {
    Working(ReplyFuture),
    Done(Reply),
}

/// What a connection needs of its listener.
pub(super) struct Session {
    pub(super) broker: Arc<Broker>,
    pub(super) clock: SharedClock,
    pub(super) shutdown: Shutdown,
    pub(super) max_idle: Option<Duration>,
    pub(super) reader: FrameReader,
}

/// Why a connection ended, where the other side did not just close it.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("idle for {0:?} (connections.max.idle.ms)")]
    Idle(Duration),
}

/// Serves one connection until it ends.
pub(super) async fn serve(mut session: Session, mut stream: BoxStream, peer: SocketAddr) {
    let connection = session.broker.connect(peer);
    let ended = converse(&mut session, &connection, &mut stream).await;
    match ended {
        Ok(()) => debug!(%peer, "connection closed"),
        Err(Ended::Io(reason) | Ended::Frame(FrameError::Io(reason))) => debug!(%peer, %reason, "connection lost"),
        Err(reason @ Ended::Idle(_)) => debug!(%peer, %reason, "connection closed"),
        Err(reason) => warn!(%peer, %reason, "connection closed"),
    }
    // Tells the other side at once; it may be gone already.
    let _ = stream.shutdown().await;
}

async fn converse(session: &mut Session, connection: &Arc<Connection>, stream: &mut BoxStream) -> Result<(), Ended> {
    let mut slots: VecDeque<Slot> = VecDeque::new();
    let mut last_request = session.clock.monotonic();
    let mut idle_timer = session.max_idle.map(|idle| session.clock.sleep(idle));
    let stopping = session.shutdown.clone();
    let stopping = stopping.begun();
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            biased;
            reply = next_reply(&mut slots), if !slots.is_empty() => answer(stream, reply).await?,
            frame = session.reader.next(stream), if slots.len() < PIPELINED => match frame? {
                None => return Ok(()),
                Some(frame) => {
                    last_request = session.clock.monotonic();
                    let mut work = session.broker.handle(connection, frame);
                    // The first step is taken here and now, so that appends happen in the order of the requests.
                    let first = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
                    match first {
                        Poll::Ready(reply) if slots.is_empty() => answer(stream, reply).await?,
                        Poll::Ready(reply) => slots.push_back(Slot::Done(reply)),
                        Poll::Pending => slots.push_back(Slot::Working(work)),
                    }
                }
            },
            () = async { match idle_timer.as_mut() { Some(timer) => timer.await, None => std::future::pending().await } } => {
                // One timer serves many requests: it is set again for what is left since the last of them.
                let max_idle = session.max_idle.unwrap_or_default();
                let idle = session.clock.monotonic().saturating_sub(last_request);
                if idle >= max_idle && slots.is_empty() {
                    return Err(Ended::Idle(idle));
                }
                let left = max_idle.saturating_sub(idle).max(Duration::from_millis(100));
                idle_timer = Some(session.clock.sleep(left));
            },
            () = &mut stopping => break,
        }
    }
    // No new requests; those under way still get their replies.
    let drain = async {
        while !slots.is_empty() {
            let reply = next_reply(&mut slots).await;
            answer(stream, reply).await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = drain => ended,
        () = session.clock.sleep(DRAIN) => Ok(()),
    }
}

/// Works on all requests under way, in their order, until the first of them has its reply.
async fn next_reply(slots: &mut VecDeque<Slot>) -> Reply {
    poll_fn(|context| {
        for slot in slots.iter_mut() {
            if let Slot::Working(work) = slot
                && let Poll::Ready(reply) = work.as_mut().poll(context)
            {
                *slot = Slot::Done(reply);
            }
        }
        match slots.pop_front() {
            Some(Slot::Done(reply)) => Poll::Ready(reply),
            Some(working) => {
                slots.push_front(working);
                Poll::Pending
            }
            None => Poll::Pending,
        }
    })
    .await
}

async fn answer(stream: &mut BoxStream, reply: Reply) -> Result<(), Ended> {
    match reply {
        // All chunks in one call, where the system takes them.
        Reply::Send(mut frame) => Ok(stream.write_all_buf(&mut frame).await?),
        Reply::Nothing => Ok(()),
        Reply::Close(reason) => Err(Ended::Refused(reason)),
    }
}
