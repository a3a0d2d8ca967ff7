//! Many records to one topic, such as the rows of a table: what `send` does for each, but the topic is looked up once,
//! and word of the records is kept by batch.
//!
//! Of a record that is on its way eight bytes are kept: its index in the batch, and its number, as the caller counts.
//! A caller who harvests now and then so holds no more than `buffer.memory` allows, however many records there are.
//!
//! It works on the caller's own thread, in steps: what may have to wait is told until when, and goes on where it was when
//! it is called again. So the caller can look up in between (for Ctrl-C), and can leave at any step: what was taken by
//! then is sent, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{ClientError, Result};
use crate::common::ids::Offset;

use super::accumulator::{Hurry, Refused, TopicQueues};
use super::delivery::BatchDelivery;
use super::{Producer, Record};

/// Sends many records to one topic. See the module.
pub struct Bulk<'a> {
    producer: &'a Producer,
    topic: Arc<str>,
    queues: Arc<TopicQueues>,
    /// Whether the cluster was asked for more partitions since the last harvest.
    learnt: bool,
    /// Since when `buffer.memory` is used up, on the monotonic clock.
    full_since: Option<Duration>,
    /// From the first [`Bulk::finish`] on, also between two of its steps.
    hurry: Option<Hurry<'a>>,
    runs: Runs,
}

/// What became of the records.
#[derive(Debug, Clone, Default)]
pub struct BulkReport {
    /// Those that were written, by partition.
    pub written: BTreeMap<i32, WrittenRecords>,
    /// The numbers of those that were not, in their order, each with the reason.
    pub failed: Vec<(u64, ClientError)>,
}

/// What was written to one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WrittenRecords {
    /// How many records.
    pub count: u64,
    /// The least of their offsets; `None` where the broker did not say: with `acks` 0.
    pub first_offset: Option<Offset>,
    /// The greatest of their offsets.
    pub last_offset: Option<Offset>,
}

/// The records that were taken, batch by batch, and what became of those whose batches are done.
#[derive(Default)]
struct Runs {
    /// For each partition what its newest batch got.
    open: Vec<Option<Run>>,
    closed: Vec<Run>,
    /// Lists to use again.
    spare: Vec<Vec<(u32, u32)>>,
    report: BulkReport,
}

/// Records of one batch.
struct Run {
    batch: Arc<BatchDelivery>,
    /// The number of the first.
    first: u64,
    /// Of each the index in the batch, and how far its number is from the first.
    records: Vec<(u32, u32)>,
}

impl<'a> Bulk<'a> {
    /// Sends to `topic`, which [`Producer::partitions`] must have learnt of before.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a topic that is not known.
    pub fn new(producer: &'a Producer, topic: &Arc<str>) -> Result<Bulk<'a>> {
        let queues = producer.accumulator.queues(topic);
        let queues = queues.ok_or_else(|| ClientError::invalid(format!("topic {topic} is not known yet")))?;
        let runs = Runs::default();
        Ok(Bulk { producer, topic: topic.clone(), queues, learnt: false, full_since: None, hurry: None, runs })
    }

    /// The topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// How many partitions the topic has, as far as is known.
    pub fn partition_count(&self) -> usize {
        self.queues.partition_count()
    }

    /// The producer.
    pub fn producer(&self) -> &'a Producer {
        self.producer
    }

    /// Takes a record of the topic under a number of its own; waits up to `deadline` (on the monotonic clock) for memory.
    /// Returns whether that is settled: the record was taken, or never will be, which the report tells.
    ///
    /// # Errors
    /// What ends all sending: [`ClientError::Closed`]; [`ClientError::BufferFull`] when there was no memory for
    /// `max.block.ms`; that the cluster cannot be asked for the partitions of the topic.
    #[inline]
    pub fn send(&mut self, number: u64, record: &Record<'_>, deadline: Duration) -> Result<bool> {
        match self.append(number, record) {
            Ok(()) => {
                self.full_since = None;
                Ok(true)
            }
            Err(refused) => self.send_waiting(number, record, refused, deadline),
        }
    }

    /// Notes that a record cannot be sent.
    pub fn refuse(&mut self, number: u64, error: ClientError) {
        self.runs.report.failed.push((number, error));
    }

    #[inline]
    fn append(&mut self, number: u64, record: &Record<'_>) -> std::result::Result<(), Refused> {
        let Bulk { producer, topic, queues, runs, .. } = self;
        let view = || producer.network.view().topics.get(&**topic).cloned();
        producer.accumulator.append_to_topic(queues, record, view, |batch, index, _| runs.note(batch, index, number))
    }

    #[cold]
    fn send_waiting(
        &mut self,
        number: u64,
        record: &Record<'_>,
        mut refused: Refused,
        deadline: Duration,
    ) -> Result<bool> {
        let producer = self.producer;
        let doors = producer.network.doors();
        let max_block = producer.config.max_block;
        loop {
            let now = doors.clock.monotonic();
            // Registered before the attempt, so that memory freed in between is not missed.
            let freed = producer.accumulator.freed();
            match refused {
                Refused::Memory => {
                    refused = match self.append(number, record) {
                        Ok(()) => {
                            self.full_since = None;
                            return Ok(true);
                        }
                        Err(refused) => refused,
                    };
                    if !matches!(refused, Refused::Memory) {
                        continue;
                    }
                    let full_until = *self.full_since.get_or_insert(now) + max_block;
                    if now >= full_until {
                        let limit = producer.config.buffer_memory;
                        return Err(ClientError::BufferFull { limit, after: max_block });
                    }
                    if now >= deadline {
                        return Ok(false);
                    }
                    let left = full_until.min(deadline).saturating_sub(now);
                    doors.runtime.block_on(async {
                        tokio::select! {
                            () = freed => {}
                            () = doors.clock.sleep(left) => {}
                        }
                    });
                }
                Refused::Topic => {
                    if !self.learnt {
                        let learnt = doors.runtime.block_on(async {
                            tokio::select! {
                                learnt = producer.learn(record, max_block) => Some(learnt),
                                () = doors.clock.sleep(deadline.saturating_sub(now)) => None,
                            }
                        });
                        match learnt {
                            None => return Ok(false),
                            Some(Ok(()) | Err(ClientError::Invalid(_))) => self.learnt = true,
                            Some(Err(error)) => return Err(error),
                        }
                        self.look_up();
                    }
                    refused = match self.append(number, record) {
                        Ok(()) => return Ok(true),
                        Err(Refused::Topic) => Refused::Never(self.no_partition(record)),
                        Err(refused) => refused,
                    };
                }
                Refused::Never(error @ ClientError::Closed(_)) => return Err(error),
                Refused::Never(error) => {
                    self.refuse(number, error);
                    return Ok(true);
                }
            }
        }
    }

    fn no_partition(&self, record: &Record<'_>) -> ClientError {
        let (topic, known) = (&self.topic, self.partition_count());
        ClientError::invalid(match record.partition {
            Some(partition) if partition < 0 => format!("partition is {partition}: it must be at least 0"),
            Some(partition) => format!("{topic} has no partition {partition}: it has {known}"),
            None => format!("{topic} has no partitions"),
        })
    }

    fn look_up(&mut self) {
        if let Some(queues) = self.producer.accumulator.queues(&self.topic) {
            self.queues = queues;
        }
    }

    /// Notes what became of the records whose batches are done. Never waits.
    pub fn harvest(&mut self) {
        self.learnt = false;
        self.look_up();
        self.runs.harvest();
    }

    /// Sends what was taken without waiting for `linger.ms`, and waits up to `deadline` until it is known of each record
    /// what became of it. Returns whether it is.
    pub fn finish(&mut self, deadline: Duration) -> bool {
        let doors = self.producer.network.doors();
        let producer = self.producer;
        self.hurry.get_or_insert_with(|| producer.accumulator.hurry());
        self.runs.close_all();
        loop {
            self.runs.harvest();
            // The newest batch is mostly done last.
            let Some(run) = self.runs.closed.last() else {
                self.runs.report.failed.sort_by_key(|(number, _)| *number);
                return true;
            };
            let now = doors.clock.monotonic();
            if now >= deadline {
                return false;
            }
            let (sender, done) = tokio::sync::oneshot::channel();
            run.batch.delivery(0, -1).on_batch_done(move || {
                let _ = sender.send(());
            });
            doors.runtime.block_on(async {
                tokio::select! {
                    _ = done => {}
                    () = doors.clock.sleep(deadline.saturating_sub(now)) => {}
                }
            });
        }
    }

    /// What became of the records: of all of them once [`Bulk::finish`] has returned `true`.
    pub fn into_report(self) -> BulkReport {
        self.runs.report
    }
}

impl std::fmt::Debug for Bulk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bulk").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Runs {
    /// The record `number` is in `batch` now.
    #[inline]
    fn note(&mut self, batch: &Arc<BatchDelivery>, index: u32, number: u64) {
        // A partition that was taken is there.
        let at = batch.partition() as usize;
        if let Some(Some(run)) = self.open.get_mut(at)
            && Arc::ptr_eq(&run.batch, batch)
            && let Some(distance) = number.checked_sub(run.first).and_then(|distance| u32::try_from(distance).ok())
        {
            return run.records.push((index, distance));
        }
        self.begin(at, batch, index, number);
    }

    #[cold]
    fn begin(&mut self, at: usize, batch: &Arc<BatchDelivery>, index: u32, number: u64) {
        if self.open.len() <= at {
            self.open.resize_with(at + 1, || None);
        }
        let mut records = self.spare.pop().unwrap_or_default();
        records.push((index, 0));
        let before = self.open[at].replace(Run { batch: batch.clone(), first: number, records });
        self.closed.extend(before);
    }

    fn close_all(&mut self) {
        self.closed.extend(self.open.iter_mut().filter_map(Option::take));
    }

    fn harvest(&mut self) {
        let mut waiting = Vec::with_capacity(self.closed.len());
        for run in std::mem::take(&mut self.closed) {
            match run.batch.is_done() {
                true => self.settle(run),
                false => waiting.push(run),
            }
        }
        self.closed = waiting;
    }

    /// Notes what became of the records of a batch that is done.
    fn settle(&mut self, mut run: Run) {
        let written = self.report.written.entry(run.batch.partition());
        match (run.batch.written(), &run.records[..]) {
            (Some(base), [(first, _), ..]) => {
                let last = run.records.last().map_or(*first, |(last, _)| *last);
                let at = |index: u32| base.map(|base| base + i64::from(index));
                written.or_default().add(run.records.len() as u64, at(*first), at(last));
            }
            _ => {
                let mut count = WrittenRecords::default();
                for (index, distance) in &run.records {
                    match run.batch.delivery(*index, -1).result() {
                        Some(Ok(delivered)) => count.add(1, delivered.offset, delivered.offset),
                        Some(Err(error)) => self.report.failed.push((run.first + u64::from(*distance), error)),
                        // It is done, so there is a result.
                        None => {}
                    }
                }
                if count.count > 0 {
                    written.or_default().add(count.count, count.first_offset, count.last_offset);
                }
            }
        }
        run.records.clear();
        self.spare.push(run.records);
    }
}

impl WrittenRecords {
    fn add(&mut self, count: u64, first: Option<Offset>, last: Option<Offset>) {
        let least = |a: Offset, b: Option<Offset>| b.map_or(a, |b| a.min(b));
        self.count += count;
        self.first_offset = first.map(|first| least(first, self.first_offset)).or(self.first_offset);
        self.last_offset = self.last_offset.max(last);
    }
}
