//! A topic that is followed: what `Topic.stream` takes, and the batches it hands out as they arrive.
//!
//! The class that people see, `strandline.Stream`, is Python (`python/strandline/stream.py`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_schema::ffi::FFI_ArrowSchema;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList};
use tokio::sync::{MutexGuard, Notify};

use crate::arrow::follow::{Follow, MAX_WAIT};
use crate::arrow::{Binary, ScanError, ScanParts, Shape};
use crate::client::consumer::Consumer;
use crate::config::Scope;

use super::runtime::{self, Close, Closing, Home};
use super::scan::{self, Fixed, Given, NativeBatch, Origin, SCHEMA};
use super::source::Source;
use super::{convert, errors, types};

/// How long one that was dropped, or whose block ends, may take to leave its group.
const CLOSE: Duration = Duration::from_secs(30);

struct Inner {
    follow: tokio::sync::Mutex<Follow>,
    shape: Shape,
    closed: AtomicBool,
    /// Whether whoever reads it closed it, and not its cluster.
    left: AtomicBool,
    closing: Notify,
}

impl Inner {
    fn follow(&self) -> PyResult<MutexGuard<'_, Follow>> {
        self.check_open()?;
        self.follow
            .try_lock()
            .map_err(|_| errors::invalid("another thread is reading this stream: a stream serves one thread at a time"))
    }

    fn check_open(&self) -> PyResult<()> {
        if self.closed.load(Ordering::Acquire) { Err(errors::closed("stream")) } else { Ok(()) }
    }
}

impl Close for Inner {
    fn close(self: Arc<Self>, within: Duration) -> Closing {
        self.closed.store(true, Ordering::Release);
        self.closing.notify_waiters();
        Box::pin(async move { self.follow.lock().await.close(within).await })
    }
}

/// What `Topic.stream` was given besides what a scan is given, as it came.
pub(crate) struct Following<'a> {
    pub(crate) max_wait: Option<f64>,
    pub(crate) group_id: Option<&'a str>,
    pub(crate) commit: bool,
}

/// Follows `topic` from where `given` says.
pub(crate) fn make<'py>(
    py: Python<'py>,
    source: &Arc<Source>,
    topic: &str,
    given: Given<'_, 'py>,
    following: &Following<'_>,
) -> PyResult<Bound<'py, PyAny>> {
    let all = given.partitions.is_none();
    let isolation = given.isolation.to_owned();
    if let (false, Some(group)) = (all, following.group_id) {
        let sentence = format!("partitions are given, and the group {group:?} shares them out: leave one of both out");
        return Err(PyValueError::new_err(sentence));
    }
    let max_wait = match following.max_wait {
        None => MAX_WAIT,
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err(format!("max_wait is {seconds}: it must be seconds, at least 0")))?,
    };
    let Fixed { scan, auto } = scan::fix(py, &Origin::Cluster(source), topic, given)?;
    let mut parts: ScanParts = scan.parts();
    if auto {
        // What pyarrow can work on.
        parts.shape.binary = Binary::Large;
    }
    // What a member of a group has to read and nobody finds any more is the reset's; alone it is told.
    let reset = if following.group_id.is_some() { "earliest" } else { "none" };
    let own = [
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", reset),
        ("isolation.level", &isolation),
        // A topic that is deleted while it is followed must not come back by that.
        ("allow.auto.create.topics", "false"),
    ];
    let own: Vec<_> = own.into_iter().chain(following.group_id.map(|group| ("group.id", group))).collect();
    let values = source.values(py, Scope::Consumer, None, None, &own)?;
    let consumer = Consumer::new(source.doors()?, &values).map_err(errors::client)?;
    let shape = parts.shape.clone();
    let follow = Follow::new(consumer, &parts, all, max_wait, following.commit).map_err(scan::error)?;
    let inner = Arc::new(Inner {
        follow: tokio::sync::Mutex::new(follow),
        shape,
        closed: AtomicBool::new(false),
        left: AtomicBool::new(false),
        closing: Notify::new(),
    });
    source.register(&inner)?;
    let native = NativeStream {
        inner: Home::new("stream", inner),
        topic: topic.to_owned(),
        group_id: following.group_id.map(ToOwned::to_owned),
    };
    py.import("strandline.stream")?.getattr("Stream")?.call1((native,))
}

/// A topic that is followed; what `strandline.Stream` stands on.
#[pyclass(frozen, module = "strandline._strandline")]
pub(crate) struct NativeStream {
    inner: Home<Arc<Inner>>,
    topic: String,
    group_id: Option<String>,
}

#[pymethods]
impl NativeStream {
    /// The topic's name.
    #[getter]
    fn topic(&self) -> &str {
        &self.topic
    }

    /// The group that it is a member of.
    #[getter]
    fn group_id(&self) -> Option<&str> {
        self.group_id.as_deref()
    }

    /// The columns: the name of each, and what it shows.
    #[getter]
    fn columns(&self) -> PyResult<Vec<(String, &'static str)>> {
        let shape = &self.inner.get()?.shape;
        Ok(shape.columns.iter().map(|(name, column)| (name.clone(), column.name())).collect())
    }

    /// An Arrow schema in a capsule.
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.inner.get()?.shape.schema().as_ref());
        PyCapsule::new_with_value(py, schema.map_err(|cause| scan::error(ScanError::Arrow(cause)))?, SCHEMA)
    }

    /// The partitions that it reads now; `None` while another thread reads it.
    fn assignment<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let inner = self.inner.get()?;
        let Ok(follow) = inner.follow.try_lock() else { return Ok(None) };
        types::partitions(py, &follow.assignment()).map(Some)
    }

    /// The next rows; waits for them for ever or up to `timeout` seconds, and gives `None` where there are none by then.
    #[pyo3(signature = (timeout))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<NativeBatch>> {
        let timeout = convert::timeout(timeout)?;
        let inner = self.inner.get()?;
        let mut follow = inner.follow()?;
        let next = async {
            let closing = inner.closing.notified();
            if inner.closed.load(Ordering::Acquire) {
                return None;
            }
            tokio::select! {
                next = follow.next(timeout) => Some(next),
                () = closing => None,
            }
        };
        match runtime::wait(py, next)? {
            Some(next) => Ok(next.map_err(scan::error)?.map(NativeBatch::new)),
            None => Err(errors::closed("stream")),
        }
    }

    /// Commits what was handed out.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        let mut follow = self.inner.get()?.follow()?;
        runtime::wait(py, follow.commit())?.map_err(scan::error)
    }

    /// Leaves the group and ends every connection; a second call does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let inner = self.inner.get()?;
        inner.left.store(true, Ordering::Release);
        runtime::wait(py, inner.clone().close(CLOSE))
    }

    /// Whether it was closed: by whoever reads it, and at all.
    #[getter]
    fn closed(&self) -> PyResult<(bool, bool)> {
        let inner = self.inner.get()?;
        Ok((inner.left.load(Ordering::Acquire), inner.closed.load(Ordering::Acquire)))
    }
}

impl Drop for NativeStream {
    fn drop(&mut self) {
        if let Ok(inner) = self.inner.get()
            && !inner.closed.load(Ordering::Acquire)
        {
            runtime::close_behind(inner.clone(), CLOSE);
        }
    }
}
