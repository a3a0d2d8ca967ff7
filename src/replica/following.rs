//! Following: what a partition does with what its leader gave it.
//!
//! A follower's log is a copy of its leader's: batches come with their offsets, epochs and producers, and are appended as
//! they are. Where the leader tells that an epoch ended earlier there than here, the records behind are of a leader whom
//! nobody followed, and are cut off; what was below the high watermark is only among them after an unclean election.
//!
//! Each step names the leader epoch and the log end that it is meant for, so that an answer that comes late does nothing.

use bytes::Bytes;
use parking_lot::MutexGuard;

use std::sync::atomic::Ordering;

use super::error::FollowError;
use super::partition::{Inner, Partition, Role};
use crate::common::ids::{LeaderEpoch, Offset, Timestamp};
use crate::log::{AppendError, Log};
use crate::record::batches;

/// How far a follower is: where it goes on, and in which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The leader epoch in which it follows.
    pub leader_epoch: LeaderEpoch,
    /// The first offset it has not.
    pub offset: Offset,
    /// The epoch of its last record, -1 for none.
    pub last_fetched_epoch: LeaderEpoch,
    /// The first offset it has.
    pub log_start_offset: Offset,
    /// The high watermark it knows.
    pub high_watermark: Offset,
}

/// What a leader gave.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Batches, the last one perhaps cut.
    pub records: Bytes,
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// The leader's log start offset.
    pub log_start_offset: Offset,
}

impl Partition {
    /// How far this follower is.
    ///
    /// # Errors
    /// [`FollowError::Overtaken`] where it does not follow; [`FollowError::Storage`] where its log cannot be written.
    pub fn begin_following(&self, now: Timestamp) -> Result<Position, FollowError> {
        let follows = || {
            let inner = self.inner.lock();
            if matches!(inner.role, Role::Following) { Ok(inner) } else { Err(FollowError::Overtaken) }
        };
        // Without epochs nobody can tell where this log parts from the leader's: what is not known to be safe goes.
        let inner = follows()?;
        let high_watermark = self.high_watermark();
        if inner.log.leader_epochs().latest().is_some() || inner.log.log_end_offset() <= high_watermark {
            return Ok(self.position(&inner));
        }
        drop(inner);
        self.surroundings.cut(&self.id, high_watermark, || {
            let mut inner = follows()?;
            inner.log.truncate_to(high_watermark, now)?;
            Ok(self.position(&inner))
        })
    }

    /// Appends what the leader gave for `at`, and takes its high watermark and log start offset.
    ///
    /// # Errors
    /// [`FollowError`]; what was appended before it failed stays.
    pub fn append_given(&self, at: &Position, given: Given, now: Timestamp) -> Result<Position, FollowError> {
        let mut inner = self.lock_as_follower(at)?;
        // Nobody has told yet whether this leader had the same: of the epochs before its log start it knows nothing. Deleted,
        // they would be back after a kill.
        let is_unknown = at.last_fetched_epoch < at.leader_epoch && at.log_start_offset < at.offset;
        if is_unknown && given.log_start_offset == at.offset {
            inner.log.truncate_fully_and_start_at(at.offset, now)?;
        }
        let result = append_in_pieces(&mut inner.log, given.records, now);
        let log_end = inner.log.log_end_offset();
        let grown = log_end > at.offset;
        if given.log_start_offset > inner.log.log_start_offset() {
            inner.log.delete_records(given.log_start_offset);
        }
        let known = self.high_watermark();
        let high_watermark = given.high_watermark.min(log_end).max(inner.log.log_start_offset());
        if high_watermark > known {
            self.high_watermark.store(high_watermark, Ordering::Release);
        }
        let position = self.position(&inner);
        drop(inner);
        if high_watermark > known {
            self.commits.wake(high_watermark);
        }
        match result {
            // What is good of it is kept; the rest is fetched again, and then stands first.
            Err(AppendError::Storage(error)) => Err(error.into()),
            Err(error) if !grown => Err(error.into()),
            _ => Ok(position),
        }
    }

    /// Cuts off what the leader does not have, where it says that its `epoch` ended at `end`.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn truncate_diverging(
        &self,
        at: &Position,
        (epoch, end): (LeaderEpoch, Offset),
        now: Timestamp,
    ) -> Result<Position, FollowError> {
        let inner = self.lock_as_follower(at)?;
        let log_end = inner.log.log_end_offset();
        let (ours, our_end) = inner.log.leader_epochs().end_offset_for(epoch, log_end);
        let to = match ours {
            // We know nothing of that epoch or those before.
            -1 => end,
            // The leader's epoch is none of ours: go back to the one before it, and ask again.
            ours if ours != epoch => our_end,
            _ => our_end.min(end),
        };
        drop(inner);
        self.truncate(at, to.clamp(0, log_end), now)
    }

    /// Goes on where the leader, whose log is `leader_log`, can serve: it had no record at our log end.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn follow_within(
        &self,
        at: &Position,
        leader_log: std::ops::Range<Offset>,
        now: Timestamp,
    ) -> Result<Position, FollowError> {
        let log_end = self.lock_as_follower(at)?.log.log_end_offset();
        if leader_log.end < log_end {
            return self.truncate(at, leader_log.end, now);
        }
        let mut inner = self.lock_as_follower(at)?;
        if leader_log.start > log_end {
            let (id, from, to) = (&self.id, log_end, leader_log.start);
            tracing::info!(partition = %id, from, to, "the leader's log begins behind ours: it is begun anew there");
            inner.log.truncate_fully_and_start_at(leader_log.start, now)?;
            self.high_watermark.fetch_max(leader_log.start, Ordering::AcqRel);
        }
        Ok(self.position(&inner))
    }

    fn truncate(&self, at: &Position, to: Offset, now: Timestamp) -> Result<Position, FollowError> {
        self.surroundings.cut(&self.id, to, || {
            let mut inner = self.lock_as_follower(at)?;
            self.cut(&mut inner, to, now)?;
            Ok(self.position(&inner))
        })
    }

    fn cut(&self, inner: &mut Inner, to: Offset, now: Timestamp) -> Result<(), FollowError> {
        let (id, from, high_watermark) = (&self.id, inner.log.log_end_offset(), self.high_watermark());
        if to < high_watermark {
            tracing::warn!(partition = %id, from, to, high_watermark, "records that were safe are cut off: the leader has them not");
        } else if to < from {
            tracing::info!(partition = %id, from, to, "records that the leader has not are cut off");
        }
        // First, so that nobody reads on.
        self.high_watermark.store(high_watermark.min(to), Ordering::Release);
        inner.log.truncate_to(to, now)?;
        self.high_watermark.fetch_min(inner.log.log_end_offset(), Ordering::AcqRel);
        Ok(())
    }

    fn lock_as_follower(&self, at: &Position) -> Result<MutexGuard<'_, Inner>, FollowError> {
        let inner = self.inner.lock();
        self.check_follows(&inner, at)?;
        Ok(inner)
    }

    fn check_follows(&self, inner: &Inner, at: &Position) -> Result<(), FollowError> {
        let follows = matches!(inner.role, Role::Following) && self.leader_epoch() == at.leader_epoch;
        if follows && inner.log.log_end_offset() == at.offset { Ok(()) } else { Err(FollowError::Overtaken) }
    }

    fn position(&self, inner: &Inner) -> Position {
        Position {
            leader_epoch: self.leader_epoch(),
            offset: inner.log.log_end_offset(),
            last_fetched_epoch: inner.log.leader_epochs().latest().unwrap_or(-1),
            log_start_offset: inner.log.log_start_offset(),
            high_watermark: self.high_watermark(),
        }
    }
}

/// Appends whole batches, in pieces that a segment holds; a cut one at the end is left for the next fetch.
fn append_in_pieces(log: &mut Log, records: Bytes, now: Timestamp) -> Result<(), AppendError> {
    let limit = usize::try_from(log.config().segment_bytes).unwrap_or(usize::MAX);
    let (mut start, mut end) = (0, 0);
    let mut found = batches(&records);
    while let Some(batch) = found.next() {
        // One that is damaged at the front is told by the log, and one behind others by the next fetch.
        let Ok(batch) = batch else {
            if found.position() == 0 {
                return log.append_as_follower(records.clone(), now).map(|_| ());
            }
            break;
        };
        if found.position() - start > limit && end > start {
            log.append_as_follower(records.slice(start..end), now)?;
            start = end;
        }
        end += batch.size_in_bytes();
    }
    if end > start {
        log.append_as_follower(records.slice(start..end), now)?;
    }
    Ok(())
}
