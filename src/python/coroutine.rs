//! A coroutine, as Python has it, whose steps are Rust.
//!
//! It is a coroutine to all of asyncio: `await` it, give it to `create_task`, a `TaskGroup`, `gather` or `wait_for`. Nothing
//! happens before it is first driven, and what it is about is taken only by whoever drives it: a message is popped in the
//! very step that hands it out. So a task that is cancelled while it waits, or between its wake and its step, has taken
//! nothing. Where Python's own `async def` would stand, there is a closure that is asked for one [`Step`] after another.

use parking_lot::Mutex;
use pyo3::PyClass;
use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning, PyStopIteration, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

/// What a coroutine does next.
pub(crate) enum Step {
    /// It awaits something of Python's, and takes its next step when that has ended well.
    Await(Py<PyAny>),
    /// It ends, with this.
    Done(Py<PyAny>),
}

type Steps = Box<dyn FnMut(Python<'_>) -> PyResult<Step> + Send>;

/// See the module.
#[pyclass(frozen, module = "strandline._strandline", name = "_Coroutine")]
pub(crate) struct Coroutine {
    name: &'static str,
    state: Mutex<State>,
}

enum State {
    New(Steps),
    /// What is awaited, as an iterator.
    Waits(Steps, Py<PyAny>),
    Runs,
    Ended,
}

/// How it is driven.
enum Drive {
    On,
    Throw(PyErr),
}

impl Coroutine {
    /// The coroutine of a method of `owner`, which it keeps until it ends: what nobody holds any more is closed. `name` is
    /// told where somebody forgets to await it.
    pub(crate) fn of<T: PyClass>(
        name: &'static str,
        owner: &Bound<'_, T>,
        mut steps: impl FnMut(Python<'_>) -> PyResult<Step> + Send + 'static,
    ) -> Coroutine {
        let owner = owner.as_any().clone().unbind();
        let steps = move |py: Python<'_>| {
            let _ = &owner;
            steps(py)
        };
        Coroutine { name, state: Mutex::new(State::New(Box::new(steps))) }
    }

    /// One that waits for nothing, and gives its owner: of `__aenter__`.
    pub(crate) fn enters<T: PyClass>(name: &'static str, owner: &Bound<'_, T>) -> Coroutine {
        let it = owner.as_any().clone().unbind();
        Coroutine::of(name, owner, move |py| Ok(Step::Done(it.clone_ref(py))))
    }

    fn drive<'py>(&self, py: Python<'py>, how: Drive) -> PyResult<Bound<'py, PyAny>> {
        let before = std::mem::replace(&mut *self.state.lock(), State::Runs);
        let (mut steps, mut awaited) = match before {
            State::New(steps) => (steps, None),
            State::Waits(steps, awaited) => (steps, Some(awaited)),
            State::Runs => return Err(PyValueError::new_err("coroutine already executing")),
            State::Ended => {
                *self.state.lock() = State::Ended;
                return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
            }
        };
        // The lock is free while Python runs.
        let result = run(py, &mut steps, &mut awaited, how);
        *self.state.lock() = match (awaited, &result) {
            (Some(awaited), Ok(_)) => State::Waits(steps, awaited),
            _ => State::Ended,
        };
        result
    }
}

/// Takes steps until something has to be awaited: gives what that yields to the event loop, or the end as `StopIteration`.
fn run<'py>(
    py: Python<'py>,
    steps: &mut Steps,
    awaited: &mut Option<Py<PyAny>>,
    mut how: Drive,
) -> PyResult<Bound<'py, PyAny>> {
    loop {
        if let Some(inner) = awaited.as_ref().map(|inner| inner.bind(py)) {
            let yielded = match how {
                Drive::On => inner.call_method0(intern!(py, "__next__")),
                Drive::Throw(error) => throw(inner, error),
            };
            match yielded {
                Ok(yielded) => return Ok(yielded),
                Err(end) if end.is_instance_of::<PyStopIteration>(py) => *awaited = None,
                Err(error) => return Err(error),
            }
        } else if let Drive::Throw(error) = how {
            return Err(error);
        }
        how = Drive::On;
        match steps(py) {
            Ok(Step::Await(it)) => *awaited = Some(it.call_method0(py, intern!(py, "__await__"))?),
            Ok(Step::Done(value)) => return Err(PyStopIteration::new_err((value,))),
            // It would look like an end.
            Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
                return Err(PyRuntimeError::new_err(format!("coroutine raised {error}")));
            }
            Err(error) => return Err(error),
        }
    }
}

fn throw<'py>(inner: &Bound<'py, PyAny>, error: PyErr) -> PyResult<Bound<'py, PyAny>> {
    let py = inner.py();
    match inner.getattr_opt(intern!(py, "throw"))? {
        Some(throw) => throw.call1((error.into_value(py),)),
        None => Err(error),
    }
}

/// What `throw(type, value, traceback)` is to raise; the first may be the exception itself.
pub(crate) fn thrown(kind: &Bound<'_, PyAny>, value: Option<&Bound<'_, PyAny>>) -> PyResult<PyErr> {
    match (value.filter(|value| !value.is_none()), kind.cast::<PyType>()) {
        (None, Err(_)) => Ok(PyErr::from_value(kind.clone())),
        (None, Ok(class)) => Ok(PyErr::from_value(class.call0()?)),
        (Some(value), _) if value.is_instance(kind)? => Ok(PyErr::from_value(value.clone())),
        (Some(value), _) => Ok(PyErr::from_value(kind.call1(PyTuple::new(kind.py(), [value])?)?)),
    }
}

#[pymethods]
impl Coroutine {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.drive(py, Drive::On)
    }

    fn send<'py>(&self, py: Python<'py>, _value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.drive(py, Drive::On)
    }

    #[pyo3(signature = (kind, value=None, _traceback=None))]
    fn throw<'py>(
        &self,
        py: Python<'py>,
        kind: &Bound<'py, PyAny>,
        value: Option<&Bound<'py, PyAny>>,
        _traceback: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.drive(py, Drive::Throw(thrown(kind, value)?))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let before = std::mem::replace(&mut *self.state.lock(), State::Ended);
        match before {
            State::Waits(_, awaited) => match awaited.bind(py).getattr_opt(intern!(py, "close"))? {
                Some(close) => close.call0().map(drop),
                None => Ok(()),
            },
            State::New(_) | State::Runs | State::Ended => Ok(()),
        }
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        self.name
    }

    fn __repr__(&self) -> String {
        format!("<coroutine {}>", self.name)
    }
}

impl Drop for Coroutine {
    fn drop(&mut self) {
        if !matches!(self.state.get_mut(), State::New(_)) {
            return;
        }
        let sentence = format!("coroutine '{}' was never awaited", self.name);
        let text = std::ffi::CString::new(sentence).unwrap_or_default();
        let _ = Python::try_attach(|py| {
            if let Err(error) = PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 1) {
                error.write_unraisable(py, None);
            }
        });
    }
}
