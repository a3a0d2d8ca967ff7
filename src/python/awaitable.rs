//! asyncio's side of Rust's futures: how the runtime wakes an event loop, and how much that costs.
//!
//! A future of ours runs on the runtime, never in the event loop and never in a thread of its own. What is done waits in one
//! list for the whole process; the first that comes calls a thread, which takes the GIL once and hands each event loop all
//! that is ready for it, in a single `call_soon_threadsafe`. So whoever awaits a hundred thousand things at once costs a
//! handful of wakes: while that thread waits for the GIL, the list grows.
//!
//! What is ready is [`Settle`]d in its loop's own thread, where asyncio wants it. A loop that was closed meanwhile has no
//! one waiting, and is left alone.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tokio::task::AbortHandle;

use super::async_delivery::Groups;
use super::runtime::{self, Home};

/// What an event loop waits for.
pub(crate) trait Settle: Send + Sync {
    /// The loop.
    fn event_loop(&self) -> &Py<PyAny>;

    /// Tells those who wait. Called in the loop's thread.
    fn settle(&self, py: Python<'_>) -> PyResult<()>;

    /// Called with the GIL when it is handed to its loop.
    fn handed_over(&self) {}

    /// Called with the GIL when its loop is closed: nobody is told, and what waits is let go. It may well hold this, and
    /// then neither would ever be freed.
    fn abandon(&self) {}
}

/// What one process's event loops wait for.
#[derive(Default)]
pub(crate) struct Awaiting {
    /// What is ready, for the thread that tells Python.
    ready: Mutex<Vec<Arc<dyn Settle>>>,
    /// The batches that are awaited.
    pub(crate) groups: Groups,
}

impl Awaiting {
    /// Hands `it` to its event loop, soon. Any thread may call this, with the GIL or without.
    pub(crate) fn ready(&'static self, it: Arc<dyn Settle>) {
        let mut ready = self.ready.lock();
        ready.push(it);
        if ready.len() > 1 {
            return; // whoever was first has called the thread
        }
        drop(ready);
        if let Some(handle) = runtime::running() {
            handle.spawn_blocking(|| self.tell());
        }
    }

    /// Hands all that is ready to its event loops.
    fn tell(&self) {
        // At the interpreter's end there is nobody left to tell.
        let _ = Python::try_attach(|py| {
            let ready = std::mem::take(&mut *self.ready.lock());
            let mut loops: Vec<Vec<Arc<dyn Settle>>> = Vec::new();
            for it in ready {
                it.handed_over();
                match loops.iter_mut().find(|these| these.iter().any(|one| one.event_loop().is(it.event_loop()))) {
                    Some(these) => these.push(it),
                    None => loops.push(vec![it]),
                }
            }
            for ready in loops {
                let Some(event_loop) = ready.first().map(|one| one.event_loop().clone_ref(py)) else { continue };
                let told = Ready { ready: ready.clone() };
                if event_loop.call_method1(py, intern!(py, "call_soon_threadsafe"), (told,)).is_err() {
                    ready.iter().for_each(|it| it.abandon());
                }
            }
        });
    }
}

/// What runs in the event loop.
#[pyclass(frozen, module = "strandline._strandline", name = "_Ready")]
struct Ready {
    ready: Vec<Arc<dyn Settle>>,
}

#[pymethods]
impl Ready {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let mut told = Ok(());
        for it in &self.ready {
            // One that fails does not keep the others from being told.
            told = told.and(it.settle(py));
        }
        told
    }
}

/// The event loop that runs in this thread.
///
/// # Errors
/// `RuntimeError` where none does.
#[inline]
pub(crate) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let running = RUNNING
        .get_or_try_init(py, || -> PyResult<_> { Ok(py.import("asyncio")?.getattr("get_running_loop")?.unbind()) })?;
    running.bind(py).call0()
}

/// A future of ours that runs, and a future of asyncio's that is done when it ends. Dropping it ends it, wherever it is.
pub(crate) struct Running<T>(Home<Started<T>>);

struct Started<T> {
    end: Arc<End<T>>,
    /// `None` where it runs to its end whoever waits.
    task: Option<AbortHandle>,
}

struct End<T> {
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
    output: Mutex<Option<T>>,
}

impl<T: Send> Settle for End<T> {
    fn event_loop(&self) -> &Py<PyAny> {
        &self.event_loop
    }

    fn settle(&self, py: Python<'_>) -> PyResult<()> {
        let future = self.future.bind(py);
        if future.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(()); // cancelled
        }
        future.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop)
    }
}

/// Tells the event loop at its drop, so that a future that panics is told of too.
struct Tells<T: Send + 'static>(Arc<End<T>>, &'static Awaiting);

impl<T: Send> Drop for Tells<T> {
    fn drop(&mut self) {
        self.1.ready(self.0.clone());
    }
}

impl<T: Send + 'static> Running<T> {
    /// Runs `future`, for the event loop that runs in this thread. With `whole` it goes on when this is dropped.
    pub(crate) fn start(
        py: Python<'_>,
        future: impl Future<Output = T> + Send + 'static,
        whole: bool,
    ) -> PyResult<Running<T>> {
        let event_loop = running_loop(py)?;
        let awaited = event_loop.call_method0(intern!(py, "create_future"))?.unbind();
        let end = Arc::new(End { event_loop: event_loop.unbind(), future: awaited, output: Mutex::new(None) });
        let tells = Tells(end.clone(), runtime::awaiting()?);
        let task = runtime::handle()?.spawn(async move {
            let output = future.await;
            *tells.0.output.lock() = Some(output);
        });
        Ok(Running(Home::new("call", Started { end, task: (!whole).then(|| task.abort_handle()) })))
    }

    /// What to await.
    pub(crate) fn awaited(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.anywhere().end.future.clone_ref(py)
    }

    /// What it gave, once it was awaited.
    ///
    /// # Errors
    /// `RuntimeError` if it gave nothing: it panicked, which stderr tells.
    pub(crate) fn output(&self) -> PyResult<T> {
        let output = self.0.get()?.end.output.lock().take();
        output.ok_or_else(|| PyRuntimeError::new_err("strandline failed at this: stderr tells how"))
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        // In a forked child the task is the parent's.
        if let Ok(Started { task: Some(task), .. }) = self.0.get() {
            task.abort();
        }
    }
}
