//! Where records wait: for each partition a batch that is being filled, and batches that are full.
//!
//! Any thread appends; only the sender takes out. A partition that has something to send is on the sender's list once.
//! Memory is counted by batch: `batch.size` is reserved when a batch is begun and given back when it is done.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::client::ClientError;
use crate::client::config::ProducerConfig;
use crate::client::metadata::TopicView;
use crate::common::clock::SharedClock;
use crate::common::ids::Timestamp;
use crate::protocol::ErrorCode;
use crate::record::{BatchBuilder, BatchOptions, Codec};

use super::Record;
use super::delivery::{BatchDelivery, Delivery};
use super::partitioner::{Sticky, draw, partition_of_key};

/// Why a record was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// The topic, or the partition that was asked for, is not known (yet).
    Topic,
    /// `buffer.memory` is used up.
    Memory,
    /// It never will be.
    Never(ClientError),
}

/// Where records wait.
#[derive(Debug)]
pub(super) struct Accumulator {
    config: ProducerConfig,
    clock: SharedClock,
    topics: RwLock<HashMap<Arc<str>, Arc<TopicQueues>>>,
    memory: Memory,
    /// The partitions that the sender does not know to have something.
    listed: Mutex<Vec<Arc<PartitionQueue>>>,
    /// Wakes the sender.
    pub(super) wake: Notify,
    /// Nothing waits for its linger time while this is not 0.
    hurry: AtomicUsize,
    pub(super) closed: AtomicBool,
    /// Every batch that is not done: what a flush waits for.
    incomplete: Mutex<HashMap<usize, Arc<BatchDelivery>>>,
}

/// The queues of a topic's partitions.
#[derive(Debug)]
pub(super) struct TopicQueues {
    name: Arc<str>,
    partitions: Vec<Arc<PartitionQueue>>,
    sticky: Sticky,
    /// What compression leaves of a byte, as the last batches had it; an f32's bits.
    ratio: AtomicU32,
}

/// The batches of one partition that were not sent.
#[derive(Debug)]
pub(super) struct PartitionQueue {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    inner: Mutex<Inner>,
    /// Where the sender keeps what it knows of the partition.
    pub(super) slot: OnceLock<usize>,
}

#[derive(Debug, Default)]
struct Inner {
    open: Option<Waiting>,
    full: VecDeque<Waiting>,
    listed: bool,
}

/// A batch that was not sent yet.
pub(super) struct Waiting {
    pub(super) builder: BatchBuilder,
    pub(super) delivery: Arc<BatchDelivery>,
    /// When it was begun, on the monotonic clock.
    pub(super) created: Duration,
    /// What it holds of the memory, in bytes.
    pub(super) reserved: usize,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("records", &self.builder.record_count()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Memory {
    limit: usize,
    used: AtomicUsize,
    freed: Notify,
}

impl Accumulator {
    pub(super) fn new(config: ProducerConfig, clock: SharedClock) -> Accumulator {
        let memory = Memory { limit: config.buffer_memory, used: AtomicUsize::new(0), freed: Notify::new() };
        Accumulator {
            config,
            clock,
            topics: RwLock::default(),
            memory,
            listed: Mutex::default(),
            wake: Notify::new(),
            hurry: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            incomplete: Mutex::default(),
        }
    }

    /// Takes a record, or says why not. Never waits.
    #[inline]
    pub(super) fn append(
        &self,
        record: &Record<'_>,
        view: impl Fn() -> Option<Arc<TopicView>>,
    ) -> Result<Delivery, Refused> {
        let topics = self.topics.read();
        let topic = topics.get(record.topic).ok_or_else(|| self.unknown())?;
        self.append_to_topic(topic, record, view, |batch, index, timestamp| batch.delivery(index, timestamp))
    }

    /// The queues of a topic, as far as it is known: see [`Accumulator::append_to_topic`].
    pub(super) fn queues(&self, topic: &str) -> Option<Arc<TopicQueues>> {
        self.topics.read().get(topic).cloned()
    }

    fn unknown(&self) -> Refused {
        match self.closed.load(Ordering::Acquire) {
            true => Refused::Never(ClientError::Closed("producer")),
            false => Refused::Topic,
        }
    }

    /// As [`Accumulator::append`], to a topic that was looked up before. `taken` is told the batch, the record's index in
    /// it and its timestamp, under the partition's lock.
    #[inline]
    pub(super) fn append_to_topic<T>(
        &self,
        topic: &TopicQueues,
        record: &Record<'_>,
        view: impl Fn() -> Option<Arc<TopicView>>,
        taken: impl FnOnce(&Arc<BatchDelivery>, u32, Timestamp) -> T,
    ) -> Result<T, Refused> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Refused::Never(ClientError::Closed("producer")));
        }
        let headers: usize = record.headers.iter().map(|h| h.key.len() + h.value.map_or(0, <[u8]>::len) + 10).sum();
        let key = record.key.unwrap_or_default();
        let bound = BatchBuilder::record_size_bound(key.len(), record.value.map_or(0, <[u8]>::len), headers);
        if bound > self.config.max_request_size || bound > self.memory.limit {
            return Err(Refused::Never(self.too_large(bound)));
        }
        let count = topic.partitions.len();
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) if !self.config.ignore_keys => partition_of_key(key, count),
            _ => topic.sticky.next(bound, self.config.batch_size, || draw(view().as_deref(), count)),
        };
        let queue = usize::try_from(partition).ok().and_then(|at| topic.partitions.get(at)).ok_or(Refused::Topic)?;
        let timestamp = match record.timestamp {
            None => self.clock.now(),
            Some(timestamp) if timestamp >= 0 => timestamp,
            Some(timestamp) => {
                let sentence = format!("timestamp is {timestamp}: it must be at least 0, milliseconds since 1970");
                return Err(Refused::Never(ClientError::invalid(sentence)));
            }
        };
        self.append_to(topic, queue, record, timestamp, bound, taken)
    }

    #[inline]
    fn append_to<T>(
        &self,
        topic: &TopicQueues,
        queue: &Arc<PartitionQueue>,
        record: &Record<'_>,
        timestamp: Timestamp,
        bound: usize,
        taken: impl FnOnce(&Arc<BatchDelivery>, u32, Timestamp) -> T,
    ) -> Result<T, Refused> {
        let mut inner = queue.inner.lock();
        if !matches!(&inner.open, Some(open) if open.builder.has_room(bound, self.config.batch_size)) {
            if let Some(full) = inner.open.take() {
                inner.full.push_back(full);
                self.wake.notify_one();
            }
            inner.open = Some(self.begin(topic, queue, bound)?);
            if !std::mem::replace(&mut inner.listed, true) {
                self.listed.lock().push(queue.clone());
                self.wake.notify_one();
            }
        }
        let Some(open) = &mut inner.open else { return Err(Refused::Memory) };
        let index = open.builder.append(timestamp, record.key, record.value, record.headers.iter().copied());
        // Compression lets a batch hold more than was reserved for it; that is counted, and never waited for.
        let over = open.builder.uncompressed_size().saturating_sub(open.reserved);
        if over > 0 {
            open.reserved += over;
            self.memory.used.fetch_add(over, Ordering::AcqRel);
        }
        let taken = taken(&open.delivery, index as u32, timestamp);
        if open.builder.is_full(self.config.batch_size)
            && let Some(full) = inner.open.take()
        {
            inner.full.push_back(full);
            self.wake.notify_one();
        }
        Ok(taken)
    }

    #[cold]
    fn begin(&self, topic: &TopicQueues, queue: &PartitionQueue, bound: usize) -> Result<Waiting, Refused> {
        let size = self.config.batch_size.max(bound + crate::record::HEADER_LEN);
        if !self.memory.reserve(size) {
            // What is begun need not wait for more: nothing can be added to it for now.
            self.wake.notify_one();
            return Err(Refused::Memory);
        }
        let compression = self.config.compression;
        let options = BatchOptions { compression, capacity: size, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        if compression.codec() != Codec::None {
            builder.set_expected_ratio(f32::from_bits(topic.ratio.load(Ordering::Relaxed)));
        }
        let delivery = BatchDelivery::new(queue.topic.clone(), queue.partition);
        self.track(&delivery);
        Ok(Waiting { builder, delivery, created: self.clock.monotonic(), reserved: size })
    }

    fn too_large(&self, bound: usize) -> ClientError {
        let (limit, key) = if bound > self.config.max_request_size {
            (self.config.max_request_size, "max.request.size")
        } else {
            (self.memory.limit, "buffer.memory")
        };
        let sentence = format!("the record takes up to {bound} bytes, and {key} allows {limit}");
        ClientError::kafka_said(ErrorCode::MESSAGE_TOO_LARGE, "send", Some(&sentence))
    }

    /// Makes room for a topic's partitions, or for more of them.
    pub(super) fn set_partitions(&self, name: &Arc<str>, count: usize) {
        let mut topics = self.topics.write();
        let known = topics.get(name);
        if known.is_some_and(|known| known.partitions.len() == count) {
            return;
        }
        let mut partitions = known.map(|known| known.partitions.clone()).unwrap_or_default();
        partitions.truncate(count);
        for partition in partitions.len()..count {
            partitions.push(Arc::new(PartitionQueue {
                topic: name.clone(),
                partition: partition as i32,
                inner: Mutex::default(),
                slot: OnceLock::new(),
            }));
        }
        let ratio = AtomicU32::new(known.map_or(1f32.to_bits(), |known| known.ratio.load(Ordering::Relaxed)));
        let queues = TopicQueues { name: name.clone(), partitions, sticky: Sticky::default(), ratio };
        topics.insert(name.clone(), Arc::new(queues));
    }

    /// As [`Accumulator::set_partitions`], for a topic that records were sent to.
    pub(super) fn set_partitions_if_known(&self, name: &Arc<str>, count: usize) {
        if count > 0 && self.topics.read().contains_key(name) {
            self.set_partitions(name, count);
        }
    }

    /// Gives up every batch that is not done.
    pub(super) fn fail_incomplete(&self, error: &ClientError) {
        let incomplete = std::mem::take(&mut *self.incomplete.lock());
        for batch in incomplete.into_values() {
            batch.complete(super::delivery::Outcome::failed(error.clone()));
        }
    }

    /// The topics that records were sent to.
    pub(super) fn topics(&self) -> Vec<Arc<str>> {
        self.topics.read().values().map(|topic| topic.name.clone()).collect()
    }

    /// Learns from a batch what compression leaves of a byte.
    pub(super) fn note_ratio(&self, topic: &str, uncompressed: usize, compressed: usize) {
        if let Some(topic) = self.topics.read().get(topic) {
            let seen = compressed as f32 / uncompressed.max(1) as f32;
            let known = f32::from_bits(topic.ratio.load(Ordering::Relaxed));
            // Down slowly and up at once: a batch that comes out too large costs more than one that is not full.
            let next = if seen > known { seen } else { known * 0.9 + seen * 0.1 };
            topic.ratio.store(next.clamp(0.02, 1.2).to_bits(), Ordering::Relaxed);
        }
    }

    /// The partitions that have something, since this was last asked.
    pub(super) fn take_listed(&self) -> Vec<Arc<PartitionQueue>> {
        std::mem::take(&mut *self.listed.lock())
    }

    /// Whether what is begun must go out without waiting for its linger time.
    pub(super) fn in_a_hurry(&self) -> bool {
        self.hurry.load(Ordering::Acquire) > 0
            || self.closed.load(Ordering::Acquire)
            || self.memory.used.load(Ordering::Acquire) + self.config.batch_size > self.memory.limit
    }

    /// Lets nothing wait for its linger time until the guard is dropped.
    pub(super) fn hurry(&self) -> Hurry<'_> {
        self.hurry.fetch_add(1, Ordering::AcqRel);
        self.wake.notify_one();
        Hurry(self)
    }

    /// Every batch that is not done.
    pub(super) fn incomplete(&self) -> Vec<Delivery> {
        self.incomplete.lock().values().map(|batch| batch.delivery(0, -1)).collect()
    }

    pub(super) fn track(&self, batch: &Arc<BatchDelivery>) {
        self.incomplete.lock().insert(Arc::as_ptr(batch) as usize, batch.clone());
    }

    /// A batch is done: it is no longer waited for, and its memory is free.
    pub(super) fn release(&self, batch: &Arc<BatchDelivery>, reserved: usize) {
        self.incomplete.lock().remove(&(Arc::as_ptr(batch) as usize));
        self.memory.used.fetch_sub(reserved, Ordering::AcqRel);
        self.memory.freed.notify_waiters();
    }

    /// Ends when memory was freed after this was called (even if it is not awaited at once).
    pub(super) fn freed(&self) -> impl Future<Output = ()> + '_ {
        let mut freed = Box::pin(self.memory.freed.notified());
        freed.as_mut().enable();
        freed
    }
}

/// See [`Accumulator::hurry`].
pub(super) struct Hurry<'a>(&'a Accumulator);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.hurry.fetch_sub(1, Ordering::AcqRel);
    }
}

impl TopicQueues {
    /// How many partitions are known.
    pub(super) fn partition_count(&self) -> usize {
        self.partitions.len()
    }
}

impl Memory {
    fn reserve(&self, size: usize) -> bool {
        let add = |used: usize| (used == 0 || used + size <= self.limit).then_some(used + size);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
    }
}

impl PartitionQueue {
    /// The next batch to send at `now`: a full one; or the one being filled, if it waited for `linger` or there is a hurry.
    pub(super) fn take(&self, now: Duration, linger: Duration, hurry: bool) -> Option<Waiting> {
        let mut inner = self.inner.lock();
        if let Some(full) = inner.full.pop_front() {
            return Some(full);
        }
        inner.open.take_if(|open| hurry || now >= open.created + linger)
    }

    /// When [`PartitionQueue::take`] will have something; `None` if nothing is there, and then the queue is off the list.
    pub(super) fn due(&self, linger: Duration, hurry: bool) -> Option<Duration> {
        let mut inner = self.inner.lock();
        if !inner.full.is_empty() || (hurry && inner.open.is_some()) {
            return Some(Duration::ZERO);
        }
        match &inner.open {
            Some(open) => Some(open.created + linger),
            None => {
                inner.listed = false;
                None
            }
        }
    }

    /// Takes out what was begun before `oldest`.
    pub(super) fn take_older(&self, oldest: Duration) -> Vec<Waiting> {
        let mut inner = self.inner.lock();
        let mut old = Vec::new();
        while inner.full.front().is_some_and(|batch| batch.created < oldest) {
            old.extend(inner.full.pop_front());
        }
        if inner.full.is_empty() {
            old.extend(inner.open.take_if(|open| open.created < oldest));
        }
        old
    }

    /// When the oldest batch was begun.
    pub(super) fn oldest(&self) -> Option<Duration> {
        let inner = self.inner.lock();
        inner.full.front().or(inner.open.as_ref()).map(|batch| batch.created)
    }
}
