//! Reading a partition: for consumers up to the high watermark, for followers up to the end of the log.
//!
//! A reader may tell the leader epoch that it knows, and is refused where it is not ours; and the epoch of the last record
//! it has, and is told where that ended here if its records go beyond: it has what a leader wrote whom nobody followed, and
//! must cut it off. What a follower asks for says how far it is, so it is noted before anything is read: its answer then
//! has the high watermark that it moved itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::error::FetchError;
use super::isr::FollowerFetch;
use super::partition::{Partition, Role};
use super::waiters::{Waiter, Watch};
use crate::common::ids::{LeaderEpoch, NodeId, Offset};
use crate::log::{Log, ReadError};

/// What a fetch wants of a partition.
#[derive(Debug, Clone, Copy)]
pub struct FetchFrom {
    /// The first record it has not.
    pub offset: Offset,
    /// The leader epoch it knows of, -1 for none.
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of the last record it has, -1 for none.
    pub last_fetched_epoch: LeaderEpoch,
    /// How many bytes at most.
    pub max_bytes: usize,
    /// Whether the first batch is due even where it is larger.
    pub min_one: bool,
    /// Whether records of open transactions are held back.
    pub read_committed: bool,
}

/// The follower that fetches.
#[derive(Debug, Clone, Copy)]
pub struct ReplicaFetch {
    /// Its node id.
    pub node: NodeId,
    /// The epoch of its registration, -1 where it does not tell.
    pub broker_epoch: i64,
    /// The first offset that it has.
    pub log_start_offset: Offset,
}

/// What a fetch gets.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Whole batches, mapped from the segment.
    pub records: Bytes,
    /// Up to where records are safe to read.
    pub high_watermark: Offset,
    /// Up to where every transaction is decided.
    pub last_stable_offset: Offset,
    /// The first offset that is still there.
    pub log_start_offset: Offset,
    /// Where the reader's last epoch ended here, if its records go beyond.
    pub diverging_epoch: Option<(LeaderEpoch, Offset)>,
    /// Whether the follower that was noted is in sync; others are.
    pub is_in_sync: bool,
}

impl Partition {
    /// Reads from `from` on, up to the high watermark or, for a committed reader, the last stable offset, where this
    /// broker leads.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn fetch(&self, from: FetchFrom) -> Result<Fetched, FetchError> {
        self.check_leader_epoch(from.current_leader_epoch)?;
        self.check_leader()?;
        self.fetch_here(from)
    }

    /// As [`Partition::fetch`], also where this broker only follows: up to the high watermark that it knows.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn fetch_nearby(&self, from: FetchFrom) -> Result<Fetched, FetchError> {
        self.check_leader_epoch(from.current_leader_epoch)?;
        self.fetch_here(from)
    }

    fn fetch_here(&self, from: FetchFrom) -> Result<Fetched, FetchError> {
        if self.has_moved_on(&from)
            && let Some(end) = self.diverging_epoch(&self.inner.lock().log, &from)?
        {
            return Ok(Fetched { diverging_epoch: Some(end), ..self.nothing() });
        }
        let upper = if from.read_committed { self.last_stable_offset() } else { self.high_watermark() };
        self.read(from, upper)
    }

    /// Reads what a follower has not, up to the end of the log, and takes note of how far it is; `now` is the time of a
    /// clock that never goes back.
    ///
    /// # Errors
    /// [`FetchError`]; then nothing is noted.
    pub fn fetch_as_replica(
        &self,
        replica: ReplicaFetch,
        from: FetchFrom,
        now: Duration,
    ) -> Result<Fetched, FetchError> {
        self.check_leader_epoch(from.current_leader_epoch)?;
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let Role::Leading(leadership) = &mut inner.role else { return Err(FetchError::NotLeader(self.leader_hint())) };
        let unknown = FetchError::NotReplica { node: replica.node, told_epoch: from.current_leader_epoch >= 0 };
        if !leadership.is_follower(replica.node) {
            return Err(unknown);
        }
        if self.has_moved_on(&from)
            && let Some(end) = self.diverging_epoch(&inner.log, &from)?
        {
            return Ok(Fetched { diverging_epoch: Some(end), ..self.nothing() });
        }
        let (log_start_offset, log_end_offset) = (inner.log.log_start_offset(), inner.log.log_end_offset());
        if from.offset < log_start_offset || from.offset > log_end_offset {
            let offset = from.offset;
            return Err(ReadError::OffsetOutOfRange { offset, log_start_offset, log_end_offset }.into());
        }
        let fetch = FollowerFetch {
            node: replica.node,
            broker_epoch: replica.broker_epoch,
            offset: from.offset,
            log_start: replica.log_start_offset,
        };
        let effects = leadership.fetched(fetch, now, &self.eligible()).ok_or(unknown)?;
        let is_in_sync = leadership.is_in_sync(replica.node);
        self.show(inner);
        drop(guard);
        self.tell(effects);
        Ok(Fetched { is_in_sync, ..self.read(from, Offset::MAX)? })
    }

    /// As [`Partition::fetch_as_replica`] for a fetch that was noted already, and waits.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn fetch_again_as_replica(&self, from: FetchFrom) -> Result<Fetched, FetchError> {
        self.check_leader_epoch(from.current_leader_epoch)?;
        self.check_leader()?;
        if self.has_moved_on(&from)
            && let Some(end) = self.diverging_epoch(&self.inner.lock().log, &from)?
        {
            return Ok(Fetched { diverging_epoch: Some(end), ..self.nothing() });
        }
        self.read(from, Offset::MAX)
    }

    /// Until when a follower is to be given no records of it: it is throttled and over the leader's quota, and the follower is
    /// not in sync. `None` where it may have them now; `now` is the time of a clock that never goes back.
    pub fn withheld_from(&self, node: NodeId, now: Duration) -> Option<Duration> {
        if !self.is_throttled_as_leader() {
            return None;
        }
        let free_at = self.surroundings.throttles.leader.free_at(now)?;
        let is_in_sync = match &self.inner.lock().role {
            Role::Leading(leadership) => leadership.is_in_sync(node),
            Role::Following => false,
        };
        (!is_in_sync).then_some(free_at)
    }

    /// The follower from which a consumer should read `offset`, of those that are `near` it: the one that is furthest.
    /// `None` where this broker does not lead, and where none is near that has the offset.
    pub fn nearest(&self, offset: Offset, near: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let inner = self.inner.lock();
        let Role::Leading(leadership) = &inner.role else { return None };
        let near = leadership.holders(offset).filter(|(node, ..)| near(*node));
        near.max_by_key(|(_, log_end, caught_up)| (*log_end, *caught_up)).map(|(node, ..)| node)
    }

    /// Notes `waiter` to be woken once there is more for a consumer than up to the high watermark that it was told.
    pub fn wait_with(&self, waiter: &Arc<Waiter>) {
        self.commits.add(waiter, self.high_watermark() + 1);
    }

    /// Notes `waiter` to be woken once there is something new for a follower.
    pub fn wait_as_replica(&self, waiter: &Arc<Waiter>) {
        self.growth.add(waiter, 0);
    }

    /// Marks `watch` whenever there may be something new for a follower.
    pub fn watch_as_replica(&self, watch: &Arc<Watch>) {
        self.watches.add(watch);
    }

    /// Fails where a client's leader epoch is not ours; a negative one is any.
    ///
    /// # Errors
    /// [`FetchError::LeaderEpoch`].
    pub fn check_leader_epoch(&self, asked: LeaderEpoch) -> Result<(), FetchError> {
        if asked < 0 || asked == self.leader_epoch() {
            return Ok(());
        }
        Err(FetchError::LeaderEpoch { asked, hint: self.leader_hint() })
    }

    /// Fails where this broker does not lead.
    ///
    /// # Errors
    /// [`FetchError::NotLeader`].
    pub fn check_leader(&self) -> Result<(), FetchError> {
        if self.is_leader() { Ok(()) } else { Err(FetchError::NotLeader(self.leader_hint())) }
    }

    /// Whether the reader's last record is of another epoch than ours: a reader of the newest one cannot have gone another
    /// way.
    fn has_moved_on(&self, from: &FetchFrom) -> bool {
        from.last_fetched_epoch >= 0 && from.last_fetched_epoch != self.leader_epoch()
    }

    /// Where the epoch of the reader's last record ended here, if its records go beyond.
    fn diverging_epoch(&self, log: &Log, from: &FetchFrom) -> Result<Option<(LeaderEpoch, Offset)>, FetchError> {
        let (log_start_offset, log_end_offset) = (log.log_start_offset(), log.log_end_offset());
        let (epoch, end) = log.leader_epochs().end_offset_for(from.last_fetched_epoch, log_end_offset);
        if epoch < 0 || end < 0 {
            return Err(FetchError::UnknownEpoch(from.last_fetched_epoch));
        }
        if from.offset < log_start_offset {
            let offset = from.offset;
            return Err(ReadError::OffsetOutOfRange { offset, log_start_offset, log_end_offset }.into());
        }
        Ok((epoch < from.last_fetched_epoch || end < from.offset).then_some((epoch, end)))
    }

    fn nothing(&self) -> Fetched {
        Fetched {
            records: Bytes::new(),
            high_watermark: self.high_watermark(),
            last_stable_offset: self.last_stable_offset(),
            log_start_offset: self.log_start_offset(),
            diverging_epoch: None,
            is_in_sync: true,
        }
    }

    fn read(&self, from: FetchFrom, upper: Offset) -> Result<Fetched, FetchError> {
        let nothing = self.nothing();
        let read = self.reader.read(from.offset, from.max_bytes, upper, from.min_one)?;
        Ok(Fetched { records: read.records, ..nothing })
    }
}
