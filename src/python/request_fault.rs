//! Requests that a broker of a cluster is to refuse: counted, waited for, ended.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::cluster::{self, Brokers};
use super::runtime::{self, Home};
use super::{convert, errors};
use crate::cluster::RefusedRequests;
use crate::common::ids::NodeId;
use crate::protocol::{ApiKey, ErrorCode};

/// Requests that one broker refuses; made by `cluster.brokers[0].fail_requests`.
#[pyclass(frozen, module = "strandline")]
pub(crate) struct RequestFault {
    inner: Home<(Arc<Brokers>, NodeId, u64)>,
    told: String,
}

/// The API of this name, as Kafka has it.
fn api(name: &str) -> PyResult<ApiKey> {
    let found = ApiKey::ALL.iter().copied().find(|api| api.name() == name && !api.is_internal());
    found.ok_or_else(|| {
        let known: Vec<&str> = ApiKey::ALL.iter().filter(|api| !api.is_internal()).map(|api| api.name()).collect();
        PyValueError::new_err(format!("api is {name:?}: it must be one of {}", known.join(", ")))
    })
}

/// The error of this name or code.
fn code(error: &Bound<'_, PyAny>) -> PyResult<ErrorCode> {
    let found = match error.cast::<PyString>() {
        Ok(name) => {
            let name = name.to_str()?.to_owned();
            ErrorCode::all().find(|code| code.name() == name)
        }
        Err(_) => Some(ErrorCode::from_code(error.extract()?)).filter(|code| code.is_known()),
    };
    found.filter(|code| !code.is_none()).ok_or_else(|| {
        let shown = error.repr().map_or_else(|_| "?".to_owned(), |shown| shown.to_string());
        PyValueError::new_err(format!(
            "error is {shown}: it must be Kafka's name of an error (\"NOT_LEADER_OR_FOLLOWER\"), or its code"
        ))
    })
}

impl RequestFault {
    pub(super) fn new(
        py: Python<'_>,
        (brokers, id): (&Arc<Brokers>, NodeId),
        name: &str,
        error: &Bound<'_, PyAny>,
        times: Option<u64>,
        (topic, client_id): (Option<String>, Option<String>),
    ) -> PyResult<RequestFault> {
        let (api, code) = (api(name)?, code(error)?);
        if times == Some(0) {
            return Err(PyValueError::new_err("times is 0: it must be at least 1, or None for all"));
        }
        let local = brokers.local().clone();
        let of_topic = topic.as_ref().map(|topic| format!(" of topic '{topic}'")).unwrap_or_default();
        let by_client = client_id.as_ref().map(|client| format!(" by client '{client}'")).unwrap_or_default();
        let requests = RefusedRequests { api, code, times, topic, client_id };
        let fault = runtime::wait(py, async move { local.refuse(id, requests).await })?.map_err(cluster::local)?;
        let told = format!("broker {id} refuses {api}{of_topic}{by_client} with {}", code.name());
        Ok(RequestFault { inner: Home::new("fault", (brokers.clone(), id, fault)), told })
    }

    fn open(&self) -> PyResult<(&Arc<Brokers>, NodeId, u64)> {
        let (brokers, id, fault) = self.inner.get()?;
        if brokers.is_closed() {
            return Err(errors::closed("cluster"));
        }
        Ok((brokers, *id, *fault))
    }
}

#[pymethods]
impl RequestFault {
    /// How many requests are still to be refused; `None` for all that come.
    ///
    /// Raises `RuntimeError` where it was ended, or the broker has been started anew since.
    #[getter]
    fn remaining(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        let (brokers, id, fault) = self.open()?;
        let local = brokers.local().clone();
        runtime::wait(py, async move { local.refusals_left(id, fault).await })?.map_err(cluster::local)
    }

    /// Wait until as many requests were refused as were to be.
    ///
    /// Raises `TimeoutError` after `timeout` seconds, and `RuntimeError` as `remaining` does.
    #[pyo3(signature = (timeout=30.0))]
    fn wait(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let within = convert::timeout(Some(timeout))?.unwrap_or(Duration::ZERO);
        let (brokers, id, fault) = self.open()?;
        let local = brokers.local().clone();
        runtime::wait(py, async move { local.wait_refused(id, fault, within).await })?.map_err(cluster::local)
    }

    /// Refuse no more.
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        let (brokers, id, fault) = self.open()?;
        let local = brokers.local().clone();
        runtime::wait(py, async move { local.end_refusal(id, fault).await })?.map_err(cluster::local)
    }

    fn __repr__(&self) -> String {
        format!("<RequestFault: {}>", self.told)
    }
}
