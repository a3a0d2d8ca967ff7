//! The brokers of a cluster, and the network between them: stopped, started, hurt.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::call::{self, Call};
use super::cluster::{self, Brokers};
use super::request_fault::RequestFault;
use super::runtime::{self, Home};
use super::{convert, errors};
use crate::cluster::{BrokerState, Links, LocalError};
use crate::common::ids::NodeId;

/// One broker of a cluster; `cluster.brokers[0]`.
///
/// >>> import strandline as sl
/// >>> with sl.Cluster(brokers=3) as cluster:
/// ...     topic = cluster.create_topic("flights", replication_factor=3)
/// ...     cluster.brokers[1].kill()
/// ...     with cluster.producer(acks="all") as producer:
/// ...         offset = producer.send("flights", "still here").result().offset
/// ...     cluster.brokers[1].start()
/// ...     cluster.wait_healthy()
/// ...     print(offset, cluster.brokers[1].is_running)
/// 0 True
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Broker {
    inner: Home<(Arc<Brokers>, NodeId)>,
}

impl Broker {
    pub(crate) fn new(brokers: Arc<Brokers>, id: NodeId) -> Broker {
        Broker { inner: Home::new("broker", (brokers, id)) }
    }

    fn open(&self) -> PyResult<(&Arc<Brokers>, NodeId)> {
        let (brokers, id) = self.inner.get()?;
        if brokers.is_closed() {
            return Err(errors::closed("cluster"));
        }
        Ok((brokers, *id))
    }

    fn now(&self) -> PyResult<BrokerState> {
        let (brokers, id) = self.inner.get()?;
        brokers.local().state(*id).map_err(cluster::local)
    }

    /// Waits for what becomes of it, to its end.
    fn wait<F: Future<Output = Result<(), LocalError>> + Send + 'static>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(Arc<Brokers>, NodeId) -> F,
    ) -> PyResult<()> {
        let (brokers, id) = self.open()?;
        let acting = Call::raw(act(brokers.clone(), id), |py, done: Result<(), LocalError>| {
            done.map_err(cluster::local)?;
            Ok(py.None())
        });
        acting.whole().wait(py).map(drop)
    }
}

#[pymethods]
impl Broker {
    /// Its node id.
    #[getter]
    fn id(&self) -> PyResult<NodeId> {
        Ok(self.inner.get()?.1)
    }

    /// Whether it runs; one that is paused does.
    #[getter]
    fn is_running(&self) -> PyResult<bool> {
        Ok(self.now()?.is_up())
    }

    /// What it is: `"running"`, `"paused"`, `"stopped"` (killed too), or `"died"`, where it has ended by itself.
    #[getter]
    fn state(&self) -> PyResult<String> {
        Ok(self.now()?.to_string())
    }

    /// Why it died; `None` where it has not.
    #[getter]
    fn reason(&self) -> PyResult<Option<String>> {
        match self.now()? {
            BrokerState::Died { reason } => Ok(Some(reason)),
            _ => Ok(None),
        }
    }

    /// The id of its process; `None` where it has none of its own, or does not run.
    #[getter]
    fn pid(&self) -> PyResult<Option<i32>> {
        let (brokers, id) = self.inner.get()?;
        brokers.local().pid(*id).map_err(cluster::local)
    }

    /// How its process ended: the exit code, or the negative number of the signal that ended it, as `subprocess` has it;
    /// `None` where it has none of its own, or that lives.
    #[getter]
    fn exit_code(&self) -> PyResult<Option<i32>> {
        let (brokers, id) = self.inner.get()?;
        brokers.local().exit_code(*id).map_err(cluster::local)
    }

    /// The last lines of its process's log, also after its end; empty where it has none of its own.
    #[getter]
    fn log(&self) -> PyResult<Vec<String>> {
        let (brokers, id) = self.inner.get()?;
        brokers.local().log(*id).map_err(cluster::local)
    }

    /// End it where it stands, as kill -9 would, and does where it is a process: nothing is answered, handed over or closed any more.
    ///
    /// Raises `RuntimeError` where it does not run.
    fn kill(&self, py: Python<'_>) -> PyResult<()> {
        self.wait(py, |brokers, id| async move { brokers.local().kill_broker(id).await })
    }

    /// Stop it as a careful operator does: others lead what it led before it goes, and it closes its logs. The others know of it
    /// when this returns, where a controller can tell them.
    ///
    /// Raises `RuntimeError` where it does not run, or is paused.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.wait(py, |brokers, id| async move { brokers.local().stop_broker(id).await })
    }

    /// Start it again, with its data and on its ports; it serves when this returns. What it missed it catches up afterwards:
    /// `cluster.wait_healthy()` waits for that.
    ///
    /// Raises `RuntimeError` where it runs.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        self.wait(py, |brokers, id| async move { brokers.local().start_broker(id).await })
    }

    /// Have it answer the next `times` requests of `api` (all, where that is `None`) with `error`, and give a handle on that: how
    /// many are left, and a wait for the last.
    ///
    /// `api` is Kafka's name ("Produce", "Fetch", "Metadata", ...), `error` Kafka's name of an error, or its code. Each API is
    /// answered in its own words, so any client understands; requests that brokers send each other are left alone. A produce
    /// with `acks=0`, which has no answer, has its connection closed. All of it ends with the broker.
    ///
    /// With `topic` only requests about that topic are refused, and of those only that topic's part: what they ask of others is
    /// done. With `client_id` only those of the client that calls itself so. A fetch is about a topic where its answer tells of it.
    ///
    /// Raises `ValueError` for a name that is none, `InvalidRequestError` for an API that has no place for an error, or none for
    /// the error of one topic, and `RuntimeError` where the broker does not run.
    ///
    /// >>> import strandline as sl
    /// >>> with sl.Cluster() as cluster:
    /// ...     topic = cluster.create_topic("flights")
    /// ...     fault = cluster.brokers[0].fail_requests("Produce", error="NOT_ENOUGH_REPLICAS", times=3)
    /// ...     with cluster.producer() as producer:
    /// ...         offset = producer.send("flights", "at the fourth try").result().offset
    /// ...     fault.wait()
    /// ...     print(offset, fault.remaining)
    /// 0 0
    #[pyo3(signature = (api, error, times=None, topic=None, client_id=None))]
    fn fail_requests(
        &self,
        py: Python<'_>,
        api: &str,
        error: &Bound<'_, PyAny>,
        times: Option<u64>,
        topic: Option<String>,
        client_id: Option<String>,
    ) -> PyResult<RequestFault> {
        RequestFault::new(py, self.open()?, api, error, times, (topic, client_id))
    }

    /// Wait until it runs no more: it was stopped or killed, or has died.
    ///
    /// Raises `TimeoutError` after `timeout` seconds.
    #[pyo3(signature = (timeout=30.0))]
    fn wait_down(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let within = convert::timeout(Some(timeout))?.unwrap_or(Duration::ZERO);
        let (brokers, id) = self.open()?;
        let brokers = brokers.clone();
        runtime::wait(py, async move { brokers.local().wait_down(id, within).await })?.map_err(cluster::local)
    }

    /// Let it neither send nor hear until `resume`, as SIGSTOP would, and does where it is a process.
    ///
    /// Raises `RuntimeError` where it does not run.
    fn pause(&self) -> PyResult<()> {
        let (brokers, id) = self.open()?;
        brokers.local().pause_broker(id).map_err(cluster::local)
    }

    /// End a pause.
    fn resume(&self) -> PyResult<()> {
        let (brokers, id) = self.open()?;
        brokers.local().resume_broker(id).map_err(cluster::local)
    }

    fn __repr__(&self) -> PyResult<String> {
        let process = self.pid()?.map(|pid| format!(" in process {pid}")).unwrap_or_default();
        Ok(format!("<Broker {}, {}{process}>", self.id()?, self.now()?))
    }
}

/// The network between the brokers of a cluster; `cluster.network`.
///
/// What it holds back is lost to nobody: it arrives when the network is healed, as with TCP. Clients reach every broker all the
/// while.
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Network {
    inner: Home<Arc<Brokers>>,
}

impl Network {
    pub(crate) fn new(brokers: Arc<Brokers>) -> Network {
        Network { inner: Home::new("network", brokers) }
    }

    fn open(&self) -> PyResult<&Arc<Brokers>> {
        let brokers = self.inner.get()?;
        if brokers.is_closed() {
            return Err(errors::closed("cluster"));
        }
        Ok(brokers)
    }

    /// Changes what is broken, and waits until all brokers go by it.
    fn change(&self, py: Python<'_>, change: impl FnOnce(&mut Links) + Send + 'static) -> PyResult<()> {
        let local = self.open()?.local().clone();
        let changing = async move { local.change_links(change).await };
        Call::raw(changing, call::nothing).whole().wait(py).map(drop)
    }
}

#[pymethods]
impl Network {
    /// Cut all links between brokers of different groups, each a set of node ids: `partition({0}, {1, 2})`.
    ///
    /// Links within a group, and those of brokers that are in none, stay as they are. Raises `ValueError` for an id that no
    /// broker has, or that is in two groups.
    #[pyo3(signature = (*groups))]
    fn partition(&self, py: Python<'_>, groups: Vec<BTreeSet<NodeId>>) -> PyResult<()> {
        let brokers = self.open()?;
        let known = brokers.local().ids();
        let mut seen = BTreeSet::new();
        for id in groups.iter().flatten() {
            if !known.contains(id) {
                return Err(PyValueError::new_err(format!("there is no broker {id}: there are {known:?}")));
            }
            if !seen.insert(*id) {
                return Err(PyValueError::new_err(format!("broker {id} is in two groups: it can be in one")));
            }
        }
        self.change(py, move |links| links.partition(&groups))
    }

    /// Cut one direction of a link: what `sender` sends does not reach `receiver`.
    fn block(&self, py: Python<'_>, sender: NodeId, receiver: NodeId) -> PyResult<()> {
        let brokers = self.open()?;
        let known = brokers.local().ids();
        if let Some(id) = [sender, receiver].iter().find(|id| !known.contains(id)) {
            return Err(PyValueError::new_err(format!("there is no broker {id}: there are {known:?}")));
        }
        self.change(py, move |links| links.block(sender, receiver))
    }

    /// Let what brokers send each other arrive `seconds` later; 0 ends that.
    ///
    /// Controllers wait about 50 ms for each other: with more than that no topic is made, and no leader changes.
    fn delay(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let delay = convert::timeout(Some(seconds))?.unwrap_or(Duration::ZERO);
        self.change(py, move |links| links.delay(delay))
    }

    /// Break connections between brokers: each write ends its connection with this probability, from 0 to 1.
    fn drop(&self, py: Python<'_>, probability: f64) -> PyResult<()> {
        if !(0.0..=1.0).contains(&probability) {
            return Err(PyValueError::new_err(format!("probability is {probability}: it must be from 0 to 1")));
        }
        self.change(py, move |links| links.break_at(probability))
    }

    /// Open all links, and end delays and drops.
    fn heal(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, Links::heal)
    }
}
