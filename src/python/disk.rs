//! The disk of one broker of a cluster: broken on purpose, filled, healed.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::call::Call;
use super::cluster::{self, Brokers};
use super::errors;
use super::runtime::Home;
use crate::cluster::LocalError;
use crate::common::ids::NodeId;
use crate::log::fs::faulty::{Breakage, DiskFault};

/// The disk of one broker; `cluster.disk(1)`.
///
/// What fails is what writes, and with `reads=True` what reads; what was read before is left, also of tables that were read
/// without a copy. Of a write that fails the first half is on the disk, as a real one may leave it. Logs are read through maps: a
/// read that fails here is answered with the error, where a real disk that cannot read ends the process that touches the map
/// (SIGBUS), and with it the broker.
///
/// A broker whose disk fails while others may lead does what Apache Kafka's does, full disk or broken one: it ends, and they
/// lead what it led. `cluster.brokers[1].state` is "died" then, and `reason` tells what failed. One that is alone goes
/// on, and refuses what it cannot write or read (`KafkaStorageError`) until it can again. A disk stays broken when its broker is
/// started again, until it is healed.
///
/// >>> import strandline as sl
/// >>> with sl.Cluster(brokers=3) as cluster:
/// ...     topic = cluster.create_topic("flights", replication_factor=3, min_insync_replicas=2)
/// ...     with cluster.producer(acks="all") as producer:
/// ...         cluster.disk(1).fill()
/// ...         offset = producer.send("flights", "without broker 1").result().offset
/// ...     cluster.brokers[1].wait_down()
/// ...     died = cluster.brokers[1].state
/// ...     cluster.disk(1).heal()
/// ...     cluster.brokers[1].start()
/// ...     cluster.wait_healthy()
/// ...     print(offset, died, cluster.brokers[1].state)
/// 0 died running
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Disk {
    inner: Home<(Arc<Brokers>, NodeId)>,
}

impl Disk {
    pub(crate) fn new(brokers: Arc<Brokers>, id: NodeId) -> PyResult<Disk> {
        brokers.local().state(id).map_err(cluster::local)?;
        Ok(Disk { inner: Home::new("disk", (brokers, id)) })
    }

    fn wait<F: Future<Output = Result<(), LocalError>> + Send + 'static>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(Arc<Brokers>, NodeId) -> F,
    ) -> PyResult<()> {
        let (brokers, id) = self.inner.get()?;
        if brokers.is_closed() {
            return Err(errors::closed("cluster"));
        }
        let acting = Call::raw(act(brokers.clone(), *id), |py, done: Result<(), LocalError>| {
            done.map_err(cluster::local)?;
            Ok(py.None())
        });
        acting.whole().wait(py).map(drop)
    }

    fn breaks(&self, py: Python<'_>, breakage: Breakage, files: Option<String>, times: Option<u64>) -> PyResult<()> {
        if times == Some(0) {
            return Err(PyValueError::new_err("times is 0: it must be at least 1, or None for ever"));
        }
        let fault = DiskFault { breakage, names: files, times };
        self.wait(py, |brokers, id| async move { brokers.local().break_disk(id, fault).await })
    }
}

#[pymethods]
impl Disk {
    /// Let every write and sync fail from now on, with an I/O error; with `reads=True` every read too, with `writes=False` only
    /// those.
    ///
    /// `files` are those that it concerns, as a pattern for the end of their paths ("*.log", "flights-0/*"); all by default.
    /// `times` is how many calls fail, for a broker that runs; without it they fail until `heal`.
    #[pyo3(signature = (files=None, times=None, reads=false, writes=true))]
    fn fail(
        &self,
        py: Python<'_>,
        files: Option<String>,
        times: Option<u64>,
        reads: bool,
        writes: bool,
    ) -> PyResult<()> {
        let breakage = match (reads, writes) {
            (false, true) => Breakage::Writes,
            (true, false) => Breakage::Reads,
            (true, true) => Breakage::All,
            (false, false) => return Err(PyValueError::new_err("reads and writes are False: nothing would fail")),
        };
        self.breaks(py, breakage, files, times)
    }

    /// Let it be full from now on: whatever takes room fails, and what gives it up goes on.
    ///
    /// `files` and `times` are as for `fail`.
    #[pyo3(signature = (files=None, times=None))]
    fn fill(&self, py: Python<'_>, files: Option<String>, times: Option<u64>) -> PyResult<()> {
        self.breaks(py, Breakage::Full, files, times)
    }

    /// End all of it. A broker that has died of it is started again by `cluster.brokers[1].start()`.
    fn heal(&self, py: Python<'_>) -> PyResult<()> {
        self.wait(py, |brokers, id| async move { brokers.local().heal_disk(id).await })
    }

    fn __repr__(&self) -> PyResult<String> {
        Ok(format!("<Disk of broker {}>", self.inner.get()?.1))
    }
}
