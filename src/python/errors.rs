//! From the errors of the rooms below to Python's exceptions.
//!
//! The classes live in `strandline/errors.py`, made from [`ErrorCode`]'s table: each code has one, with `code`, `name`
//! and `retriable`. The client's own errors have Kafka's codes where Kafka's client would say so (a wait that ran out is
//! REQUEST_TIMED_OUT), and few classes of their own.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

use crate::client::ClientError;
use crate::config::ConfigError;
use crate::protocol::ErrorCode;

use super::runtime;

/// The table that `strandline.errors` makes its classes from: code, name, whether retriable, and what it means.
#[pyfunction]
pub(super) fn _error_table() -> Vec<(i16, &'static str, bool, &'static str)> {
    let errors = ErrorCode::all().filter(|code| !code.is_none());
    errors.map(|code| (code.code(), code.name(), code.retriable(), code.message())).collect()
}

fn module(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    Ok(py.import("strandline.errors")?.into_any())
}

/// An exception of the class that a code has.
pub(crate) fn coded(code: ErrorCode, sentence: String) -> PyErr {
    Python::attach(|py| {
        static BY_CODE: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
        let make = || -> PyResult<PyErr> {
            let table = BY_CODE.get_or_try_init(py, || -> PyResult<_> {
                Ok(module(py)?.getattr("_BY_CODE")?.cast_into::<PyDict>()?.unbind())
            })?;
            let class = match table.bind(py).get_item(code.code())? {
                Some(class) => class.cast_into::<PyType>()?,
                None => module(py)?.getattr("KafkaError")?.cast_into::<PyType>()?,
            };
            let error = PyErr::from_type(class, (sentence,));
            if !code.is_known() {
                error.value(py).setattr("code", code.code())?;
            }
            Ok(error)
        };
        make().unwrap_or_else(|error| error)
    })
}

/// An exception of a class of `strandline.errors` that has no code of its own.
fn named(class: &str, sentence: String) -> PyErr {
    if class == "ClosedError" {
        runtime::sleep_if_ending();
    }
    Python::attach(|py| {
        let make = || -> PyResult<PyErr> {
            let class = module(py)?.getattr(PyString::new(py, class))?.cast_into::<PyType>()?;
            Ok(PyErr::from_type(class, (sentence,)))
        };
        make().unwrap_or_else(|error| error)
    })
}

/// What a client says.
pub(crate) fn client(error: ClientError) -> PyErr {
    let sentence = error.to_string();
    match error {
        ClientError::Kafka { code, .. } => coded(code, sentence),
        ClientError::Timeout { .. } => coded(ErrorCode::REQUEST_TIMED_OUT, sentence),
        ClientError::Disconnected { .. } => coded(ErrorCode::NETWORK_EXCEPTION, sentence),
        ClientError::UnsupportedVersion { .. } | ClientError::Request(_) => {
            coded(ErrorCode::UNSUPPORTED_VERSION, sentence)
        }
        ClientError::Response { .. } => coded(ErrorCode::UNKNOWN_SERVER_ERROR, sentence),
        ClientError::Batch { .. } => coded(ErrorCode::CORRUPT_MESSAGE, sentence),
        ClientError::Config(_) => coded(ErrorCode::INVALID_CONFIG, sentence),
        ClientError::Invalid(_) => coded(ErrorCode::INVALID_REQUEST, sentence),
        ClientError::NoOffset(_) => named("NoOffsetForPartitionError", sentence),
        ClientError::BufferFull { .. } => named("BufferExhaustedError", sentence),
        ClientError::Closed(_) => named("ClosedError", sentence),
    }
}

/// What a configuration says.
pub(crate) fn config(error: &ConfigError) -> PyErr {
    coded(ErrorCode::INVALID_CONFIG, error.to_string())
}

/// A wait that ran out: what was not so in time, and how long it was waited for.
pub(crate) fn timed_out(what: &str, after: Option<Duration>) -> PyErr {
    coded(ErrorCode::REQUEST_TIMED_OUT, format!("{what} after {:?}", after.unwrap_or_default()))
}

/// An argument that makes no sense; the sentence says what would.
pub(crate) fn invalid(sentence: impl Into<String>) -> PyErr {
    coded(ErrorCode::INVALID_REQUEST, sentence.into())
}

/// Something that was closed is used again.
pub(crate) fn closed(what: &str) -> PyErr {
    named("ClosedError", format!("the {what} is closed"))
}

/// Something of the parent's is used in its forked child.
pub(crate) fn forked(what: &str) -> PyErr {
    named("ForkedError", format!("this {what} was made before os.fork(): make a new one in the child process"))
}
