//! The consumer, for threads and for asyncio. Batches come without the GIL and are handed out message by message from a
//! buffer, so that the GIL changes hands once for hundreds of messages.
//!
//! | file | what is in it |
//! |---|---|
//! | this one | the two classes |
//! | `inner` | what stands behind both |
//! | `shared` | what both do, once |

mod inner;
mod shared;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use tokio::sync::Notify;

use crate::client::consumer::Consumer as Reader;
use crate::client::offsets::{EARLIEST, LATEST};
use crate::common::ids::Offset;
use crate::config::Scope;

use super::awaitable::Running;
use super::call::{Call, faces, nothing};
use super::coroutine::{Coroutine, Step};
use super::message::Message;
use super::runtime::{self, Close, Home};
use super::source::Source;
use super::types::{self, Named};
use super::{convert, errors};

use inner::{Advanced, Callbacks, Ends, Inner, WAIT};
use shared::{Shared, topic_names};
pub(crate) use shared::{found_offset, found_time, wanted_times};

/// How long a consumer that was dropped may take to commit and leave.
const CLOSE: Duration = Duration::from_secs(30);

/// Reads topics, alone or with the other members of a group.
///
/// Made by `Cluster.consumer` and `Client.consumer`, with Kafka's consumer keys as keywords. With a `group_id` the topics'
/// partitions are shared with the group, and what was handed out is committed from time to time (`enable_auto_commit`)
/// and on `close()`. Without one it reads all partitions that the topics have now. It starts at the end of the log unless
/// something is committed or `auto_offset_reset="earliest"`.
///
/// Iterating waits for messages for ever; with `stop_at_end=True` it ends once everything that was there when the
/// iteration began has been handed out. A consumer serves one thread at a time; only `close()` may come from another.
///
/// >>> from strandline import Cluster
/// >>> with Cluster() as cluster, cluster.producer() as producer:
/// ...     for number in range(3):
/// ...         _ = producer.send("numbers", str(number))
/// ...     producer.flush()
/// ...     with cluster.consumer("numbers", group_id="sum", auto_offset_reset="earliest", stop_at_end=True) as consumer:
/// ...         print(sum(int(message.value) for message in consumer))
/// 3
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Consumer(Shared);

/// A `Consumer` for asyncio: what waits there is awaited here, and `async for` iterates.
///
/// Made by `Cluster.async_consumer` and `Client.async_consumer`, with the same options. Any task may use it: one that waits
/// for messages steps aside for one that commits or seeks. Without a group the topics' partitions are looked up by the first
/// call that waits, or on entering `async with`.
///
/// A wait that is cancelled has taken nothing: the next one gets the message. A commit that is cancelled was done or was
/// not; `close()` goes on to its end, and may be awaited again.
///
/// >>> import asyncio
/// >>> from strandline import Cluster
/// >>> async def main():
/// ...     async with Cluster() as cluster, cluster.async_producer() as producer:
/// ...         await asyncio.gather(*[producer.send("numbers", str(number)) for number in range(3)])
/// ...         consumer = cluster.async_consumer("numbers", group_id="sum", auto_offset_reset="earliest", stop_at_end=True)
/// ...         async with consumer:
/// ...             return sum([int(message.value) async for message in consumer])
/// >>> asyncio.run(main())
/// 3
#[pyclass(frozen, module = "strandline")]
pub(crate) struct AsyncConsumer(Shared);

/// How a consumer is made.
pub(crate) struct Wanted<'a, 'py> {
    pub(crate) topics: Vec<String>,
    pub(crate) group_id: Option<&'a str>,
    pub(crate) stop_at_end: bool,
    pub(crate) config: Option<&'a Bound<'py, PyDict>>,
    pub(crate) keywords: Option<&'a Bound<'py, PyDict>>,
}

impl Wanted<'_, '_> {
    fn make(self, py: Python<'_>, source: &Arc<Source>, shared: bool) -> PyResult<Shared> {
        let own: Vec<_> = self.group_id.map(|group| ("group.id", group)).into_iter().collect();
        let values = source.values(py, Scope::Consumer, self.config, self.keywords, &own)?;
        let reader = Reader::new(source.doors()?, &values).map_err(errors::client)?;
        let inner = Arc::new(Inner {
            api_timeout: reader.config().api_timeout,
            reader: tokio::sync::Mutex::new(reader),
            buffer: Mutex::default(),
            callbacks: Mutex::default(),
            stop_at_end: self.stop_at_end,
            ends: Mutex::default(),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            source: source.clone(),
            shared,
            wanted: Notify::new(),
            claims: AtomicUsize::new(0),
            unresolved: Mutex::default(),
        });
        source.register(&inner)?;
        let made = Shared { inner: Home::new("consumer", inner) };
        if !self.topics.is_empty() {
            made.subscribe_to(py, Some(self.topics), None, Callbacks::default())?;
        }
        Ok(made)
    }
}

impl Consumer {
    /// A consumer for the cluster that `source` names.
    pub(crate) fn make(py: Python<'_>, source: &Arc<Source>, wanted: Wanted<'_, '_>) -> PyResult<Consumer> {
        wanted.make(py, source, false).map(Consumer)
    }
}

impl AsyncConsumer {
    /// A consumer for the cluster that `source` names.
    pub(crate) fn make(py: Python<'_>, source: &Arc<Source>, wanted: Wanted<'_, '_>) -> PyResult<AsyncConsumer> {
        wanted.make(py, source, true).map(AsyncConsumer)
    }
}

/// The coroutine of `poll` (with `most` and a time to wait) and of an iteration (without a time), which end differently.
fn later(
    name: &'static str,
    consumer: &Bound<'_, AsyncConsumer>,
    most: Option<usize>,
    poll: Option<Option<Duration>>,
) -> PyResult<Coroutine> {
    let inner = consumer.get().0.inner()?.clone();
    let mut running: Option<Running<crate::client::Result<Advanced>>> = None;
    let mut deadline: Option<Option<Instant>> = None;
    let mut waited = false;
    Ok(Coroutine::of(name, consumer, move |py| {
        if let Some(ended) = running.take()
            && let Advanced::AtEnd = ended.output()?.map_err(errors::client)?
        {
            return Err(PyStopAsyncIteration::new_err(()));
        }
        inner.check_open()?;
        if let Some(told) = inner.tell(py)? {
            return Ok(Step::Await(told.unbind()));
        }
        let Some(timeout) = poll else {
            let message = inner.buffer.lock().pop();
            if let Some(message) = message {
                return Ok(Step::Done(Py::new(py, message)?.into_any()));
            }
            let started =
                running.insert(Running::start(py, inner.clone().advance(None, WAIT, inner.stop_at_end), false)?);
            return Ok(Step::Await(started.awaited(py)));
        };
        let messages = inner.take(most.unwrap_or(usize::MAX));
        let deadline = *deadline.get_or_insert_with(|| timeout.map(|timeout| Instant::now() + timeout));
        let left = deadline.map_or(WAIT, |deadline| deadline.saturating_duration_since(Instant::now()));
        if !messages.is_empty() || (left.is_zero() && std::mem::replace(&mut waited, true)) {
            return Ok(Step::Done(messages.into_pyobject(py)?.unbind()));
        }
        waited = true;
        let started = running.insert(Running::start(py, inner.clone().advance(most, left, false), false)?);
        Ok(Step::Await(started.awaited(py)))
    }))
}

faces! {
    Shared
    waits {
        /// Read nothing, and leave the group; commits before, if it commits by itself.
        fn unsubscribe(&self, py) -> Call {
            let inner = self.inner()?.clone();
            let leaving = async move {
                let mut reader = inner.acquire().await?;
                inner.unresolved.lock().clear();
                inner.give_back(&mut reader, None);
                reader.unsubscribe().await;
                Ok(())
            };
            Ok(Call::new(leaving, nothing).whole())
        }

        /// The offset of the next message that will be handed out; waits until it is known.
        fn position(&self, py, partition: Named) -> Call {
            let inner = self.inner()?.clone();
            Ok(Call::new(async move { inner.position(&partition.0).await }, |py, offset| {
                Ok(offset.into_pyobject(py)?.into_any().unbind())
            }))
        }

        /// Commit what was handed out so far, or these offsets: a dict from partition to the next offset to read (an `int`
        /// or a `CommittedOffset`), or a message that is done with. Waits until it is done.
        ///
        /// It raises `IllegalGenerationError`, `UnknownMemberIdError` or `RebalanceInProgressError` when the partitions
        /// are somebody else's by now.
        #[pyo3(signature = (offsets=None))]
        fn commit(&self, py, offsets: Option<&Bound<'_, PyAny>>) -> Call {
            let (inner, offsets) = (self.inner()?.clone(), shared::offsets(offsets)?);
            let committing = async move {
                let committing = {
                    let mut reader = inner.acquire_resolved().await?;
                    let offsets = match offsets {
                        Some(offsets) => offsets,
                        None => inner.handed_out(&mut reader).await?,
                    };
                    reader.commit(Some(offsets))
                };
                committing.await
            };
            Ok(Call::new(committing, nothing))
        }

        /// What the group has committed for these partitions (by default those that are read now), by partition; those
        /// without are left out.
        #[pyo3(signature = (partitions=None))]
        fn committed(&self, py, partitions: Option<Vec<Named>>) -> Call {
            let (inner, names) = (self.inner()?.clone(), partitions.map(types::names));
            let asking = async move {
                let asking = {
                    let reader = inner.acquire_resolved().await?;
                    reader.committed(&names.unwrap_or_else(|| reader.assignment()))
                };
                asking.await
            };
            Ok(Call::new(asking, |py, found| {
                let told = types::by_partition(py, &found, |committed| types::committed(py, committed))?;
                Ok(told.into_any().unbind())
            }))
        }

        /// The offset of the first record that is still there, by partition.
        fn beginning_offsets(&self, py, partitions: Vec<Named>) -> Call {
            self.listed(types::names(partitions).into_iter().map(|name| (name, EARLIEST)).collect(), found_offset)
        }

        /// The offset behind the last record, by partition.
        fn end_offsets(&self, py, partitions: Vec<Named>) -> Call {
            self.listed(types::names(partitions).into_iter().map(|name| (name, LATEST)).collect(), found_offset)
        }

        /// The first record that is not older than a timestamp, by partition, as an `OffsetAndTimestamp`; `None` where
        /// there is none.
        fn offsets_for_times(&self, py, timestamps: HashMap<Named, Bound<'_, PyAny>>) -> Call {
            self.listed(wanted_times(timestamps)?, found_time)
        }

        /// Commit what was handed out (unless `enable_auto_commit=False`), leave the group and end; a second call does
        /// nothing. It takes no longer than `timeout` seconds.
        #[pyo3(signature = (timeout=30.0))]
        fn close(&self, py, timeout: f64) -> Call {
            let (inner, within) = (self.inner()?.clone(), convert::timeout(Some(timeout))?.unwrap_or(CLOSE));
            Ok(Call::raw(async move { inner.close(within).await }, nothing).whole())
        }
    }
    plain {
        /// Read these topics, or all whose whole name matches `pattern` (a `str` or a compiled one, in the syntax of
        /// Rust's `regex`), as they come and go. What was read before is given up.
        ///
        /// With a `group_id` the group shares the partitions. The callbacks are called by `poll` and while iterating, with
        /// lists of `TopicPartition`: `on_assign` when partitions came, `on_revoke` before they go (what was read can
        /// still be committed), `on_lost` (by default as `on_revoke`) when they are gone already. What they raise comes
        /// out of the poll. An `AsyncConsumer` awaits those that are `async`.
        #[pyo3(signature = (topics=None, *, pattern=None, on_assign=None, on_revoke=None, on_lost=None))]
        fn subscribe(
            &self,
            py,
            topics: Option<&Bound<'_, PyAny>>,
            pattern: Option<&Bound<'_, PyAny>>,
            on_assign: Option<Py<PyAny>>,
            on_revoke: Option<Py<PyAny>>,
            on_lost: Option<Py<PyAny>>,
        ) -> () {
            let topics = topic_names(topics)?;
            let lost = on_lost.or_else(|| on_revoke.as_ref().map(|callback| callback.clone_ref(py)));
            self.subscribe_to(py, topics, pattern, Callbacks { assign: on_assign, revoke: on_revoke, lost })
        }

        /// Read these partitions, and no others; no group has a say in it. Those it reads already stay where they are.
        fn assign(&self, py, partitions: Vec<Named>) -> () {
            let inner = self.inner()?;
            let mut reader = inner.reader(py)?;
            inner.give_back(&mut reader, None);
            inner.unresolved.lock().clear();
            *inner.ends.lock() = Ends { shared: true, ..Ends::default() };
            reader.assign(types::names(partitions)).map_err(errors::client)
        }

        /// The topics that are subscribed to; of a pattern, those that match now.
        fn subscription(&self, py) -> Vec<String> {
            Ok(self.inner()?.reader(py)?.subscription().into_iter().collect())
        }

        /// The partitions that are read now.
        fn assignment(&self, py) -> Py<PyList> {
            Ok(types::partitions(py, &self.inner()?.reader(py)?.assignment())?.unbind())
        }

        /// Go on from this offset in a partition that is read now.
        fn seek(&self, py, partition: Named, offset: Offset) -> () {
            let seek = |reader: &mut Reader, all: &[_]| all.iter().try_for_each(|name| reader.seek(name, offset));
            self.seek_with(py, vec![partition.0], seek)
        }

        /// Go on from the first record that is still there, in these partitions or in all.
        #[pyo3(signature = (partitions=None))]
        fn seek_to_beginning(&self, py, partitions: Option<Vec<Named>>) -> () {
            self.seek_with(py, types::names(partitions.unwrap_or_default()), |reader, all| reader.seek_to_beginning(all))
        }

        /// Go on behind the last record, in these partitions or in all.
        #[pyo3(signature = (partitions=None))]
        fn seek_to_end(&self, py, partitions: Option<Vec<Named>>) -> () {
            self.seek_with(py, types::names(partitions.unwrap_or_default()), |reader, all| reader.seek_to_end(all))
        }

        /// Go on from the first record that is not older than `timestamp` (milliseconds since 1970, a `datetime`, or ISO
        /// 8601), in these partitions or in all; from the end where there is none.
        #[pyo3(signature = (timestamp, partitions=None))]
        fn seek_to_timestamp(&self, py, timestamp: &Bound<'_, PyAny>, partitions: Option<Vec<Named>>) -> () {
            let timestamp = convert::timestamp(timestamp)?;
            self.seek_with(py, types::names(partitions.unwrap_or_default()), |reader, all| {
                reader.seek_to_timestamp(all, timestamp)
            })
        }

        /// Hand out nothing of these partitions until they are resumed.
        fn pause(&self, py, partitions: Vec<Named>) -> () {
            let inner = self.inner()?;
            let mut reader = inner.reader(py)?;
            let names = types::names(partitions);
            reader.pause(&names).map_err(errors::client)?;
            inner.give_back(&mut reader, Some(&names));
            Ok(())
        }

        /// Hand out these partitions again.
        fn resume(&self, py, partitions: Vec<Named>) -> () {
            self.inner()?.reader(py)?.resume(&types::names(partitions)).map_err(errors::client)
        }

        /// The partitions that are paused.
        fn paused(&self, py) -> Py<PyList> {
            Ok(types::partitions(py, &self.inner()?.reader(py)?.paused())?.unbind())
        }

        /// How many offsets lie between the position and the end of the partition, by the last fetch; `None` before one.
        fn lag(&self, py, partition: Named) -> Option<Offset> {
            let inner = self.inner()?;
            let reader = inner.reader(py)?;
            let places = inner.buffer.lock().places();
            let ahead = places.get(&partition.0).map_or(0, |(place, behind)| behind - place.offset);
            Ok(reader.lag(&partition.0).map(|lag| lag + ahead))
        }
    }
    Consumer {
        /// Return what is there, up to `max_records` messages (500, or the key `max_poll_records`); if there is nothing,
        /// wait up to `timeout` seconds (for ever, if it is `None`). The list is empty when the time ran out.
        #[pyo3(
            signature = (max_records=None, timeout=Some(1.0)),
            text_signature = "($self, max_records=None, timeout=1.0)"
        )]
        fn poll(&self, py: Python<'_>, max_records: Option<i64>, timeout: Option<f64>) -> PyResult<Vec<Message>> {
            let inner = self.0.inner()?;
            let most = shared::most(max_records)?;
            let deadline = convert::timeout(timeout)?.map(|timeout| Instant::now() + timeout);
            let mut waited = false;
            loop {
                inner.check_open()?;
                inner.tell(py)?;
                let messages = inner.take(most.unwrap_or(usize::MAX));
                let left = deadline.map_or(WAIT, |deadline| deadline.saturating_duration_since(Instant::now()));
                if !messages.is_empty() || (left.is_zero() && waited) {
                    return Ok(messages);
                }
                waited = true;
                runtime::wait(py, inner.clone().advance(most, left, false))?.map_err(errors::client)?;
            }
        }

        fn __iter__(slf: Py<Self>) -> PyResult<Py<Self>> {
            slf.get().0.inner()?.ends.lock().at.clear();
            Ok(slf)
        }

        #[inline]
        fn __next__(&self, py: Python<'_>) -> PyResult<Option<Message>> {
            let inner = self.0.inner()?;
            if !inner.closed.load(Ordering::Relaxed) {
                let mut buffer = inner.buffer.lock();
                if buffer.events.is_empty()
                    && let Some(message) = buffer.pop()
                {
                    return Ok(Some(message));
                }
            }
            next(py, inner)
        }

        fn __enter__(slf: Py<Self>) -> Py<Self> {
            slf
        }

        #[pyo3(signature = (*_exception))]
        fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
            self.close(py, CLOSE.as_secs_f64()).map(drop)
        }

        fn __repr__(&self) -> PyResult<String> {
            self.0.repr("Consumer")
        }
    }
    AsyncConsumer {
        /// Return what is there, up to `max_records` messages (500, or the key `max_poll_records`); if there is nothing,
        /// wait up to `timeout` seconds (for ever, if it is `None`). The list is empty when the time ran out.
        #[pyo3(
            signature = (max_records=None, timeout=Some(1.0)),
            text_signature = "($self, max_records=None, timeout=1.0)"
        )]
        fn poll(slf: &Bound<'_, Self>, max_records: Option<i64>, timeout: Option<f64>) -> PyResult<Coroutine> {
            let (most, timeout) = (shared::most(max_records)?, convert::timeout(timeout)?);
            later("AsyncConsumer.poll", slf, most, Some(timeout))
        }

        fn __aiter__(slf: Py<Self>) -> PyResult<Py<Self>> {
            slf.get().0.inner()?.ends.lock().at.clear();
            Ok(slf)
        }

        fn __anext__(slf: &Bound<'_, Self>) -> PyResult<Coroutine> {
            later("AsyncConsumer.__anext__", slf, None, None)
        }

        fn __aenter__(slf: &Bound<'_, Self>) -> PyResult<Coroutine> {
            let (inner, it) = (slf.get().0.inner()?.clone(), slf.as_any().clone().unbind());
            let resolving = async move { inner.acquire_resolved().await.map(drop) };
            Ok(Call::new(resolving, move |_, ()| Ok(it)).later("AsyncConsumer.__aenter__", slf))
        }

        #[pyo3(signature = (*_exception))]
        fn __aexit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, PyTuple>) -> PyResult<Coroutine> {
            AsyncConsumer::close(slf, CLOSE.as_secs_f64())
        }

        fn __repr__(&self) -> PyResult<String> {
            self.0.repr("AsyncConsumer")
        }
    }
}

#[cold]
fn next(py: Python<'_>, inner: &Arc<Inner>) -> PyResult<Option<Message>> {
    loop {
        inner.check_open()?;
        inner.tell(py)?;
        if let Some(message) = inner.buffer.lock().pop() {
            return Ok(Some(message));
        }
        let waiting = inner.clone().advance(None, WAIT, inner.stop_at_end);
        if let Advanced::AtEnd = runtime::wait(py, waiting)?.map_err(errors::client)? {
            return Ok(None);
        }
    }
}
