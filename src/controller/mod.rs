//! The cluster image made durable and agreed upon: its log, its replicas, and the one who may write it.
//!
//! [`Controller::propose`] is the only way to change the image. It asks for the records that a wish comes to, and hands
//! them to the quorum as one entry of `__cluster_metadata-0`, a batch in Kafka's own format; once a majority of the voters
//! has it on disk, every node applies it: so an image is never ahead of its log, and a wish takes effect whole or not at
//! all. A quorum of one is the same code: it elects itself as it starts.
//!
//! | to know | read |
//! |---|---|
//! | what an entry is, and that a wish is never applied that was decided on an old image | `types`, `batches` |
//! | how entries, snapshots and votes lie on disk, and what a crash leaves of them | `journal`, `snapshot`, `vote`, `control` |
//! | how openraft reads and writes them | `storage`, `state_machine` |
//! | how controllers reach each other | [`network`], `transport`, `wire`, `answers` |
//! | who leads, and when it may decide | `leadership` |
//! | who votes and who only listens | `membership` |
//! | how a cluster begins, and how a node gets into it | `founding`, `joining` |
//! | what happens when the disk takes no writes | `revival` |
//! | what may not be done while the image is read | `reading` |
//!
//! What the quorum waits by is the clock of its doors, and tokio's own time inside openraft: a simulation pauses that, and
//! gives a clock that goes with it. What records and snapshots say of the time comes from another clock.
//!
//! It never knows who wishes, or why.

mod answers;
mod batches;
mod control;
mod error;
mod founding;
mod joining;
mod journal;
mod leadership;
mod membership;
pub mod network;
mod options;
#[cfg(debug_assertions)]
mod reading;
mod revival;
pub mod sessions;
mod snapshot;
mod state_machine;
mod storage;
#[cfg(test)]
mod tests;
mod transport;
mod types;
mod vote;
mod wire;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::Config;
use openraft::error::{ClientWriteError, Fatal};
use openraft::raft::ClientWriteResponse;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::common::clock::SharedClock;
use crate::common::ids::{NodeId, Offset};
use crate::common::shutdown::Shutdown;
use crate::log::LogDir;
use crate::metadata::{Image, MetadataRecord, Refusal};
use crate::protocol::ErrorCode;
use joining::Joining;
use journal::Journal;
use network::Peers;
use state_machine::State;
use storage::Store;
use transport::Connections;
use types::{Outcome, Raft, Wish};

pub use error::ControllerError;
pub use founding::format_dir;
pub use leadership::Leadership;
pub use membership::{QuorumView, ReplicaView};
pub use options::{ControllerOptions, QuorumTiming, SnapshotLimits};
pub use state_machine::Applied;
pub use types::Voter;

/// The cluster's metadata, its log, and this node's part in the quorum.
#[derive(Debug)]
pub struct Controller {
    core: Arc<Core>,
}

/// What the controller's tasks share.
struct Core {
    node: Voter,
    voters: Vec<Voter>,
    /// Another one each time that the disk took writes again (`revival`).
    raft: RwLock<Raft>,
    /// Told of each.
    raised: watch::Sender<()>,
    config: Arc<Config>,
    clock: SharedClock,
    state: Arc<State>,
    store: Arc<Store>,
    peers: Arc<Peers>,
    timing: QuorumTiming,
    leadership: watch::Sender<Leadership>,
    cluster_id: Option<String>,
    joining: Joining,
    /// Told when a leader or a candidate that this node takes has spoken.
    heard: Notify,
    /// When that was.
    heard_at: Mutex<Duration>,
    /// The last other node that was heard to lead, and when.
    heard_leader: Mutex<Option<(NodeId, Duration)>>,
    /// Held over deciding, writing and applying, so that wishes come one after another.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Held by who changes who votes and who observes: openraft refuses a second one meanwhile.
    members: tokio::sync::Mutex<()>,
    tasks: Shutdown,
    /// What a new cluster begins with, until it is there.
    bootstrap: Mutex<Option<Vec<MetadataRecord>>>,
}

impl Controller {
    /// Starts this node's part of the quorum with what lies in `dir`. A new cluster begins with `bootstrap`.
    ///
    /// Where this node alone votes, it leads when this returns, and the image is whole. Otherwise it goes on from what the
    /// last snapshot says, and follows [`Controller::leader`].
    ///
    /// # Errors
    /// The log, a snapshot or the vote cannot be read.
    pub async fn start(
        dir: &LogDir,
        options: ControllerOptions,
        bootstrap: impl FnOnce() -> Vec<MetadataRecord>,
    ) -> Result<Arc<Controller>, ControllerError> {
        let ControllerOptions { node, cluster_id, voters, bootstrap_servers, wants_vote, doors, .. } = options;
        let ControllerOptions { network, clock, durable, limits, timing, .. } = options;
        let (journal, mut restored) = storage::in_place(|| Journal::open(dir, &node, clock.now(), limits))?;
        let voters = if restored.founders.is_empty() { voters } else { std::mem::take(&mut restored.founders) };
        let (is_new, is_first_voter) = (journal.is_pristine(), voters.iter().any(|voter| voter.id == node.id));
        let tasks = Shutdown::new();
        let store = Arc::new(Store {
            fs: dir.handles().fs().clone(),
            dir: journal.folder(),
            journal: Mutex::new(journal),
            clock,
            durable,
            tasks: tasks.clone(),
            installed: Notify::new(),
            failure: Mutex::new(None),
            voters: voters.clone(),
        });
        let state = Arc::new(State::new(restored));
        let waits = doors.clock.clone();
        let network = network.unwrap_or_else(|| Arc::new(Connections::new(doors, timing.request)));
        let peers = Arc::new(Peers::new(node.clone(), cluster_id.clone(), network, waits.clone(), &voters));
        let alone = is_first_voter && voters.len() == 1;
        let config = timing.openraft(alone)?;
        let raft = revival::raise(node.id, &config, &peers, &store, &state).await?;
        let core = Arc::new(Core {
            leadership: watch::Sender::new(Leadership::default()),
            cluster_id,
            joining: Joining::new(
                bootstrap_servers.into_iter().map(joining::server).collect(),
                wants_vote,
                is_new && is_first_voter,
            ),
            heard: Notify::new(),
            heard_at: Mutex::default(),
            heard_leader: Mutex::default(),
            bootstrap: Mutex::new(is_first_voter.then(bootstrap)),
            turn: Arc::default(),
            members: tokio::sync::Mutex::default(),
            node,
            voters,
            raft: RwLock::new(raft),
            raised: watch::Sender::new(()),
            config,
            clock: waits,
            state,
            store,
            peers,
            timing,
            tasks,
        });
        core.spawn(leadership::follow(core.clone()));
        core.spawn(leadership::beat(core.clone()));
        core.spawn(leadership::stand(core.clone()));
        core.spawn(joining::join(core.clone()));
        if is_new && is_first_voter {
            core.found().await?;
        }
        core.lead_alone().await?;
        core.bootstrap().await.map_err(|refusal| ended(&core.store, &refusal))?;
        core.say();
        Ok(Arc::new(Controller { core }))
    }

    /// Looks at the image, as far as this node has applied it. `look` must be short: changes wait for it.
    pub fn read<R>(&self, look: impl FnOnce(&Image) -> R) -> R {
        #[cfg(debug_assertions)]
        let _reading = reading::Reading::begin();
        look(&self.core.state.image.read())
    }

    /// The offset of the last record that the image has; -1 before the first.
    pub fn last_applied(&self) -> Offset {
        self.core.state.end() - 1
    }

    /// Changes the image by the records that `decide` comes to, once the quorum has them and they are applied here.
    ///
    /// `decide` sees the newest image. What it decided is carried out once or not at all, whether or not anybody still
    /// waits.
    ///
    /// # Errors
    /// As `decide` does. NOT_CONTROLLER where this node does not lead, or stopped to while it wrote: the change may be
    /// carried out or not, and the next leader knows. REQUEST_TIMED_OUT where no majority answered in time: likewise.
    /// KAFKA_STORAGE_ERROR where this node's log takes no more.
    pub async fn propose<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&Image) -> Result<(T, Vec<MetadataRecord>), Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let core = self.core.clone();
        // In a task of its own: were it given up half way, the next wish would be decided on an image without this one.
        self.core.spawn(async move {
            let done = core.carry_out(decide).await;
            let _ = sender.send(done);
        });
        tokio::select! {
            done = receiver => {
                done.unwrap_or_else(|_| Err(Refusal::new(ErrorCode::NOT_CONTROLLER, "the controller is ending")))
            }
            // Alone, it does not depend on others when this ends.
            () = async { self.core.clock.sleep(self.core.timing.request).await }, if self.core.has_others() => {
                let sentence = "the controllers did not agree in time: the change may still be carried out";
                Err(Refusal::new(ErrorCode::REQUEST_TIMED_OUT, sentence))
            }
        }
    }

    /// Who leads, and in which term.
    pub fn leader(&self) -> watch::Receiver<Leadership> {
        self.core.leadership.subscribe()
    }

    /// Which other node was the last that this one heard as the leader since it was last asked this, and how long ago: whose
    /// office it takes, where it leads by now.
    pub fn take_predecessor(&self) -> Option<(NodeId, Duration)> {
        let heard = self.core.heard_leader.lock().take();
        heard.map(|(id, at)| (id, self.core.clock.monotonic().saturating_sub(at)))
    }

    /// Hears of all that is applied here from now on, beginning with [`Applied::Snapshot`]: look at the whole image first.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Applied> {
        self.core.state.subscribe()
    }

    /// Has a snapshot written if the last one is old, and there is something new.
    pub fn snapshot_if_due(&self) {
        let core = &self.core;
        if core.store.journal.lock().snapshot_due(core.state.end(), core.store.clock.now()) {
            core.state.snapshot_due.notify_one();
        }
    }

    /// Ends this node's part, makes sure that all is on the disk, and closes the log.
    ///
    /// # Errors
    /// The log could not be synced or closed.
    pub async fn close(&self) -> Result<(), ControllerError> {
        self.kill().await;
        self.core.store.work_at_last(|store| store.journal.lock().close(store.clock.now())).await
    }

    /// Ends this node's part as a crash would: nothing is synced, nothing is closed. What was written is what the system
    /// has.
    pub async fn kill(&self) {
        self.core.tasks.begin();
        // A task that panicked has said so.
        let _ = self.core.raft().shutdown().await;
        tracing::debug!(node = self.core.node.id, "openraft has ended");
        self.core.tasks.finish().await;
        tracing::debug!(node = self.core.node.id, "this controller's tasks have ended");
        self.core.state.end_subscriptions();
        self.core.leadership.send_replace(Leadership::default());
    }
}

impl Drop for Controller {
    /// Nobody wishes or asks any more: the tasks end, and openraft with the last of them.
    fn drop(&mut self) {
        self.core.tasks.begin();
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("node", &self.node).field("leadership", &*self.leadership.borrow()).finish()
    }
}

impl Core {
    fn raft(&self) -> Raft {
        self.raft.read().clone()
    }

    /// Starts a task that ends where it stands when the controller ends: what it waits for, of openraft or of others, need
    /// not come any more. It is not worked on from then on, so that no wish is decided that a wish before it should precede.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = tasks.begun() => {}
                () = task => {}
            }
        });
    }

    /// Takes note that a leader or a candidate has spoken that this node takes.
    fn hears(&self) {
        *self.heard_at.lock() = self.clock.monotonic();
        self.heard.notify_one();
    }

    /// Takes note that a leader has spoken that this node takes.
    fn hears_leader(&self, id: NodeId) {
        *self.heard_leader.lock() = Some((id, self.clock.monotonic()));
        self.hears();
    }

    async fn carry_out<T>(
        &self,
        decide: impl FnOnce(&Image) -> Result<(T, Vec<MetadataRecord>), Refusal>,
    ) -> Result<T, Refusal> {
        let turn = self.turn.clone().lock_owned().await;
        self.revive().await.map_err(|error| Refusal::new(ErrorCode::KAFKA_STORAGE_ERROR, error.to_string()))?;
        let Some(term) = self.deciding_term() else { return Err(self.not_controller()) };
        let (answer, records) = decide(&self.state.image.read())?;
        if records.is_empty() {
            return Ok(answer);
        }
        let refuse = |error: ControllerError| {
            tracing::error!(%error, "a change of the cluster's metadata was not written");
            Refusal::new(ErrorCode::KAFKA_STORAGE_ERROR, error.to_string())
        };
        let batch = batches::records_batch(&records, self.store.clock.now()).map_err(refuse)?;
        let wish = Wish { term, records: records.into(), batch };
        let mut written = self.raft().client_write_ff(wish).await.map_err(|error| self.stopped(&error))?;
        let written = tokio::select! {
            written = &mut written => written,
            // What becomes of it the next leader decides; another wish of ours is decided on what that one has.
            () = self.term_is_over(term) => {
                drop(turn);
                written.await
            }
        };
        match written {
            Ok(Ok(ClientWriteResponse { data: Outcome::Applied, .. })) => Ok(answer),
            Ok(Ok(_)) => Err(self.not_controller()),
            Ok(Err(ClientWriteError::ForwardToLeader(_) | ClientWriteError::ChangeMembershipError(_))) => {
                Err(self.not_controller())
            }
            Err(_) => Err(self.stopped(&Fatal::Stopped)),
        }
    }

    fn not_controller(&self) -> Refusal {
        let leadership = self.leadership.borrow();
        let sentence = match &leadership.leader {
            Some(leader) if leader.id != self.node.id => format!("{leader} leads, and not controller {}", self.node.id),
            _ => format!("controller {} does not lead", self.node.id),
        };
        Refusal::new(ErrorCode::NOT_CONTROLLER, sentence)
    }

    /// openraft has ended: because the disk failed, or because the controller ends.
    fn stopped(&self, error: &Fatal<NodeId>) -> Refusal {
        match self.store.failure.lock().clone() {
            Some(failure) => Refusal::new(ErrorCode::KAFKA_STORAGE_ERROR, failure),
            None if matches!(error, Fatal::Stopped) => {
                Refusal::new(ErrorCode::NOT_CONTROLLER, "the controller is ending")
            }
            None => Refusal::new(ErrorCode::UNKNOWN_SERVER_ERROR, error.to_string()),
        }
    }
}

/// Why the quorum has ended: the storage's own words, where it has some.
fn ended(store: &Store, error: &dyn std::fmt::Display) -> ControllerError {
    let failure = store.failure.lock().clone();
    ControllerError::Ended(failure.unwrap_or_else(|| error.to_string()))
}
