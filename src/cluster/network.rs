//! The network between the brokers of one cluster, which a test can break.
//!
//! ```text
//!            its own gate        the link's gates, one a direction       its own gate
//!  broker 0 ------||---------------------||------||------------------------||------ broker 1
//!                  \
//!                   \------- clients: only the broker's own gate
//! ```
//! Each broker is given a [`Transport`] of its own, over the real one. A connection between two brokers passes four gates,
//! one of a client the broker's own. A gate that is closed holds back what comes to it and loses nothing, as TCP does: whoever
//! waits sees silence, not an error, until it is open again or the waiting is over. A broker whose own gate is closed is paused: it
//! answers nobody, and hears nothing.
//!
//! Who is at the other end is known by the port that it listens on, so all of this is for brokers that listen on one machine.
//! Both gates of a link are passed at the end that connected. So brokers in processes of their own, each with a network of its
//! own that was told the same [`Links`] and everybody's ports, see what those of one process see.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::links::Links;
use crate::common::clock::{SharedClock, Sleep};
use crate::common::ids::NodeId;
use crate::common::transport::{BoxStream, Listener, Pending, SharedTransport, Transport};

/// How much of a delayed stream is read at once.
const DELAYED: usize = 64 << 10;

/// What holds back a direction of a link, or all that a broker sends and hears.
#[derive(Debug, Default)]
struct Gate {
    closed: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Gate {
    fn set(&self, closed: bool) {
        if closed { self.close() } else { self.open() }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn open(&self) {
        if !self.closed.swap(false, Ordering::AcqRel) {
            return;
        }
        self.waiting.lock().drain(..).for_each(Waker::wake);
    }

    fn poll_open(&self, context: &Context<'_>) -> Poll<()> {
        if !self.is_closed() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock();
        // It may have been opened since.
        if !self.is_closed() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|known| known.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// The network between brokers: links are cut, delayed and broken here, brokers paused.
#[derive(Debug)]
pub struct Network {
    under: SharedTransport,
    clock: SharedClock,
    ports: Mutex<HashMap<u16, NodeId>>,
    brokers: Mutex<HashMap<NodeId, Arc<Gate>>>,
    /// Those that anybody goes by; locked before `state`, of which they are made.
    links: Mutex<HashMap<(NodeId, NodeId), Arc<Gate>>>,
    state: Mutex<Links>,
    faults: Arc<Faults>,
}

/// What every connection between brokers goes by.
#[derive(Debug, Default)]
struct Faults {
    delay_ms: AtomicU64,
    /// In millionths.
    break_rate: AtomicU32,
}

impl Network {
    /// A network over another transport, with nothing broken; delays go by `clock`.
    pub fn new(under: SharedTransport, clock: SharedClock) -> Arc<Network> {
        Arc::new(Network {
            under,
            clock,
            ports: Mutex::default(),
            brokers: Mutex::default(),
            links: Mutex::default(),
            state: Mutex::default(),
            faults: Arc::default(),
        })
    }

    /// The transport of one broker.
    pub fn of(self: &Arc<Self>, id: NodeId) -> SharedTransport {
        Arc::new(Port { network: self.clone(), id })
    }

    /// Cuts, opens, delays and breaks the links as `links` says; what was held back by one that is open now arrives.
    pub fn set(&self, links: &Links) {
        let gates = self.links.lock();
        *self.state.lock() = links.clone();
        self.faults.delay_ms.store(links.delay_ms(), Ordering::Relaxed);
        self.faults.break_rate.store(links.break_rate(), Ordering::Relaxed);
        for ((from, to), gate) in gates.iter() {
            gate.set(links.is_cut(*from, *to));
        }
    }

    /// Whose port it is that a broker of another process listens on.
    pub fn learn(&self, port: u16, id: NodeId) {
        self.ports.lock().insert(port, id);
    }

    /// Lets a broker neither send nor hear, clients neither, until it is resumed.
    pub fn pause(&self, id: NodeId) {
        self.gate(id).close();
    }

    /// Ends a pause.
    pub fn resume(&self, id: NodeId) {
        self.gate(id).open();
    }

    /// Whether a broker is paused.
    pub fn is_paused(&self, id: NodeId) -> bool {
        self.gate(id).is_closed()
    }

    fn gate(&self, id: NodeId) -> Arc<Gate> {
        self.brokers.lock().entry(id).or_default().clone()
    }

    fn link(&self, from: NodeId, to: NodeId) -> Arc<Gate> {
        let mut links = self.links.lock();
        let gate = links.entry((from, to)).or_default();
        gate.set(self.state.lock().is_cut(from, to));
        gate.clone()
    }
}

/// One broker's way into the network.
#[derive(Debug)]
struct Port {
    network: Arc<Network>,
    id: NodeId,
}

impl Transport for Port {
    fn bind<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let listener = self.network.under.bind(host, port).await?;
            self.network.ports.lock().insert(listener.local_addr()?.port(), self.id);
            let gate = self.network.gate(self.id);
            Ok(Box::new(Door { listener, gate, network: self.network.clone() }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, BoxStream> {
        Box::pin(async move {
            let network = &self.network;
            let mut send = vec![network.gate(self.id)];
            let mut hear = send.clone();
            let other = network.ports.lock().get(&port).copied().filter(|id| *id != self.id);
            if let Some(other) = other {
                send.extend([network.link(self.id, other), network.gate(other)]);
                hear.extend([network.link(other, self.id), network.gate(other)]);
            }
            // A connection takes words in both directions.
            std::future::poll_fn(|context| all_open(send.iter().chain(&hear), context)).await;
            let under = network.under.connect(host, port).await?;
            let faults = other.map(|_| network.faults.clone()).unwrap_or_default();
            Ok(Box::new(Gated { under, send, hear, faults, clock: network.clock.clone(), late: None }) as BoxStream)
        })
    }
}

fn all_open<'a>(mut gates: impl Iterator<Item = &'a Arc<Gate>>, context: &Context<'_>) -> Poll<()> {
    if gates.all(|gate| gate.poll_open(context).is_ready()) { Poll::Ready(()) } else { Poll::Pending }
}

/// A broker's listener.
#[derive(Debug)]
struct Door {
    listener: Box<dyn Listener>,
    gate: Arc<Gate>,
    network: Arc<Network>,
}

impl Listener for Door {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn limit_send_buffer(&self, bytes: usize) -> io::Result<()> {
        self.listener.limit_send_buffer(bytes)
    }

    fn accept(&self) -> Pending<'_, (BoxStream, SocketAddr)> {
        Box::pin(async move {
            std::future::poll_fn(|context| self.gate.poll_open(context)).await;
            let (under, peer) = self.listener.accept().await?;
            let (send, hear) = (vec![self.gate.clone()], vec![self.gate.clone()]);
            let (faults, clock) = (Arc::default(), self.network.clock.clone());
            Ok((Box::new(Gated { under, send, hear, faults, clock, late: None }) as BoxStream, peer))
        })
    }
}

/// A connection that passes gates.
struct Gated {
    under: BoxStream,
    send: Vec<Arc<Gate>>,
    hear: Vec<Arc<Gate>>,
    faults: Arc<Faults>,
    clock: SharedClock,
    /// What was read, and is not due yet.
    late: Option<(Sleep, Vec<u8>)>,
}

impl fmt::Debug for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated").field("under", &self.under).finish_non_exhaustive()
    }
}

impl Gated {
    fn breaks(&self) -> io::Result<()> {
        match self.faults.break_rate.load(Ordering::Relaxed) {
            0 => Ok(()),
            rate if rand::random_range(0..1_000_000) < rate => Err(io::ErrorKind::ConnectionReset.into()),
            _ => Ok(()),
        }
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(all_open(this.hear.iter(), context));
        if let Some((sleep, bytes)) = &mut this.late {
            ready!(sleep.as_mut().poll(context));
            let taken = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..taken]);
            bytes.drain(..taken);
            if bytes.is_empty() {
                this.late = None;
            }
            return Poll::Ready(Ok(()));
        }
        let delay = this.faults.delay_ms.load(Ordering::Relaxed);
        if delay == 0 {
            return Pin::new(&mut this.under).poll_read(context, buffer);
        }
        let mut bytes = vec![0; DELAYED];
        let mut read = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut this.under).poll_read(context, &mut read))?;
        let length = read.filled().len();
        if length == 0 {
            return Poll::Ready(Ok(()));
        }
        bytes.truncate(length);
        this.late = Some((this.clock.sleep(Duration::from_millis(delay)), bytes));
        // Registers for the end of the delay.
        Pin::new(this).poll_read(context, buffer)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(all_open(self.send.iter(), context));
        self.breaks()?;
        Pin::new(&mut self.under).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(all_open(self.send.iter(), context));
        self.breaks()?;
        Pin::new(&mut self.under).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.under.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.under).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.under).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::common::clock::{ManualClock, SystemClock};
    use crate::common::transport::Tcp;

    fn links(broken: impl FnOnce(&mut Links)) -> Links {
        let mut links = Links::default();
        broken(&mut links);
        links
    }

    /// Broker 1 has connected to broker 0.
    async fn pair(network: &Arc<Network>) -> (BoxStream, BoxStream) {
        let listener = network.of(0).bind("127.0.0.1", 0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let transport = network.of(1);
        let (one, zero) = tokio::join!(transport.connect("127.0.0.1", port), listener.accept());
        (zero.unwrap().0, one.unwrap())
    }

    #[tokio::test]
    async fn a_link_that_is_cut_holds_back_and_loses_nothing() {
        let network = Network::new(Tcp::shared(), SystemClock::shared());
        let (mut zero, mut one) = pair(&network).await;
        network.set(&links(|links| links.block(0, 1)));
        zero.write_all(b"late").await.unwrap();
        one.write_all(b"through").await.unwrap();
        let mut heard = [0; 7];
        zero.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"through", "the other direction is open");
        let mut late = [0; 4];
        let reading = one.read_exact(&mut late);
        tokio::pin!(reading);
        assert!(reading.as_mut().now_or_never().is_none());
        network.set(&Links::default());
        reading.await.unwrap();
        assert_eq!(&late, b"late");
    }

    #[tokio::test]
    async fn groups_are_apart_and_a_connection_waits_for_the_link() {
        let network = Network::new(Tcp::shared(), SystemClock::shared());
        let listener = network.of(0).bind("127.0.0.1", 0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        network.set(&links(|links| links.partition(&[BTreeSet::from([0]), BTreeSet::from([1, 2])])));
        let (transport, other) = (network.of(1), network.of(3));
        let connecting = transport.connect("127.0.0.1", port);
        tokio::pin!(connecting);
        assert!(connecting.as_mut().now_or_never().is_none());
        other.connect("127.0.0.1", port).await.unwrap();
        network.set(&Links::default());
        connecting.await.unwrap();
    }

    #[tokio::test]
    async fn a_broker_that_is_paused_neither_sends_nor_hears() {
        let network = Network::new(Tcp::shared(), SystemClock::shared());
        let (mut zero, mut one) = pair(&network).await;
        network.pause(0);
        assert!(one.write_all(b"x").now_or_never().is_none());
        assert!(zero.write_all(b"x").now_or_never().is_none());
        network.set(&Links::default());
        assert!(zero.write_all(b"x").now_or_never().is_none(), "only resuming ends it");
        network.resume(0);
        zero.write_all(b"x").await.unwrap();
    }

    #[tokio::test]
    async fn what_is_delayed_arrives_later_and_what_breaks_breaks() {
        let clock = ManualClock::new(0);
        let network = Network::new(Tcp::shared(), clock.clone());
        let (mut zero, mut one) = pair(&network).await;
        network.set(&links(|links| links.delay(Duration::from_millis(50))));
        zero.write_all(b"ab").await.unwrap();
        let mut heard = [0; 2];
        {
            let reading = one.read_exact(&mut heard);
            tokio::pin!(reading);
            while clock.sleepers() == 0 {
                assert!(reading.as_mut().now_or_never().is_none());
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_millis(50));
            reading.await.unwrap();
        }
        assert_eq!(&heard, b"ab");
        network.set(&links(|links| links.break_at(1.0)));
        assert_eq!(one.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
