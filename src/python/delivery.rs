//! What became of a record that was sent: to be asked, waited for, or awaited.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::client::producer::{Delivered, Delivery as Sent};
use crate::common::ids::{Offset, Timestamp};

use super::async_delivery::AsyncDelivery;
use super::runtime::{self, Home};
use super::{awaitable, convert, errors};

/// Where a record that was sent lies now.
///
/// >>> from strandline import RecordMetadata
/// >>> RecordMetadata("flights", 0, 41, 1357034400000)
/// RecordMetadata(topic='flights', partition=0, offset=41, timestamp=1357034400000)
#[pyclass(frozen, eq, hash, module = "strandline")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct RecordMetadata {
    topic: Arc<str>,
    /// The partition.
    #[pyo3(get)]
    partition: i32,
    /// The offset; `None` where the broker did not say: with `acks=0`.
    #[pyo3(get)]
    offset: Option<Offset>,
    /// Milliseconds since 1970: the record's own, or the broker's (log append time).
    #[pyo3(get)]
    timestamp: Timestamp,
}

#[pymethods]
impl RecordMetadata {
    #[new]
    #[pyo3(signature = (topic, partition, offset, timestamp))]
    fn new(topic: String, partition: i32, offset: Option<Offset>, timestamp: Timestamp) -> RecordMetadata {
        RecordMetadata { topic: topic.into(), partition, offset, timestamp }
    }

    /// The topic.
    #[getter]
    fn topic(&self) -> &str {
        &self.topic
    }

    fn __repr__(&self) -> String {
        let RecordMetadata { topic, partition, offset, timestamp } = self;
        let offset = offset.map_or_else(|| "None".to_owned(), |offset| offset.to_string());
        format!("RecordMetadata(topic='{topic}', partition={partition}, offset={offset}, timestamp={timestamp})")
    }
}

impl From<Delivered> for RecordMetadata {
    fn from(delivered: Delivered) -> RecordMetadata {
        let Delivered { topic, partition, offset, timestamp } = delivered;
        RecordMetadata { topic, partition, offset, timestamp }
    }
}

/// What will become, or became, of a record that was sent.
///
/// Wait for it with `result()`, ask with `done()`, or `await` it in asyncio. Records of one batch are done together.
///
/// >>> from strandline import Cluster
/// >>> with Cluster() as cluster, cluster.producer() as producer:
/// ...     delivery = producer.send("flights", value=b"EWR-IAH")
/// ...     delivery.result(timeout=10).offset
/// 0
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Delivery {
    sent: Home<Sent>,
}

impl Delivery {
    #[inline]
    pub(crate) fn new(sent: Sent) -> Delivery {
        Delivery { sent: Home::new("delivery", sent) }
    }
}

/// What Python is told of it.
pub(super) fn outcome(result: crate::client::Result<Delivered>) -> PyResult<RecordMetadata> {
    result.map(RecordMetadata::from).map_err(errors::client)
}

#[pymethods]
impl Delivery {
    /// Wait until the record is written, and return where it lies.
    ///
    /// `timeout` is in seconds; without one the wait ends with `delivery_timeout_ms` at the latest. It raises what the
    /// broker answered, or `RequestTimedOutError` (a `TimeoutError`) when the time ran out: the record may still be
    /// written then.
    #[pyo3(signature = (timeout=None))]
    fn result(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<RecordMetadata> {
        let sent = self.sent.get()?;
        if let Some(result) = sent.result() {
            return outcome(result);
        }
        let timeout = convert::timeout(timeout)?;
        match runtime::wait_for(py, sent.clone(), timeout)? {
            Some(result) => outcome(result),
            None => Err(errors::timed_out("the delivery is not done", timeout)),
        }
    }

    /// Tell whether it is known what became of the record.
    fn done(&self) -> PyResult<bool> {
        Ok(self.sent.get()?.is_done())
    }

    fn __await__(&self, py: Python<'_>) -> PyResult<AsyncDelivery> {
        let event_loop = awaitable::running_loop(py)?;
        Ok(AsyncDelivery::new(event_loop.unbind(), Some(self.sent.get()?.clone())))
    }

    fn __repr__(&self) -> PyResult<String> {
        Ok(format!("<Delivery {}>", shown(self.sent.get()?)))
    }
}

/// Where it goes, and what became of it.
pub(super) fn shown(sent: &Sent) -> String {
    let (topic, partition) = (sent.topic(), sent.partition());
    let state = match sent.result() {
        None => "waiting".to_owned(),
        Some(Ok(delivered)) => match delivered.offset {
            Some(offset) => format!("offset={offset}"),
            None => "sent".to_owned(),
        },
        Some(Err(error)) => format!("failed: {error}"),
    };
    format!("to '{topic}' partition {partition}: {state}")
}
