//! What stands behind a consumer's two faces: the client's consumer, and the messages that came and were not handed out.
//!
//! The client's places move when it hands a batch to the buffer; Python's move with each message. Whoever asks for a
//! place, commits, pauses or closes is told Python's: the buffer says where each partition really stands. The buffer is
//! filled only while it is empty, so the client's own commits are of what was handed out.
//!
//! | | `Consumer` | `AsyncConsumer` |
//! |---|---|---|
//! | who uses it | one thread at a time, else an error | any task; who waits for messages steps aside for everyone else |
//! | topics without a group | their partitions are asked for at once | by whoever waits first: see [`Inner::resolve`] |

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::prelude::*;
use tokio::sync::{MutexGuard, Notify};

use crate::client::consumer::{Consumer as Reader, RebalanceEvent};
use crate::client::offsets::{CommittedOffset, LATEST};
use crate::client::{self, ClientError};
use crate::common::ids::{Offset, TopicPartition};

use super::super::message::{Message, MessageBatch};
use super::super::runtime::{self, Close, Closing};
use super::super::source::Source;
use super::super::{errors, types};

/// How long an iteration waits before it looks whether it is at its end.
const LOOK: Duration = Duration::from_millis(50);
/// How long one that has no end waits at a time.
pub(super) const WAIT: Duration = Duration::from_secs(10);
/// How long what does not wait waits for somebody who closes or unsubscribes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Messages that were fetched and not handed out yet.
#[derive(Default)]
pub(super) struct Buffer {
    batches: VecDeque<Arc<MessageBatch>>,
    /// The next message of the first batch.
    next: usize,
    /// Rebalances that the callbacks were not told yet.
    pub(super) events: VecDeque<RebalanceEvent>,
}

impl Buffer {
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Message> {
        let batch = self.batches.front()?;
        let message = Message::new(batch, self.next);
        self.next += 1;
        if self.next >= batch.len() {
            self.next = 0;
            self.batches.pop_front();
        }
        Some(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// For each partition that has messages here: the first one's offset and epoch, and the offset behind the last.
    pub(super) fn places(&self) -> HashMap<TopicPartition, (CommittedOffset, Offset)> {
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
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        if self.batches.front().is_some_and(|first| partitions.contains(&first.partition())) {
            self.next = 0;
        }
        self.batches.retain(|batch| !partitions.contains(&batch.partition()));
    }
}

/// What is told of rebalances.
#[derive(Default)]
pub(super) struct Callbacks {
    pub(super) assign: Option<Py<PyAny>>,
    pub(super) revoke: Option<Py<PyAny>>,
    pub(super) lost: Option<Py<PyAny>>,
}

/// See the module.
pub(super) struct Inner {
    pub(super) reader: tokio::sync::Mutex<Reader>,
    pub(super) buffer: Mutex<Buffer>,
    pub(super) callbacks: Mutex<Arc<Callbacks>>,
    pub(super) stop_at_end: bool,
    pub(super) ends: Mutex<Ends>,
    pub(super) closed: AtomicBool,
    pub(super) closing: Notify,
    pub(super) api_timeout: Duration,
    pub(super) source: Arc<Source>,
    /// Whether tasks share it.
    pub(super) shared: bool,
    /// Somebody wants the reader that who waits for messages has,
    pub(super) wanted: Notify,
    /// and how many do.
    pub(super) claims: AtomicUsize,
    /// Topics whose partitions are to be asked for and assigned.
    pub(super) unresolved: Mutex<Vec<String>>,
}

/// Where an iteration with an end ends.
#[derive(Default)]
pub(super) struct Ends {
    /// Whether the group has given out its partitions.
    pub(super) shared: bool,
    pub(super) at: HashMap<TopicPartition, Offset>,
}

/// Why an [`Inner::advance`] came back.
pub(super) enum Advanced {
    /// There may be messages or rebalances, or the time is over.
    Look,
    /// Everything that was there when the iteration began has been handed out.
    AtEnd,
}

impl Inner {
    pub(super) fn check_open(&self) -> PyResult<()> {
        if self.closed.load(Ordering::Acquire) { Err(errors::closed("consumer")) } else { Ok(()) }
    }

    /// The client's consumer, for what does not wait.
    pub(super) fn reader(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Reader>> {
        self.check_open()?;
        if let Ok(reader) = self.reader.try_lock() {
            return Ok(reader);
        }
        // Who closes says so before it takes the reader.
        self.check_open()?;
        if !self.shared {
            return Err(errors::client(busy()));
        }
        match runtime::wait_for(py, self.claim(), Some(PATIENCE))? {
            Some(reader) => Ok(reader),
            None => Err(errors::invalid("another task closes or unsubscribes this consumer: await that before")),
        }
    }

    /// The client's consumer, for what waits.
    pub(super) async fn acquire(&self) -> client::Result<MutexGuard<'_, Reader>> {
        let reader = match self.reader.try_lock() {
            Ok(reader) => reader,
            // Who closes says so before it takes the reader.
            Err(_) if self.closed.load(Ordering::Acquire) => return Err(ClientError::Closed("consumer")),
            Err(_) if !self.shared => return Err(busy()),
            Err(_) => self.claim().await,
        };
        if self.closed.load(Ordering::Acquire) { Err(ClientError::Closed("consumer")) } else { Ok(reader) }
    }

    /// Waits for the reader; who waits for messages with it steps aside, and so does who waits to do that.
    async fn claim(&self) -> MutexGuard<'_, Reader> {
        let _claim = Claim::new(&self.claims);
        let ask = async {
            self.wanted.notify_one();
            std::future::pending().await
        };
        tokio::select! {
            // Stands in line before it asks, or whoever steps aside is the next to have it.
            biased;
            reader = self.reader.lock() => reader,
            reader = ask => reader,
        }
    }

    /// As [`Inner::acquire`], with its partitions assigned.
    pub(super) async fn acquire_resolved(&self) -> client::Result<MutexGuard<'_, Reader>> {
        let mut reader = self.acquire().await?;
        self.resolve(&mut reader).await?;
        Ok(reader)
    }

    /// Assigns all partitions of the topics that were named without a group. Dropped in the middle it has done nothing.
    pub(super) async fn resolve(&self, reader: &mut Reader) -> client::Result<()> {
        let topics = self.unresolved.lock().clone();
        if topics.is_empty() {
            return Ok(());
        }
        let mut all = Vec::new();
        for topic in &topics {
            all.extend(reader.partitions(topic).await?);
        }
        self.ends.lock().shared = true;
        reader.assign(all)?;
        self.unresolved.lock().clear();
        Ok(())
    }

    /// Fetches into the buffer, unless it holds something.
    async fn fetch(&self, reader: &mut Reader, most: Option<usize>, timeout: Duration) -> client::Result<()> {
        {
            let buffer = self.buffer.lock();
            if !buffer.is_empty() || !buffer.events.is_empty() {
                return Ok(());
            }
        }
        let polled = reader.poll(most, timeout).await?;
        let batches: Vec<_> = polled.batches.iter().map(|batch| Arc::new(MessageBatch::read(batch))).collect();
        if polled.events.iter().any(|event| matches!(event, RebalanceEvent::Assigned(_))) {
            self.ends.lock().shared = true;
        }
        let mut buffer = self.buffer.lock();
        buffer.events.extend(polled.events);
        buffer.batches.extend(batches);
        Ok(())
    }

    /// Waits until there is a message or a rebalance, or the time is over. With `to_end` it looks before, and then and now,
    /// whether the iteration is at its end. Dropping the future loses nothing and frees the reader.
    pub(super) async fn advance(
        self: Arc<Self>,
        most: Option<usize>,
        timeout: Duration,
        to_end: bool,
    ) -> client::Result<Advanced> {
        let deadline = Instant::now() + timeout;
        loop {
            let closing = self.closing.notified();
            // Who waits for messages does not ask others who do to step aside.
            let mut reader = if self.shared { self.reader.lock().await } else { self.acquire().await? };
            if self.closed.load(Ordering::Acquire) {
                return Ok(Advanced::Look);
            }
            if self.claims.load(Ordering::Acquire) > 0 {
                drop(reader);
                tokio::task::yield_now().await;
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let work = async {
                self.resolve(&mut reader).await?;
                if to_end && self.is_empty() && self.at_end(&mut reader).await? {
                    return Ok(Advanced::AtEnd);
                }
                self.fetch(&mut reader, most, if to_end { LOOK } else { left }).await?;
                Ok(Advanced::Look)
            };
            tokio::select! {
                done = work => return done,
                () = closing => return Ok(Advanced::Look),
                () = self.wanted.notified(), if self.shared => {}
            }
        }
    }

    fn is_empty(&self) -> bool {
        let buffer = self.buffer.lock();
        buffer.is_empty() && buffer.events.is_empty()
    }

    /// Whether everything that was there when the iteration began has been handed out.
    async fn at_end(&self, reader: &mut Reader) -> client::Result<bool> {
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

    /// Where a partition stands for Python; waits until that is known.
    pub(super) async fn position(&self, name: &TopicPartition) -> client::Result<Offset> {
        let deadline = Instant::now() + self.api_timeout;
        loop {
            let mut reader = self.acquire_resolved().await?;
            if let Some((place, _)) = self.buffer.lock().places().get(name) {
                return Ok(place.offset);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::select! {
                found = reader.position(name, left) => return found,
                () = self.wanted.notified(), if self.shared => {}
            }
        }
    }

    /// The places of all that was handed out.
    pub(super) async fn handed_out(
        &self,
        reader: &mut Reader,
    ) -> client::Result<HashMap<TopicPartition, CommittedOffset>> {
        let ahead = self.buffer.lock().places();
        let mut all = HashMap::new();
        for name in reader.assignment() {
            if let Some((place, _)) = ahead.get(&name) {
                all.insert(name, place.clone());
                continue;
            }
            match reader.position(&name, Duration::ZERO).await {
                Ok(offset) => drop(all.insert(name, CommittedOffset::new(offset))),
                // Nothing was handed out of it yet.
                Err(ClientError::Timeout { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Makes the client's places Python's, and empties the buffer of these partitions (of all, without any).
    pub(super) fn give_back(&self, reader: &mut Reader, partitions: Option<&[TopicPartition]>) {
        let mut buffer = self.buffer.lock();
        for (name, (place, _)) in buffer.places() {
            if partitions.is_none_or(|these| these.contains(&name)) {
                // One that is no longer assigned is somebody else's.
                let _ = reader.seek(&name, place.offset);
                buffer.forget(std::slice::from_ref(&name));
            }
        }
    }

    /// Tells the callbacks of rebalances, each once, until one gives something to be awaited. No lock is held while Python
    /// runs: a callback may commit or seek.
    pub(super) fn tell<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        loop {
            let Some(event) = self.buffer.lock().events.pop_front() else { return Ok(None) };
            let callbacks = self.callbacks.lock().clone();
            let (callback, partitions) = match event {
                RebalanceEvent::Assigned(partitions) => (&callbacks.assign, partitions),
                RebalanceEvent::Revoked(partitions) => (&callbacks.revoke, partitions),
                RebalanceEvent::Lost(partitions) => (&callbacks.lost, partitions),
            };
            if let Some(callback) = callback {
                let told = callback.bind(py).call1((types::partitions(py, &partitions)?,))?;
                if self.shared && told.hasattr("__await__")? {
                    return Ok(Some(told));
                }
            }
        }
    }

    /// Up to `most` messages, if there are any.
    pub(super) fn take(&self, most: usize) -> Vec<Message> {
        let mut buffer = self.buffer.lock();
        std::iter::from_fn(|| buffer.pop()).take(most).collect()
    }
}

/// Counts as long as it lives.
struct Claim<'a>(&'a AtomicUsize);

impl Claim<'_> {
    fn new(claims: &AtomicUsize) -> Claim<'_> {
        claims.fetch_add(1, Ordering::AcqRel);
        Claim(claims)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn busy() -> ClientError {
    ClientError::Invalid("another thread is using this consumer: a consumer serves one thread at a time".into())
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
