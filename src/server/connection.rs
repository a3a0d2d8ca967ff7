//! One connection: requests come in a row, are worked on together, and are answered in their order.
//!
//! A request that must wait (a fetch with nothing to read, a member joining its group) does not hold up the work on
//! those behind it, only their replies; nor does a reply that the other side is slow to read: a request may hold a lock
//! that others wait for, so the work on it never waits for its client. At most [`PIPELINED`] requests of a connection are
//! under way, and no further one is read while those and their replies hold [`HELD`] bytes; it stays in the socket, so a
//! client that sends faster than it reads slows down by itself. One that does not read at all is closed: when it was
//! silent for `connections.max.idle.ms`, or when the broker stops. A frame that makes no sense ends the connection with a
//! logged reason: nothing after it can be trusted.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tracing::{debug, warn};

use super::frame::{FrameError, FrameReader};
use super::gate::Place;
use crate::broker::{Broker, Connection, Listener, Reply, ReplyFuture};
use crate::common::clock::SharedClock;
use crate::common::shutdown::Shutdown;
use crate::common::transport::BoxStream;
use crate::protocol::{Frame, Str};

/// How many requests of one connection may be under way.
const PIPELINED: usize = 64;
/// How many bytes the requests of one connection and the replies that wait for their turn may hold before the next is
/// read. One request is always read.
const HELD: usize = 1 << 20;
/// How long a connection may take for its last replies once the broker stops.
const DRAIN: Duration = Duration::from_secs(2);

/// A request that is under way, or its reply that waits for those before it.
enum Slot {
    /// The work, and how many bytes the request has.
    Working(ReplyFuture, usize),
    Done(Reply),
}

impl Slot {
    /// How many bytes it keeps in memory, about.
    fn holds(&self) -> usize {
        match self {
            Slot::Working(_, bytes) => *bytes,
            Slot::Done(Reply::Send(frame)) => frame.len(),
            Slot::Done(Reply::Nothing | Reply::Close(_)) => 0,
        }
    }
}

/// What a connection needs of its listener.
pub(super) struct Session {
    pub(super) broker: Arc<Broker>,
    pub(super) listener: Listener,
    pub(super) name: Str,
    pub(super) clock: SharedClock,
    pub(super) shutdown: Shutdown,
    pub(super) max_idle: Option<Duration>,
    pub(super) reader: FrameReader,
    pub(super) place: Place,
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
    #[error("silent for longer than others, and there are too many (max.connections)")]
    Excess,
    #[error("its replies were not read while the broker stopped")]
    Unread,
}

/// Serves one connection until it ends.
pub(super) async fn serve(mut session: Session, mut stream: BoxStream, peer: SocketAddr) {
    let connection = session.broker.connect(peer, session.listener, session.name.clone());
    let ended = converse(&mut session, &connection, &mut stream).await;
    session.broker.disconnected(&connection);
    match ended {
        Ok(()) => debug!(%peer, "connection closed"),
        Err(Ended::Io(reason) | Ended::Frame(FrameError::Io(reason))) => debug!(%peer, %reason, "connection lost"),
        Err(reason @ (Ended::Idle(_) | Ended::Excess | Ended::Unread)) => debug!(%peer, %reason, "connection closed"),
        Err(reason) => warn!(%peer, %reason, "connection closed"),
    }
    // Tells the other side at once; it may be gone already.
    let _ = stream.shutdown().await;
}

async fn converse(session: &mut Session, connection: &Arc<Connection>, stream: &mut BoxStream) -> Result<(), Ended> {
    let Session { broker, listener: _, name: _, clock, shutdown, max_idle, reader, place } = session;
    let line = Line { clock, shutdown, max_idle: *max_idle, place };
    let mut slots: VecDeque<Slot> = VecDeque::new();
    let mut last_request = clock.monotonic();
    let mut idle_timer = max_idle.map(|idle| clock.sleep(idle));
    let mut stopping = pin!(shutdown.begun());
    let mut told_to_leave = pin!(place.told_to_leave());
    loop {
        tokio::select! {
            biased;
            reply = next_reply(&mut slots), if !slots.is_empty() => line.answer(stream, reply, &mut slots).await?,
            frame = reader.next(stream), if may_read(&slots) => match frame? {
                None => return Ok(()),
                Some(frame) => {
                    last_request = clock.monotonic();
                    place.heard(last_request);
                    let bytes = frame.len();
                    let mut work = broker.handle(connection, frame);
                    // The first step is taken here and now, so that appends happen in the order of the requests.
                    let first = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
                    match first {
                        Poll::Ready(reply) if slots.is_empty() => line.answer(stream, reply, &mut slots).await?,
                        Poll::Ready(reply) => slots.push_back(Slot::Done(reply)),
                        Poll::Pending => slots.push_back(Slot::Working(work, bytes)),
                    }
                }
            },
            () = async { match idle_timer.as_mut() { Some(timer) => timer.await, None => std::future::pending().await } } => {
                // One timer serves many requests: it is set again for what is left since the last of them.
                let max_idle = max_idle.unwrap_or_default();
                let idle = clock.monotonic().saturating_sub(last_request);
                if idle >= max_idle && slots.is_empty() {
                    return Err(Ended::Idle(idle));
                }
                let left = max_idle.saturating_sub(idle).max(Duration::from_millis(100));
                idle_timer = Some(clock.sleep(left));
            },
            () = &mut told_to_leave => return Err(Ended::Excess),
            () = &mut stopping => break,
        }
    }
    // No new requests; those under way still get their replies.
    let drain = async {
        while !slots.is_empty() {
            let reply = next_reply(&mut slots).await;
            line.answer(stream, reply, &mut slots).await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = drain => ended,
        () = clock.sleep(DRAIN) => Ok(()),
    }
}

/// Whether another request may be read.
fn may_read(slots: &VecDeque<Slot>) -> bool {
    slots.len() < PIPELINED && slots.iter().map(Slot::holds).sum::<usize>() < HELD
}

/// Works on all requests under way, in their order, until the first of them has its reply.
async fn next_reply(slots: &mut VecDeque<Slot>) -> Reply {
    poll_fn(|context| {
        advance(slots, context);
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

/// Works on all requests under way, for as long as it is asked to.
async fn work_on(slots: &mut VecDeque<Slot>) -> Infallible {
    poll_fn(|context| {
        advance(slots, context);
        Poll::Pending
    })
    .await
}

/// Takes each request under way as far as it goes now.
fn advance(slots: &mut VecDeque<Slot>, context: &mut Context<'_>) {
    for slot in slots {
        if let Slot::Working(work, _) = slot
            && let Poll::Ready(reply) = work.as_mut().poll(context)
        {
            *slot = Slot::Done(reply);
        }
    }
}

/// What replies go out under.
struct Line<'a> {
    clock: &'a SharedClock,
    shutdown: &'a Shutdown,
    max_idle: Option<Duration>,
    place: &'a Place,
}

impl Line<'_> {
    /// Writes a reply; the work on the requests behind it goes on meanwhile.
    async fn answer(&self, stream: &mut BoxStream, reply: Reply, slots: &mut VecDeque<Slot>) -> Result<(), Ended> {
        let mut frame = match reply {
            Reply::Send(frame) => frame,
            Reply::Nothing => return Ok(()),
            Reply::Close(reason) => return Err(Ended::Refused(reason)),
        };
        // All chunks in one call, where the system takes them; nearly always that is all there is to do.
        let at_once = {
            let mut write = pin!(stream.write_all_buf(&mut frame));
            poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await
        };
        match at_once {
            Poll::Ready(written) => Ok(written?),
            Poll::Pending => self.press(stream, frame, slots).await,
        }
    }

    /// Writes what the system did not take at once, as the other side reads; ends where it does not.
    async fn press(&self, stream: &mut BoxStream, mut frame: Frame, slots: &mut VecDeque<Slot>) -> Result<(), Ended> {
        let mut stopped = pin!(async {
            self.shutdown.begun().await;
            self.clock.sleep(DRAIN).await;
        });
        let mut told_to_leave = pin!(self.place.told_to_leave());
        while !frame.is_empty() {
            let idle = async {
                match self.max_idle {
                    Some(idle) => self.clock.sleep(idle).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                written = stream.write_buf(&mut frame) => match written? {
                    0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                    _ => self.place.heard(self.clock.monotonic()),
                },
                () = &mut stopped => return Err(Ended::Unread),
                () = &mut told_to_leave => return Err(Ended::Excess),
                () = idle => return Err(Ended::Idle(self.max_idle.unwrap_or_default())),
                never = work_on(slots) => match never {},
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::oneshot;

    use super::*;
    use crate::common::clock::{ManualClock, SystemClock};
    use crate::server::gate::Gate;

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_goes_on_while_a_reply_is_not_read() {
        let clock: SharedClock = ManualClock::new(0);
        let (shutdown, place) = (Shutdown::new(), Gate::default().enter([127, 0, 0, 1].into(), 1, Duration::ZERO));
        let place = place.unwrap();
        let line = Line { clock: &clock, shutdown: &shutdown, max_idle: None, place: &place };
        // What the other side does not read.
        let (ours, _theirs) = tokio::io::duplex(16);
        let (begin, begun) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        let work: ReplyFuture = Box::pin(async move {
            begun.await.unwrap();
            end.send(()).unwrap();
            Reply::Nothing
        });
        let mut slots = VecDeque::from([Slot::Working(work, 0)]);
        let mut stream: BoxStream = Box::new(ours);
        let reply = Reply::Send(Frame::sized(Bytes::from(vec![0; 100])));
        tokio::select! {
            biased;
            _ = line.answer(&mut stream, reply, &mut slots) => panic!("nobody reads"),
            () = async { begin.send(()).unwrap(); ended.await.unwrap() } => {}
            () = SystemClock::shared().sleep(DRAIN) => panic!("nobody works on it"),
        }
        assert!(matches!(slots[0], Slot::Done(Reply::Nothing)));
    }
}
