//! One partition that this broker holds: led or followed, read from, waited for.
//!
//! The log has one writer, behind a lock; readers go through their own handle and never wait for it. What the partition is
//! here lies behind the same lock, so an append and what it does to the high watermark are one step:
//!
//! | as | it is written by | the high watermark moves |
//! |---|---|---|
//! | leader | producers ([`Partition::append`]) | when the slowest replica in sync has come on ([`isr`](super::isr)): at once, where there is no other |
//! | follower | what it fetches of its leader ([`following`](super::following)) | as the leader tells |
//!
//! Two lists of those who wait: for the log to grow (followers), and for the high watermark (consumers, and produces that
//! want all replicas). [`reading`](super::reading) is how both are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::PartitionSpec;
use super::error::{LeaderHint, WriteError};
use super::isr::{Effects, IsrState, Leadership, Reign, Wish};
use super::surroundings::{AlterIsrWish, Surroundings};
use super::throttle::Throttled;
use super::waiters::{Waiter, Waiters, Watches};
use crate::common::ids::{LeaderEpoch, NodeId, Offset, ProducerId, Timestamp, TopicPartition, Uuid};
use crate::log::producer_state::ProducerEntry;
use crate::log::{AppendInfo, Log, LogConfig, LogReader, ReadError, TimestampOffset};
use crate::protocol::ErrorCode;

/// What this broker is to a partition.
#[derive(Debug)]
pub(super) enum Role {
    /// It leads.
    Leading(Box<Leadership>),
    /// It follows, or waits for somebody to lead.
    Following,
}

/// What an append has to wait for until all replicas in sync have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// The high watermark that says so.
    offset: Offset,
    /// Which of this broker's reigns over the partition it belongs to: between two of them the log may have been cut.
    reign: u32,
}

/// What is written, and what may change who writes.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) log: Log,
    pub(super) role: Role,
    reign: u32,
}

/// One partition.
#[derive(Debug)]
pub struct Partition {
    pub(super) id: TopicPartition,
    topic_id: Uuid,
    pub(super) local: NodeId,
    pub(super) inner: Mutex<Inner>,
    pub(super) reader: LogReader,
    /// These are set under the lock, and read without it.
    leader: AtomicI32,
    leader_epoch: AtomicI32,
    partition_epoch: AtomicI32,
    pub(super) high_watermark: AtomicI64,
    min_in_sync_replicas: AtomicI32,
    throttled_as_leader: AtomicBool,
    throttled_as_follower: AtomicBool,
    /// Those who wait for the log to grow, and those who watch for it.
    pub(super) growth: Waiters,
    pub(super) watches: Watches,
    /// Those who wait for the high watermark.
    pub(super) commits: Waiters,
    pub(super) surroundings: Arc<Surroundings>,
}

impl Partition {
    /// The partition that `spec` describes, over its log; `high_watermark` is what was written down of it.
    pub(super) fn new(
        spec: &PartitionSpec,
        log: Log,
        high_watermark: Offset,
        surroundings: Arc<Surroundings>,
        now: Duration,
    ) -> Partition {
        let known = high_watermark.clamp(log.log_start_offset(), log.log_end_offset());
        let partition = Partition {
            id: spec.id.clone(),
            topic_id: spec.topic_id,
            local: spec.local,
            reader: log.reader(),
            inner: Mutex::new(Inner { log, role: Role::Following, reign: 0 }),
            leader: AtomicI32::new(-1),
            leader_epoch: AtomicI32::new(-1),
            partition_epoch: AtomicI32::new(-1),
            high_watermark: AtomicI64::new(known),
            min_in_sync_replicas: AtomicI32::new(spec.min_in_sync_replicas),
            throttled_as_leader: AtomicBool::new(false),
            throttled_as_follower: AtomicBool::new(false),
            growth: Waiters::default(),
            watches: Watches::default(),
            commits: Waiters::default(),
            surroundings,
        };
        partition.apply(spec, now);
        partition
    }

    /// Takes what the image says now, and becomes what it says: leader or follower. What it said before, or is known
    /// already, changes nothing. `now` is the time of a clock that never goes back.
    pub fn apply(&self, spec: &PartitionSpec, now: Duration) {
        let mut inner = self.inner.lock();
        if spec.leader_epoch < self.leader_epoch() || spec.partition_epoch < self.partition_epoch() {
            return;
        }
        let newer_epoch = spec.leader_epoch > self.leader_epoch();
        let newer = newer_epoch || spec.partition_epoch > self.partition_epoch();
        self.min_in_sync_replicas.store(spec.min_in_sync_replicas, Ordering::Relaxed);
        self.set_throttled(spec.throttled);
        let effects = if spec.leader == spec.local {
            if newer_epoch {
                inner.log.assign_leader_epoch(spec.leader_epoch);
            }
            let reign = Reign {
                leader_epoch: spec.leader_epoch,
                partition_epoch: spec.partition_epoch,
                replicas: spec.replicas.clone(),
                isr: spec.isr.clone(),
                min_in_sync_replicas: spec.min_in_sync_replicas,
            };
            let eligible = &self.eligible();
            match &mut inner.role {
                Role::Leading(leadership) => leadership.update(&reign, now, eligible),
                Role::Following => {
                    let ends = (self.high_watermark(), inner.log.log_end_offset());
                    let max_lag = self.surroundings.max_lag();
                    let (leadership, effects) = Leadership::new(spec.local, &reign, ends, max_lag, now, eligible);
                    inner.role = Role::Leading(Box::new(leadership));
                    effects
                }
            }
        } else {
            if matches!(inner.role, Role::Leading(_)) {
                inner.role = Role::Following;
                inner.reign += 1;
            }
            Effects::default()
        };
        self.leader.store(spec.leader, Ordering::Release);
        self.leader_epoch.store(spec.leader_epoch, Ordering::Release);
        self.partition_epoch.store(spec.partition_epoch, Ordering::Release);
        self.show(&inner);
        drop(inner);
        self.tell(effects);
        if newer_epoch {
            // Whoever waits knows another leader epoch, and is to learn of it.
            self.commits.wake_all();
        }
        if newer {
            // Who was put out of the ISR must be seen again to come back.
            self.tell_followers();
        }
    }

    /// Neither leads nor follows from now on: it goes away.
    pub(super) fn retire(&self) {
        let mut inner = self.inner.lock();
        inner.role = Role::Following;
        inner.reign += 1;
        self.leader.store(-1, Ordering::Release);
        drop(inner);
        self.tell_followers();
        self.commits.wake_all();
    }

    /// Shows, without the lock, what an event has changed.
    pub(super) fn show(&self, inner: &Inner) {
        if let Role::Leading(leadership) = &inner.role {
            self.high_watermark.store(leadership.high_watermark(), Ordering::Release);
            self.partition_epoch.store(leadership.partition_epoch(), Ordering::Release);
        }
    }

    /// Wakes who waited for what an event has changed, and tells the controller what is wished for. Without the lock, for
    /// who is woken comes for it.
    pub(super) fn tell(&self, effects: Effects) {
        if effects.low_watermark {
            self.commits.wake_all();
        } else if effects.moved {
            self.commits.wake(self.high_watermark());
        }
        if effects.moved {
            // Followers are to know how far they may let their readers go.
            self.tell_followers();
        }
        if let Some(Wish { leader_epoch, partition_epoch, isr }) = effects.wish {
            let (id, topic_id) = (self.id.clone(), self.topic_id);
            self.surroundings.wish(AlterIsrWish { id, topic_id, leader_epoch, partition_epoch, isr });
        }
    }

    /// Tells followers that there is something new.
    fn tell_followers(&self) {
        self.growth.wake_all();
        self.watches.mark();
    }

    /// Does something with what is known of the followers, where this broker leads.
    fn lead(&self, work: impl FnOnce(&mut Leadership) -> Effects) {
        let mut inner = self.inner.lock();
        let Role::Leading(leadership) = &mut inner.role else { return };
        let effects = work(leadership);
        self.show(&inner);
        drop(inner);
        self.tell(effects);
    }

    /// Whether a broker may be in sync.
    pub(super) fn eligible(&self) -> impl Fn(NodeId, i64) -> bool + '_ {
        |node, epoch| self.surroundings.is_eligible(node, epoch)
    }

    /// Wishes followers out of the ISR that fell behind.
    pub(super) fn shrink_isr(&self, now: Duration) {
        self.lead(|leadership| leadership.shrink(now, self.surroundings.max_lag(), &self.eligible()));
    }

    /// Takes the controller's answer to a wish.
    pub(super) fn isr_answered(&self, answer: Result<&IsrState, ErrorCode>, now: Duration) {
        self.lead(|leadership| leadership.answered(answer, now, &self.eligible()));
    }

    /// Its topic and index.
    pub fn id(&self) -> &TopicPartition {
        &self.id
    }

    /// A reader of its log, for whoever reads beside the protocol; [`Partition::high_watermark`] bounds what it may see.
    pub fn log_reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// Its topic's id.
    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// Whether this broker leads it.
    pub fn is_leader(&self) -> bool {
        self.leader_id() == self.local
    }

    /// The broker that leads it, -1 for none.
    pub fn leader_id(&self) -> NodeId {
        self.leader.load(Ordering::Acquire)
    }

    /// The epoch in which that one leads.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// The epoch of what the controller last said of it.
    pub fn partition_epoch(&self) -> i32 {
        self.partition_epoch.load(Ordering::Acquire)
    }

    /// Who leads it, for whoever is to ask there.
    pub fn leader_hint(&self) -> LeaderHint {
        LeaderHint { leader_id: self.leader_id(), leader_epoch: self.leader_epoch() }
    }

    /// How many replicas must be in sync for acks=all (`min.insync.replicas`).
    pub fn min_in_sync_replicas(&self) -> i32 {
        self.min_in_sync_replicas.load(Ordering::Relaxed)
    }

    /// The replicas that are in sync; empty where this broker does not lead.
    pub fn isr(&self) -> Vec<NodeId> {
        match &self.inner.lock().role {
            Role::Leading(leadership) => leadership.isr().to_vec(),
            Role::Following => Vec::new(),
        }
    }

    /// Appends a producer's batches, all or none, and wakes who waits for them.
    ///
    /// # Errors
    /// Nothing was appended then.
    pub fn append(&self, records: Bytes, now: Timestamp) -> Result<AppendInfo, WriteError> {
        self.append_for(records, now, false).map(|(appended, _)| appended)
    }

    /// As [`Partition::append`], if enough replicas are in sync, and tells what to wait for until all of them have it; `None`
    /// where they have.
    ///
    /// # Errors
    /// Nothing was appended then.
    pub fn append_for_all(
        &self,
        records: Bytes,
        now: Timestamp,
    ) -> Result<(AppendInfo, Option<Replication>), WriteError> {
        self.append_for(records, now, true)
    }

    fn append_for(
        &self,
        records: Bytes,
        now: Timestamp,
        all: bool,
    ) -> Result<(AppendInfo, Option<Replication>), WriteError> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let Role::Leading(leadership) = &mut inner.role else {
            return Err(WriteError::NotLeader(self.leader_hint()));
        };
        if all && leadership.in_sync() < leadership.needed() {
            let (in_sync, needed) = (leadership.in_sync(), leadership.needed());
            return Err(WriteError::NotEnoughReplicas { in_sync, needed });
        }
        let appended = inner.log.append_as_leader(records, self.leader_epoch(), now)?;
        let replication = Replication { offset: appended.last_offset + 1, reign: inner.reign };
        let replication = |leadership: &Leadership| {
            let known = leadership.high_watermark() >= replication.offset;
            (!known).then_some(replication)
        };
        let left = if appended.duplicate {
            replication(leadership)
        } else {
            // Alone nobody lags, and the time is of no use.
            let now = if leadership.is_alone() { Duration::ZERO } else { self.surroundings.now() };
            let effects = leadership.appended(inner.log.log_end_offset(), now, &self.eligible());
            let left = replication(leadership);
            self.show(inner);
            drop(guard);
            if !effects.moved {
                self.tell_followers();
            }
            self.tell(effects);
            left
        };
        Ok((appended, left))
    }

    /// What became of an append that waits for all replicas in sync; `None` while it is not known.
    pub fn replicated(&self, append: Replication) -> Option<Result<(), ErrorCode>> {
        let inner = self.inner.lock();
        let Role::Leading(leadership) = &inner.role else { return Some(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)) };
        if inner.reign != append.reign {
            return Some(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER));
        }
        if leadership.high_watermark() < append.offset {
            return None;
        }
        // It is on all that were in sync; but those may have become fewer than the topic asks for.
        let enough = leadership.needed() <= leadership.most_in_sync();
        Some(if enough { Ok(()) } else { Err(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND) })
    }

    /// Notes `waiter` to be woken when [`Partition::replicated`] may have an answer for `append`.
    pub fn wait_for_replication(&self, waiter: &Arc<Waiter>, append: Replication) {
        self.commits.add(waiter, append.offset);
    }

    /// Waits for what [`Partition::replicated`] tells in the end.
    ///
    /// # Errors
    /// NOT_ENOUGH_REPLICAS_AFTER_APPEND, or NOT_LEADER_OR_FOLLOWER if another broker leads before that is known.
    pub async fn replication(&self, append: Replication) -> Result<(), ErrorCode> {
        if let Some(done) = self.replicated(append) {
            return done;
        }
        let waiter = Waiter::new();
        loop {
            self.wait_for_replication(&waiter, append);
            if let Some(done) = self.replicated(append) {
                return done;
            }
            waiter.woken().await;
        }
    }

    /// The offset after the last record that is safe to read.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// The offset up to where every transaction is decided.
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark().min(self.reader.last_stable_offset())
    }

    /// The first offset that is still there.
    pub fn log_start_offset(&self) -> Offset {
        self.reader.log_start_offset()
    }

    /// The offset of the next record.
    pub fn log_end_offset(&self) -> Offset {
        self.reader.log_end_offset()
    }

    /// The bytes of all segments.
    pub fn size(&self) -> u64 {
        self.reader.size()
    }

    /// The epoch in which `offset` was written, or will be; -1 where the log does not tell.
    pub fn epoch_of(&self, offset: Offset) -> LeaderEpoch {
        self.inner.lock().log.leader_epochs().epoch_for(offset).unwrap_or(-1)
    }

    /// The largest epoch not after `epoch`, and the offset where it ended; (-1, -1) where there is none.
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let inner = self.inner.lock();
        let start = inner.log.log_start_offset();
        match inner.log.leader_epochs().end_offset_for(epoch, inner.log.log_end_offset()) {
            // Of what was deleted nobody is told any more.
            (known, end) if known >= 0 && end <= start => (epoch, start),
            found => found,
        }
    }

    /// Whether a new leader does not know yet how far the records that it has are safe: its reign began behind the high
    /// watermark.
    pub fn is_catching_up(&self) -> bool {
        match &self.inner.lock().role {
            Role::Leading(leadership) => leadership.epoch_start() > leadership.high_watermark(),
            Role::Following => false,
        }
    }

    /// The first record at or after `timestamp`.
    pub fn offset_for_timestamp(&self, timestamp: Timestamp) -> Result<Option<TimestampOffset>, ReadError> {
        self.reader.offset_for_timestamp(timestamp)
    }

    /// The record with the greatest timestamp.
    pub fn offset_of_max_timestamp(&self) -> Result<Option<TimestampOffset>, ReadError> {
        self.reader.max_timestamp_offset()
    }

    /// Moves the log start offset up to `offset` (-1: the high watermark) and returns where it is then; followers come
    /// after ([`Partition::low_watermark`]).
    pub fn delete_records(&self, offset: Offset) -> Result<Offset, ErrorCode> {
        let mut inner = self.inner.lock();
        if !matches!(inner.role, Role::Leading(_)) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        let high_watermark = self.high_watermark();
        if !inner.log.config().delete {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        let offset = if offset == -1 { high_watermark } else { offset };
        if offset > high_watermark || offset < 0 {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let moved = inner.log.delete_records(offset);
        let log_start = inner.log.log_start_offset();
        drop(inner);
        if moved {
            // Followers are to hear of it.
            self.tell_followers();
        }
        Ok(log_start)
    }

    /// The first offset that all replicas still have, those of brokers that are gone left out.
    ///
    /// # Errors
    /// NOT_LEADER_OR_FOLLOWER.
    pub fn low_watermark(&self) -> Result<Offset, ErrorCode> {
        let inner = self.inner.lock();
        let Role::Leading(leadership) = &inner.role else { return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) };
        let counts = |node| self.surroundings.is_eligible(node, -1);
        Ok(leadership.low_watermark(inner.log.log_start_offset(), counts))
    }

    /// Notes `waiter` to be woken when the low watermark, or the leader, may be another.
    pub fn wait_for_low_watermark(&self, waiter: &Arc<Waiter>) {
        self.commits.add(waiter, Offset::MAX);
    }

    /// The producers whose last batches are remembered.
    pub fn producers(&self) -> Vec<(ProducerId, ProducerEntry)> {
        let inner = self.inner.lock();
        inner.log.producers().describe().into_iter().map(|(id, entry)| (id, entry.clone())).collect()
    }

    /// Takes new configs; tells whether it is throttled, or was.
    pub fn reconfigure(&self, config: LogConfig, min_in_sync_replicas: i32, throttled: Throttled) -> bool {
        self.min_in_sync_replicas.store(min_in_sync_replicas, Ordering::Relaxed);
        self.with_log(|log| log.set_config(config));
        self.lead(|leadership| leadership.set_min_in_sync_replicas(min_in_sync_replicas, &self.eligible()));
        let before =
            Throttled { as_leader: self.is_throttled_as_leader(), as_follower: self.is_throttled_as_follower() };
        self.set_throttled(throttled);
        if before.as_leader {
            // What was held back may be free now, also by another rate.
            self.tell_followers();
        }
        [before, throttled].iter().any(|throttled| *throttled != Throttled::default())
    }

    fn set_throttled(&self, throttled: Throttled) {
        self.throttled_as_leader.store(throttled.as_leader, Ordering::Relaxed);
        self.throttled_as_follower.store(throttled.as_follower, Ordering::Relaxed);
    }

    /// Whether what followers are given of it counts against the leader's quota.
    pub fn is_throttled_as_leader(&self) -> bool {
        self.throttled_as_leader.load(Ordering::Relaxed)
    }

    /// Whether what is fetched of it counts against the follower's quota.
    pub(super) fn is_throttled_as_follower(&self) -> bool {
        self.throttled_as_follower.load(Ordering::Relaxed)
    }

    /// Whether its log takes no writes any more: the topic is gone, or the broker stops.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().log.is_closed()
    }

    /// Works on the log itself: what is due from time to time, and at the end.
    pub fn with_log<R>(&self, work: impl FnOnce(&mut Log) -> R) -> R {
        work(&mut self.inner.lock().log)
    }
}
