//! The named tuples of `strandline/types.py`: made here, defined there.

use std::collections::HashMap;

use pyo3::call::PyCallArgs;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList};

use crate::client::offsets::CommittedOffset;
use crate::common::ids::{LeaderEpoch, Offset, TopicPartition};

/// One of the tuples, by its class's name.
pub(crate) fn tuple<'py>(py: Python<'py>, class: &str, fields: impl PyCallArgs<'py>) -> PyResult<Bound<'py, PyAny>> {
    py.import("strandline.types")?.getattr(class)?.call1(fields)
}

/// The epoch, unless the broker did not say.
pub(crate) fn epoch(epoch: LeaderEpoch) -> Option<LeaderEpoch> {
    (epoch >= 0).then_some(epoch)
}

/// A partition.
pub(crate) fn partition<'py>(py: Python<'py>, partition: &TopicPartition) -> PyResult<Bound<'py, PyAny>> {
    tuple(py, "TopicPartition", (&partition.topic, partition.partition))
}

/// A list of partitions, in their order.
pub(crate) fn partitions<'py>(py: Python<'py>, partitions: &[TopicPartition]) -> PyResult<Bound<'py, PyList>> {
    let mut sorted: Vec<_> = partitions.iter().collect();
    sorted.sort();
    PyList::new(py, sorted.into_iter().map(|one| partition(py, one)).collect::<PyResult<Vec<_>>>()?)
}

/// What a group committed.
pub(crate) fn committed<'py>(py: Python<'py>, committed: &CommittedOffset) -> PyResult<Bound<'py, PyAny>> {
    tuple(py, "CommittedOffset", (committed.offset, &committed.metadata, epoch(committed.leader_epoch)))
}

/// A dict by partition, in their order.
pub(crate) fn by_partition<'py, T>(
    py: Python<'py>,
    values: &HashMap<TopicPartition, T>,
    mut value: impl FnMut(&T) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut sorted: Vec<_> = values.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let dict = PyDict::new(py);
    for (name, found) in sorted {
        dict.set_item(partition(py, name)?, value(found)?)?;
    }
    Ok(dict)
}

/// A partition as Python names it: a `TopicPartition` or any (topic, partition) pair.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Named(pub(crate) TopicPartition);

impl<'py> FromPyObject<'_, 'py> for Named {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Named> {
        let (topic, partition): (String, i32) = object.extract()?;
        Ok(Named(TopicPartition { topic, partition }))
    }
}

/// The partitions, plainly.
pub(crate) fn names(named: Vec<Named>) -> Vec<TopicPartition> {
    named.into_iter().map(|named| named.0).collect()
}

/// An offset to commit: a number, or a `CommittedOffset`.
pub(crate) struct Commit(pub(crate) CommittedOffset);

impl<'py> FromPyObject<'_, 'py> for Commit {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Commit> {
        if object.is_instance_of::<PyInt>() {
            let offset: Offset = object.extract()?;
            return Ok(Commit(CommittedOffset::new(offset)));
        }
        let (offset, metadata, epoch): (Offset, String, Option<LeaderEpoch>) = object.extract()?;
        Ok(Commit(CommittedOffset { offset, metadata, leader_epoch: epoch.unwrap_or(-1) }))
    }
}
