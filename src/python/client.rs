//! A client of a cluster that is elsewhere: it gives the same producers, consumers, topics and admin as a [`Cluster`] in
//! this process.
//!
//! [`Cluster`]: super::cluster::Cluster

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::admin::{Admin, AsyncAdmin};
use super::call::{Call, nothing};
use super::cluster::CLOSE_CLIENTS;
use super::consumer::{AsyncConsumer, Consumer, Wanted};
use super::convert;
use super::coroutine::Coroutine;
use super::producer::{AsyncProducer, Producer};
use super::runtime::Home;
use super::source::Source;
use super::topic::{self, Topic};

/// A client of any Kafka cluster; made by `connect`. It gives the same producers, consumers, topics and admin as a
/// `Cluster` does.
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Client {
    source: Home<Arc<Source>>,
}

/// Name a Kafka cluster by its `bootstrap_servers` ("host:port", several joined by commas, or a list) and get a client of
/// it.
///
/// Keys that all clients have (`client_id`, `request_timeout_ms`, ...) are keywords with underscores, or dotted in
/// `config`, and hold for everything that is made from it. Nothing is connected until something is asked.
///
/// >>> import strandline as sl
/// >>> with sl.Cluster() as cluster:
/// ...     with sl.connect(cluster.bootstrap_servers, client_id="tour") as client:
/// ...         client.create_topic("flights", partitions=2).name
/// 'flights'
#[pyfunction]
#[pyo3(signature = (bootstrap_servers, *, config=None, **configs))]
pub(crate) fn connect(
    py: Python<'_>,
    bootstrap_servers: &Bound<'_, PyAny>,
    config: Option<&Bound<'_, PyDict>>,
    configs: Option<&Bound<'_, PyDict>>,
) -> PyResult<Client> {
    let bootstrap = convert::config_value("bootstrap_servers", bootstrap_servers)?;
    let source = Source::new(py, bootstrap, convert::configs(config, configs)?, None)?;
    Ok(Client { source: Home::new("client", source) })
}

impl Client {
    fn closing(&self) -> PyResult<Call> {
        let source = self.source.get()?.clone();
        Ok(Call::raw(async move { source.close(CLOSE_CLIENTS).await }, nothing).whole())
    }
}

#[pymethods]
impl Client {
    /// Where the cluster is.
    #[getter]
    fn bootstrap_servers(&self) -> PyResult<&str> {
        Ok(self.source.get()?.bootstrap())
    }

    /// Make a topic and return it; see `Cluster.create_topic`.
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
        topic::create(py, self.source.get()?, name, partitions, replication_factor, convert::configs(config, configs)?)
    }

    /// A topic by its name; nothing is asked or made yet.
    fn topic(&self, name: &str) -> PyResult<Topic> {
        Ok(Topic::new(self.source.get()?, name))
    }

    /// A group by its id; nothing is asked yet. It tells its members, and how far it is behind.
    fn group<'py>(&self, py: Python<'py>, group_id: &str) -> PyResult<Bound<'py, PyAny>> {
        py.import("strandline.group")?.getattr("Group")?.call1((self.admin()?, group_id))
    }

    /// A producer for the cluster; see `Cluster.producer`.
    #[pyo3(signature = (config=None, **configs))]
    fn producer(
        &self,
        py: Python<'_>,
        config: Option<&Bound<'_, PyDict>>,
        configs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Producer> {
        Producer::make(py, self.source.get()?, config, configs)
    }

    /// A consumer of these topics; see `Cluster.consumer`.
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
        Consumer::make(py, self.source.get()?, Wanted { topics, group_id, stop_at_end, config, keywords: configs })
    }

    /// The admin client: topics, partitions, configs, groups and their offsets.
    fn admin(&self) -> PyResult<Admin> {
        Ok(Admin::new(self.source.get()?))
    }

    /// A producer for asyncio, with the keys of `producer`; see `AsyncProducer`.
    #[pyo3(signature = (config=None, **configs))]
    fn async_producer(
        &self,
        py: Python<'_>,
        config: Option<&Bound<'_, PyDict>>,
        configs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<AsyncProducer> {
        AsyncProducer::make(py, self.source.get()?, config, configs)
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
        AsyncConsumer::make(py, self.source.get()?, Wanted { topics, group_id, stop_at_end, config, keywords: configs })
    }

    /// The admin client for asyncio; see `AsyncAdmin`.
    fn async_admin(&self) -> PyResult<AsyncAdmin> {
        Ok(AsyncAdmin::new(self.source.get()?))
    }

    /// Close the producers and consumers that were made here; a second call does nothing.
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
        Coroutine::enters("Client.__aenter__", slf)
    }

    /// Closes what was made here as `close` does, and leaves the event loop free meanwhile.
    #[pyo3(signature = (*_exception))]
    fn __aexit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, PyTuple>) -> PyResult<Coroutine> {
        Ok(slf.get().closing()?.later("Client.__aexit__", slf))
    }

    fn __repr__(&self) -> PyResult<String> {
        Ok(format!("<Client of {}>", self.source.get()?.bootstrap()))
    }

    /// What a notebook shows: the cluster's topics.
    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("strandline._html")?.call_method1("cluster", (slf,))
    }
}
