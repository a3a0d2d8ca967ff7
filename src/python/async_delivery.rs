//! What became of a record that was sent from an event loop: a future that costs asyncio next to nothing.
//!
//! An [`AsyncDelivery`] is a future to asyncio (`gather`, `wait_for`, `shield` and tasks take it as they take their own: by
//! `_asyncio_future_blocking`), and a coroutine too, for `create_task` (`asyncio.wait` takes tasks only then). Unlike
//! asyncio's own it is one small object that the garbage collector does not look at, and its callbacks run without a handle
//! in the loop for each.
//!
//! Deliveries of one batch that are awaited in one loop share a [`Group`]. When the batch is done, the group is handed to
//! the loop, which settles all of them in one go.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use crate::client;
use crate::client::producer::line::Taken;
use crate::client::producer::{Delivered, Delivery as Sent};

use super::awaitable::Settle;
use super::convert::untracked;
use super::coroutine::thrown;
use super::delivery::{RecordMetadata, outcome};
use super::errors;
use super::runtime::{self, Home};

/// What will become, or became, of a record that `AsyncProducer.send` took: `await` it for its `RecordMetadata`.
///
/// It is a future of asyncio's kind, bound to the event loop in which the record was sent: `asyncio.gather`, `wait_for` and
/// `shield` take it, and `create_task` makes a task of it (which `asyncio.wait` asks for). Records of one batch are done
/// together. Nobody has to await it: the record goes its way, also when the wait is cancelled.
///
/// >>> import asyncio
/// >>> from strandline import Cluster
/// >>> async def main():
/// ...     async with Cluster() as cluster, cluster.async_producer() as producer:
/// ...         sent = [producer.send("flights", carrier) for carrier in ("UA", "AA", "B6")]
/// ...         return [metadata.offset for metadata in await asyncio.gather(*sent)]
/// >>> asyncio.run(main())
/// [0, 1, 2]
#[pyclass(frozen, module = "strandline")]
pub(crate) struct AsyncDelivery {
    event_loop: Py<PyAny>,
    /// Unset while the record stands in line.
    sent: Home<OnceLock<client::Result<Sent>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blocking: bool,
    cancelled: Option<Option<Py<PyAny>>>,
    /// Whether a group will settle it.
    joined: bool,
    callbacks: Vec<Callback>,
}

struct Callback {
    call: Py<PyAny>,
    /// `None` where it does not matter.
    context: Option<Py<PyAny>>,
}

impl Callback {
    /// With the current context, unless another is given. A copy for each delivery would cost more than all else, and what
    /// asyncio's own functions (`gather`, `shield`) add does not look at it.
    fn new(call: Py<PyAny>, context: Option<Py<PyAny>>, py: Python<'_>) -> PyResult<Callback> {
        let context = match context {
            None if is_asyncio(call.bind(py))? => None,
            None => Some(copy_context(py)?),
            context => context,
        };
        Ok(Callback { call, context })
    }

    fn run(&self, delivery: &Bound<'_, AsyncDelivery>) -> PyResult<Py<PyAny>> {
        let py = delivery.py();
        match &self.context {
            None => self.call.call1(py, (delivery,)),
            Some(context) => context.call_method1(py, intern!(py, "run"), (&self.call, delivery)),
        }
    }
}

/// Whether a function is one of `asyncio.tasks`.
fn is_asyncio(call: &Bound<'_, PyAny>) -> PyResult<bool> {
    let module = call.getattr_opt(intern!(call.py(), "__module__"))?;
    Ok(module.is_some_and(|module| module.cast::<PyString>().is_ok_and(|name| name == "asyncio.tasks")))
}

impl AsyncDelivery {
    /// Of a record that was taken; of one that stands in line, without it.
    #[inline]
    pub(crate) fn new(event_loop: Py<PyAny>, sent: Option<Sent>) -> AsyncDelivery {
        let sent = sent.map_or_else(OnceLock::new, |sent| OnceLock::from(Ok(sent)));
        AsyncDelivery { event_loop, sent: Home::new("delivery", sent), state: Mutex::default() }
    }

    /// What tells the delivery of a record that stands in line.
    pub(crate) fn taken(it: Py<AsyncDelivery>) -> Taken {
        Box::new(move |result| {
            let Ok(sent) = it.get().sent.get() else { return };
            // Only the line sets it, and once.
            let _ = sent.set(result);
            let mut state = it.get().state.lock();
            if !state.callbacks.is_empty() && !std::mem::replace(&mut state.joined, true) {
                drop(state);
                join(it);
            }
        })
    }

    /// What became of the record, if that is known.
    #[inline]
    fn known(&self) -> PyResult<Option<client::Result<Delivered>>> {
        Ok(match self.sent.get()?.get() {
            None => None,
            Some(Ok(sent)) => sent.result(),
            Some(Err(error)) => Some(Err(error.clone())),
        })
    }

    /// The same, but that it was cancelled.
    fn ended(&self, py: Python<'_>) -> PyResult<Option<client::Result<Delivered>>> {
        if self.cancelled() { Err(PyErr::from_value(self.cancelled_error(py)?)) } else { self.known() }
    }

    fn invalid(py: Python<'_>) -> PyResult<PyErr> {
        let class = py.import("asyncio")?.getattr("InvalidStateError")?;
        Ok(PyErr::from_value(class.call1(("Result is not set.",))?))
    }

    fn call_soon(slf: &Bound<'_, Self>, callback: &Callback) -> PyResult<()> {
        let py = slf.py();
        let keywords = PyDict::new(py);
        keywords.set_item(intern!(py, "context"), &callback.context)?;
        let event_loop = slf.get().event_loop.bind(py);
        event_loop.call_method(intern!(py, "call_soon"), (callback.call.bind(py), slf), Some(&keywords)).map(drop)
    }

    /// The callbacks, which no group settles any more. Python runs, or is dropped, only after the lock is free again.
    fn take_callbacks(&self) -> Vec<Callback> {
        let mut state = self.state.lock();
        state.joined = false;
        std::mem::take(&mut state.callbacks)
    }

    /// Runs the callbacks, in the loop's thread.
    fn settle(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if this.known()?.is_none() {
            // It joined while its batch was split: its part is not done yet.
            join(slf.clone().unbind());
            return Ok(());
        }
        for callback in this.take_callbacks() {
            if let Err(error) = callback.run(slf) {
                let told = PyDict::new(py);
                told.set_item("message", "Exception in callback of a delivery")?;
                told.set_item("exception", error.into_value(py))?;
                this.event_loop.call_method1(py, "call_exception_handler", (told,))?;
            }
        }
        Ok(())
    }
}

fn copy_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
    static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let copy = COPY
        .get_or_try_init(py, || -> PyResult<_> { Ok(py.import("contextvars")?.getattr("copy_context")?.unbind()) })?;
    copy.call0(py)
}

#[pymethods]
impl AsyncDelivery {
    /// Where the record lies, once that is known. Raises what the broker answered, `InvalidStateError` before it is
    /// known, and `CancelledError` when the wait was cancelled.
    fn result(&self, py: Python<'_>) -> PyResult<Py<RecordMetadata>> {
        match self.ended(py)? {
            Some(result) => untracked(py, outcome(result)?),
            None => Err(AsyncDelivery::invalid(py)?),
        }
    }

    /// Why the record was not written, once that is known; `None` if it was. Raises as `result` does.
    fn exception<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.ended(py)? {
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Ok(Some(errors::client(error).into_value(py).into_bound(py).into_any())),
            None => Err(AsyncDelivery::invalid(py)?),
        }
    }

    /// Tell whether it is known what became of the record, or the wait was cancelled.
    fn done(&self) -> PyResult<bool> {
        Ok(self.state.lock().cancelled.is_some() || self.known()?.is_some())
    }

    /// Tell whether the wait was cancelled.
    fn cancelled(&self) -> bool {
        self.state.lock().cancelled.is_some()
    }

    /// Cancel the wait for everyone who waits for it here. The record goes its way all the same.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let this = slf.get();
        if this.done()? {
            return Ok(false);
        }
        let callbacks = {
            let mut state = this.state.lock();
            state.cancelled = Some(msg);
            std::mem::take(&mut state.callbacks)
        };
        callbacks.iter().try_for_each(|callback| AsyncDelivery::call_soon(slf, callback))?;
        Ok(true)
    }

    /// Have `fn` called with this delivery, by the event loop, once it is done.
    #[pyo3(signature = (r#fn, *, context=None))]
    fn add_done_callback(slf: &Bound<'_, Self>, r#fn: Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let callback = Callback::new(r#fn, context, py)?;
        if this.cancelled() {
            return AsyncDelivery::call_soon(slf, &callback);
        }
        // One that is done already goes the way of the others: a handle of the loop for each would cost more.
        let sent = this.sent.get()?.get().is_some();
        let mut state = this.state.lock();
        state.callbacks.push(callback);
        // One that stands in line joins its batch when it has one. Looked up before the lock: the line sets it before it
        // locks, so that one of the two sees the other.
        let sent = sent || this.sent.get()?.get().is_some();
        if sent && !std::mem::replace(&mut state.joined, true) {
            drop(state);
            join(slf.clone().unbind());
        }
        Ok(())
    }

    /// Take `fn` away from what is called; returns how often it was there.
    fn remove_done_callback(&self, r#fn: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = r#fn.py();
        // Comparing may run Python, so not under the lock.
        let callbacks = std::mem::take(&mut self.state.lock().callbacks);
        let (mut kept, before) = (Vec::with_capacity(callbacks.len()), callbacks.len());
        for callback in callbacks {
            if !callback.call.bind(py).eq(r#fn)? {
                kept.push(callback);
            }
        }
        let removed = before - kept.len();
        self.state.lock().callbacks.splice(..0, kept);
        Ok(removed)
    }

    /// The event loop that it belongs to.
    fn get_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.clone_ref(py)
    }

    /// `gather` takes it for the error that it raises when it is cancelled,
    #[pyo3(name = "_make_cancelled_error")]
    fn cancelled_error<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let class = py.import("asyncio")?.getattr("CancelledError")?;
        match self.cancel_message(py) {
            Some(message) => class.call1((message,)),
            None => class.call0(),
        }
    }

    /// and this for the error that it returns.
    #[getter(_cancel_message)]
    fn cancel_message(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let state = self.state.lock();
        state.cancelled.as_ref().and_then(|message| message.as_ref().map(|message| message.clone_ref(py)))
    }

    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> bool {
        self.state.lock().blocking
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.state.lock().blocking = blocking;
    }

    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        let this = slf.get();
        match this.ended(py)? {
            Some(result) => Err(pyo3::exceptions::PyStopIteration::new_err((untracked(py, outcome(result)?)?,))),
            None => {
                this.state.lock().blocking = true;
                Ok(slf)
            }
        }
    }

    /// As a coroutine's: asyncio drives it so.
    fn send(slf: Py<Self>, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        AsyncDelivery::__next__(slf, py)
    }

    /// As a coroutine's: raises what it is given.
    #[pyo3(signature = (kind, value=None, _traceback=None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<Self>> {
        Err(thrown(kind, value)?)
    }

    /// As a coroutine's: does nothing.
    fn close(&self) {}

    fn __repr__(&self) -> PyResult<String> {
        if self.cancelled() {
            return Ok("<AsyncDelivery: cancelled>".to_owned());
        }
        Ok(match self.sent.get()?.get() {
            None => "<AsyncDelivery: waits for room>".to_owned(),
            Some(Err(error)) => format!("<AsyncDelivery: failed: {error}>"),
            Some(Ok(sent)) => format!("<AsyncDelivery {}>", super::delivery::shown(sent)),
        })
    }
}

/// Deliveries of one batch that are awaited in one event loop.
struct Group {
    first: Py<AsyncDelivery>,
    others: Mutex<Vec<Py<AsyncDelivery>>>,
    groups: &'static Groups,
}

/// The groups that were joined last: the next delivery mostly belongs to one of them.
#[derive(Default)]
pub(crate) struct Groups(Mutex<Vec<Arc<Group>>>);

const GROUPS_LIMIT: usize = 16;

/// Has `it`, which was sent, settled when it is done. Works without the GIL and in the runtime's threads, for what takes
/// records from the line; at the interpreter's end it does nothing.
fn join(it: Py<AsyncDelivery>) {
    let (Ok(sent), Ok(awaiting)) = (it.get().sent.get(), runtime::awaiting()) else { return };
    let Some(Ok(sent)) = sent.get() else {
        // It failed before it had a batch.
        awaiting.ready(Arc::new(Group { first: it, others: Mutex::default(), groups: &awaiting.groups }));
        return;
    };
    let sent = sent.clone();
    let mut recent = awaiting.groups.0.lock();
    let fits = |group: &&Arc<Group>| {
        let first = group.first.get();
        let same = |first: &client::Result<Sent>| first.as_ref().is_ok_and(|first| first.same_batch(&sent));
        first.event_loop.is(&it.get().event_loop) && first.sent.anywhere().get().is_some_and(same)
    };
    if let Some(group) = recent.iter().rev().find(fits) {
        group.others.lock().push(it);
        return;
    }
    let group = Arc::new(Group { first: it, others: Mutex::default(), groups: &awaiting.groups });
    let oldest = (recent.len() >= GROUPS_LIMIT).then(|| recent.remove(0));
    recent.push(group.clone());
    drop(recent);
    // This may run Python code, so not under the lock.
    drop(oldest);
    sent.on_batch_done(move || awaiting.ready(group));
}

impl Settle for Group {
    fn event_loop(&self) -> &Py<PyAny> {
        &self.first.get().event_loop
    }

    fn handed_over(&self) {
        let mut gone = None;
        let mut recent = self.groups.0.lock();
        if let Some(at) = recent.iter().position(|known| std::ptr::eq(&**known, self)) {
            gone = Some(recent.remove(at));
        }
        drop(recent);
        drop(gone);
    }

    fn abandon(&self) {
        let others = std::mem::take(&mut *self.others.lock());
        for it in std::iter::once(&self.first).chain(&others) {
            let callbacks = it.get().take_callbacks();
            drop(callbacks);
        }
    }

    fn settle(&self, py: Python<'_>) -> PyResult<()> {
        let mut told = AsyncDelivery::settle(self.first.bind(py));
        let others = std::mem::take(&mut *self.others.lock());
        for it in others {
            told = told.and(AsyncDelivery::settle(it.bind(py)));
        }
        told
    }
}
