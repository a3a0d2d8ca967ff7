//! Starting a broker from its data dir, and stopping it.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::fetch_session::FetchSessions;
use super::groups::Groups;
use super::topics::ProducerIds;
use super::{Broker, Node, background};
use crate::client::Doors;
use crate::common::clock::SharedClock;
use crate::common::shutdown::Shutdown;
use crate::common::transport::Tcp;
use crate::config::{ConfigError, Values, broker as key, rules};
use crate::controller::{Controller, ControllerError, ControllerOptions, QuorumTiming, SnapshotLimits, Voter};
use crate::log::fs::FileSystem;
use crate::log::{Handles, LogDir, StorageError};
use crate::metadata::plan;
use crate::protocol::Str;
use crate::replica::ReplicaManager;

/// How many files and maps of logs are kept open.
const MAX_OPEN_FILES: usize = 512;

/// What a broker is started with.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Its properties.
    pub properties: Arc<Values>,
    /// The clock.
    pub clock: SharedClock,
    /// By which a fetch waits for records: the clock of whoever sent it, whatever a test does with the other.
    pub socket_clock: SharedClock,
    /// The file system.
    pub file_system: Arc<dyn FileSystem>,
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
    /// Opens the data dir that the properties name, or makes it, and starts what a broker does from time to time.
    ///
    /// Must run on a tokio runtime.
    ///
    /// # Errors
    /// A config is wrong, the data dir is another's, or what is in it cannot be read.
    pub async fn open(options: BrokerOptions) -> Result<Arc<Broker>, OpenError> {
        let BrokerOptions { properties, clock, socket_clock, file_system, durable } = options;
        let node_id = rules::node_id(&properties);
        let dirs = rules::data_dirs(&properties);
        let [dir] = dirs.as_slice() else {
            let sentence = format!("log.dirs names {} folders: this broker keeps its records in one", dirs.len());
            return Err(OpenError::Unsupported(sentence));
        };
        let handles = Handles::new(file_system, MAX_OPEN_FILES);
        let root = PathBuf::from(dir);
        let (dir, meta) = blocking(move || {
            let dir = LogDir::open(handles, &root, &std::process::id().to_string())?;
            let meta = dir.claim(None, node_id)?;
            Ok((dir, meta))
        })
        .await?;
        let limits = SnapshotLimits {
            bytes: u64::try_from(properties.get(key::METADATA_LOG_MAX_RECORD_BYTES_BETWEEN_SNAPSHOTS))
                .unwrap_or(u64::MAX),
            interval_ms: properties.get(key::METADATA_LOG_MAX_SNAPSHOT_INTERVAL_MS),
        };
        let node = Voter { id: node_id, directory_id: meta.directory_id, host: String::new(), port: 0 };
        let quorum = ControllerOptions {
            voters: vec![node.clone()],
            node,
            doors: Doors { transport: Tcp::shared(), clock: socket_clock.clone(), runtime: Handle::current() },
            network: None,
            clock: clock.clone(),
            durable,
            limits,
            timing: QuorumTiming::of(&properties),
        };
        let controller = Controller::start(&dir, quorum, plan::bootstrap).await?;
        let values = controller.read(|image| plan::broker_values(image, &properties, node_id))?;
        let node = Node {
            id: node_id,
            cluster_id: Str::from(meta.cluster_id),
            directory_id: meta.directory_id,
            rack: values.get(key::BROKER_RACK).map(Str::from),
        };
        let (image, time) = (controller.clone(), clock.clone());
        let replicas = blocking(move || {
            let replicas = image.read(|image| {
                ReplicaManager::new(dir, time, |id, topic_id| {
                    image.topic(&id.topic).is_some_and(|topic| topic_id.is_none_or(|id| id == topic.id))
                })
            });
            Ok(replicas?)
        })
        .await?;
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
            endpoint: OnceLock::new(),
            producer_ids: ProducerIds::default(),
            connections: AtomicU64::new(0),
        });
        background::start(&broker);
        Ok(broker)
    }

    /// Ends all that runs and closes every log; the next start then trusts what it finds.
    pub async fn stop(self: &Arc<Self>) -> Result<(), OpenError> {
        self.shutdown.finish().await;
        // The metadata first: a stop is only clean with it.
        self.controller.close().await?;
        let broker = self.clone();
        blocking(move || Ok(broker.replicas.close(broker.clock.now())?)).await
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

/// Does work that waits for the disk on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|ended| Err(OpenError::Unsupported(ended.to_string())))
}
