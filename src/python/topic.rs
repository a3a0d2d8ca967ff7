//! A topic by its name: what it holds, asked when it is wanted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::client::admin::configs::Resource;
use crate::client::metadata::TopicView;
use crate::client::offsets::{EARLIEST, LATEST};
use crate::client::{ClientError, Result};
use crate::common::ids::{Offset, TopicPartition};
use crate::protocol::ErrorCode;

use super::runtime::{self, Home};
use super::scan::{Given, Origin};
use super::source::Source;
use super::stream::{self, Following};
use super::{admin, convert, errors, scan, types};

/// How long a repr waits for the cluster.
const PATIENCE: Duration = Duration::from_secs(2);

/// A topic of a cluster, by its name; each property asks the cluster anew.
///
/// Made by `Cluster.topic`, `Cluster.create_topic` and their like on a `Client`. Its repr tells what it holds.
///
/// >>> from strandline import Cluster
/// >>> with Cluster() as cluster:
/// ...     cluster.create_topic("flights", partitions=4)
/// Topic 'flights': 4 partitions, 0 records, 0 bytes, replication 1, in sync
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Topic {
    inner: Home<(Arc<Source>, String)>,
}

/// Makes one topic.
pub(crate) fn create(
    py: Python<'_>,
    source: &Arc<Source>,
    name: &str,
    partitions: i32,
    replication_factor: Option<i16>,
    configs: Vec<(String, String)>,
) -> PyResult<Py<PyAny>> {
    admin::create_topics(source, [(name.to_owned(), partitions)], replication_factor, configs, true)?.wait(py)
}

/// The one result of a call about one thing.
fn only<K, T>(each: Result<Vec<(K, Result<T>)>>) -> Result<T> {
    let unanswered = || Err(ClientError::kafka(ErrorCode::UNKNOWN_SERVER_ERROR, "the broker did not answer"));
    each?.into_iter().next().map_or_else(unanswered, |(_, result)| result)
}

impl Topic {
    pub(crate) fn new(source: &Arc<Source>, name: &str) -> Topic {
        Topic { inner: Home::new("topic", (source.clone(), name.to_owned())) }
    }

    fn parts(&self) -> PyResult<(&Arc<Source>, &str)> {
        self.inner.get().map(|(source, name)| (source, name.as_str()))
    }

    fn view(&self, py: Python<'_>) -> PyResult<Arc<TopicView>> {
        let (source, name) = self.parts()?;
        let admin = source.admin()?;
        runtime::wait(py, async { only(admin.describe_topics(&[name.to_owned()]).await) })?.map_err(errors::client)
    }

    fn offsets(&self, py: Python<'_>, timestamp: i64) -> PyResult<Vec<Offset>> {
        let (source, name) = self.parts()?;
        let admin = source.admin()?;
        let asking = async {
            let view = only(admin.describe_topics(&[name.to_owned()]).await)?;
            offsets(admin, &view, timestamp).await
        };
        runtime::wait(py, asking)?.map_err(errors::client)
    }
}

type Client = crate::client::admin::Admin;

fn partitions(view: &TopicView) -> Vec<TopicPartition> {
    (0..view.partitions.len()).map(|index| TopicPartition::new(&*view.name, index as i32)).collect()
}

async fn offsets(admin: &Client, view: &TopicView, timestamp: i64) -> Result<Vec<Offset>> {
    let names = partitions(view);
    let wanted: HashMap<_, _> = names.iter().map(|name| (name.clone(), timestamp)).collect();
    let found = admin.list_offsets(&wanted).await?;
    Ok(names.iter().map(|name| found.get(name).map_or(0, |listed| listed.offset)).collect())
}

async fn record_count(admin: &Client, view: &TopicView) -> Result<Offset> {
    let earliest: Offset = offsets(admin, view, EARLIEST).await?.iter().sum();
    let latest: Offset = offsets(admin, view, LATEST).await?.iter().sum();
    Ok(latest - earliest)
}

/// The bytes that the leaders hold.
async fn size(admin: &Client, view: &TopicView) -> Result<i64> {
    let mut size = 0;
    for (broker, dirs) in admin.describe_log_dirs(&[]).await? {
        for replica in dirs?.iter().flat_map(|dir| &dir.replicas) {
            let TopicPartition { topic, partition } = &replica.partition;
            let known = usize::try_from(*partition).ok().and_then(|index| view.partitions.get(index));
            let leads = **topic == *view.name && known.is_some_and(|known| known.leader == Some(broker));
            if leads && !replica.is_future {
                size += replica.size;
            }
        }
    }
    Ok(size)
}

/// The topic in words.
async fn told(admin: &Client, name: &str) -> Result<String> {
    let view = match only(admin.describe_topics(&[name.to_owned()]).await) {
        Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => return Ok("not there".to_owned()),
        view => view?,
    };
    let count = view.partitions.len();
    let replicas = view.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(0);
    let behind = view.partitions.iter().filter(|partition| partition.isr.len() < partition.replicas.len()).count();
    let state = match behind {
        0 => "in sync".to_owned(),
        behind => format!("{behind} of them not in sync"),
    };
    let plural = if count == 1 { "" } else { "s" };
    let records = grouped(record_count(admin, &view).await?);
    let size = bytes(size(admin, &view).await?);
    Ok(format!("{count} partition{plural}, {records} records, {size}, replication {replicas}, {state}"))
}

/// A number with commas between its thousands.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// A size as people say it.
pub(super) fn bytes(size: i64) -> String {
    let (mut value, mut unit) = (size as f64 / 1000.0, "kB");
    if size < 1000 {
        return format!("{size} bytes");
    }
    for larger in ["MB", "GB", "TB"] {
        if value < 999.95 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    format!("{value:.1} {unit}")
}

#[pymethods]
impl Topic {
    /// Its name.
    #[getter]
    fn name(&self) -> PyResult<&str> {
        Ok(self.parts()?.1)
    }

    /// How many partitions it has.
    #[getter]
    fn partitions(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.view(py)?.partitions.len())
    }

    /// How many replicas its partitions have.
    #[getter]
    fn replication_factor(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.view(py)?.partitions.first().map_or(0, |partition| partition.replicas.len()))
    }

    /// How many offsets lie between the ends of its partitions: its records, unless it was compacted.
    #[getter]
    fn record_count(&self, py: Python<'_>) -> PyResult<Offset> {
        let (source, name) = self.parts()?;
        let admin = source.admin()?;
        let asking = async {
            let view = only(admin.describe_topics(&[name.to_owned()]).await)?;
            record_count(admin, &view).await
        };
        runtime::wait(py, asking)?.map_err(errors::client)
    }

    /// How many bytes its records take on disk, as they lie there, counted once whatever the replication.
    #[getter]
    fn size(&self, py: Python<'_>) -> PyResult<i64> {
        let (source, name) = self.parts()?;
        let admin = source.admin()?;
        let asking = async {
            let view = only(admin.describe_topics(&[name.to_owned()]).await)?;
            size(admin, &view).await
        };
        runtime::wait(py, asking)?.map_err(errors::client)
    }

    /// The offset of the first record that is still there, for each partition in order.
    fn earliest_offsets(&self, py: Python<'_>) -> PyResult<Vec<Offset>> {
        self.offsets(py, EARLIEST)
    }

    /// The offset behind the last record, for each partition in order.
    fn latest_offsets(&self, py: Python<'_>) -> PyResult<Vec<Offset>> {
        self.offsets(py, LATEST)
    }

    /// How many records it got, and when: the time from its first record to its newest, cut into `buckets` equal spans, as
    /// a list of `TimeSpan`. Brokers tell it from their time indexes, without reading a record; what compaction removed
    /// counts. Empty where there are no records.
    ///
    /// >>> from strandline import Cluster
    /// >>> with Cluster() as cluster:
    /// ...     topic = cluster.create_topic("flights")
    /// ...     with cluster.producer() as producer:
    /// ...         for hour in (0, 0, 1, 3, 3, 3):
    /// ...             _ = producer.send("flights", "v", timestamp=f"2013-01-01T0{hour}:00")
    /// ...     [span.records for span in topic.records_over_time(4)]
    /// [2, 1, 0, 3]
    #[pyo3(signature = (buckets=24))]
    fn records_over_time<'py>(&self, py: Python<'py>, buckets: usize) -> PyResult<Bound<'py, PyList>> {
        if !(1..=1000).contains(&buckets) {
            return Err(PyValueError::new_err(format!("buckets is {buckets}: it must be 1 to 1000")));
        }
        let (source, name) = self.parts()?;
        let admin = source.admin()?;
        let asking = async {
            let view = only(admin.describe_topics(&[name.to_owned()]).await)?;
            admin.records_over_time(&partitions(&view), buckets).await
        };
        let spans = runtime::wait(py, asking)?.map_err(errors::client)?.into_iter().map(|span| {
            let moment = |timestamp| convert::datetime(py, timestamp);
            types::tuple(py, "TimeSpan", (moment(span.start)?, moment(span.end)?, span.records))
        });
        PyList::new(py, spans.collect::<PyResult<Vec<_>>>()?)
    }

    /// Read it as a table: a `Scan` of its records from `start` up to `end`, which is fixed now.
    ///
    /// `start` and `end` are an offset, a list or dict of offsets by partition, a `datetime` or ISO 8601 (the first record
    /// that is not older; UTC where a text names no zone), a `timedelta` or a duration back from now ("90s", "15m", "12h",
    /// "7d"), "earliest", "latest", or `committed(group_id)`. The record at `end` is no longer part of it.
    ///
    /// The columns are `partition`, `offset`, `timestamp`, `key`, `value` and `headers`; `columns` chooses among them, or as
    /// a dict gives them other names. `key` and `value` say what the bytes are: "binary", "utf8", or a number as Kafka's
    /// serializers write it ("int16", "int32", "int64", "float32", "float64"). A `value` that is "json", an object, becomes a
    /// column a field, with the names and types of `schema` (a `pyarrow.Schema` and its like), or by default those that the
    /// first thousand records or so tell; a field that a record's own columns hide is `value.field`. What cannot be decoded
    /// is raised (`errors="raise"`), made null ("null"), or told in a column of its own besides ("column": `error`, which
    /// column it was, its bytes, and why). `binary` is how bytes lie in memory: "view" without a copy, "large" and
    /// "small" in one run; "auto" is views through Arrow's stream interface, and large where pyarrow and pandas work on it.
    ///
    /// `batch_rows` are the most rows of one record batch (65,536 by default), `limit` those of all. With `isolation`
    /// "read_committed" records of open and aborted transactions are left out. Raises `UnknownTopicOrPartitionError`,
    /// and `ValueError` for what makes no sense.
    ///
    /// >>> from strandline import Cluster
    /// >>> with Cluster() as cluster:
    /// ...     with cluster.producer() as producer:
    /// ...         for carrier in ("UA", "AA", "UA"):
    /// ...             _ = producer.send("flights", key=carrier)
    /// ...     scan = cluster.topic("flights").scan(start=1, columns=["offset", "key"], key="utf8")
    /// ...     scan.to_polars().rows()
    /// [(1, 'AA'), (2, 'UA')]
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
        let (source, name) = self.parts()?;
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
        scan::make(py, &Origin::Cluster(source), name, given)
    }

    /// Follow it: a `Stream` of its records from `start` on, as Arrow batches that come when records do, without an end.
    ///
    /// `start` is as in `scan`, and fixed now: "latest" is what comes after this call. The columns, and how they are read,
    /// are chosen as in `scan`; where the fields of JSON are not given, the records that the topic has tell them. A batch is
    /// handed out when it has `batch_rows` rows (65,536 by default) or is large (about 32 MiB), or `max_wait` seconds after
    /// its first record came (1 by default; 0 hands out what is there). Rows are in the order of their offsets within a
    /// partition.
    ///
    /// Without a `group_id` it reads all partitions, or those that are given; partitions that are added to the topic are
    /// taken up from their first record, when metadata tells of them (`metadata_max_age_ms`). With one it is a member of
    /// that group, which shares out the partitions; it begins where the group committed, and at `start` where it did not.
    /// What a batch had is then committed when the next one is asked for, so a record is read again after a failure
    /// rather than lost; with `commit=False` only `Stream.commit` does.
    ///
    /// Where retention took records before they were read, a stream without a group raises `OffsetOutOfRangeError`,
    /// and a member of a group goes on with the first that is still there. Raises as `scan`, and
    /// `UnknownTopicOrPartitionError` when the topic is deleted while it is followed.
    ///
    /// >>> from strandline import Cluster
    /// >>> with Cluster() as cluster, cluster.producer() as producer:
    /// ...     topic = cluster.create_topic("flights")
    /// ...     with topic.stream(key="utf8", columns=["offset", "key"], max_wait=0) as stream:
    /// ...         for carrier in ("UA", "AA"):
    /// ...             _ = producer.send("flights", key=carrier).result()
    /// ...             print(next(stream).to_pylist())
    /// [{'offset': 0, 'key': 'UA'}]
    /// [{'offset': 1, 'key': 'AA'}]
    #[pyo3(
        signature = (
            start=None, *, partitions=None, columns=None, key="binary", value="binary", schema=None, binary="auto",
            errors="raise", batch_rows=None, max_wait=None, group_id=None, commit=true, isolation="read_uncommitted"
        ),
        text_signature = "($self, start='latest', *, partitions=None, columns=None, key='binary', value='binary', \
            schema=None, binary='auto', errors='raise', batch_rows=None, max_wait=None, group_id=None, commit=True, \
            isolation='read_uncommitted')"
    )]
    #[allow(clippy::too_many_arguments)]
    fn stream<'py>(
        &self,
        py: Python<'py>,
        start: Option<&Bound<'py, PyAny>>,
        partitions: Option<Vec<i32>>,
        columns: Option<&Bound<'py, PyAny>>,
        key: &str,
        value: &str,
        schema: Option<&Bound<'py, PyAny>>,
        binary: &str,
        errors: &str,
        batch_rows: Option<usize>,
        max_wait: Option<f64>,
        group_id: Option<&str>,
        commit: bool,
        isolation: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (source, name) = self.parts()?;
        let (end, limit, follows) = (None, None, true);
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
            follows,
        };
        stream::make(py, source, name, given, &Following { max_wait, group_id, commit })
    }

    /// Its partitions, who holds them and how far each of those is, as a `TopicStatus`; its repr is a table.
    ///
    /// Every replica is asked for its log end: how far it lies behind the leader's is its lag. What nobody tells within two
    /// seconds, for its broker is down or hangs, is `None`.
    ///
    /// >>> from strandline import Cluster
    /// >>> with Cluster(brokers=3) as cluster:
    /// ...     topic = cluster.create_topic("flights", replication_factor=3)
    /// ...     with cluster.producer(acks="all") as producer:
    /// ...         _ = producer.send("flights", "v").result()
    /// ...     [partition] = topic.describe().partitions
    /// ...     print(sorted(partition.isr), partition.latest_offset, sorted(partition.lag.items()))
    /// [0, 1, 2] 1 [(0, 0), (1, 0), (2, 0)]
    fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (source, name) = self.parts()?;
        let admin = source.admin()?;
        let asking = async {
            let view = only(admin.describe_topics(&[name.to_owned()]).await)?;
            let reach = admin.reach(&view).await;
            Ok((view, reach))
        };
        let (view, reach) = runtime::wait(py, asking)?.map_err(errors::client)?;
        let partitions = view.partitions.iter().zip(reach).enumerate().map(|(index, (partition, reach))| {
            let log_ends = PyDict::new(py);
            for node in &partition.replicas {
                log_ends.set_item(node, reach.log_ends.get(node))?;
            }
            let epoch = types::epoch(partition.leader_epoch);
            let (replicas, isr, offline) = (&partition.replicas, &partition.isr, &partition.offline);
            let fields =
                (index, partition.leader, epoch, replicas, isr, offline, reach.earliest, reach.latest, log_ends);
            types::tuple(py, "PartitionStatus", fields)
        });
        let partitions = PyList::new(py, partitions.collect::<PyResult<Vec<_>>>()?)?;
        let id = (!view.id.is_zero()).then(|| view.id.to_string());
        types::tuple(py, "TopicStatus", (&*view.name, id, view.internal, partitions))
    }

    /// Its configs: a dict from Kafka's name to a `ConfigEntry`.
    fn configs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (source, name) = self.parts()?;
        let admin = source.admin()?;
        let resource = [Resource::Topic(name.to_owned())];
        let asking = async { only(admin.describe_configs(&resource, false).await) };
        admin::configs(py, &runtime::wait(py, asking)?.map_err(errors::client)?)
    }

    /// Delete it with all its records.
    fn delete(&self, py: Python<'_>) -> PyResult<()> {
        let (source, name) = self.parts()?;
        let admin = source.admin()?;
        runtime::wait(py, async { only(admin.delete_topics(&[name.to_owned()]).await) })?.map_err(errors::client)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (source, name) = self.parts()?;
        let told = match source.admin() {
            Err(_) => "its cluster is closed".to_owned(),
            Ok(admin) => match runtime::wait_for(py, told(admin, name), Some(PATIENCE))? {
                Some(Ok(told)) => told,
                Some(Err(error)) => error.to_string(),
                None => format!("no answer within {} s", PATIENCE.as_secs()),
            },
        };
        Ok(format!("Topic '{name}': {told}"))
    }

    /// What a notebook shows: its partitions, and when its records came.
    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let source = slf.get().parts()?.0;
        slf.py().import("strandline._html")?.call_method1("topic", (slf, admin::Admin::new(source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 336_776, -1_234_567].map(grouped), ["0", "999", "1,000", "336,776", "-1,234,567"]);
    }

    #[test]
    fn sizes_are_told_in_their_unit() {
        let told = [0, 999, 1000, 61_234_567, 999_960, 5_000_000_000_000_000].map(bytes);
        assert_eq!(told, ["0 bytes", "999 bytes", "1.0 kB", "61.2 MB", "1.0 MB", "5000.0 TB"]);
    }
}
