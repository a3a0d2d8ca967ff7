//! Stories of the quorum: over a network in memory that can be cut, on disks in memory that lose power.
//!
//! Time is stopped, and goes on only when all wait: so nothing here takes long, and a test's ten seconds are the quorum's.

mod alone;
mod joining;
mod quorum;
mod several;
mod storms;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::select_all;
use parking_lot::Mutex;

use super::network::{Asking, QuorumNetwork};
use super::options::KEPT_FOR_OTHERS;
use super::*;
use crate::client::Doors;
use crate::common::clock::{ManualClock, SystemClock};
use crate::common::ids::Uuid;
use crate::common::transport::Tcp;
use crate::log::Handles;
use crate::log::fs::FileSystem;
use crate::log::fs::memory::MemoryFs;
use crate::metadata::plan;
use crate::metadata::records::TopicRecord;
use crate::protocol::messages::quorum_append::{QuorumAppendRequest, QuorumAppendResponse};
use crate::protocol::messages::quorum_hello::{QuorumHelloRequest, QuorumHelloResponse};
use crate::protocol::messages::quorum_snapshot::{QuorumSnapshotRequest, QuorumSnapshotResponse};
use crate::protocol::messages::quorum_vote::{QuorumVoteRequest, QuorumVoteResponse};
use crate::protocol::{Message, Request, Str};

const NOW: i64 = 1_700_000_000_000;
const FOLDER: &str = "/data/__cluster_metadata-0";
const OFTEN: SnapshotLimits = SnapshotLimits { bytes: 400, interval_ms: 0 };
const NEVER: SnapshotLimits = SnapshotLimits { bytes: u64::MAX, interval_ms: 0 };

/// A network in memory.
#[derive(Debug, Default)]
struct Net {
    nodes: Mutex<HashMap<NodeId, Weak<Controller>>>,
    cut: Mutex<HashSet<(NodeId, NodeId)>>,
    /// How long each way takes.
    way: Mutex<Duration>,
}

impl Net {
    fn cut(&self, node: NodeId, others: &[NodeId]) {
        let both = others.iter().flat_map(|other| [(node, *other), (*other, node)]);
        self.cut.lock().extend(both);
    }

    fn heal(&self) {
        self.cut.lock().clear();
    }

    /// The way over bytes, as over a wire; both directions must be whole.
    async fn carry<R: Request, F: Future<Output = R::Response>>(
        &self,
        from: NodeId,
        to: NodeId,
        request: R,
        ask: impl FnOnce(Arc<Controller>, R) -> F,
    ) -> Result<R::Response, String> {
        tokio::task::yield_now().await;
        let way = *self.way.lock();
        let travel = async || {
            if !way.is_zero() {
                SystemClock::shared().sleep(way).await;
            }
        };
        travel().await;
        let is_cut = |from, to| self.cut.lock().contains(&(from, to));
        let node = self.nodes.lock().get(&to).and_then(Weak::upgrade);
        let Some(node) = node.filter(|_| !is_cut(from, to)) else { return Err(format!("{to} is not there")) };
        let request = R::from_bytes(request.to_bytes(0).unwrap(), 0).unwrap();
        let response = ask(node, request).await;
        travel().await;
        match is_cut(to, from) {
            true => Err(format!("{to} does not answer")),
            false => Ok(R::Response::from_bytes(response.to_bytes(0).unwrap(), 0).unwrap()),
        }
    }
}

impl QuorumNetwork for Net {
    fn vote<'a>(&'a self, to: &'a Voter, request: QuorumVoteRequest) -> Asking<'a, QuorumVoteResponse> {
        let from = request.way.sender_id;
        Box::pin(self.carry(from, to.id, request, async |node, request| node.handle_vote(request).await))
    }

    fn append<'a>(&'a self, to: &'a Voter, request: QuorumAppendRequest) -> Asking<'a, QuorumAppendResponse> {
        let from = request.way.sender_id;
        Box::pin(self.carry(from, to.id, request, async |node, request| node.handle_append(request).await))
    }

    fn snapshot<'a>(&'a self, to: &'a Voter, request: QuorumSnapshotRequest) -> Asking<'a, QuorumSnapshotResponse> {
        let from = request.way.sender_id;
        Box::pin(self.carry(from, to.id, request, async |node, request| node.handle_snapshot(request).await))
    }

    fn hello<'a>(&'a self, to: &'a Voter, request: QuorumHelloRequest) -> Asking<'a, QuorumHelloResponse> {
        let from = request.way.sender_id;
        // A bootstrap server is known by its host alone.
        let id = if to.id < 0 { to.host.trim_start_matches("host-").parse().unwrap() } else { to.id };
        Box::pin(self.carry(from, id, request, async |node, request| node.handle_hello(request).await))
    }
}

fn voter(id: NodeId) -> Voter {
    Voter { id, directory_id: Uuid([id as u8; 16]), host: format!("host-{id}"), port: 9093 }
}

/// Starts a controller of the quorum whose first voters these are.
async fn start(
    fs: &MemoryFs,
    clock: &Arc<ManualClock>,
    limits: SnapshotLimits,
    (net, id, voters): (&Arc<Net>, NodeId, &[NodeId]),
) -> Result<Arc<Controller>, ControllerError> {
    let options = ControllerOptions { voters: voters.iter().map(|id| voter(*id)).collect(), ..options(net, voter(id)) };
    start_with(fs, net, ControllerOptions { clock: clock.clone(), limits, ..options }).await
}

/// A controller that knows nobody yet.
fn options(net: &Arc<Net>, node: Voter) -> ControllerOptions {
    let runtime = tokio::runtime::Handle::current();
    ControllerOptions {
        node,
        cluster_id: None,
        voters: Vec::new(),
        bootstrap_servers: Vec::new(),
        wants_vote: false,
        doors: Doors { transport: Tcp::shared(), clock: SystemClock::shared(), runtime },
        network: Some(net.clone()),
        clock: ManualClock::new(NOW),
        durable: true,
        limits: NEVER,
        timing: QuorumTiming { seed: Some(1), ..QuorumTiming::default() },
    }
}

/// Starts a controller; its log dir is let go, as nobody else wants it here.
async fn start_with(
    fs: &MemoryFs,
    net: &Arc<Net>,
    options: ControllerOptions,
) -> Result<Arc<Controller>, ControllerError> {
    let dir = LogDir::open(Handles::new(Arc::new(fs.clone()), 64), Path::new("/data"), "1").unwrap();
    let id = options.node.id;
    let controller = Controller::start(&dir, options, || plan::bootstrap(1).into_iter().take(1).collect()).await?;
    net.nodes.lock().insert(id, Arc::downgrade(&controller));
    Ok(controller)
}

fn topic(name: &str) -> Vec<MetadataRecord> {
    vec![MetadataRecord::Topic(TopicRecord { name: Str::from(name), topic_id: Uuid::random() })]
}

async fn make(controller: &Controller, name: &str) -> Result<(), Refusal> {
    let records = topic(name);
    controller.propose(move |_| Ok(((), records))).await
}

fn has(controller: &Controller, name: &str) -> bool {
    controller.read(|image| image.topic(name).is_some())
}

fn image(controller: &Controller) -> Image {
    controller.read(Image::clone)
}

/// Waits until a topic is in the image here.
async fn arrived(controller: &Controller, name: &str) {
    let mut applied = controller.subscribe();
    while !has(controller, name) {
        applied.recv().await.unwrap();
    }
}

/// Waits until one of them leads, and gives it.
async fn leader<'a>(controllers: &[&'a Arc<Controller>]) -> &'a Arc<Controller> {
    let leads = controllers.iter().map(|controller| {
        Box::pin(async move {
            let led = controller.leader().wait_for(|leadership| leadership.is_us).await.map(|_| ());
            led.unwrap();
            *controller
        })
    });
    select_all(leads).await.0
}

/// What is waited for comes in time.
async fn within<T>(time: Duration, what: impl Future<Output = T>) -> T {
    tokio::select! {
        found = what => found,
        () = SystemClock::shared().sleep(time) => panic!("it takes longer than {time:?}"),
    }
}

/// What is waited for comes within ten seconds of the quorum's time.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    within(Duration::from_secs(10), what).await
}

fn files(fs: &MemoryFs, suffix: &str) -> Vec<String> {
    let names = fs.list(Path::new(FOLDER)).unwrap().into_iter().map(|entry| entry.name);
    let mut names: Vec<String> = names.filter(|name| name.ends_with(suffix)).collect();
    names.sort_unstable();
    names
}
