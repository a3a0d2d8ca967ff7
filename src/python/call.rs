//! What a method waits for, said once for its two faces: a class whose methods wait, and one whose methods are awaited.
//!
//! A method that waits is written once, as a function that looks at its arguments and gives a [`Call`]: a future that
//! borrows nothing, and what Python is told of its output. `Admin.delete_topic` waits for it without the GIL;
//! `AsyncAdmin.delete_topic` makes a coroutine of it. So both have the same names, options, errors and documentation.

use std::future::Future;
use std::pin::Pin;

use pyo3::prelude::*;
use pyo3::{IntoPyObjectExt, PyClass};

use crate::client;

use super::awaitable::Running;
use super::coroutine::{Coroutine, Step};
use super::{errors, runtime};

/// Gives a result to Python.
type Told = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// See the module.
pub(crate) struct Call {
    future: Pin<Box<dyn Future<Output = Told> + Send>>,
    whole: bool,
}

impl Call {
    /// Waits for `future`, and gives Python what `told` makes of its output.
    pub(crate) fn new<T: Send + 'static>(
        future: impl Future<Output = client::Result<T>> + Send + 'static,
        told: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Call {
        Call::raw(future, move |py, output| told(py, output.map_err(errors::client)?))
    }

    /// As [`Call::new`], of a future that has errors of its own, or none.
    pub(crate) fn raw<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
        told: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Call {
        let future = async move {
            let output = future.await;
            Box::new(move |py: Python<'_>| told(py, output)) as Told
        };
        Call { future: Box::pin(future), whole: false }
    }

    /// When nobody awaits it any more, it goes on to its end all the same.
    pub(crate) fn whole(mut self) -> Call {
        self.whole = true;
        self
    }

    /// Waits for it without the GIL.
    pub(crate) fn wait(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        runtime::wait(py, self.future)?(py)
    }

    /// A coroutine that awaits it, and keeps `owner` (whose method it is) until it ends. Cancelling it ends the future where
    /// it is.
    pub(crate) fn later<T: PyClass>(self, name: &'static str, owner: &Bound<'_, T>) -> Coroutine {
        let mut call = Some(self);
        let mut running: Option<Running<Told>> = None;
        Coroutine::of(name, owner, move |py| {
            if let Some(call) = call.take() {
                let started = running.insert(Running::start(py, call.future, call.whole)?);
                return Ok(Step::Await(started.awaited(py)));
            }
            match running.take() {
                Some(ended) => ended.output()?(py).map(Step::Done),
                None => py.None().into_py_any(py).map(Step::Done),
            }
        })
    }
}

/// `None`, for a call that has nothing to tell.
pub(crate) fn nothing(py: Python<'_>, (): ()) -> PyResult<Py<PyAny>> {
    Ok(py.None())
}

/// The two faces of what stands behind two classes: `waits` has the methods that wait (the second class's are awaited),
/// `plain` those that are alike in both, and each class has a few of its own. `**configs` is what Python says so.
macro_rules! faces {
    (
        $behind:ident
        waits {
            $(
                $(#[$meta:meta])*
                fn $name:ident(&$this:ident, $py:ident $(, $arg:ident: $type:ty)* $(, ** $more:ident)? $(,)?) -> Call $body:block
            )*
        }
        plain {
            $(
                $(#[$plain_meta:meta])*
                fn $plain:ident(&$me:ident, $gil:ident $(, $given:ident: $kind:ty)* $(,)?) -> $result:ty $code:block
            )*
        }
        $sync:ident { $($sync_own:tt)* }
        $later:ident { $($later_own:tt)* }
    ) => {
        impl $behind {
            $(
                #[allow(clippy::too_many_arguments)]
                fn $name(
                    &$this,
                    $py: Python<'_>,
                    $($arg: $type,)*
                    $($more: Option<&Bound<'_, PyDict>>,)?
                ) -> PyResult<$crate::python::call::Call> {
                    let _ = $py;
                    $body
                }
            )*
            $(
                fn $plain(&$me, $gil: Python<'_>, $($given: $kind),*) -> PyResult<$result> {
                    let _ = $gil;
                    $code
                }
            )*
        }

        #[pymethods]
        impl $sync {
            $(
                $(#[$meta])*
                #[allow(clippy::too_many_arguments)]
                fn $name(
                    &self,
                    py: Python<'_>,
                    $($arg: $type,)*
                    $($more: Option<&Bound<'_, PyDict>>,)?
                ) -> PyResult<Py<PyAny>> {
                    self.0.$name(py, $($arg,)* $($more)?)?.wait(py)
                }
            )*
            $(
                $(#[$plain_meta])*
                fn $plain(&self, py: Python<'_>, $($given: $kind),*) -> PyResult<$result> {
                    self.0.$plain(py, $($given),*)
                }
            )*
            $($sync_own)*
        }

        #[pymethods]
        impl $later {
            $(
                $(#[$meta])*
                #[allow(clippy::too_many_arguments)]
                fn $name(
                    slf: &Bound<'_, Self>,
                    $($arg: $type,)*
                    $($more: Option<&Bound<'_, PyDict>>,)?
                ) -> PyResult<$crate::python::coroutine::Coroutine> {
                    let call = slf.get().0.$name(slf.py(), $($arg,)* $($more)?)?;
                    Ok(call.later(concat!(stringify!($later), ".", stringify!($name)), slf))
                }
            )*
            $(
                $(#[$plain_meta])*
                fn $plain(&self, py: Python<'_>, $($given: $kind),*) -> PyResult<$result> {
                    self.0.$plain(py, $($given),*)
                }
            )*
            $($later_own)*
        }
    };
}

pub(crate) use faces;
