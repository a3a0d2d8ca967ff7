//! The consumer. Batches come without the GIL and are handed out message by message from a buffer, so that the GIL
//! changes hands once for hundreds of messages.
//!
//! The client's places move when it hands a batch to the buffer; Python's move with each message. Whoever asks for a
//! place, commits, pauses or closes is told Python's: the buffer says where each partition really stands.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use tokio::sync::{MutexGuard, Notify};

use crate::client::ClientError;
use crate::client::consumer::{Consumer as Reader, RebalanceEvent};
use crate::client::offsets::{CommittedOffset, EARLIEST, LATEST};
use crate::common::ids::{Offset, Timestamp, TopicPartition};
use crate::config::Scope;

use super::message::{Message, MessageBatch};
use super::runtime::{self, Close, Closing, Home};
use super::source::Source;
use super::types::{self, Commit, Named};
use super::{convert, errors};

/// How long an iteration waits before it looks whether it is at its end.
const LOOK: Duration = Duration::from_millis(50);
/// How long one that has no end waits at a time.
const WAIT: Duration = Duration::from_secs(10);
/// How long a consumer that was dropped may take to commit and leave.
const CLOSE: Duration = Duration::from_secs(30);

/// Messages that were fetched and not handed out yet.
#[derive(Default)]
struct Buffer {
    batches: VecDeque<Arc<MessageBatch>>,
    /// The next message of the first batch.
    next: usize,
    /// Rebalances that the callbacks were not told yet.
    events: VecDeque<RebalanceEvent>,
}

impl Buffer {
    #[inline]
    fn pop(&mut self) -> Option<Message> {
        let batch = self.batches.front()?;
        let message = Message::new(batch, self.next);
        self.next += 1;
        if self.next >= batch.len() {
            self.next = 0;
            self.batches.pop_front();
        }
        Some(message)
    }

    fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// For each partition that has messages here: the first one's offset and epoch, and the offset behind the last.
    fn places(&self) -> HashMap<TopicPartition, (CommittedOffset, Offset)> {
        let mut places: HashMap<TopicPartition, (CommittedOffset, Offset)> = HashMap::new();
        for (index, batch) in self.batches.iter().enumerate() {
            let first = batch.offset(if index == 0 { self.next } else { 0 });
            let committed = CommittedOffset { leader_epoch: batch.leader_epoch(), ..CommittedOffset::new(first) };
            let place = places.entry(batch.partition()).or_insert((committed, 0));
            place.1 = batch.next_offset();
        }
        places
    }

    /// Drops what is here of these partitions.
    fn forget(&mut self, partitions: &[TopicPartition]) {
        if self.batches.front().is_some_and(|first| partitions.contains(&first.partition())) {
            self.next = 0;
        }
        self.batches.retain(|batch| !partitions.contains(&batch.partition()));
    }
}

/// What is told of rebalances.
#[derive(Default)]
struct Callbacks {
    assign: Option<Py<PyAny>>,
    revoke: Option<Py<PyAny>>,
    lost: Option<Py<PyAny>>,
}

struct Inner {
    reader: tokio::sync::Mutex<Reader>,
    buffer: Mutex<Buffer>,
    callbacks: Mutex<Arc<Callbacks>>,
    stop_at_end: bool,
    ends: Mutex<Ends>,
    closed: AtomicBool,
    closing: Notify,
    api_timeout: Duration,
    source: Arc<Source>,
}

/// Where an iteration with an end ends.
#[derive(Default)]
struct Ends {
    /// Whether the group has given out its partitions.
    shared: bool,
    at: HashMap<TopicPartition, Offset>,
}

impl Inner {
    fn check_open(&self) -> PyResult<()> {
        if self.closed.load(Ordering::Acquire) { Err(errors::closed("consumer")) } else { Ok(()) }
    }

    /// The client's consumer, for one thread at a time.
    fn reader(&self) -> PyResult<MutexGuard<'_, Reader>> {
        self.check_open()?;
        self.reader.try_lock().map_err(|_| {
            errors::invalid("another thread is using this consumer: a consumer serves one thread at a time")
        })
    }

    /// Fetches into the buffer; `false` when the consumer was closed meanwhile.
    ///
    /// It takes the reader along, so that dropping the future frees it.
    async fn fetch(
        &self,
        mut reader: MutexGuard<'_, Reader>,
        most: Option<usize>,
        timeout: Duration,
    ) -> Result<bool, ClientError> {
        let closing = self.closing.notified();
        if self.closed.load(Ordering::Acquire) {
            return Ok(false);
        }
        let polled = tokio::select! {
            polled = reader.poll(most, timeout) => polled?,
            () = closing => return Ok(false),
        };
        let batches: Vec<_> = polled.batches.iter().map(|batch| Arc::new(MessageBatch::read(batch))).collect();
        if polled.events.iter().any(|event| matches!(event, RebalanceEvent::Assigned(_))) {
            self.ends.lock().shared = true;
        }
        let mut buffer = self.buffer.lock();
        buffer.events.extend(polled.events);
        buffer.batches.extend(batches);
        Ok(true)
    }

    /// Whether everything that was there when the iteration began has been handed out.
    async fn at_end(&self, mut reader: MutexGuard<'_, Reader>) -> Result<bool, ClientError> {
        if !self.ends.lock().shared {
            return Ok(false);
        }
        let partitions = reader.assignment();
        let new: HashMap<_, _> = {
            let ends = self.ends.lock();
            partitions.iter().filter(|name| !ends.at.contains_key(name)).map(|name| (name.clone(), LATEST)).collect()
        };
        if !new.is_empty() {
            let found = reader.list_offsets(&new).await?;
            self.ends.lock().at.extend(found.into_iter().map(|(name, listed)| (name, listed.offset)));
        }
        for name in &partitions {
            let end = self.ends.lock().at.get(name).copied().unwrap_or(0);
            if reader.position(name, self.api_timeout).await? < end {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the client's places Python's, and empties the buffer of these partitions (of all, without any).
    fn give_back(&self, reader: &mut Reader, partitions: Option<&[TopicPartition]>) {
        let mut buffer = self.buffer.lock();
        for (name, (place, _)) in buffer.places() {
            if partitions.is_none_or(|these| these.contains(&name)) {
                // One that is no longer assigned is somebody else's.
                let _ = reader.seek(&name, place.offset);
                buffer.forget(std::slice::from_ref(&name));
            }
        }
    }

    /// Tells the callbacks of rebalances, each once. No lock is held while Python runs: a callback may commit or seek.
    fn tell(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let Some(event) = self.buffer.lock().events.pop_front() else { return Ok(()) };
            let callbacks = self.callbacks.lock().clone();
            let (callback, partitions) = match event {
                RebalanceEvent::Assigned(partitions) => (&callbacks.assign, partitions),
                RebalanceEvent::Revoked(partitions) => (&callbacks.revoke, partitions),
                RebalanceEvent::Lost(partitions) => (&callbacks.lost, partitions),
            };
            if let Some(callback) = callback {
                callback.call1(py, (types::partitions(py, &partitions)?,))?;
            }
        }
    }

    /// Waits until there is a message or a rebalance, or the time is over; `false` when the consumer was closed.
    fn wait(&self, py: Python<'_>, most: Option<usize>, timeout: Duration) -> PyResult<bool> {
        let reader = self.reader()?;
        runtime::wait(py, self.fetch(reader, most, timeout))?.map_err(errors::client)
    }

    #[cold]
    fn next(&self, py: Python<'_>) -> PyResult<Option<Message>> {
        loop {
            self.check_open()?;
            self.tell(py)?;
            if let Some(message) = self.buffer.lock().pop() {
                return Ok(Some(message));
            }
            if self.stop_at_end {
                let reader = self.reader()?;
                let ended = runtime::wait(py, self.at_end(reader))?.map_err(errors::client)?;
                if ended {
                    return Ok(None);
                }
            }
            self.wait(py, None, if self.stop_at_end { LOOK } else { WAIT })?;
        }
    }
}

impl Close for Inner {
    fn close(self: Arc<Self>, within: Duration) -> Closing {
        self.closed.store(true, Ordering::Release);
        self.closing.notify_waiters();
        Box::pin(async move {
            let mut reader = self.reader.lock().await;
            self.give_back(&mut reader, None);
            reader.close(within).await;
        })
    }
}

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
pub(crate) struct Consumer {
    inner: Home<Arc<Inner>>,
}

impl Consumer {
    /// A consumer for the cluster that `source` names.
    pub(crate) fn make(
        py: Python<'_>,
        source: &Arc<Source>,
        topics: Vec<String>,
        group_id: Option<&str>,
        stop_at_end: bool,
        config: Option<&Bound<'_, PyDict>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Consumer> {
        let own: Vec<_> = group_id.map(|group| ("group.id", group)).into_iter().collect();
        let values = source.values(py, Scope::Consumer, config, keywords, &own)?;
        let reader = Reader::new(source.doors()?, &values).map_err(errors::client)?;
        let inner = Arc::new(Inner {
            api_timeout: reader.config().api_timeout,
            reader: tokio::sync::Mutex::new(reader),
            buffer: Mutex::default(),
            callbacks: Mutex::default(),
            stop_at_end,
            ends: Mutex::default(),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            source: source.clone(),
        });
        source.register(&inner)?;
        let consumer = Consumer { inner: Home::new("consumer", inner) };
        if !topics.is_empty() {
            consumer.subscribe_to(py, Some(topics), None, Callbacks::default())?;
        }
        Ok(consumer)
    }

    #[inline]
    fn inner(&self) -> PyResult<&Arc<Inner>> {
        self.inner.get()
    }

    /// Reads topics, or a pattern of them; what was read before is given up.
    fn subscribe_to(
        &self,
        py: Python<'_>,
        topics: Option<Vec<String>>,
        pattern: Option<&Bound<'_, PyAny>>,
        callbacks: Callbacks,
    ) -> PyResult<()> {
        let inner = self.inner()?;
        let mut reader = inner.reader()?;
        inner.give_back(&mut reader, None);
        *inner.ends.lock() = Ends::default();
        let before = std::mem::replace(&mut *inner.callbacks.lock(), Arc::new(callbacks));
        drop(before);
        match (topics, pattern) {
            (Some(topics), None) if reader.config().group_id.is_some() => {
                reader.subscribe(topics).map_err(errors::client)
            }
            (Some(topics), None) => {
                let mut all = Vec::new();
                for topic in topics {
                    all.extend(runtime::wait(py, reader.partitions(&topic))?.map_err(errors::client)?);
                }
                inner.ends.lock().shared = true;
                reader.assign(all).map_err(errors::client)
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

    /// The offsets that `Consumer.commit` is to commit; `None` for all that was handed out.
    fn offsets(
        &self,
        py: Python<'_>,
        offsets: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<HashMap<TopicPartition, CommittedOffset>> {
        let inner = self.inner()?;
        let Some(offsets) = offsets else {
            let mut reader = inner.reader()?;
            let ahead = inner.buffer.lock().places();
            let mut all = HashMap::new();
            for name in reader.assignment() {
                if let Some((place, _)) = ahead.get(&name) {
                    all.insert(name, place.clone());
                    continue;
                }
                match runtime::wait(py, reader.position(&name, Duration::ZERO))? {
                    Ok(offset) => drop(all.insert(name, CommittedOffset::new(offset))),
                    // Nothing was handed out of it yet.
                    Err(ClientError::Timeout { .. }) => {}
                    Err(error) => return Err(errors::client(error)),
                }
            }
            return Ok(all);
        };
        if let Ok(message) = offsets.cast::<Message>() {
            let (partition, committed) = message.get().committed();
            return Ok(HashMap::from([(partition, committed)]));
        }
        let offsets: HashMap<Named, Commit> = offsets.extract()?;
        Ok(offsets.into_iter().map(|(named, commit)| (named.0, commit.0)).collect())
    }

    /// Looks up offsets by time.
    fn listed<'py>(
        &self,
        py: Python<'py>,
        wanted: HashMap<TopicPartition, Timestamp>,
        value: impl FnMut(&crate::client::offsets::ListedOffset) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let reader = self.inner()?.reader()?;
        let found = runtime::wait(py, reader.list_offsets(&wanted))?.map_err(errors::client)?;
        types::by_partition(py, &found, value)
    }

    /// Seeks, and drops what the buffer holds of the old place.
    fn seek_with(
        &self,
        partitions: Vec<TopicPartition>,
        seek: impl FnOnce(&mut Reader, &[TopicPartition]) -> Result<(), ClientError>,
    ) -> PyResult<()> {
        let inner = self.inner()?;
        let mut reader = inner.reader()?;
        let all = if partitions.is_empty() { reader.assignment() } else { partitions };
        seek(&mut reader, &all).map_err(errors::client)?;
        inner.buffer.lock().forget(&all);
        Ok(())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if let Ok(inner) = self.inner.get()
            && !inner.closed.load(Ordering::Acquire)
        {
            runtime::close_behind(inner.clone(), CLOSE);
        }
    }
}

#[pymethods]
impl Consumer {
    /// Read these topics, or all whose whole name matches `pattern` (a `str` or a compiled one, in the syntax of Rust's
    /// `regex`), as they come and go. What was read before is given up.
    ///
    /// With a `group_id` the group shares the partitions. The callbacks are called by `poll` and while iterating, with
    /// lists of `TopicPartition`: `on_assign` when partitions came, `on_revoke` before they go (what was read can still
    /// be committed), `on_lost` (by default as `on_revoke`) when they are gone already. What they raise comes out of the
    /// poll.
    #[pyo3(signature = (topics=None, *, pattern=None, on_assign=None, on_revoke=None, on_lost=None))]
    fn subscribe(
        &self,
        py: Python<'_>,
        topics: Option<Bound<'_, PyAny>>,
        pattern: Option<&Bound<'_, PyAny>>,
        on_assign: Option<Py<PyAny>>,
        on_revoke: Option<Py<PyAny>>,
        on_lost: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let topics = match topics {
            // A text is a sequence of texts too, of one letter each.
            Some(one) if one.is_instance_of::<PyString>() => {
                let sentence = format!("topics is a str: it must be a list of names, as in [{}]", one.repr()?);
                return Err(PyTypeError::new_err(sentence));
            }
            topics => topics.map(|topics| topics.extract::<Vec<String>>()).transpose()?,
        };
        let lost = on_lost.or_else(|| on_revoke.as_ref().map(|callback| callback.clone_ref(py)));
        self.subscribe_to(py, topics, pattern, Callbacks { assign: on_assign, revoke: on_revoke, lost })
    }

    /// Read these partitions, and no others; no group has a say in it. Those it reads already stay where they are.
    fn assign(&self, partitions: Vec<Named>) -> PyResult<()> {
        let inner = self.inner()?;
        let mut reader = inner.reader()?;
        inner.give_back(&mut reader, None);
        *inner.ends.lock() = Ends { shared: true, ..Ends::default() };
        reader.assign(types::names(partitions)).map_err(errors::client)
    }

    /// Read nothing, and leave the group; commits before, if it commits by itself.
    fn unsubscribe(&self, py: Python<'_>) -> PyResult<()> {
        let inner = self.inner()?;
        let mut reader = inner.reader()?;
        inner.give_back(&mut reader, None);
        runtime::wait(py, reader.unsubscribe())
    }

    /// The topics that are subscribed to; of a pattern, those that match now.
    fn subscription(&self) -> PyResult<Vec<String>> {
        Ok(self.inner()?.reader()?.subscription().into_iter().collect())
    }

    /// The partitions that are read now.
    fn assignment<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        types::partitions(py, &self.inner()?.reader()?.assignment())
    }

    /// Return what is there, up to `max_records` messages (500, or the key `max_poll_records`); if there is nothing, wait
    /// up to `timeout` seconds (for ever, if it is `None`). The list is empty when the time ran out.
    #[pyo3(
        signature = (max_records=None, timeout=Some(1.0)),
        text_signature = "($self, max_records=None, timeout=1.0)"
    )]
    fn poll(&self, py: Python<'_>, max_records: Option<i64>, timeout: Option<f64>) -> PyResult<Vec<Message>> {
        let inner = self.inner()?;
        let max_records = match max_records {
            Some(most) if most < 1 => {
                return Err(errors::invalid(format!("max_records is {most}: it must be at least 1")));
            }
            most => most.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
        };
        let timeout = convert::timeout(timeout)?;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut first = true;
        loop {
            inner.check_open()?;
            inner.tell(py)?;
            {
                let mut buffer = inner.buffer.lock();
                if !buffer.is_empty() {
                    let most = max_records.unwrap_or(usize::MAX);
                    return Ok(std::iter::from_fn(|| buffer.pop()).take(most).collect());
                }
            }
            let left = deadline.map_or(WAIT, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() && !std::mem::take(&mut first) {
                return Ok(Vec::new());
            }
            first = false;
            inner.wait(py, max_records, left)?;
        }
    }

    fn __iter__(slf: Py<Self>) -> PyResult<Py<Self>> {
        slf.get().inner()?.ends.lock().at.clear();
        Ok(slf)
    }

    #[inline]
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Message>> {
        let inner = self.inner()?;
        if !inner.closed.load(Ordering::Relaxed) {
            let mut buffer = inner.buffer.lock();
            if buffer.events.is_empty()
                && let Some(message) = buffer.pop()
            {
                return Ok(Some(message));
            }
        }
        inner.next(py)
    }

    /// Go on from this offset in a partition that is read now.
    fn seek(&self, partition: Named, offset: Offset) -> PyResult<()> {
        self.seek_with(vec![partition.0], |reader, all| all.iter().try_for_each(|name| reader.seek(name, offset)))
    }

    /// Go on from the first record that is still there, in these partitions or in all.
    #[pyo3(signature = (partitions=None))]
    fn seek_to_beginning(&self, partitions: Option<Vec<Named>>) -> PyResult<()> {
        self.seek_with(types::names(partitions.unwrap_or_default()), |reader, all| reader.seek_to_beginning(all))
    }

    /// Go on behind the last record, in these partitions or in all.
    #[pyo3(signature = (partitions=None))]
    fn seek_to_end(&self, partitions: Option<Vec<Named>>) -> PyResult<()> {
        self.seek_with(types::names(partitions.unwrap_or_default()), |reader, all| reader.seek_to_end(all))
    }

    /// Go on from the first record that is not older than `timestamp` (milliseconds since 1970, a `datetime`, or ISO
    /// 8601), in these partitions or in all; from the end where there is none.
    #[pyo3(signature = (timestamp, partitions=None))]
    fn seek_to_timestamp(&self, timestamp: &Bound<'_, PyAny>, partitions: Option<Vec<Named>>) -> PyResult<()> {
        let timestamp = convert::timestamp(timestamp)?;
        self.seek_with(types::names(partitions.unwrap_or_default()), |reader, all| {
            reader.seek_to_timestamp(all, timestamp)
        })
    }

    /// Hand out nothing of these partitions until they are resumed.
    fn pause(&self, partitions: Vec<Named>) -> PyResult<()> {
        let inner = self.inner()?;
        let mut reader = inner.reader()?;
        let names = types::names(partitions);
        reader.pause(&names).map_err(errors::client)?;
        inner.give_back(&mut reader, Some(&names));
        Ok(())
    }

    /// Hand out these partitions again.
    fn resume(&self, partitions: Vec<Named>) -> PyResult<()> {
        self.inner()?.reader()?.resume(&types::names(partitions)).map_err(errors::client)
    }

    /// The partitions that are paused.
    fn paused<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        types::partitions(py, &self.inner()?.reader()?.paused())
    }

    /// The offset of the next message that will be handed out; waits until it is known.
    fn position(&self, py: Python<'_>, partition: Named) -> PyResult<Offset> {
        let inner = self.inner()?;
        let mut reader = inner.reader()?;
        if let Some((place, _)) = inner.buffer.lock().places().get(&partition.0) {
            return Ok(place.offset);
        }
        runtime::wait(py, reader.position(&partition.0, inner.api_timeout))?.map_err(errors::client)
    }

    /// How many offsets lie between the position and the end of the partition, by the last fetch; `None` before one.
    fn lag(&self, partition: Named) -> PyResult<Option<Offset>> {
        let inner = self.inner()?;
        let reader = inner.reader()?;
        let ahead = inner.buffer.lock().places().get(&partition.0).map_or(0, |(place, behind)| behind - place.offset);
        Ok(reader.lag(&partition.0).map(|lag| lag + ahead))
    }

    /// Commit what was handed out so far, or these offsets: a dict from partition to the next offset to read (an `int` or
    /// a `CommittedOffset`), or a message that is done with. Waits until it is done.
    ///
    /// It raises `IllegalGenerationError`, `UnknownMemberIdError` or `RebalanceInProgressError` when the partitions are
    /// somebody else's by now.
    #[pyo3(signature = (offsets=None))]
    fn commit(&self, py: Python<'_>, offsets: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let offsets = self.offsets(py, offsets)?;
        let reader = self.inner()?.reader()?;
        runtime::wait(py, reader.commit(Some(offsets)))?.map_err(errors::client)
    }

    /// What the group has committed for these partitions (by default those that are read now), by partition; those
    /// without are left out.
    #[pyo3(signature = (partitions=None))]
    fn committed<'py>(&self, py: Python<'py>, partitions: Option<Vec<Named>>) -> PyResult<Bound<'py, PyDict>> {
        let reader = self.inner()?.reader()?;
        let names = partitions.map_or_else(|| reader.assignment(), types::names);
        let found = runtime::wait(py, reader.committed(&names))?.map_err(errors::client)?;
        types::by_partition(py, &found, |committed| types::committed(py, committed))
    }

    /// The offset of the first record that is still there, by partition.
    fn beginning_offsets<'py>(&self, py: Python<'py>, partitions: Vec<Named>) -> PyResult<Bound<'py, PyDict>> {
        let wanted = types::names(partitions).into_iter().map(|name| (name, EARLIEST)).collect();
        self.listed(py, wanted, |listed| Ok(listed.offset.into_pyobject(py)?.into_any()))
    }

    /// The offset behind the last record, by partition.
    fn end_offsets<'py>(&self, py: Python<'py>, partitions: Vec<Named>) -> PyResult<Bound<'py, PyDict>> {
        let wanted = types::names(partitions).into_iter().map(|name| (name, LATEST)).collect();
        self.listed(py, wanted, |listed| Ok(listed.offset.into_pyobject(py)?.into_any()))
    }

    /// The first record that is not older than a timestamp, by partition, as an `OffsetAndTimestamp`; `None` where there
    /// is none.
    fn offsets_for_times<'py>(
        &self,
        py: Python<'py>,
        timestamps: HashMap<Named, Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let wanted = wanted_times(timestamps)?;
        self.listed(py, wanted, |listed| found_time(py, listed))
    }

    /// Commit what was handed out (unless `enable_auto_commit=False`), leave the group and end; a second call does
    /// nothing. It takes no longer than `timeout` seconds.
    #[pyo3(signature = (timeout=30.0))]
    fn close(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let within = convert::timeout(Some(timeout))?.unwrap_or(CLOSE);
        runtime::wait(py, self.inner()?.clone().close(within))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py, CLOSE.as_secs_f64())
    }

    fn __repr__(&self) -> PyResult<String> {
        let inner = self.inner()?;
        let state = if inner.closed.load(Ordering::Acquire) {
            ", closed".to_owned()
        } else {
            match inner.reader.try_lock() {
                Ok(reader) => format!(", {} partitions", reader.assignment().len()),
                Err(_) => ", polling".to_owned(),
            }
        };
        Ok(format!("<Consumer of {}{state}>", inner.source.bootstrap()))
    }
}

/// Times to look up, by partition.
pub(crate) fn wanted_times(
    timestamps: HashMap<Named, Bound<'_, PyAny>>,
) -> PyResult<HashMap<TopicPartition, Timestamp>> {
    timestamps.into_iter().map(|(named, time)| Ok((named.0, convert::timestamp(&time)?))).collect()
}

/// A record that was looked up by time.
pub(crate) fn found_time<'py>(
    py: Python<'py>,
    listed: &crate::client::offsets::ListedOffset,
) -> PyResult<Bound<'py, PyAny>> {
    if listed.offset < 0 {
        return Ok(py.None().into_bound(py));
    }
    types::tuple(py, "OffsetAndTimestamp", (listed.offset, listed.timestamp, types::epoch(listed.leader_epoch)))
}
