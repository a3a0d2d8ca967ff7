//! The clock of a cluster in this process: read, and moved where it was made to be moved.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

use crate::common::clock::{Clock as _, ManualClock, SharedClock, SystemClock, TimeOfDay, duration_millis};
use crate::common::ids::Timestamp;

use super::cluster::Brokers;
use super::runtime::{self, Home};
use super::{convert, errors};

/// The last moment that a `datetime` can tell.
const LAST: Timestamp = 253_402_300_799_999;

/// The clock that a cluster goes by.
#[derive(Clone)]
pub(crate) enum Time {
    /// The machine's.
    System,
    /// One that stands still until it is moved.
    Manual(Arc<ManualClock>),
}

impl Time {
    /// The clock of this name.
    pub(crate) fn named(name: &str) -> PyResult<Time> {
        match name {
            "system" => Ok(Time::System),
            "manual" => Ok(Time::Manual(ManualClock::new(SystemClock::shared().now()))),
            other => {
                let sentence = format!("clock is {other:?}: it must be 'system' or 'manual'");
                Err(PyValueError::new_err(sentence))
            }
        }
    }

    /// What the cluster's clients go by: its time of day, and the machine's waits.
    pub(crate) fn of_clients(&self) -> SharedClock {
        match self {
            Time::System => SystemClock::shared(),
            Time::Manual(clock) => Arc::new(TimeOfDay { day: clock.clone(), waits: SystemClock::shared() }),
        }
    }

    fn now(&self) -> Timestamp {
        match self {
            Time::System => SystemClock::shared().now(),
            Time::Manual(clock) => clock.now(),
        }
    }
}

/// The clock of a cluster; `cluster.clock`.
///
/// That of `Cluster(clock="manual")` stands still until `advance` moves it, and everything that the broker does by time
/// goes by it: retention, compaction, session timeouts, the expiry of offsets, `log_append_time`. Clients wait by the
/// machine's time as ever; those that the cluster makes stamp their records with its time.
///
/// >>> from strandline import Cluster
/// >>> with Cluster(clock="manual", log_retention_hours=168) as cluster:
/// ...     topic = cluster.create_topic("flights")
/// ...     with cluster.producer() as producer:
/// ...         _ = producer.send("flights", "of last week")
/// ...     before = cluster.clock.now
/// ...     cluster.clock.advance("8d")
/// ...     print(cluster.clock.now - before, topic.record_count)
/// 8 days, 0:00:00 0
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Clock {
    inner: Home<(Time, Arc<Brokers>)>,
}

impl Clock {
    pub(crate) fn new(time: Time, brokers: Arc<Brokers>) -> Clock {
        Clock { inner: Home::new("clock", (time, brokers)) }
    }
}

#[pymethods]
impl Clock {
    /// The time, as a `datetime` in UTC.
    #[getter]
    fn now<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        convert::datetime(py, self.timestamp()?)
    }

    /// The time, in milliseconds since 1970, as messages have it.
    #[getter]
    fn timestamp(&self) -> PyResult<Timestamp> {
        Ok(self.inner.get()?.0.now())
    }

    /// Move the time on by `duration` ("90s", "15m", "12h", "7d", seconds, or a `timedelta`), and wait until all that was
    /// due in it is done.
    ///
    /// What was due is done at the new time, and once, as if the cluster had slept meanwhile: no member of a group was
    /// heard from, and retention runs one time. Where one thing leads to another at a later time, move it on again. Only a
    /// manual clock can be moved: others raise `RuntimeError`.
    fn advance(&self, py: Python<'_>, duration: &Bound<'_, PyAny>) -> PyResult<()> {
        let (time, brokers) = self.inner.get()?;
        let Time::Manual(clock) = time else {
            let sentence =
                "this cluster goes by the machine's clock: Cluster(clock=\"manual\") has one that can be moved";
            return Err(PyRuntimeError::new_err(sentence));
        };
        let duration = length(duration)?;
        if i64::try_from(duration.as_millis()).is_ok_and(|millis| clock.now() > LAST - millis) {
            return Err(PyValueError::new_err("duration leads beyond the year 9999"));
        }
        if brokers.is_closed() {
            return Err(errors::closed("cluster"));
        }
        runtime::wait(py, clock.pass(duration))
    }

    fn __repr__(&self) -> PyResult<String> {
        let (time, _) = self.inner.get()?;
        let what = match time {
            Time::System => "the machine's",
            Time::Manual(_) => "moved by hand",
        };
        Ok(format!("<Clock, {what}: {} ms since 1970>", time.now()))
    }
}

/// A length of time that was given.
fn length(given: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let refused = || {
        let shown = given.repr().map_or_else(|_| "?".to_owned(), |shown| shown.to_string());
        format!(
            "duration is {shown}: it must be like '90s', '15m', '12h' or '7d', seconds, or a timedelta, and not below 0"
        )
    };
    let wrong = || PyValueError::new_err(refused());
    let seconds = if let Ok(text) = given.cast::<PyString>() {
        duration_millis(text.to_str()?).ok_or_else(wrong)? / 1000.0
    } else if (given.is_instance_of::<PyInt>() && !given.is_instance_of::<PyBool>())
        || given.is_instance_of::<PyFloat>()
    {
        given.extract::<f64>()?
    } else if given.is_instance(&given.py().import("datetime")?.getattr("timedelta")?)? {
        given.call_method0("total_seconds")?.extract()?
    } else {
        return Err(PyTypeError::new_err(refused()));
    };
    // Time has no parts of a millisecond here, and whoever looks at it reads whole ones.
    let millis = (seconds * 1000.0).round();
    if (0.0..=LAST as f64).contains(&millis) { Ok(Duration::from_millis(millis as u64)) } else { Err(wrong()) }
}
