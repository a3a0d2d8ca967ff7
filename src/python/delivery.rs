//! What became of a record that was sent: to be asked, waited for, or awaited.
//!
//! Awaiting costs one wake of the event loop a batch, not one a record: deliveries of one batch that are awaited on one
//! loop share a [`Group`]. When their batch is done, the groups that are ready go to Python together, from one thread
//! that takes the GIL once for all of them.

use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::client::producer::{Delivered, Delivery as Sent};
use crate::common::ids::{Offset, Timestamp};

use super::runtime::{self, Home};
use super::{convert, errors};

/// Where a record that was sent lies now.
///
/// >>> from strandline import RecordMetadata
/// >>> RecordMetadata("flights", 0, 41, 1357034400000)
/// RecordMetadata(topic='flights', partition=0, offset=41, timestamp=1357034400000)
#[pyclass(frozen, get_all, eq, hash, module = "strandline")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct RecordMetadata {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// The offset; `None` where the broker did not say: with `acks=0`.
    offset: Option<Offset>,
    /// Milliseconds since 1970: the record's own, or the broker's (log append time).
    timestamp: Timestamp,
}

#[pymethods]
impl RecordMetadata {
    #[new]
    #[pyo3(signature = (topic, partition, offset, timestamp))]
    fn new(topic: String, partition: i32, offset: Option<Offset>, timestamp: Timestamp) -> RecordMetadata {
        RecordMetadata { topic, partition, offset, timestamp }
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
        RecordMetadata { topic: topic.to_string(), partition, offset, timestamp }
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

fn outcome(result: crate::client::Result<Delivered>) -> PyResult<RecordMetadata> {
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

    fn __await__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let sent = self.sent.get()?;
        let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
        let future = event_loop.call_method0("create_future")?;
        match sent.result() {
            Some(result) => settle(py, &future, result)?,
            None => Group::join(sent, event_loop.unbind(), future.clone().unbind())?,
        }
        future.call_method0("__await__")
    }

    fn __repr__(&self) -> PyResult<String> {
        let sent = self.sent.get()?;
        let (topic, partition) = (sent.topic(), sent.partition());
        let state = match sent.result() {
            None => "waiting".to_owned(),
            Some(Ok(delivered)) => match delivered.offset {
                Some(offset) => format!("offset={offset}"),
                None => "sent".to_owned(),
            },
            Some(Err(error)) => format!("failed: {error}"),
        };
        Ok(format!("<Delivery to '{topic}' partition {partition}: {state}>"))
    }
}

fn settle(py: Python<'_>, future: &Bound<'_, PyAny>, result: crate::client::Result<Delivered>) -> PyResult<()> {
    if future.call_method0("done")?.is_truthy()? {
        return Ok(()); // cancelled
    }
    match outcome(result) {
        Ok(metadata) => future.call_method1("set_result", (metadata,))?,
        Err(error) => future.call_method1("set_exception", (error.into_value(py),))?,
    };
    Ok(())
}

/// Deliveries of one batch that are awaited on one event loop.
struct Group {
    event_loop: Py<PyAny>,
    awaited: Mutex<Vec<(Sent, Py<PyAny>)>>,
}

/// What one process's event loops wait for.
#[derive(Default)]
pub(super) struct Awaiting {
    /// The groups that were joined last: the next record mostly belongs to one of them. Used with the GIL only.
    recent: Mutex<Vec<Arc<Group>>>,
    /// Groups whose batches are done, for the thread that tells Python.
    ready: Mutex<Vec<Arc<Group>>>,
}

const RECENT_LIMIT: usize = 16;

impl Group {
    fn join(sent: &Sent, event_loop: Py<PyAny>, future: Py<PyAny>) -> PyResult<()> {
        let awaiting = runtime::awaiting()?;
        let mut recent = awaiting.recent.lock();
        let fits = |group: &&Arc<Group>| {
            group.event_loop.is(&event_loop)
                && group.awaited.lock().first().is_some_and(|(first, _)| first.same_batch(sent))
        };
        if let Some(group) = recent.iter().find(fits) {
            group.awaited.lock().push((sent.clone(), future));
            return Ok(());
        }
        let group = Arc::new(Group { event_loop, awaited: Mutex::new(vec![(sent.clone(), future)]) });
        let oldest = (recent.len() >= RECENT_LIMIT).then(|| recent.remove(0));
        recent.push(group.clone());
        drop(recent);
        // This may run Python code, so not under the lock.
        drop(oldest);
        sent.on_batch_done(move || group.done(awaiting));
        Ok(())
    }

    fn done(self: Arc<Self>, awaiting: &'static Awaiting) {
        let mut ready = awaiting.ready.lock();
        ready.push(self);
        if ready.len() > 1 {
            return; // whoever was first has called the thread
        }
        drop(ready);
        if let Some(handle) = runtime::running() {
            handle.spawn_blocking(|| tell(awaiting));
        }
    }
}

/// Hands every ready group to its event loop.
fn tell(awaiting: &Awaiting) {
    // At the interpreter's end there is nobody left to tell.
    let _ = Python::try_attach(|py| {
        let ready = std::mem::take(&mut *awaiting.ready.lock());
        awaiting.recent.lock().retain(|known| !ready.iter().any(|group| Arc::ptr_eq(known, group)));
        let mut loops: Vec<(Py<PyAny>, Vec<Arc<Group>>)> = Vec::new();
        for group in ready {
            match loops.iter_mut().find(|(event_loop, _)| event_loop.is(&group.event_loop)) {
                Some((_, groups)) => groups.push(group),
                None => loops.push((group.event_loop.clone_ref(py), vec![group])),
            }
        }
        for (event_loop, groups) in loops {
            // A loop that was closed has no one waiting.
            let _ = event_loop.bind(py).call_method1("call_soon_threadsafe", (Settle { groups },));
        }
    });
}

/// What runs in the event loop: it settles the futures of the batches that are done.
#[pyclass(frozen, module = "strandline._strandline", name = "_Settle")]
struct Settle {
    groups: Vec<Arc<Group>>,
}

#[pymethods]
impl Settle {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        for group in &self.groups {
            for (sent, future) in std::mem::take(&mut *group.awaited.lock()) {
                match sent.result() {
                    Some(result) => settle(py, future.bind(py), result)?,
                    // It joined while its batch was split: its part is not done yet.
                    None => Group::join(&sent, group.event_loop.clone_ref(py), future)?,
                }
            }
        }
        Ok(())
    }
}
