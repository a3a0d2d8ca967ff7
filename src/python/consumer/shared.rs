//! What both faces of a consumer do, once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::client::consumer::Consumer as Reader;
use crate::client::offsets::{CommittedOffset, ListedOffset};
use crate::client::{self};
use crate::common::ids::{Timestamp, TopicPartition};

use super::super::call::Call;
use super::super::message::Message;
use super::super::runtime::{self, Home};
use super::super::types::{self, Commit, Named};
use super::super::{convert, errors};
use super::CLOSE;
use super::inner::{Callbacks, Ends, Inner};

/// Behind both classes.
pub(super) struct Shared {
    pub(super) inner: Home<Arc<Inner>>,
}

impl Shared {
    #[inline]
    pub(super) fn inner(&self) -> PyResult<&Arc<Inner>> {
        self.inner.get()
    }

    /// Reads topics, or a pattern of them; what was read before is given up.
    pub(super) fn subscribe_to(
        &self,
        py: Python<'_>,
        topics: Option<Vec<String>>,
        pattern: Option<&Bound<'_, PyAny>>,
        callbacks: Callbacks,
    ) -> PyResult<()> {
        let inner = self.inner()?;
        let mut reader = inner.reader(py)?;
        inner.give_back(&mut reader, None);
        *inner.ends.lock() = Ends::default();
        inner.unresolved.lock().clear();
        let before = std::mem::replace(&mut *inner.callbacks.lock(), Arc::new(callbacks));
        drop(before);
        match (topics, pattern) {
            (Some(topics), None) if reader.config().group_id.is_some() => {
                reader.subscribe(topics).map_err(errors::client)
            }
            (Some(topics), None) => {
                *inner.unresolved.lock() = topics;
                if inner.shared {
                    return Ok(());
                }
                let resolved = runtime::wait(py, inner.resolve(&mut reader))?;
                inner.unresolved.lock().clear();
                resolved.map_err(errors::client)
            }
            (None, Some(pattern)) => {
                let text = match pattern.cast::<PyString>() {
                    Ok(text) => text.to_str()?.to_owned(),
                    Err(_) => pattern.getattr("pattern")?.extract()?,
                };
                reader.subscribe_pattern(&text).map_err(errors::client)
            }
            _ => Err(PyTypeError::new_err("subscribe takes topics or a pattern: one of them")),
        }
    }

    /// Looks up offsets by time.
    pub(super) fn listed(
        &self,
        wanted: HashMap<TopicPartition, Timestamp>,
        value: impl Fn(Python<'_>, &ListedOffset) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Call> {
        let inner = self.inner()?.clone();
        let looking = async move {
            let found = inner.acquire().await?.list_offsets(&wanted);
            found.await
        };
        Ok(Call::new(looking, move |py, found| {
            let told = types::by_partition(py, &found, |listed| Ok(value(py, listed)?.into_bound(py)))?;
            Ok(told.into_any().unbind())
        }))
    }

    /// Seeks, and drops what the buffer holds of the old place.
    pub(super) fn seek_with(
        &self,
        py: Python<'_>,
        partitions: Vec<TopicPartition>,
        seek: impl FnOnce(&mut Reader, &[TopicPartition]) -> client::Result<()>,
    ) -> PyResult<()> {
        let inner = self.inner()?;
        let mut reader = inner.reader(py)?;
        let all = if partitions.is_empty() { reader.assignment() } else { partitions };
        seek(&mut reader, &all).map_err(errors::client)?;
        inner.buffer.lock().forget(&all);
        Ok(())
    }

    pub(super) fn repr(&self, class: &str) -> PyResult<String> {
        let inner = self.inner()?;
        let state = if inner.closed.load(Ordering::Acquire) {
            ", closed".to_owned()
        } else {
            match inner.reader.try_lock() {
                Ok(reader) => format!(", {} partitions", reader.assignment().len()),
                Err(_) => ", polling".to_owned(),
            }
        };
        Ok(format!("<{class} of {}{state}>", inner.source.bootstrap()))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Ok(inner) = self.inner.get()
            && !inner.closed.load(Ordering::Acquire)
        {
            runtime::close_behind(inner.clone(), CLOSE);
        }
    }
}

/// The topics that `subscribe` is given.
pub(super) fn topic_names(topics: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<String>>> {
    match topics {
        // A text is a sequence of texts too, of one letter each.
        Some(one) if one.is_instance_of::<PyString>() => {
            let sentence = format!("topics is a str: it must be a list of names, as in [{}]", one.repr()?);
            Err(PyTypeError::new_err(sentence))
        }
        topics => topics.map(|topics| topics.extract::<Vec<String>>()).transpose(),
    }
}

/// How many messages `poll` is to return.
pub(super) fn most(max_records: Option<i64>) -> PyResult<Option<usize>> {
    match max_records {
        Some(most) if most < 1 => Err(errors::invalid(format!("max_records is {most}: it must be at least 1"))),
        most => Ok(most.map(|most| usize::try_from(most).unwrap_or(usize::MAX))),
    }
}

/// The offsets that `commit` is to commit; `None` for all that was handed out.
pub(super) fn offsets(
    offsets: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<HashMap<TopicPartition, CommittedOffset>>> {
    let Some(offsets) = offsets else { return Ok(None) };
    if let Ok(message) = offsets.cast::<Message>() {
        let (partition, committed) = message.get().committed();
        return Ok(Some(HashMap::from([(partition, committed)])));
    }
    let offsets: HashMap<Named, Commit> = offsets.extract()?;
    Ok(Some(offsets.into_iter().map(|(named, commit)| (named.0, commit.0)).collect()))
}

/// Times to look up, by partition.
pub(crate) fn wanted_times(
    timestamps: HashMap<Named, Bound<'_, PyAny>>,
) -> PyResult<HashMap<TopicPartition, Timestamp>> {
    timestamps.into_iter().map(|(named, time)| Ok((named.0, convert::timestamp(&time)?))).collect()
}

/// A record that was looked up by time.
pub(crate) fn found_time(py: Python<'_>, listed: &ListedOffset) -> PyResult<Py<PyAny>> {
    if listed.offset < 0 {
        return Ok(py.None());
    }
    let fields = (listed.offset, listed.timestamp, types::epoch(listed.leader_epoch));
    Ok(types::tuple(py, "OffsetAndTimestamp", fields)?.unbind())
}

/// An offset that was looked up.
pub(crate) fn found_offset(py: Python<'_>, listed: &ListedOffset) -> PyResult<Py<PyAny>> {
    Ok(listed.offset.into_pyobject(py)?.into_any().unbind())
}
