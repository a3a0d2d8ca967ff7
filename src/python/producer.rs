//! The producer, for threads and for asyncio. `send` borrows what Python holds, and costs one copy into the batch and one
//! small object.
//!
//! In an event loop `send` does not wait: a record that cannot be taken at once stands in its topic's line, see
//! [`Line`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::client::producer::{Line, NotSent, Producer as Sender, Record};
use crate::config::Scope;
use crate::record::Header;

use super::async_delivery::AsyncDelivery;
use super::awaitable::running_loop;
use super::call::{Call, faces, nothing};
use super::convert::untracked;
use super::coroutine::Coroutine;
use super::delivery::Delivery;
use super::runtime::{self, Close, Closing, Home};
use super::source::Source;
use super::{convert, errors, table};

/// What closes besides the delivery timeout: the last answer may come right then.
const GRACE: Duration = Duration::from_secs(1);

/// A producer and the broker it may be the last to use.
pub(super) struct Inner {
    line: Arc<Line>,
    /// Set when closing begins.
    closed: AtomicBool,
    /// Held while it is closed; whether it was.
    closing: tokio::sync::Mutex<bool>,
    source: Arc<Source>,
}

impl Inner {
    /// The producer.
    #[inline]
    pub(super) fn sender(&self) -> &Sender {
        self.line.producer()
    }
}

impl Close for Inner {
    fn close(self: Arc<Self>, within: Duration) -> Closing {
        self.closed.store(true, Ordering::Release);
        Box::pin(async move {
            // Who comes second waits for the first.
            let mut done = self.closing.lock().await;
            if !*done {
                self.line.close(within).await;
                *done = true;
            }
        })
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
pub(crate) struct Producer(Shared);

/// A `Producer` for asyncio, or any event loop of its kind; any number of tasks, loops and threads may share one.
///
/// Made by `Cluster.async_producer` and `Client.async_producer`, with the same keys. It is ready at once, and ends with
/// `await close()` or at the end of its `async with` block. `await producer.send(...)` is done when the record is written;
/// without the `await`, `send` takes the record and goes on, and what it returned can be awaited later, alone or with
/// others.
///
/// >>> import asyncio
/// >>> from strandline import Cluster
/// >>> async def main():
/// ...     async with Cluster() as cluster, cluster.async_producer(linger_ms=20) as producer:
/// ...         first = await producer.send("flights", key=b"UA", value=b"EWR-IAH")
/// ...         rest = await asyncio.gather(*[producer.send("flights", str(number)) for number in range(100)])
/// ...         return first.offset, rest[-1].offset
/// >>> asyncio.run(main())
/// (0, 100)
#[pyclass(frozen, module = "strandline")]
pub(crate) struct AsyncProducer(Shared);

/// Behind both.
struct Shared {
    inner: Home<Arc<Inner>>,
}

impl Shared {
    fn new(
        py: Python<'_>,
        source: &Arc<Source>,
        config: Option<&Bound<'_, PyDict>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Shared> {
        let values = source.values(py, Scope::Producer, config, keywords, &[])?;
        let sender = Sender::new(source.doors()?, &values).map_err(errors::client)?;
        let (closed, closing) = (AtomicBool::new(false), tokio::sync::Mutex::new(false));
        let inner = Arc::new(Inner { line: Line::new(sender), closed, closing, source: source.clone() });
        source.register(&inner)?;
        Ok(Shared { inner: Home::new("producer", inner) })
    }

    #[inline]
    fn inner(&self) -> PyResult<&Arc<Inner>> {
        self.inner.get()
    }

    fn repr(&self, class: &str) -> PyResult<String> {
        let inner = self.inner()?;
        let state = if inner.closed.load(Ordering::Acquire) { ", closed" } else { "" };
        Ok(format!("<{class} for {}{state}>", inner.source.bootstrap()))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What was taken is still sent, for as long as a delivery may take.
        if let Ok(inner) = self.inner.get()
            && !inner.closed.load(Ordering::Acquire)
        {
            runtime::close_behind(inner.clone(), inner.sender().config().delivery_timeout + GRACE);
        }
    }
}

impl Producer {
    /// A producer for the cluster that `source` names.
    pub(crate) fn make(
        py: Python<'_>,
        source: &Arc<Source>,
        config: Option<&Bound<'_, PyDict>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Producer> {
        Shared::new(py, source, config, keywords).map(Producer)
    }
}

impl AsyncProducer {
    /// A producer for the cluster that `source` names.
    pub(crate) fn make(
        py: Python<'_>,
        source: &Arc<Source>,
        config: Option<&Bound<'_, PyDict>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<AsyncProducer> {
        Shared::new(py, source, config, keywords).map(AsyncProducer)
    }
}

faces! {
    Shared
    waits {
        /// Send all that was taken so far without waiting for `linger_ms`, and wait until each record is written or given
        /// up.
        ///
        /// `timeout` is in seconds; `RequestTimedOutError` says that it ran out. What became of a record, its delivery
        /// tells.
        #[pyo3(signature = (timeout=None))]
        fn flush(&self, py, timeout: Option<f64>) -> Call {
            let (inner, timeout) = (self.inner()?.clone(), convert::timeout(timeout)?);
            let flushing = async move {
                // The longest is longer than any interpreter runs.
                tokio::time::timeout(timeout.unwrap_or(Duration::MAX), inner.line.flush()).await
            };
            Ok(Call::raw(flushing, move |py, flushed| match flushed {
                Ok(()) => Ok(py.None()),
                Err(_) => Err(errors::timed_out("records are still under way", timeout)),
            }))
        }

        /// Send what was taken and end; a second call does nothing.
        ///
        /// It waits for `timeout` seconds (by default as long as a delivery may take, `delivery_timeout_ms`); what is not
        /// written then is given up, and its delivery raises `ClosedError`.
        #[pyo3(signature = (timeout=None))]
        fn close(&self, py, timeout: Option<f64>) -> Call {
            let inner = self.inner()?.clone();
            let within = convert::timeout(timeout)?.unwrap_or(inner.sender().config().delivery_timeout + GRACE);
            Ok(Call::raw(async move { inner.close(within).await }, nothing).whole())
        }

        /// The partitions that the topic has now.
        ///
        /// >>> from strandline import Cluster
        /// >>> with Cluster() as cluster:
        /// ...     _ = cluster.create_topic("flights", partitions=4)
        /// ...     cluster.producer().partitions_for("flights")
        /// [0, 1, 2, 3]
        fn partitions_for(&self, py, topic: String) -> Call {
            let inner = self.inner()?.clone();
            let within = inner.sender().config().max_block;
            Ok(Call::new(async move { inner.sender().partitions(&topic, within).await }, |py, view| {
                let numbers: Vec<_> = (0..view.partitions.len() as i32).collect();
                Ok(numbers.into_pyobject(py)?.unbind())
            }))
        }
    }
    plain {}
    Producer {
        /// Take a record to be sent, and return at once.
        ///
        /// `value` and `key` are bytes, anything with a buffer, or `str` (sent as UTF-8); a value of `None` is a
        /// tombstone. Without a `partition` the key decides, or else the producer. `timestamp` is when it happened:
        /// milliseconds since 1970, a `datetime`, or ISO 8601; now by default. `headers` are (str, bytes or `None`)
        /// pairs, or a dict.
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
            let sender = self.0.inner()?.sender();
            with_record(topic, value, key, partition, timestamp, headers, |record| match sender.try_send(record) {
                Ok(sent) => Ok(Delivery::new(sent)),
                Err(NotSent::Failed(error)) => Err(errors::client(error)),
                Err(NotSent::WouldBlock) => {
                    let sent = runtime::wait(py, sender.send_async(record))?;
                    sent.map(Delivery::new).map_err(errors::client)
                }
            })
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
            table::send(py, self.0.inner()?.sender(), topic, data, &options)
        }

        fn __enter__(slf: Py<Self>) -> Py<Self> {
            slf
        }

        #[pyo3(signature = (*_exception))]
        fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
            self.close(py, None).map(drop)
        }

        fn __repr__(&self) -> PyResult<String> {
            self.0.repr("Producer")
        }
    }
    AsyncProducer {
        /// Take a record to be sent, and return what can be awaited: where it lies, once it is written.
        ///
        /// The record is taken by the call itself, so records go in the order of the calls, whether and whenever they are
        /// awaited. The arguments are those of `Producer.send`. It never waits: while the topic is not known yet or
        /// `buffer_memory` (32 MiB) is used up, records stand in line, each up to `max_block_ms`, and what stands in line
        /// may take `buffer_memory` once more; beyond that it raises `BufferExhaustedError`, for then somebody sends and
        /// never awaits.
        ///
        /// Cancelling the wait does not take the record back.
        ///
        /// >>> import asyncio
        /// >>> from strandline import Cluster
        /// >>> async def main():
        /// ...     async with Cluster() as cluster, cluster.async_producer() as producer:
        /// ...         return await producer.send("flights", b"EWR-IAH", key="UA", timestamp="2013-01-01T10:00Z")
        /// >>> asyncio.run(main())
        /// RecordMetadata(topic='flights', partition=0, offset=0, timestamp=1357034400000)
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
        ) -> PyResult<Py<AsyncDelivery>> {
            let line = &self.0.inner()?.line;
            let event_loop = running_loop(py)?.unbind();
            with_record(topic, value, key, partition, timestamp, headers, |record| {
                let mut held = None;
                let taken = || {
                    let made = untracked(py, AsyncDelivery::new(event_loop.clone_ref(py), None));
                    held = made.as_ref().ok().map(|made| made.clone_ref(py));
                    made.map_or_else(|_| Box::new(drop) as _, AsyncDelivery::taken)
                };
                match line.send(record, taken).map_err(errors::client)? {
                    Some(sent) => untracked(py, AsyncDelivery::new(event_loop, Some(sent))),
                    None => held.ok_or_else(|| errors::closed("producer")),
                }
            })
        }

        /// Send the rows of a table as records, and wait until each is written or known to have failed: see
        /// `Producer.send_table`. The table is read in a thread; when the wait is cancelled, what was taken by then is
        /// sent, and no more.
        ///
        /// >>> import asyncio
        /// >>> import polars as pl
        /// >>> from strandline import Cluster
        /// >>> async def main():
        /// ...     async with Cluster() as cluster, cluster.async_producer() as producer:
        /// ...         return await producer.send_table("flights", pl.DataFrame({"carrier": ["UA", "AA"]}))
        /// >>> asyncio.run(main()).rows
        /// 2
        #[pyo3(signature = (topic, data, *, key=None, value=None, partition=None, timestamp=None, headers=None))]
        #[allow(clippy::too_many_arguments)]
        fn send_table<'py>(
            slf: &Bound<'py, Self>,
            topic: String,
            data: &Bound<'py, PyAny>,
            key: Option<&Bound<'py, PyAny>>,
            value: Option<&Bound<'py, PyAny>>,
            partition: Option<&Bound<'py, PyAny>>,
            timestamp: Option<String>,
            headers: Option<String>,
        ) -> PyResult<Coroutine> {
            let options = table::options(key, value, partition, timestamp, headers)?;
            let sending = table::send_later(slf.get().0.inner()?.clone(), topic, data, &options)?;
            Ok(sending.later("AsyncProducer.send_table", slf))
        }

        fn __aenter__(slf: &Bound<'_, Self>) -> Coroutine {
            Coroutine::enters("AsyncProducer.__aenter__", slf)
        }

        #[pyo3(signature = (*_exception))]
        fn __aexit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, PyTuple>) -> PyResult<Coroutine> {
            AsyncProducer::close(slf, None)
        }

        fn __repr__(&self) -> PyResult<String> {
            self.0.repr("AsyncProducer")
        }
    }
}

/// Has `send` called with a record made of Python's values.
#[inline]
fn with_record<T>(
    topic: &str,
    value: Option<&Bound<'_, PyAny>>,
    key: Option<&Bound<'_, PyAny>>,
    partition: Option<i32>,
    timestamp: Option<&Bound<'_, PyAny>>,
    headers: Option<&Bound<'_, PyAny>>,
    send: impl FnOnce(&Record<'_>) -> PyResult<T>,
) -> PyResult<T> {
    let value = value.map(|value| convert::bytes(value, "value")).transpose()?;
    let key = key.map(|key| convert::bytes(key, "key")).transpose()?;
    let timestamp = timestamp.map(convert::timestamp).transpose()?;
    let record = Record { topic, partition, timestamp, key: key.as_deref(), value: value.as_deref(), headers: &[] };
    let Some(headers) = headers else { return send(&record) };
    let pairs = header_pairs(headers)?;
    let headers: Vec<_> =
        pairs.iter().map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() }).collect();
    send(&Record { headers: &headers, ..record })
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
