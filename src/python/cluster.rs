//! A cluster on this machine: it gives producers, consumers, topics and an admin.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tempfile::TempDir;

use crate::cluster::{BrokerSettings, LocalCluster, LocalError, StartError};
use crate::common::ids::NodeId;
use crate::protocol::ErrorCode;

use super::admin::{Admin, AsyncAdmin};
use super::broker::{Broker, Network};
use super::call::Call;
use super::clock::{Clock, Time};
use super::consumer::{AsyncConsumer, Consumer, Wanted};
use super::coroutine::Coroutine;
use super::disk::Disk;
use super::producer::{AsyncProducer, Producer};
use super::runtime::{self, Close, Closing, Home};
use super::source::Source;
use super::topic::{self, Topic};
use super::{convert, errors};

/// How many brokers one process may be.
const MOST_BROKERS: u32 = 100;
/// Keys that several brokers cannot share.
const OF_EACH: [&str; 8] = [
    "node.id",
    "broker.id",
    "log.dir",
    "log.dirs",
    "listeners",
    "advertised.listeners",
    "controller.listener.names",
    "controller.quorum.voters",
];
/// What closing a cluster leaves its clients to send what they took and to leave their groups.
pub(super) const CLOSE_CLIENTS: Duration = Duration::from_secs(30);

/// The brokers of an in-process cluster.
pub(crate) struct Brokers {
    local: Arc<LocalCluster>,
    /// Dropped, and so deleted, once the brokers have stopped.
    temporary: Mutex<Option<TempDir>>,
    data_dir: PathBuf,
    time: Time,
    closed: AtomicBool,
}

impl Brokers {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The clock that they go by.
    pub(crate) fn time(&self) -> &Time {
        &self.time
    }

    /// The brokers themselves.
    pub(crate) fn local(&self) -> &Arc<LocalCluster> {
        &self.local
    }

    /// Stops the brokers, then deletes a temporary data dir.
    async fn stop(local: Arc<LocalCluster>, temporary: Option<TempDir>) -> Result<(), String> {
        let stopped = local.stop_all().await.map_err(|error| error.to_string());
        // Deleting files may wait for the disk.
        let deleted = tokio::task::spawn_blocking(move || temporary.map_or(Ok(()), TempDir::close)).await;
        stopped?;
        deleted.map_err(|error| error.to_string())?.map_err(|error| format!("the temporary data dir stays: {error}"))
    }

    /// What is to be stopped, once.
    fn take(&self) -> Option<(Arc<LocalCluster>, Option<TempDir>)> {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        first.then(|| (self.local.clone(), self.temporary.lock().take()))
    }
}

impl Close for Brokers {
    fn close(self: Arc<Self>, _within: Duration) -> Closing {
        let taken = self.take();
        Box::pin(async move {
            let Some((local, temporary)) = taken else { return };
            if let Err(error) = Brokers::stop(local, temporary).await {
                tracing::error!("closing the cluster: {error}");
            }
        })
    }

    fn is_broker(&self) -> bool {
        true
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        let Some((local, temporary)) = self.take() else { return };
        if let Some(handle) = runtime::running() {
            handle.spawn(Brokers::stop(local, temporary));
        }
    }
}

/// A Kafka cluster of this process: a real broker that any Kafka client can talk to, in milliseconds.
///
/// Without a `data_dir` its data lies in a temporary folder that is deleted when the cluster is closed, and nothing waits
/// for the disk. With one the data stays, in Apache Kafka's own layout. `listen` is the address that the broker binds;
/// port 0 takes any free one, and `bootstrap_servers` tells which. Kafka's broker keys are keywords with underscores
/// (`num_partitions=4`), or dotted in `config`; they win over `listen` and `data_dir`.
///
/// One key has another default than Kafka's: `group_initial_rebalance_delay_ms` is 0, so that the first consumer of a
/// group does not wait three seconds for others.
///
/// `clock="manual"` gives it a clock of its own that stands still until `cluster.clock.advance("7d")` moves it: for tests of
/// what happens in time; see `Clock`.
///
/// With `brokers=3` it is three brokers, with node ids from 0, that replicate and elect as Apache Kafka's do, and each may be
/// stopped, killed and cut off: see `brokers`, `network` and `wait_healthy`. Their data lies in `broker-<id>` in the data dir,
/// and from a `listen` with a port they listen on that one and the next ones.
///
/// With `isolation="process"` each broker is a process of its own, with the same face: `kill` is SIGKILL, `stop` SIGTERM, `pause`
/// and `resume` are SIGSTOP and SIGCONT. They end with this process, also when it is killed. Scans go through a socket then, as
/// those of `connect` do, and the clock is the machine's.
///
/// A cluster ends with `close()`, at the end of its `with` block, or with the interpreter; it closes the producers and
/// consumers that were made from it first.
///
/// >>> import strandline as sl
/// >>> with sl.Cluster() as cluster:
/// ...     topic = cluster.create_topic("flights", partitions=4)
/// ...     with cluster.producer() as producer:
/// ...         delivery = producer.send("flights", key="UA", value="EWR-IAH")
/// ...     for message in cluster.consumer("flights", auto_offset_reset="earliest", stop_at_end=True):
/// ...         print(message.key, message.value)
/// b'UA' b'EWR-IAH'
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Cluster {
    inner: Home<(Arc<Brokers>, Arc<Source>)>,
}

impl Cluster {
    fn source(&self) -> PyResult<&Arc<Source>> {
        let (brokers, source) = self.inner.get()?;
        if brokers.is_closed() {
            return Err(errors::closed("cluster"));
        }
        Ok(source)
    }
}

impl Cluster {
    fn closing(&self) -> PyResult<Call> {
        let (brokers, source) = self.inner.get()?;
        let (brokers, source) = (brokers.clone(), source.clone());
        let closing = async move {
            source.close(CLOSE_CLIENTS).await;
            match brokers.take() {
                Some((local, temporary)) => Brokers::stop(local, temporary).await,
                None => Ok(()),
            }
        };
        let closing = Call::raw(closing, |py, closed: Result<(), String>| match closed {
            Ok(()) => Ok(py.None()),
            Err(sentence) => Err(errors::coded(ErrorCode::KAFKA_STORAGE_ERROR, sentence)),
        });
        Ok(closing.whole())
    }
}

/// What went wrong with one of the brokers.
pub(super) fn local(error: LocalError) -> PyErr {
    let sentence = error.to_string();
    match error {
        LocalError::Start { source, .. } => started(sentence, &source),
        LocalError::Stop { .. } => errors::coded(ErrorCode::KAFKA_STORAGE_ERROR, sentence),
        LocalError::DataDir { source, .. } => PyOSError::new_err((source.raw_os_error(), sentence)),
        LocalError::Unknown { .. } | LocalError::CannotRefuse { .. } | LocalError::CannotRefuseTopic { .. } => {
            errors::invalid(sentence)
        }
        LocalError::State { .. } | LocalError::NoRefusal { .. } => PyRuntimeError::new_err(sentence),
        LocalError::StillUp { .. }
        | LocalError::Late { .. }
        | LocalError::NotRefused { .. }
        | LocalError::Unhealthy { .. } => PyTimeoutError::new_err(sentence),
    }
}

fn started(sentence: String, error: &StartError) -> PyErr {
    match error.errno() {
        Some(errno) => PyOSError::new_err((errno, sentence)),
        None => errors::coded(error.code(), sentence),
    }
}

/// What runs a broker in a process of its own: this interpreter, with no more of Python than loads the extension module. It
/// starts in a third of the time that `python -m strandline` takes.
fn command(py: Python<'_>) -> PyResult<Vec<OsString>> {
    const SCRIPT: &str = "import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
loader = ExtensionFileLoader('strandline._strandline', sys.argv[1])
module = module_from_spec(ModuleSpec(loader.name, loader, origin=sys.argv[1]))
loader.exec_module(module)
sys.exit(module.main(['strandline', 'serve', '--for-parent']))";
    let executable: Option<OsString> = py.import("sys")?.getattr("executable")?.extract()?;
    let executable = executable.filter(|path| !path.is_empty()).ok_or_else(|| {
        errors::invalid("isolation='process' needs to know which Python this is: sys.executable is not set")
    })?;
    let module: OsString = py.import("strandline._strandline")?.getattr("__file__")?.extract()?;
    Ok(vec![executable, "-ISc".into(), SCRIPT.into(), module])
}

#[pymethods]
impl Cluster {
    #[new]
    #[pyo3(signature = (
        data_dir=None, *, brokers=1, isolation="thread", listen="127.0.0.1:0", clock="system", config=None, **configs
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        data_dir: Option<PathBuf>,
        brokers: u32,
        isolation: &str,
        listen: &str,
        clock: &str,
        config: Option<&Bound<'_, PyDict>>,
        configs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Cluster> {
        if brokers == 0 || brokers > MOST_BROKERS {
            let sentence = format!("brokers is {brokers}: it must be from 1 to {MOST_BROKERS}");
            return Err(errors::invalid(sentence));
        }
        let time = Time::named(clock)?;
        let mut settings = BrokerSettings::new();
        match (isolation, &time) {
            ("thread", _) => {}
            ("process", Time::System) => settings = settings.in_processes(command(py)?),
            ("process", Time::Manual(_)) => {
                let sentence = "clock='manual' cannot be with isolation='process': processes go by the machine's clock, \
                                and isolation='thread' has one that can be moved";
                return Err(errors::invalid(sentence));
            }
            (other, _) => {
                let sentence = format!("isolation is {other:?}: it must be 'thread' or 'process'");
                return Err(PyValueError::new_err(sentence));
            }
        }
        if let Time::Manual(clock) = &time {
            settings = settings.with_moved_clock(clock.clone());
        }
        settings.set("group.initial.rebalance.delay.ms", "0");
        settings.set("listeners", &format!("PLAINTEXT://{listen}"));
        for (key, value) in convert::configs(config, configs)? {
            if brokers > 1 && OF_EACH.contains(&key.as_str()) {
                let sentence = format!("{key} is each broker's own: with brokers={brokers} the cluster gives it");
                return Err(errors::invalid(sentence));
            }
            settings.set(&key, &value);
        }
        let named = settings.is_set("log.dirs") || settings.is_set("log.dir");
        let temporary = match (&data_dir, named) {
            (None, false) => Some(TempDir::with_prefix("strandline-")?),
            _ => None,
        };
        let data_dir = match (&temporary, data_dir) {
            (Some(folder), _) => folder.path().to_owned(),
            (None, Some(folder)) => folder,
            (None, None) => PathBuf::new(),
        };
        if !named {
            let text = data_dir.to_str().ok_or_else(|| errors::invalid("data_dir is not valid UTF-8"))?;
            settings.set("log.dirs", text);
        }
        if temporary.is_some() {
            settings = settings.without_sync();
        }
        let starting = {
            let (listen, data_dir) = (listen.to_owned(), data_dir.clone());
            async move {
                if brokers == 1 {
                    return LocalCluster::alone(settings).await;
                }
                let (host, port) = listen.rsplit_once(':').unwrap_or((&listen, "0"));
                let count = NodeId::try_from(brokers).unwrap_or(NodeId::MAX);
                LocalCluster::start(&settings, count, (host, port.parse().unwrap_or(0)), &data_dir).await
            }
        };
        let started = Arc::new(runtime::wait(py, starting)?.map_err(|error| match error {
            // Of one broker there is no need to say which.
            LocalError::Start { source, .. } if brokers == 1 => started(source.to_string(), &source),
            other => local(other),
        })?);
        let bootstrap = started.bootstrap_servers();
        let brokers = Arc::new(Brokers {
            local: started,
            temporary: Mutex::new(temporary),
            data_dir,
            time,
            closed: AtomicBool::new(false),
        });
        runtime::close_at_exit(&brokers)?;
        let source = Source::new(py, bootstrap, Vec::new(), Some(brokers.clone()))?;
        Ok(Cluster { inner: Home::new("cluster", (brokers, source)) })
    }

    /// Where clients find it: `host:port`, for any Kafka client in any language.
    #[getter]
    fn bootstrap_servers(&self) -> PyResult<&str> {
        Ok(self.inner.get()?.1.bootstrap())
    }

    /// The folder that holds the data, as a `pathlib.Path`; a temporary one is gone once the cluster is closed.
    #[getter]
    fn data_dir(&self) -> PyResult<&PathBuf> {
        Ok(&self.inner.get()?.0.data_dir)
    }

    /// How many bytes of deleted segments are still held by tables that were read of them.
    ///
    /// A table of a cluster in this process is made of the log's own bytes, and keeps them when retention, compaction or
    /// the deletion of the topic unlinks their files. The disk, and the memory that they take, are free again when the last
    /// such table is dropped; this metric tells how much waits for that. Brokers in processes of their own share no bytes with
    /// tables: theirs is 0.
    #[getter]
    fn held_bytes(&self) -> PyResult<u64> {
        let (brokers, _) = self.inner.get()?;
        if brokers.is_closed() {
            return Err(errors::closed("cluster"));
        }
        Ok(brokers.local().running().iter().map(|broker| broker.held_bytes()).sum())
    }

    /// The clock that it goes by: the machine's, or one that can be moved.
    #[getter]
    fn clock(&self) -> PyResult<Clock> {
        let (brokers, _) = self.inner.get()?;
        Ok(Clock::new(brokers.time().clone(), brokers.clone()))
    }

    /// Its brokers, in the order of their node ids: to be stopped, killed, paused and started again.
    #[getter]
    fn brokers(&self) -> PyResult<Vec<Broker>> {
        let (brokers, _) = self.inner.get()?;
        Ok(brokers.local().ids().into_iter().map(|id| Broker::new(brokers.clone(), id)).collect())
    }

    /// The network between its brokers: to be cut and healed.
    #[getter]
    fn network(&self) -> PyResult<Network> {
        Ok(Network::new(self.inner.get()?.0.clone()))
    }

    /// The disk of one of its brokers: to be broken and healed.
    fn disk(&self, broker: NodeId) -> PyResult<Disk> {
        Disk::new(self.inner.get()?.0.clone(), broker)
    }

    /// Wait until every broker that runs may lead, and every partition has a leader and all of its replicas that run in sync.
    ///
    /// Raises `TimeoutError`, which tells what is not so, after `timeout` seconds.
    #[pyo3(signature = (timeout=30.0))]
    fn wait_healthy(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let within = convert::timeout(Some(timeout))?.unwrap_or(Duration::ZERO);
        self.source()?;
        let brokers = self.inner.get()?.0.clone();
        runtime::wait(py, async move { brokers.local().wait_healthy(within).await })?.map_err(local)
    }

    /// Wait until a partition is led by a broker that runs and is not one of `not_in`, and return its node id.
    ///
    /// Raises `TimeoutError` after `timeout` seconds.
    ///
    /// >>> import strandline as sl
    /// >>> with sl.Cluster(brokers=3) as cluster:
    /// ...     topic = cluster.create_topic("flights", replication_factor=3)
    /// ...     first = cluster.wait_leader("flights")
    /// ...     cluster.brokers[first].kill()
    /// ...     second = cluster.wait_leader("flights", not_in={first})
    /// ...     cluster.brokers[first].start()
    /// ...     cluster.wait_in_sync("flights")
    /// ...     print(first != second, cluster.topic("flights").describe().in_sync)
    /// True True
    #[pyo3(signature = (topic, partition=0, *, not_in=None, timeout=30.0))]
    fn wait_leader(
        &self,
        py: Python<'_>,
        topic: String,
        partition: i32,
        not_in: Option<BTreeSet<NodeId>>,
        timeout: f64,
    ) -> PyResult<NodeId> {
        let within = convert::timeout(Some(timeout))?.unwrap_or(Duration::ZERO);
        self.source()?;
        let (brokers, not_in) = (self.inner.get()?.0.clone(), not_in.unwrap_or_default());
        let waiting = async move { brokers.local().wait_leader(&topic, partition, &not_in, within).await };
        runtime::wait(py, waiting)?.map_err(local)
    }

    /// Wait until every replica of a topic is in sync, those of brokers that are down too.
    ///
    /// Raises `TimeoutError` after `timeout` seconds.
    #[pyo3(signature = (topic, timeout=30.0))]
    fn wait_in_sync(&self, py: Python<'_>, topic: String, timeout: f64) -> PyResult<()> {
        let within = convert::timeout(Some(timeout))?.unwrap_or(Duration::ZERO);
        self.source()?;
        let brokers = self.inner.get()?.0.clone();
        runtime::wait(py, async move { brokers.local().wait_in_sync(&topic, within).await })?.map_err(local)
    }

    /// Make a topic and return it. Every broker that can be heard knows it then.
    ///
    /// `replication_factor` is the broker's default unless it is given. Kafka's topic keys are keywords with underscores
    /// (`retention_ms=60_000`), or dotted in `config`. Raises `TopicAlreadyExistsError`, `InvalidTopicError`,
    /// `InvalidConfigError` and others.
    #[pyo3(signature = (name, partitions=1, replication_factor=None, config=None, **configs))]
    fn create_topic(
        &self,
        py: Python<'_>,
        name: &str,
        partitions: i32,
        replication_factor: Option<i16>,
        config: Option<&Bound<'_, PyDict>>,
        configs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        topic::create(py, self.source()?, name, partitions, replication_factor, convert::configs(config, configs)?)
    }

    /// A topic by its name; nothing is asked or made yet.
    fn topic(&self, name: &str) -> PyResult<Topic> {
        Ok(Topic::new(self.source()?, name))
    }

    /// A group by its id; nothing is asked yet. It tells its members, and how far it is behind.
    fn group<'py>(&self, py: Python<'py>, group_id: &str) -> PyResult<Bound<'py, PyAny>> {
        py.import("strandline.group")?.getattr("Group")?.call1((self.admin()?, group_id))
    }

    /// A producer for this cluster, with Kafka's producer keys as keywords (`acks`, `linger_ms`, `compression_type`, ...),
    /// or dotted in `config`.
    #[pyo3(signature = (config=None, **configs))]
    fn producer(
        &self,
        py: Python<'_>,
        config: Option<&Bound<'_, PyDict>>,
        configs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Producer> {
        Producer::make(py, self.source()?, config, configs)
    }

    /// A consumer of these topics, with Kafka's consumer keys as keywords (`group_id`, `auto_offset_reset`, ...), or
    /// dotted in `config`; see `Consumer`. `stop_at_end=True` ends its iteration at the end of the log.
    #[pyo3(signature = (*topics, group_id=None, stop_at_end=false, config=None, **configs))]
    fn consumer(
        &self,
        py: Python<'_>,
        topics: Vec<String>,
        group_id: Option<&str>,
        stop_at_end: bool,
        config: Option<&Bound<'_, PyDict>>,
        configs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Consumer> {
        Consumer::make(py, self.source()?, Wanted { topics, group_id, stop_at_end, config, keywords: configs })
    }

    /// The admin client: topics, partitions, configs, groups and their offsets.
    fn admin(&self) -> PyResult<Admin> {
        Ok(Admin::new(self.source()?))
    }

    /// A producer for asyncio, with the keys of `producer`; see `AsyncProducer`.
    #[pyo3(signature = (config=None, **configs))]
    fn async_producer(
        &self,
        py: Python<'_>,
        config: Option<&Bound<'_, PyDict>>,
        configs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<AsyncProducer> {
        AsyncProducer::make(py, self.source()?, config, configs)
    }

    /// A consumer of these topics for asyncio, with the options of `consumer`; see `AsyncConsumer`.
    #[pyo3(signature = (*topics, group_id=None, stop_at_end=false, config=None, **configs))]
    fn async_consumer(
        &self,
        py: Python<'_>,
        topics: Vec<String>,
        group_id: Option<&str>,
        stop_at_end: bool,
        config: Option<&Bound<'_, PyDict>>,
        configs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<AsyncConsumer> {
        AsyncConsumer::make(py, self.source()?, Wanted { topics, group_id, stop_at_end, config, keywords: configs })
    }

    /// The admin client for asyncio; see `AsyncAdmin`.
    fn async_admin(&self) -> PyResult<AsyncAdmin> {
        Ok(AsyncAdmin::new(self.source()?))
    }

    /// Close the producers and consumers that were made here, stop the broker, and delete a temporary data dir; a second
    /// call does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.closing()?.wait(py).map(drop)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> Coroutine {
        Coroutine::enters("Cluster.__aenter__", slf)
    }

    /// Closes it as `close` does, and leaves the event loop free meanwhile.
    #[pyo3(signature = (*_exception))]
    fn __aexit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, PyTuple>) -> PyResult<Coroutine> {
        Ok(slf.get().closing()?.later("Cluster.__aexit__", slf))
    }

    fn __repr__(&self) -> PyResult<String> {
        let (brokers, source) = self.inner.get()?;
        let state = if brokers.is_closed() { ", closed" } else { "" };
        Ok(format!("<Cluster at {}, data in {}{state}>", source.bootstrap(), brokers.data_dir.display()))
    }

    /// What a notebook shows: its topics.
    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("strandline._html")?.call_method1("cluster", (slf,))
    }
}
