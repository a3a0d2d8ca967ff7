//! Starting a broker from its data dir, and stopping it.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::controlling::Controlling;
use super::disk::DiskFailures;
use super::fetch_session::FetchSessions;
use super::follower_sessions::FollowerSessions;
use super::groups::Groups;
use super::lifecycle::Lifecycle;
use super::publisher::Published;
use super::request_faults::RequestFaults;
use super::to_controller::ToController;
use super::topics::ProducerIds;
use super::{Broker, Node, background, controlling, publisher, replication};
use crate::client::Doors;
use crate::common::clock::SharedClock;
use crate::common::ids::{NodeId, Timestamp, Uuid};
use crate::common::shutdown::Shutdown;
use crate::common::transport::SharedTransport;
use crate::config::{ConfigError, Values, broker as key, listener, rules};
use crate::controller::{self, Controller, ControllerError, ControllerOptions, QuorumTiming, SnapshotLimits, Voter};
use crate::log::fs::FileSystem;
use crate::log::meta_properties::MetaProperties;
use crate::log::{Handles, LogDir, StorageError};
use crate::metadata::plan;
use crate::protocol::Str;
use crate::replica::ReplicaManager;

/// How many files and maps of logs are kept open.
const MAX_OPEN_FILES: usize = 512;
/// After what time the log is told what a stop waits for, again and again.
const LONG: Duration = Duration::from_secs(5);

/// What a broker is started with.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Its properties.
    pub properties: Arc<Values>,
    /// The clock.
    pub clock: SharedClock,
    /// By which a fetch waits for records: the clock of whoever sent it, whatever a test does with the other.
    pub socket_clock: SharedClock,
    /// How other nodes are reached.
    pub transport: SharedTransport,
    /// The file system.
    pub file_system: Arc<dyn FileSystem>,
    /// The cluster that it is of; `None` for whichever its data dir is of, or a new one.
    pub cluster_id: Option<String>,
    /// Where its listener for other controllers and brokers is, if it has one.
    pub controller_listener: Option<(String, u16)>,
    /// The first voters of its cluster, where `controller.quorum.voters` or whoever starts it says so. Else they are those whom
    /// the log dir was formatted with, or found by the bootstrap servers; where there are none of these it is alone.
    pub voters: Vec<Voter>,
    /// Whether changes of the metadata are synced before they take effect: not for data that goes away with the broker.
    pub durable: bool,
}

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A config is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configs ask for what this broker cannot do.
    #[error("{0}")]
    Unsupported(String),
    /// The data dir cannot be opened.
    #[error(transparent)]
    Log(#[from] StorageError),
    /// The metadata cannot be read.
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

impl Broker {
    /// Opens the data dir that the properties name, or makes it, and starts what a broker does from time to time; it is no
    /// part of its cluster before [`Broker::join`].
    pub async fn open(options: BrokerOptions) -> Result<Arc<Broker>, OpenError> {
        let BrokerOptions { properties, clock, socket_clock, transport, file_system, durable, .. } = options;
        let disk_failures = DiskFailures::default();
        let file_system = disk_failures.watch(file_system);
        let servers = listener::bootstrap_servers(&properties).map_err(OpenError::Unsupported)?;
        let doors = Doors { transport, clock: socket_clock.clone(), runtime: tokio::runtime::Handle::current() };
        let node_id = rules::node_id(&properties);
        let opening = {
            let (dirs, cluster_id) = (rules::data_dirs(&properties), options.cluster_id);
            let opening = Opening {
                node_id,
                cluster_id,
                alone: options.voters.iter().all(|voter| voter.id == node_id) && servers.is_empty(),
                itself: listener::names_itself_alone(&properties).map_err(OpenError::Unsupported)?,
                now: clock.now(),
            };
            blocking(move || opening.open_dir(&dirs, file_system))
        };
        let (dir, meta) = opening.await?;
        // A voter is where the others were told; only it may be bound to every address.
        let told = options.voters.iter().find(|voter| voter.id == node_id);
        let told = told.map(|voter| (voter.host.clone(), voter.port));
        let (host, port) = told.or(options.controller_listener).unwrap_or_default();
        let node = Voter { id: node_id, directory_id: meta.directory_id, host, port };
        let others = options.voters.iter().filter(|voter| voter.id != node_id).cloned();
        // Their ids are not known, and must not be one another's.
        let unknown = (2..).zip(&servers).map(|(id, (host, port))| Voter {
            id: -id,
            host: host.clone(),
            port: *port,
            ..Default::default()
        });
        let others = others.chain(unknown).collect();
        let quorum = ControllerOptions {
            voters: match options.voters.is_empty() && servers.is_empty() {
                true => vec![node.clone()],
                false => options.voters,
            },
            node,
            cluster_id: Some(meta.cluster_id.clone()),
            bootstrap_servers: servers,
            wants_vote: properties.get(key::CONTROLLER_QUORUM_AUTO_JOIN_ENABLE),
            doors: doors.clone(),
            network: None,
            clock: clock.clone(),
            durable,
            limits: SnapshotLimits {
                bytes: u64::try_from(properties.get(key::METADATA_LOG_MAX_RECORD_BYTES_BETWEEN_SNAPSHOTS))
                    .unwrap_or(u64::MAX),
                interval_ms: properties.get(key::METADATA_LOG_MAX_SNAPSHOT_INTERVAL_MS),
            },
            timing: QuorumTiming::of(&properties),
        };
        let inter_broker = listener::inter_broker(&properties).map_err(OpenError::Unsupported)?;
        let min_isr = properties.get(key::MIN_INSYNC_REPLICAS);
        let controller = Controller::start(&dir, quorum, || plan::bootstrap(min_isr)).await?;
        let values = controller.read(|image| plan::broker_values(image, &properties, node_id))?;
        let node = Node {
            id: node_id,
            cluster_id: Str::from(meta.cluster_id),
            directory_id: meta.directory_id,
            rack: values.get(key::BROKER_RACK).map(Str::from),
        };
        let opening = {
            let clock = clock.clone();
            blocking(move || Ok(ReplicaManager::new(dir, clock)?))
        };
        let replicas = opening.await?;
        let slots = usize::try_from(values.get(key::MAX_INCREMENTAL_FETCH_SESSION_CACHE_SLOTS)).unwrap_or(0);
        let broker = Arc::new(Broker {
            node,
            properties,
            values: watch::Sender::new(Arc::new(values)),
            replicas: Arc::new(replicas),
            clock,
            socket_clock,
            shutdown: Shutdown::new(),
            controller,
            groups: Groups::default(),
            fetch_sessions: FetchSessions::new(slots),
            follower_sessions: FollowerSessions::new(slots),
            endpoints: OnceLock::new(),
            inter_broker,
            to_controller: ToController::new(doors.clone(), others),
            doors,
            lifecycle: Lifecycle::default(),
            published: Published::default(),
            controlling: Controlling::default(),
            producer_ids: ProducerIds::default(),
            disk_failures,
            request_faults: RequestFaults::default(),
            connections: AtomicU64::new(0),
        });
        replication::start(&broker);
        publisher::start(&broker);
        controlling::start(&broker);
        background::start(&broker);
        Ok(broker)
    }

    /// Ends all that runs and closes every log; the next start then trusts what it finds. With `hand_over` others lead first
    /// what this broker led, if `controlled.shutdown.enable` says so.
    ///
    /// # Errors
    /// A log cannot be closed.
    pub async fn stop(self: &Arc<Self>, hand_over: bool) -> Result<(), OpenError> {
        if hand_over && self.properties.get(key::CONTROLLED_SHUTDOWN_ENABLE) {
            self.hand_over().await;
        }
        self.step("what is under way", self.shutdown.finish()).await;
        // The metadata first: a stop is only clean with it.
        self.step("the quorum", self.controller.close()).await?;
        let broker = self.clone();
        let closing = blocking(move || Ok(broker.replicas.close(broker.clock.now())?));
        self.step("the logs", closing).await
    }

    /// Waits for one step of a stop; where it takes long the log is told what is waited for.
    async fn step<T>(&self, what: &str, step: impl Future<Output = T>) -> T {
        tokio::pin!(step);
        loop {
            tokio::select! {
                done = &mut step => return done,
                () = self.socket_clock.sleep(LONG) => {
                    tracing::warn!(node = self.node.id, "this node stops, and still waits for the end of {what}");
                }
            }
        }
    }

    /// Sets folders aside that are no partitions of this cluster; to be called once the image is whole.
    pub(super) async fn set_strays_aside(&self) {
        let (replicas, controller) = (self.replicas.clone(), self.controller.clone());
        let looking = self.shutdown.blocking(move || {
            replicas.set_strays_aside(|id, topic_id| {
                controller
                    .read(|image| image.topic(&id.topic).is_some_and(|topic| topic_id.is_none_or(|id| id == topic.id)))
            })
        });
        if let Some(Err(error)) = looking.await {
            tracing::error!(%error, "folders that are no partitions of this cluster could not be set aside");
        }
    }

    /// Ends all that runs where it stands, and closes nothing.
    pub async fn kill(&self) {
        self.shutdown.abort().await;
        self.controller.kill().await;
    }

    /// Where the records lie.
    pub(crate) fn log_dir(&self) -> &Path {
        self.replicas.root()
    }

    /// The bytes of the volume that the records lie on, and how many of them are free; `None` where it does not tell.
    pub(crate) fn log_dir_volume(&self) -> Option<(i64, i64)> {
        let volume = self.replicas.dir().handles().fs().volume(self.log_dir()).ok()?;
        Some((i64::try_from(volume.total).ok()?, i64::try_from(volume.usable).ok()?))
    }
}

/// How a data dir is opened.
struct Opening {
    node_id: NodeId,
    cluster_id: Option<String>,
    /// Whether there are no others.
    alone: bool,
    /// Where it is, for a node whose only bootstrap server it is itself.
    itself: Option<(String, u16)>,
    now: Timestamp,
}

impl Opening {
    /// The data dir that the properties name, held, and whose it is.
    fn open_dir(
        self,
        dirs: &[String],
        file_system: Arc<dyn FileSystem>,
    ) -> Result<(LogDir, MetaProperties), OpenError> {
        let Opening { node_id, cluster_id, alone, itself, now } = self;
        let [dir] = dirs else {
            let sentence = format!("log.dirs names {} folders: this broker keeps its records in one", dirs.len());
            return Err(OpenError::Unsupported(sentence));
        };
        let handles = Handles::new(file_system, MAX_OPEN_FILES);
        let root = PathBuf::from(dir);
        let is_new = MetaProperties::read(handles.fs().as_ref(), &root)?.is_none();
        if is_new && !alone && itself.is_none() && cluster_id.is_none() {
            // Each node would make up an id of its own.
            let sentence = format!(
                "{} is not formatted, and there are other nodes: strandline format --cluster-id ID, as for Apache Kafka",
                root.display()
            );
            return Err(OpenError::Unsupported(sentence));
        }
        let dir = LogDir::open(handles, &root, &std::process::id().to_string())?;
        if let Some((host, port)) = itself.filter(|_| is_new) {
            // There is nobody else whom it could find: it is formatted as one that stands alone.
            let directory_id = Uuid::random();
            let cluster_id = cluster_id.clone().unwrap_or_else(|| Uuid::random().to_string());
            let fs = dir.handles().fs().as_ref();
            controller::format_dir(fs, &root, &[Voter { id: node_id, directory_id, host, port }], now)?;
            MetaProperties { cluster_id, node_id, directory_id }.write(fs, &root)?;
        }
        let meta = dir.claim(cluster_id.as_deref(), node_id)?;
        Ok((dir, meta))
    }
}

/// Does work that waits for the disk, on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|ended| Err(OpenError::Unsupported(ended.to_string())))
}
