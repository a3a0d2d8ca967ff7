//! The data dir of a broker that has stopped, ours or Apache Kafka's: its topics, read without a broker.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::arrow::{LogSource, Source as _};
use crate::common::ids::Offset;
use crate::log::fs::RealFs;
use crate::log::{ReadOnlyDir, StorageError};
use crate::protocol::ErrorCode;

use super::runtime::{self, Home};
use super::scan::{Given, Origin};
use super::topic::{bytes, grouped};
use super::{errors, scan};

/// How Kafka's own topics begin.
const INTERNAL: &str = "__";

pub(super) fn error(error: StorageError) -> PyErr {
    let sentence = error.to_string();
    match error {
        StorageError::Io { source, .. } => PyOSError::new_err((source.raw_os_error(), sentence)),
        StorageError::NoDataDir { .. } => PyValueError::new_err(sentence),
        _ => errors::coded(ErrorCode::KAFKA_STORAGE_ERROR, sentence),
    }
}

/// Open the data dir (`log.dirs`) of a broker that has stopped, to read its topics as tables; no broker runs.
///
/// It may be this package's or Apache Kafka's, closed cleanly or killed: after a kill the log is read up to its last whole
/// batch, and what is left out is told in `DataDirTopic.notes`. It is only read: not one byte of it changes, and no lock
/// file is made. While a broker runs on it `KafkaStorageError` is raised, and says which process that is; `OSError` where it
/// cannot be read, and `ValueError` where it is no data dir.
///
/// >>> import tempfile
/// >>> import strandline as sl
/// >>> folder = tempfile.TemporaryDirectory()
/// >>> with sl.Cluster(folder.name) as cluster:
/// ...     with cluster.producer() as producer:
/// ...         for carrier in ("UA", "AA"):
/// ...             _ = producer.send("flights", key=carrier)
/// >>> data = sl.open_log(folder.name)
/// >>> data.topics()
/// ['flights']
/// >>> data.topic("flights").scan(columns=["offset", "key"], key="utf8").to_polars().rows()
/// [(0, 'UA'), (1, 'AA')]
#[pyfunction]
pub(super) fn open_log(py: Python<'_>, data_dir: PathBuf) -> PyResult<DataDir> {
    let opened = runtime::outside(py, || ReadOnlyDir::open(RealFs::shared(), &data_dir));
    Ok(DataDir { inner: Home::new("data dir", Arc::new(opened.map_err(error)?)) })
}

/// The data dir of a broker that has stopped; made by `open_log`.
#[pyclass(frozen, module = "strandline")]
pub(crate) struct DataDir {
    inner: Home<Arc<ReadOnlyDir>>,
}

/// How many partitions of which topics the dir holds.
fn topics(dir: &ReadOnlyDir) -> PyResult<BTreeMap<String, usize>> {
    let mut topics = BTreeMap::new();
    for partition in dir.partitions().map_err(error)? {
        *topics.entry(partition.topic.to_string()).or_default() += 1;
    }
    Ok(topics)
}

fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", grouped(count as i64), if count == 1 { "" } else { "s" })
}

#[pymethods]
impl DataDir {
    /// The folder.
    #[getter]
    fn path(&self) -> PyResult<&Path> {
        Ok(self.inner.get()?.root())
    }

    /// The names of its topics, in order; with `internal` also Kafka's own, which begin with `__`.
    #[pyo3(signature = (internal=false))]
    fn topics(&self, internal: bool) -> PyResult<Vec<String>> {
        let names = topics(self.inner.get()?)?.into_keys();
        Ok(names.filter(|name| internal || !name.starts_with(INTERNAL)).collect())
    }

    /// Look at a topic: its logs are opened now, and end where they end now.
    ///
    /// Raises `UnknownTopicOrPartitionError` where it has no folder here, and as `open_log`.
    fn topic(&self, py: Python<'_>, name: &str) -> PyResult<DataDirTopic> {
        let dir = self.inner.get()?;
        let Some((source, notes)) = runtime::outside(py, || LogSource::in_dir(dir, name)).map_err(error)? else {
            let known: Vec<_> = topics(dir)?.into_keys().filter(|known| !known.starts_with(INTERNAL)).collect();
            let sentence = format!("topic {name}: {} has {}", dir.root().display(), known.join(", "));
            return Err(errors::coded(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, sentence));
        };
        Ok(DataDirTopic { inner: Home::new("topic", (source, notes)), dir: dir.root().to_owned() })
    }

    fn __repr__(&self) -> PyResult<String> {
        let dir = self.inner.get()?;
        let topics: Vec<_> = topics(dir)?.into_iter().filter(|(name, _)| !name.starts_with(INTERNAL)).collect();
        let partitions = topics.iter().map(|(_, count)| count).sum();
        let whose = dir.meta().map_or(String::new(), |meta| format!(", of node {}", meta.node_id));
        let state = if dir.is_clean().map_err(error)? { "closed cleanly" } else { "not closed cleanly" };
        Ok(format!(
            "DataDir '{}': {}, {}{whose}, {state}",
            dir.root().display(),
            counted(topics.len(), "topic"),
            counted(partitions, "partition")
        ))
    }
}

/// A topic in the data dir of a broker that has stopped; made by `DataDir.topic`.
///
/// It holds the partitions that this broker had, up to the end of their logs, whatever other brokers of its cluster know.
#[pyclass(frozen, module = "strandline")]
pub(crate) struct DataDirTopic {
    inner: Home<(LogSource, Vec<String>)>,
    dir: PathBuf,
}

impl DataDirTopic {
    fn source(&self) -> PyResult<&LogSource> {
        Ok(&self.inner.get()?.0)
    }
}

#[pymethods]
impl DataDirTopic {
    /// Its name.
    #[getter]
    fn name(&self) -> PyResult<&str> {
        Ok(self.source()?.topic())
    }

    /// What there is of each partition: its first offset, and the offset behind its last.
    #[getter]
    fn ranges(&self) -> PyResult<BTreeMap<i32, (Offset, Offset)>> {
        let logs = self.source()?.partitions().iter();
        Ok(logs.map(|(index, local)| (*index, (local.reader.log_start_offset(), local.end))).collect())
    }

    /// How many offsets lie between the ends of its partitions: its records, unless it was compacted.
    #[getter]
    fn record_count(&self) -> PyResult<Offset> {
        Ok(self.ranges()?.values().map(|(start, end)| end - start).sum())
    }

    /// How many bytes its records take, as they lie there.
    #[getter]
    fn size(&self) -> PyResult<u64> {
        Ok(self.source()?.partitions().values().map(|local| local.reader.size()).sum())
    }

    /// What was found damaged and is left out, in sentences; empty where all is well.
    #[getter]
    fn notes(&self) -> PyResult<Vec<String>> {
        Ok(self.inner.get()?.1.clone())
    }

    /// Read it as a table: as `Topic.scan`, but for `committed`, which only a running cluster can tell.
    #[pyo3(
        signature = (
            start=None, end=None, *, partitions=None, columns=None, key="binary", value="binary", schema=None,
            binary="auto", errors="raise", batch_rows=None, limit=None, isolation="read_uncommitted"
        ),
        text_signature = "($self, start='earliest', end='latest', *, partitions=None, columns=None, key='binary', \
            value='binary', schema=None, binary='auto', errors='raise', batch_rows=None, limit=None, isolation='read_uncommitted')"
    )]
    #[allow(clippy::too_many_arguments)]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        start: Option<&Bound<'py, PyAny>>,
        end: Option<&Bound<'py, PyAny>>,
        partitions: Option<Vec<i32>>,
        columns: Option<&Bound<'py, PyAny>>,
        key: &str,
        value: &str,
        schema: Option<&Bound<'py, PyAny>>,
        binary: &str,
        errors: &str,
        batch_rows: Option<usize>,
        limit: Option<u64>,
        isolation: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let source = self.source()?;
        let given = Given {
            start,
            end,
            partitions,
            columns,
            key,
            value,
            schema,
            binary,
            errors,
            batch_rows,
            limit,
            isolation,
            follows: false,
        };
        scan::make(py, &Origin::Logs(source, &self.dir), source.topic(), given)
    }

    fn __repr__(&self) -> PyResult<String> {
        let (source, notes) = self.inner.get()?;
        let partitions = counted(source.partitions().len(), "partition");
        let records = grouped(self.record_count()?);
        let size = bytes(i64::try_from(self.size()?).unwrap_or(i64::MAX));
        let damage = if notes.is_empty() { "" } else { ", damaged: see its notes" };
        Ok(format!("Topic '{}' in a data dir: {partitions}, {records} records, {size}{damage}", source.topic()))
    }
}
