//! What a broker is started with.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::common::clock::{SharedClock, SystemClock};
use crate::common::transport::{SharedTransport, Tcp};
use crate::config::{ConfigError, Scope, Values, find, properties};
use crate::log::fs::{FileSystem, RealFs, read_file};

/// How large a properties file may be.
const MAX_PROPERTIES: usize = 1 << 20;

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A key or value makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A broker's properties and its doors to the outside.
///
/// ```
/// use strandline::cluster::BrokerSettings;
/// let mut settings = BrokerSettings::new();
/// settings.set("num.partitions", "4");
/// assert!(settings.is_set("num.partitions"));
/// ```
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    pub(super) properties: Vec<(String, String)>,
    pub(super) clock: SharedClock,
    pub(super) socket_clock: SharedClock,
    pub(super) transport: SharedTransport,
    pub(super) file_system: Arc<dyn FileSystem>,
    pub(super) durable: bool,
    pub(super) cluster_id: Option<String>,
    pub(super) process: Option<Vec<OsString>>,
}

impl Default for BrokerSettings {
    fn default() -> BrokerSettings {
        BrokerSettings::new()
    }
}

impl BrokerSettings {
    /// Kafka's defaults, the machine's clock, TCP, and the real file system.
    pub fn new() -> BrokerSettings {
        let clock = SystemClock::shared();
        BrokerSettings {
            properties: Vec::new(),
            clock: clock.clone(),
            socket_clock: clock,
            transport: Tcp::shared(),
            file_system: RealFs::shared(),
            durable: true,
            cluster_id: None,
            process: None,
        }
    }

    /// Kafka's own server.properties.
    pub fn from_properties(path: &Path) -> Result<BrokerSettings, SettingsError> {
        let fail = |source| SettingsError::File { path: path.display().to_string(), source };
        let settings = BrokerSettings::new();
        let bytes = read_file(settings.file_system.as_ref(), path, MAX_PROPERTIES).map_err(fail)?;
        let bytes = bytes.ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
        let text = String::from_utf8(bytes).map_err(|error| fail(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        Ok(BrokerSettings { properties: properties::parse(&text)?, ..settings })
    }

    /// Sets one key; what was set before is replaced. Values are checked when the broker starts.
    pub fn set(&mut self, key: &str, value: &str) {
        self.properties.retain(|(known, _)| known != key);
        self.properties.push((key.to_owned(), value.to_owned()));
    }

    /// Whether a key is set.
    pub fn is_set(&self, key: &str) -> bool {
        self.properties.iter().any(|(known, _)| known == key)
    }

    /// Whether a key is known at all.
    pub fn knows(key: &str) -> bool {
        find(Scope::Broker, key).is_some()
    }

    /// What the properties come to, with Kafka's defaults for all others.
    ///
    /// # Errors
    /// A key or value makes no sense.
    pub fn values(&self) -> Result<Values, ConfigError> {
        Values::broker(self.properties.iter().map(|(key, value)| (key, value))).map(|(values, _)| values)
    }

    /// Another clock for everything: a [`ManualClock`](crate::common::clock::ManualClock), say.
    pub fn with_clock(mut self, clock: SharedClock) -> BrokerSettings {
        self.clock = clock.clone();
        self.socket_clock = clock;
        self
    }

    /// Another clock for what records, groups and jobs go by, and the machine's for sockets: clients on the machine's
    /// time see nothing of it in how long a call takes.
    pub fn with_moved_clock(mut self, clock: SharedClock) -> BrokerSettings {
        self.clock = clock;
        self.socket_clock = SystemClock::shared();
        self
    }

    /// Another transport.
    pub fn with_transport(mut self, transport: SharedTransport) -> BrokerSettings {
        self.transport = transport;
        self
    }

    /// Another file system.
    pub fn with_file_system(mut self, file_system: Arc<dyn FileSystem>) -> BrokerSettings {
        self.file_system = file_system;
        self
    }

    /// For data that goes away with the broker: topics are made without waiting for the disk.
    pub fn without_sync(mut self) -> BrokerSettings {
        self.durable = false;
        self
    }

    /// The cluster that it is of: a data dir of another one is refused, and a new one is given this id.
    pub fn in_cluster(mut self, cluster_id: &str) -> BrokerSettings {
        self.cluster_id = Some(cluster_id.to_owned());
        self
    }

    /// For a cluster whose brokers are processes of their own: each is `command`, which must run
    /// [`serve_for_parent`](super::serve_for_parent). They go by the machine's clock, transport and file system.
    pub fn in_processes(mut self, command: Vec<OsString>) -> BrokerSettings {
        self.process = Some(command);
        self
    }
}
