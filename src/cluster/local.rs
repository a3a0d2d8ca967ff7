//! The brokers of one cluster, each in this process or in one of its own ([`runner`](super::runner)).
//!
//! Of several, node ids go from 0; each has a folder `broker-<id>` in the cluster's data dir, a listener for clients, and one
//! for the others, whose ports stay when it is started again. The first three vote (one of two; five of ten or more). A broker
//! that is alone is what its settings make it: its data dir is the cluster's, and it is its own controller. All go over one
//! [`Network`]; of processes each has one, and all are told the same [`Links`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::links::Links;
use super::network::Network;
use super::orders::{Birth, Bound};
use super::runner::{BrokerState, Changes, Runner};
use super::running::StartError;
use super::settings::BrokerSettings;
use crate::broker::{Broker, can_be_refused_for_a_topic};
use crate::common::clock::{SharedClock, SystemClock};
use crate::common::ids::{NodeId, Uuid};
use crate::controller::Voter;
use crate::log::fs::FileSystem;
use crate::log::fs::faulty::DiskFault;
use crate::log::meta_properties::MetaProperties;
use crate::protocol::ApiKey;

/// What the network calls a broker that is alone.
const ALONE: NodeId = 0;

/// The APIs that can be refused for one topic.
fn by_topic() -> String {
    let apis: Vec<&str> =
        ApiKey::ALL.iter().filter(|api| can_be_refused_for_a_topic(**api)).map(|api| api.name()).collect();
    apis.join(", ")
}

/// Why a cluster, or one of its brokers, did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A broker does not start.
    #[error("broker {id}: {source}")]
    Start {
        /// Which.
        id: NodeId,
        /// Why.
        source: StartError,
    },
    /// A broker does not stop as it should.
    #[error("broker {id}: {reason}")]
    Stop {
        /// Which.
        id: NodeId,
        /// Why.
        reason: String,
    },
    /// The data dir cannot be read or made.
    #[error("{path}: {source}")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such broker.
    #[error("there is no broker {id}: there are {known:?}")]
    Unknown {
        /// Which was meant.
        id: NodeId,
        /// Those that there are.
        known: Vec<NodeId>,
    },
    /// A broker that runs was to be started, or one that does not to be stopped.
    #[error("broker {id} {state}")]
    State {
        /// Which.
        id: NodeId,
        /// What it is.
        state: &'static str,
    },
    /// Requests of this API cannot be answered with an error.
    #[error("{api} cannot be refused: it is not for clients, or has no place for an error")]
    CannotRefuse {
        /// Which.
        api: ApiKey,
    },
    /// Requests of this API cannot be answered with an error for one topic alone.
    #[error("{api} cannot be refused for one topic: it does not answer topic by topic; {} do", by_topic())]
    CannotRefuseTopic {
        /// Which.
        api: ApiKey,
    },
    /// There is no such refusal.
    #[error("broker {id} refuses nothing of the kind: that was ended, or the broker was started anew since")]
    NoRefusal {
        /// Which.
        id: NodeId,
    },
    /// Not so many requests came.
    #[error("broker {id} has still requests to refuse after {within:?}")]
    NotRefused {
        /// Which.
        id: NodeId,
        /// How long it was waited for.
        within: Duration,
    },
    /// It did not come to be so in time.
    #[error("{what} after {within:?}")]
    Late {
        /// What is still not, or still is.
        what: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// It did not end in time.
    #[error("broker {id} still runs after {within:?}")]
    StillUp {
        /// Which.
        id: NodeId,
        /// How long it was waited for.
        within: Duration,
    },
    /// It did not come to be so in time.
    #[error("the cluster is not healthy after {within:?}: {what}")]
    Unhealthy {
        /// How long it was waited for.
        within: Duration,
        /// What is not as it should be.
        what: String,
    },
}

/// One of the brokers.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: NodeId,
    settings: BrokerSettings,
    pub(super) runner: Runner,
    /// What stays wrong with its disk; held while it is told.
    pub(super) disk: tokio::sync::Mutex<Vec<DiskFault>>,
    /// Starts and stops of one broker come one after another.
    turn: tokio::sync::Mutex<()>,
}

impl Member {
    fn new(id: NodeId, settings: BrokerSettings, runner: Runner) -> Member {
        Member { id, settings, runner, disk: tokio::sync::Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    pub(super) fn state(&self) -> BrokerState {
        self.runner.state()
    }

    fn failed(&self, source: StartError) -> LocalError {
        LocalError::Start { id: self.id, source }
    }
}

/// A cluster on this machine: started as one, and each of its brokers stopped, killed, paused and started again by its id.
#[derive(Debug)]
pub struct LocalCluster {
    pub(super) members: Vec<Member>,
    voters: Vec<Voter>,
    ports: Vec<(u16, NodeId)>,
    /// What is broken of the links between them; held while they are told.
    pub(super) links: tokio::sync::Mutex<Links>,
    /// Of each member, in their order.
    pub(super) bootstrap: Vec<String>,
    pub(super) clock: SharedClock,
    pub(super) changes: Changes,
    /// How many refusals there were: each has a number.
    pub(super) refusals: AtomicU64,
}

impl LocalCluster {
    /// Starts one broker, as its settings say.
    ///
    /// # Errors
    /// [`LocalError::Start`].
    pub async fn alone(settings: BrokerSettings) -> Result<LocalCluster, LocalError> {
        let network = Network::new(settings.transport.clone(), settings.socket_clock.clone());
        let changes = Changes::default();
        // What it is called is not known before its settings are read, and a network of one needs no names.
        let runner = Runner::new(&settings, ALONE, &network, &changes);
        let member = Member::new(ALONE, settings, runner);
        LocalCluster::of(vec![member], changes, |_| Vec::new()).await
    }

    /// Starts `count` brokers with these settings, whose data lies in `data_dir`. They listen at `host`: from `port` on, or,
    /// where that is 0, on ports that are free. All serve when this returns.
    ///
    /// # Errors
    /// [`LocalError::Start`], [`LocalError::DataDir`].
    pub async fn start(
        settings: &BrokerSettings,
        count: NodeId,
        (host, port): (&str, u16),
        data_dir: &Path,
    ) -> Result<LocalCluster, LocalError> {
        let network = Network::new(settings.transport.clone(), settings.socket_clock.clone());
        let changes = Changes::default();
        let dirs: Vec<PathBuf> = (0..count).map(|id| data_dir.join(format!("broker-{id}"))).collect();
        let directories = format(settings.file_system.as_ref(), &dirs)?;
        let mut members = Vec::new();
        for (id, dir) in (0..).zip(&dirs) {
            let mut settings = settings.clone().in_cluster(&directories.cluster_id);
            settings.set("node.id", &id.to_string());
            settings.set("log.dirs", &dir.to_string_lossy());
            settings.set("controller.listener.names", "CONTROLLER");
            let own = if port == 0 { 0 } else { port.saturating_add(u16::try_from(id).unwrap_or(u16::MAX)) };
            settings.set("listeners", &listeners(host, own, 0));
            let runner = Runner::new(&settings, id, &network, &changes);
            members.push(Member::new(id, settings, runner));
        }
        let voter = |broker: &Bound| {
            let (host, port) = broker.controller.clone()?;
            let directory_id = *directories.ids.get(usize::try_from(broker.id).ok()?)?;
            Some(Voter { id: broker.id, directory_id, host, port })
        };
        let voters = |bound: &[Bound]| bound.iter().take(voters(bound.len())).filter_map(voter).collect();
        LocalCluster::of(members, changes, voters).await
    }

    async fn of(
        mut members: Vec<Member>,
        changes: Changes,
        voters: impl FnOnce(&[Bound]) -> Vec<Voter>,
    ) -> Result<LocalCluster, LocalError> {
        let binding = members.iter().map(|member| async {
            member.runner.bind(&member.settings, Vec::new()).await.map_err(|source| member.failed(source))
        });
        let bound = all(binding).await;
        let clock = members.first().map(|member| member.settings.socket_clock.clone());
        let mut cluster = LocalCluster {
            members: Vec::new(),
            voters: Vec::new(),
            ports: Vec::new(),
            links: tokio::sync::Mutex::default(),
            bootstrap: Vec::new(),
            clock: clock.unwrap_or_else(SystemClock::shared),
            changes,
            refusals: AtomicU64::new(0),
        };
        let mut started = match bound {
            Err(error) => Err(error),
            Ok(bound) => {
                for (member, bound) in members.iter_mut().zip(&bound) {
                    member.id = bound.id;
                    // They stay where they are, also when they are started again.
                    member.settings.set("listeners", &bound.listeners);
                    cluster.ports.extend(bound.ports.iter().map(|port| (*port, bound.id)));
                }
                cluster.voters = voters(&bound);
                let birth = Birth { ports: cluster.ports.clone(), ..Birth::of(&cluster.voters) };
                all(members
                    .iter()
                    .map(|member| async { member.runner.start(&birth).await.map_err(|source| member.failed(source)) }))
                .await
            }
        };
        cluster.members = members;
        match &mut started {
            Ok(bootstrap) => cluster.bootstrap = std::mem::take(bootstrap),
            // What did start is of no use; the first reason is the one to tell.
            Err(_) => cluster.kill_all().await,
        }
        started.map(|_| cluster)
    }

    /// All brokers, as a client's `bootstrap.servers` takes them.
    pub fn bootstrap_servers(&self) -> String {
        self.bootstrap.join(",")
    }

    /// The node ids of all brokers, running or not.
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.iter().map(|member| member.id).collect()
    }

    /// What a broker is at the moment.
    ///
    /// # Errors
    /// [`LocalError::Unknown`].
    pub fn state(&self, id: NodeId) -> Result<BrokerState, LocalError> {
        Ok(self.member(id)?.state())
    }

    /// The id of the process that is all a broker's own; `None` where it runs in this one, or does not run.
    ///
    /// # Errors
    /// [`LocalError::Unknown`].
    pub fn pid(&self, id: NodeId) -> Result<Option<i32>, LocalError> {
        Ok(self.member(id)?.runner.pid())
    }

    /// How a broker's process ended: its exit code, or the negative number of the signal that ended it; `None` where it has
    /// none, or that lives.
    ///
    /// # Errors
    /// [`LocalError::Unknown`].
    pub fn exit_code(&self, id: NodeId) -> Result<Option<i32>, LocalError> {
        Ok(self.member(id)?.runner.exit_code())
    }

    /// The last lines of a broker's log, where it is apart from this process's.
    ///
    /// # Errors
    /// [`LocalError::Unknown`].
    pub fn log(&self, id: NodeId) -> Result<Vec<String>, LocalError> {
        Ok(self.member(id)?.runner.log())
    }

    /// Lets a broker neither send nor hear until it is resumed: a process by SIGSTOP, one in this process as if by it.
    ///
    /// # Errors
    /// [`LocalError::State`], [`LocalError::Unknown`].
    pub fn pause_broker(&self, id: NodeId) -> Result<(), LocalError> {
        let member = self.member(id)?;
        up(member)?;
        member.runner.pause();
        self.changes.send_replace(());
        Ok(())
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`LocalError::Unknown`].
    pub fn resume_broker(&self, id: NodeId) -> Result<(), LocalError> {
        self.member(id)?.runner.resume();
        self.changes.send_replace(());
        Ok(())
    }

    /// A broker, while it runs in this process.
    pub fn broker(&self, id: NodeId) -> Option<Arc<Broker>> {
        self.member(id).ok()?.runner.broker()
    }

    /// All brokers that run in this process.
    pub fn running(&self) -> Vec<Arc<Broker>> {
        self.members.iter().filter_map(|member| member.runner.broker()).collect()
    }

    /// Whether the brokers are processes of their own.
    pub fn is_apart(&self) -> bool {
        self.members.iter().any(|member| matches!(member.runner, Runner::Apart(_)))
    }

    /// Starts a broker that was stopped or killed, or has died, with the same data and ports.
    ///
    /// # Errors
    /// [`LocalError::Start`], [`LocalError::State`], [`LocalError::Unknown`].
    pub async fn start_broker(&self, id: NodeId) -> Result<(), LocalError> {
        let member = self.member(id)?;
        let _turn = member.turn.lock().await;
        if member.state().is_up() {
            return Err(LocalError::State { id, state: "runs already" });
        }
        let starting = async {
            let disk = member.disk.lock().await.clone();
            member.runner.bind(&member.settings, disk).await?;
            // Whoever changes them meanwhile tells it after this.
            let links = self.links.lock().await.clone();
            let birth = Birth { ports: self.ports.clone(), links, ..Birth::of(&self.voters) };
            member.runner.start(&birth).await
        };
        let started = starting.await.map_err(|source| member.failed(source));
        self.changes.send_replace(());
        started.map(drop)
    }

    /// Stops a broker: others lead what it led before it goes, and those that can be heard have learnt of it when this ends.
    ///
    /// # Errors
    /// [`LocalError::Stop`], [`LocalError::State`], [`LocalError::Unknown`].
    pub async fn stop_broker(&self, id: NodeId) -> Result<(), LocalError> {
        let member = self.member(id)?;
        let _turn = member.turn.lock().await;
        up(member)?;
        if member.state() == BrokerState::Paused {
            return Err(LocalError::State { id, state: "is paused: resume it, or kill it" });
        }
        let stopped = member.runner.stop(&member.settings, true).await;
        self.changes.send_replace(());
        stopped.map_err(|reason| LocalError::Stop { id, reason })?;
        self.until_known_down(id).await;
        Ok(())
    }

    /// Ends a broker where it stands, as kill -9 would, and does where it is a process.
    ///
    /// # Errors
    /// [`LocalError::State`], [`LocalError::Unknown`].
    pub async fn kill_broker(&self, id: NodeId) -> Result<(), LocalError> {
        let member = self.member(id)?;
        let _turn = member.turn.lock().await;
        up(member)?;
        member.runner.kill().await;
        self.changes.send_replace(());
        Ok(())
    }

    /// Stops all brokers together; nothing is handed over.
    ///
    /// # Errors
    /// [`LocalError::Stop`] of one of them; all have stopped then too.
    pub async fn stop_all(&self) -> Result<(), LocalError> {
        let stopping = self.members.iter().map(|member| async move {
            let _turn = member.turn.lock().await;
            member.runner.resume();
            let stopped = member.runner.stop(&member.settings, false).await;
            stopped.map_err(|reason| LocalError::Stop { id: member.id, reason })
        });
        let stopped = futures_util::future::join_all(stopping).await;
        self.changes.send_replace(());
        stopped.into_iter().collect()
    }

    async fn kill_all(&self) {
        futures_util::future::join_all(self.members.iter().map(|member| member.runner.kill())).await;
    }

    /// Those that run.
    pub(super) fn up(&self) -> Vec<&Member> {
        self.members.iter().filter(|member| member.state().is_up()).collect()
    }

    pub(super) fn member(&self, id: NodeId) -> Result<&Member, LocalError> {
        let found = self.members.iter().find(|member| member.id == id);
        found.ok_or_else(|| LocalError::Unknown { id, known: self.ids() })
    }
}

/// That it runs.
pub(super) fn up(member: &Member) -> Result<(), LocalError> {
    if member.state().is_up() { Ok(()) } else { Err(LocalError::State { id: member.id, state: "does not run" }) }
}

/// What all come to, or the first that went wrong.
async fn all<T, E>(futures: impl Iterator<Item = impl Future<Output = Result<T, E>>>) -> Result<Vec<T>, E> {
    // Each to its end: none is left half done.
    futures_util::future::join_all(futures).await.into_iter().collect()
}

fn listeners(host: &str, clients: u16, controllers: u16) -> String {
    format!("PLAINTEXT://{host}:{clients},CONTROLLER://{host}:{controllers}")
}

/// How many of so many brokers vote.
fn voters(brokers: usize) -> usize {
    match brokers {
        0..=2 => 1,
        3..=9 => 3,
        _ => 5,
    }
}

/// What the data dirs of a cluster are.
struct Directories {
    cluster_id: String,
    ids: Vec<Uuid>,
}

/// Gives the data dirs that are new their ids, those of the cluster that the others are of.
fn format(fs: &dyn FileSystem, dirs: &[PathBuf]) -> Result<Directories, LocalError> {
    let read = |dir: &PathBuf| {
        MetaProperties::read(fs, dir).map_err(|error| LocalError::DataDir {
            path: dir.clone(),
            source: std::io::Error::other(error.to_string()),
        })
    };
    let known: Vec<Option<MetaProperties>> = dirs.iter().map(read).collect::<Result<_, _>>()?;
    let cluster_id = known.iter().flatten().next().map(|meta| meta.cluster_id.clone());
    let cluster_id = cluster_id.unwrap_or_else(|| Uuid::random().to_string());
    let mut ids = Vec::new();
    for ((node_id, dir), known) in (0..).zip(dirs).zip(known) {
        let meta = match known {
            Some(meta) => meta,
            None => {
                let fail = |source| LocalError::DataDir { path: dir.clone(), source };
                fs.create_dir_all(dir).map_err(fail)?;
                let meta = MetaProperties { cluster_id: cluster_id.clone(), node_id, directory_id: Uuid::random() };
                meta.write(fs, dir).map_err(|error| fail(std::io::Error::other(error.to_string())))?;
                meta
            }
        };
        ids.push(meta.directory_id);
    }
    Ok(Directories { cluster_id, ids })
}
