//! The brokers of one process that are one cluster.
//!
//! Of several, node ids go from 0; each has a folder `broker-<id>` in the cluster's data dir, a listener for clients, and one
//! for the others, whose ports stay when it is started again. The first three vote (one of two; five of ten or more). A broker
//! that is alone is what its settings make it: its data dir is the cluster's, and it is its own controller. All go over one
//! [`Network`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::network::Network;
use super::running::{BoundBroker, RunningBroker, StartError};
use super::settings::BrokerSettings;
use crate::broker::{Broker, OpenError};
use crate::common::ids::{NodeId, Uuid};
use crate::controller::Voter;
use crate::log::fs::FileSystem;
use crate::log::meta_properties::MetaProperties;
use crate::metadata::Image;

/// What the network calls a broker that is alone.
const ALONE: NodeId = 0;
/// How long a port that was given up may still be taken.
const REBIND: Duration = Duration::from_millis(50);
/// How often it is tried again.
const REBINDS: usize = 40;

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
    #[error("broker {id}: {source}")]
    Stop {
        /// Which.
        id: NodeId,
        /// Why.
        source: OpenError,
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
struct Member {
    id: NodeId,
    settings: BrokerSettings,
    running: Mutex<Option<RunningBroker>>,
    /// Starts and stops of one broker come one after another.
    turn: tokio::sync::Mutex<()>,
}

/// A cluster in this process: started as one, and each of its brokers stopped, killed, paused and started again by its id.
#[derive(Debug)]
pub struct LocalCluster {
    members: Vec<Member>,
    voters: Vec<Voter>,
    network: Arc<Network>,
    bootstrap: Vec<String>,
}

impl LocalCluster {
    /// Starts one broker, as its settings say.
    ///
    /// # Errors
    /// [`LocalError::Start`].
    pub async fn alone(settings: BrokerSettings) -> Result<LocalCluster, LocalError> {
        let network = Network::new(settings.transport.clone(), settings.socket_clock.clone());
        // The id is not known before the settings are read, and a network of one needs none.
        let settings = settings.with_transport(network.of(ALONE));
        let bound = bind(&settings).await.map_err(|source| LocalError::Start { id: ALONE, source })?;
        let id = bound.id();
        LocalCluster::of(network, vec![(settings, bound)], Vec::new()).await.map_err(|error| match error {
            LocalError::Start { source, .. } => LocalError::Start { id, source },
            other => other,
        })
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
        let dirs: Vec<PathBuf> = (0..count).map(|id| data_dir.join(format!("broker-{id}"))).collect();
        let directories = format(settings.file_system.as_ref(), &dirs)?;
        let mut members = Vec::new();
        for (id, dir) in (0..).zip(&dirs) {
            let mut settings = settings.clone().with_transport(network.of(id)).in_cluster(&directories.cluster_id);
            settings.set("node.id", &id.to_string());
            settings.set("log.dirs", &dir.to_string_lossy());
            settings.set("controller.listener.names", "CONTROLLER");
            let own = if port == 0 { 0 } else { port.saturating_add(u16::try_from(id).unwrap_or(u16::MAX)) };
            settings.set("listeners", &listeners(host, own, 0));
            let bound = bind(&settings).await.map_err(|source| LocalError::Start { id, source })?;
            members.push((settings, bound));
        }
        let voter = |(_, broker): &(BrokerSettings, BoundBroker)| {
            let address = broker.controller_address()?;
            let directory_id = *directories.ids.get(usize::try_from(broker.id()).ok()?)?;
            Some(Voter { id: broker.id(), directory_id, host: address.ip().to_string(), port: address.port() })
        };
        let voters: Vec<Voter> = members.iter().take(voters(members.len())).filter_map(voter).collect();
        LocalCluster::of(network, members, voters).await
    }

    async fn of(
        network: Arc<Network>,
        bound: Vec<(BrokerSettings, BoundBroker)>,
        voters: Vec<Voter>,
    ) -> Result<LocalCluster, LocalError> {
        let mut members = Vec::new();
        let mut starting = Vec::new();
        for (mut settings, broker) in bound {
            let id = broker.id();
            // They stay where they are, also when they are started again.
            let listeners = broker.listeners();
            settings.set("listeners", &listeners);
            let voters = voters.clone();
            starting.push(async move { broker.start(voters).await.map_err(|source| LocalError::Start { id, source }) });
            members.push(Member { id, settings, running: Mutex::default(), turn: tokio::sync::Mutex::default() });
        }
        let mut failed = None;
        let mut bootstrap = Vec::new();
        for (member, started) in members.iter().zip(futures_util::future::join_all(starting).await) {
            match started {
                Ok(running) => {
                    bootstrap.push(running.bootstrap_servers());
                    *member.running.lock() = Some(running);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let cluster = LocalCluster { members, voters, network, bootstrap };
        match failed {
            None => Ok(cluster),
            Some(error) => {
                // What did start is of no use; the first reason is the one to tell.
                let _ = cluster.stop_all().await;
                Err(error)
            }
        }
    }

    /// All brokers, as a client's `bootstrap.servers` takes them.
    pub fn bootstrap_servers(&self) -> String {
        self.bootstrap.join(",")
    }

    /// The node ids of all brokers, running or not.
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.iter().map(|member| member.id).collect()
    }

    /// Lets a broker neither send nor hear, as SIGSTOP would, until it is resumed.
    ///
    /// # Errors
    /// [`LocalError::Unknown`].
    pub fn pause_broker(&self, id: NodeId) -> Result<(), LocalError> {
        self.network.pause(self.port_of(id)?);
        Ok(())
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`LocalError::Unknown`].
    pub fn resume_broker(&self, id: NodeId) -> Result<(), LocalError> {
        self.network.resume(self.port_of(id)?);
        Ok(())
    }

    /// Under which id the network knows a broker.
    fn port_of(&self, id: NodeId) -> Result<NodeId, LocalError> {
        self.member(id).map(|member| if self.voters.is_empty() { ALONE } else { member.id })
    }

    /// The network between them.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// A broker, while it runs.
    pub fn broker(&self, id: NodeId) -> Option<Arc<Broker>> {
        let member = self.member(id).ok()?;
        member.running.lock().as_ref().map(|running| running.broker().clone())
    }

    /// All brokers that run.
    pub fn running(&self) -> Vec<Arc<Broker>> {
        self.members.iter().filter_map(|member| Some(member.running.lock().as_ref()?.broker().clone())).collect()
    }

    /// Starts a broker that was stopped or killed, with the same data and ports.
    ///
    /// # Errors
    /// [`LocalError::Start`], [`LocalError::State`], [`LocalError::Unknown`].
    pub async fn start_broker(&self, id: NodeId) -> Result<(), LocalError> {
        let member = self.member(id)?;
        let _turn = member.turn.lock().await;
        if member.running.lock().is_some() {
            return Err(LocalError::State { id, state: "runs already" });
        }
        let fail = |source| LocalError::Start { id, source };
        let bound = bind(&member.settings).await.map_err(fail)?;
        let running = bound.start(self.voters.clone()).await.map_err(fail)?;
        *member.running.lock() = Some(running);
        Ok(())
    }

    /// Stops a broker: others lead what it led before it goes.
    ///
    /// # Errors
    /// [`LocalError::Stop`], [`LocalError::State`], [`LocalError::Unknown`].
    pub async fn stop_broker(&self, id: NodeId) -> Result<(), LocalError> {
        let member = self.member(id)?;
        let _turn = member.turn.lock().await;
        let running = member.running.lock().take().ok_or(LocalError::State { id, state: "does not run" })?;
        running.stop().await.map_err(|source| LocalError::Stop { id, source })
    }

    /// Ends a broker where it stands, as kill -9 would.
    ///
    /// # Errors
    /// [`LocalError::State`], [`LocalError::Unknown`].
    pub async fn kill_broker(&self, id: NodeId) -> Result<(), LocalError> {
        let member = self.member(id)?;
        let _turn = member.turn.lock().await;
        let running = member.running.lock().take().ok_or(LocalError::State { id, state: "does not run" })?;
        running.kill().await;
        Ok(())
    }

    /// Stops all brokers together; nothing is handed over.
    ///
    /// # Errors
    /// [`LocalError::Stop`] of one of them; all have stopped then too.
    pub async fn stop_all(&self) -> Result<(), LocalError> {
        let stopping = self.members.iter().map(|member| async move {
            let id = member.id;
            let _turn = member.turn.lock().await;
            let running = member.running.lock().take();
            self.network.resume(self.port_of(id)?);
            match running {
                Some(running) => running.stop_with_all().await.map_err(|source| LocalError::Stop { id, source }),
                None => Ok(()),
            }
        });
        futures_util::future::join_all(stopping).await.into_iter().collect()
    }

    /// Ends when every broker that runs may lead, and every partition has a leader and all of its replicas that run in sync.
    ///
    /// # Errors
    /// [`LocalError::Unhealthy`] says what is not so after `within`.
    pub async fn wait_healthy(&self, within: Duration) -> Result<(), LocalError> {
        let clock = self.members.first().map(|member| member.settings.socket_clock.clone());
        let late = async {
            match clock {
                Some(clock) => clock.sleep(within).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.until_healthy() => Ok(()),
            () = late => match self.ailments() {
                None => Ok(()),
                Some(what) => Err(LocalError::Unhealthy { within, what }),
            },
        }
    }

    async fn until_healthy(&self) {
        let mut news: Vec<_> = self.running().iter().map(|broker| broker.controller().subscribe()).collect();
        while self.ailments().is_some() {
            if news.is_empty() {
                // Nobody runs, and so nobody hears of anything.
                std::future::pending::<()>().await;
            }
            // Whichever broker hears first; one that stops hears nothing more.
            let hearing = news.iter_mut().map(|news| Box::pin(news.recv()));
            let (heard, place, others) = futures_util::future::select_all(hearing).await;
            drop(others);
            if heard.is_none() {
                news.swap_remove(place);
            }
        }
    }

    /// What keeps the cluster from being healthy, as each broker that runs sees it.
    fn ailments(&self) -> Option<String> {
        let running = self.running();
        if running.is_empty() {
            return Some("no broker runs".to_owned());
        }
        let ids: Vec<NodeId> = running.iter().map(|broker| broker.node().id).collect();
        running.iter().find_map(|broker| {
            let ailment = broker.controller().read(|image| ailment(image, &ids));
            ailment.map(|what| format!("as broker {} sees it, {what}", broker.node().id))
        })
    }

    fn member(&self, id: NodeId) -> Result<&Member, LocalError> {
        let found = self.members.iter().find(|member| member.id == id);
        found.ok_or_else(|| LocalError::Unknown { id, known: self.ids() })
    }
}

fn ailment(image: &Image, running: &[NodeId]) -> Option<String> {
    for id in running {
        if !image.broker(*id).is_some_and(|broker| broker.is_active()) {
            return Some(format!("broker {id} is fenced"));
        }
    }
    image.topics().find_map(|topic| {
        (0..).zip(&topic.partitions).find_map(|(index, partition): (i32, _)| {
            let name = format!("{}-{index}", topic.name);
            if partition.leader < 0 {
                return Some(format!("{name} has no leader"));
            }
            if !running.contains(&partition.leader) {
                return Some(format!("{name} is led by {}, which does not run", partition.leader));
            }
            let missing = partition.replicas.iter().find(|id| running.contains(id) && !partition.isr.contains(id));
            missing.map(|id| format!("broker {id} is not in sync with {name}"))
        })
    })
}

/// Binds a broker's listeners; a port that was its own may still be being given up.
async fn bind(settings: &BrokerSettings) -> Result<BoundBroker, StartError> {
    for _ in 0..REBINDS {
        match BoundBroker::bind(settings.clone()).await {
            Err(StartError::Bind { source, .. }) if source.kind() == std::io::ErrorKind::AddrInUse => {
                settings.socket_clock.sleep(REBIND).await;
            }
            bound => return bound,
        }
    }
    BoundBroker::bind(settings.clone()).await
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
