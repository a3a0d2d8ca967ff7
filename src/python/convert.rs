//! From Python's values to the rooms' and back: bytes, configs, times.

use std::borrow::Cow;
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyInt, PyList, PyMemoryView, PyString, PyTuple};
use pyo3::{PyClass, PyClassInitializer};

use crate::common::ids::Timestamp;
use crate::config::ConfigError;

use super::errors;

/// Bytes that a record takes: borrowed from `bytes` and `str` (as UTF-8), copied once from whatever else has a buffer.
#[inline]
pub(crate) fn bytes<'a>(value: &'a Bound<'_, PyAny>, what: &str) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Cow::Borrowed(bytes.as_bytes()));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Cow::Borrowed(text.to_str()?.as_bytes()));
    }
    other_bytes(value, what).map(Cow::Owned)
}

#[cold]
fn other_bytes(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<u8>> {
    if let Ok(array) = value.cast::<PyByteArray>() {
        return Ok(array.to_vec());
    }
    let refused = || {
        let kind = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!(
            "{what} is {kind}: it must be bytes (or another buffer), str (sent as UTF-8) or None"
        ))
    };
    let view = PyMemoryView::from(value).map_err(|_| refused())?;
    Ok(view.call_method0("tobytes")?.cast_into::<PyBytes>()?.as_bytes().to_vec())
}

/// An object that the garbage collector does not look at. Of a hundred thousand deliveries it would look at each several
/// times, and find nothing: they hold what waits for them only until they are done.
#[inline]
pub(crate) fn untracked<T: PyClass + Into<PyClassInitializer<T>>>(py: Python<'_>, value: T) -> PyResult<Py<T>> {
    let made = Py::new(py, value)?;
    // SAFETY: it is an object that was made right here, and nobody else has it; one that is not tracked is left alone.
    #[allow(unsafe_code)]
    unsafe {
        if pyo3::ffi::PyObject_GC_IsTracked(made.as_ptr()) == 1 {
            pyo3::ffi::PyObject_GC_UnTrack(made.as_ptr().cast());
        }
    }
    Ok(made)
}

/// Keys and values as Kafka writes them: what `config` names with dots, then the keywords, underscores for dots.
/// A keyword that is `None` is left out.
pub(crate) fn configs(
    config: Option<&Bound<'_, PyDict>>,
    keywords: Option<&Bound<'_, PyDict>>,
) -> PyResult<Vec<(String, String)>> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |name: String, value: String| {
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
    };
    for (name, value) in config.into_iter().flatten() {
        let name = name.cast::<PyString>().map_err(|_| PyTypeError::new_err("the keys of config must be str"))?;
        let name = name.to_str()?.to_owned();
        if !value.is_none() {
            set(name.clone(), config_value(&name, &value)?);
        }
    }
    for (name, value) in keywords.into_iter().flatten() {
        let name = name.cast::<PyString>()?.to_str()?.replace('_', ".");
        if !value.is_none() {
            set(name.clone(), config_value(&name, &value)?);
        }
    }
    Ok(all)
}

/// One config's value as text: `True` is `true`, a list is joined with commas, numbers and text are what they are.
pub(crate) fn config_value(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(truth) = value.cast::<PyBool>() {
        return Ok(truth.is_true().to_string());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_str()?.to_owned());
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let parts: Vec<_> = value.try_iter()?.map(|part| config_value(name, &part?)).collect::<PyResult<_>>()?;
        return Ok(parts.join(","));
    }
    if value.is_instance_of::<PyInt>() || value.extract::<f64>().is_ok() || value.hasattr("__fspath__")? {
        return Ok(value.str()?.to_str()?.to_owned());
    }
    let kind = value.get_type().name()?;
    Err(PyTypeError::new_err(format!("{name} is {kind}: it must be str, int, float, bool, or a list of these")))
}

/// A config's refusal in Python's spelling: people wrote `linger_ms`.
pub(crate) fn config_error(error: &ConfigError) -> PyErr {
    errors::config(error)
}

/// A time to wait in seconds; `None` is for ever.
pub(crate) fn timeout(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let Some(seconds) = seconds else { return Ok(None) };
    match Duration::try_from_secs_f64(seconds.max(0.0)) {
        Ok(timeout) => Ok(Some(timeout)),
        // Longer than any interpreter runs.
        Err(_) if seconds > 0.0 => Ok(None),
        Err(_) => Err(errors::invalid(format!("timeout is {seconds}: it must be seconds, or None to wait for ever"))),
    }
}

/// A moment as Kafka has it: milliseconds since 1970, from an `int`, a `datetime` (naive ones are local time, as Python
/// has it) or a `str` in ISO 8601 (UTC where it names no zone).
pub(crate) fn timestamp(value: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() {
        return value.extract();
    }
    let py = value.py();
    let datetime = py.import("datetime")?;
    let moment = if let Ok(text) = value.cast::<PyString>() {
        // Python 3.10 does not know the Z.
        let text = text.to_str()?;
        let text = text.strip_suffix(['Z', 'z']).map_or_else(|| text.to_owned(), |rest| format!("{rest}+00:00"));
        let moment = datetime.getattr("datetime")?.call_method1("fromisoformat", (text,))?;
        if moment.getattr("tzinfo")?.is_none() {
            let zone = PyDict::new(py);
            zone.set_item("tzinfo", datetime.getattr("timezone")?.getattr("utc")?)?;
            moment.call_method("replace", (), Some(&zone))?
        } else {
            moment
        }
    } else if value.is_instance(&datetime.getattr("datetime")?)? {
        value.clone()
    } else {
        let kind = value.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "the timestamp is {kind}: it must be int (milliseconds since 1970), datetime, or str in ISO 8601"
        )));
    };
    let seconds: f64 = moment.call_method0("timestamp")?.extract()?;
    Ok((seconds * 1000.0).round() as Timestamp)
}

/// The moment of a timestamp, in UTC; `None` for -1, which means that there is none.
pub(crate) fn datetime(py: Python<'_>, timestamp: Timestamp) -> PyResult<Option<Bound<'_, PyAny>>> {
    if timestamp == -1 {
        return Ok(None);
    }
    let module = py.import("datetime")?;
    let utc = module.getattr("timezone")?.getattr("utc")?;
    let class = module.getattr("datetime")?;
    // Whole seconds and the rest apart: exact, and times before 1970 too.
    let (seconds, millis) = (timestamp.div_euclid(1000), timestamp.rem_euclid(1000));
    let moment = class.call_method1("fromtimestamp", (seconds, utc))?;
    let rest = PyDict::new(py);
    rest.set_item("microsecond", millis * 1000)?;
    moment.call_method("replace", (), Some(&rest)).map(Some)
}
