//! Segments begin and end here, are made safe, and closed.
//!
//! A new segment begins when the last one would grow past `segment.bytes`, is older than `segment.ms` (in a compacted log
//! than `max.compaction.lag.ms` too), has a full index, or cannot express the next offset. The old one gets its last time
//! entry, and the producers are written down as they are where the new one begins.
//!
//! Crash: nothing is made safe by a roll; the recovery point moves only when a flush has synced batches, indexes, epochs
//! and names up to it, in that order. What is behind it is scanned when the log is opened. So that this is never much, who
//! keeps the log has closed segments flushed now and then ([`Log::flush_closed_job`]), as Apache Kafka does behind each roll.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StorageError;
use super::fs::handles::Handles;
use super::fs::{Durability, FileSystem, replace_file};
use super::log::{Active, Log};
use super::producer_snapshot;
use super::segment::Segment;
use crate::common::ids::{Offset, Timestamp};

/// What must be synced before the recovery point may move to `up_to`. It is run without holding the log.
#[derive(Debug)]
pub struct FlushJob {
    segments: Vec<Arc<Segment>>,
    handles: Handles,
    dir: PathBuf,
    /// Whether segments went that were not synced: they must not come back as what is safe.
    removed: bool,
    synced: Synced,
}

/// How far a log was synced, as it was when the [`FlushJob`] was made.
#[derive(Debug, Clone, Copy)]
pub struct Synced {
    up_to: Offset,
    /// How often it had been cut.
    cuts: u64,
}

/// Makes the names in a log's folder safe, and the folder's own, which may be as new as they are.
fn sync_names(fs: &dyn FileSystem, dir: &Path) -> Result<(), StorageError> {
    let mut dirs = [Some(dir), dir.parent()].into_iter().flatten();
    dirs.try_for_each(|dir| fs.sync_dir(dir).map_err(StorageError::io("syncing", dir)))
}

impl FlushJob {
    /// Syncs, which may take long. Then tell [`Log::flushed`].
    ///
    /// # Errors
    /// [`StorageError::SyncFailed`] where batches may be lost; others leave them where they are, to be synced again.
    pub fn run(self) -> Result<Synced, StorageError> {
        if self.removed {
            sync_names(self.handles.fs().as_ref(), &self.dir)?;
        }
        for segment in &self.segments {
            segment.sync()?;
            segment.flush_around(&self.dir).map_err(StorageError::io("syncing what belongs to", &segment.path()))?;
        }
        Ok(self.synced)
    }

    /// Syncs nothing, and says that all is well: what a test must find out.
    #[cfg(test)]
    pub(crate) fn skip(self) -> Result<Synced, StorageError> {
        Ok(self.synced)
    }
}

impl Log {
    /// Begins a new segment if `size` more bytes up to `last_offset` should not go into the last one.
    pub(super) fn roll_if_due(
        &mut self,
        size: u64,
        newest: Timestamp,
        last_offset: Offset,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let segment = Arc::clone(self.active_segment());
        let relative_fits = last_offset - segment.base_offset() <= i64::from(i32::MAX);
        let has_batches = segment.size() > 0;
        let due = !relative_fits
            || (has_batches
                && (segment.size() + size > self.config.segment_bytes
                    || self.is_old(&segment, newest, now)?
                    || segment.index_len() + 12 > self.config.segment_index_bytes));
        // The next segment begins where this one ends, even if offsets leap: recovery tells a gap by that.
        let base_offset = self.log_end.max(last_offset - i64::from(i32::MAX));
        if due { self.roll_at(base_offset, now) } else { Ok(()) }
    }

    /// Whether the last segment has waited long enough: by its first batch's timestamp and the newest one to come, or,
    /// where there are no timestamps, by the clock.
    fn is_old(&mut self, segment: &Segment, newest: Timestamp, now: Timestamp) -> Result<bool, StorageError> {
        if self.active.first_timestamp.is_none() {
            let first = segment.first_timestamp();
            self.active.first_timestamp = first.map_err(StorageError::io("reading", &segment.path()))?;
        }
        let waited = match self.active.first_timestamp.filter(|first| *first >= 0) {
            Some(first) => newest.saturating_sub(first),
            None => now.saturating_sub(self.active.created),
        };
        Ok(waited > self.config.max_segment_ms().saturating_sub(self.jitter(segment.base_offset())))
    }

    /// A part of `segment.jitter.ms` that is the same each time for the same segment.
    fn jitter(&self, base_offset: Offset) -> i64 {
        let limit = self.config.segment_jitter_ms;
        if limit <= 0 {
            return 0;
        }
        let text = format!("{} {base_offset}", self.partition);
        i64::from(crc32c::crc32c(text.as_bytes())) % limit
    }

    /// Begins a new segment at the log end offset, unless the last one is empty.
    ///
    /// # Errors
    /// The log goes on with the old segment then.
    pub fn roll(&mut self, now: Timestamp) -> Result<(), StorageError> {
        match self.active_segment().size() {
            0 => Ok(()),
            _ => self.roll_at(self.log_end, now),
        }?;
        self.make_active_file()
    }

    /// What is before the active segment may go, or be compacted to nothing, while that is empty.
    pub(super) fn make_active_file(&self) -> Result<(), StorageError> {
        let active = self.active_segment();
        active.make_file().map_err(StorageError::io("making", &active.path()))
    }

    /// Makes the names of the segments safe.
    pub(super) fn sync_names(&self) -> Result<(), StorageError> {
        sync_names(self.handles.fs().as_ref(), &self.dir)
    }

    fn roll_at(&mut self, base_offset: Offset, now: Timestamp) -> Result<(), StorageError> {
        let old = Arc::clone(self.active_segment());
        let segment = Segment::create(&self.handles, &self.dir, base_offset, self.shape());
        if old.size() == 0 {
            // Only its name is wrong; there is one at any time.
            segment.make_file().map_err(StorageError::io("making", &segment.path()))?;
            old.remove().map_err(StorageError::io("removing", &old.path()))?;
            self.segments.pop();
        } else {
            if self.config.compact {
                // As compaction makes gaps, recovery could not tell one that power made.
                self.flush(now)?;
            }
            self.write_snapshot(base_offset, Durability::Lazy)?;
            // Who finds the recovery point where this one ends looks through neither batches nor indexes.
            let is_safe = self.recovery_point >= base_offset;
            let durability = if is_safe { Durability::Synced } else { Durability::Lazy };
            old.seal(durability).map_err(StorageError::io("closing", &old.path()))?;
        }
        self.segments.push(Arc::new(segment));
        self.active = Active { since_index: 0, first_timestamp: None, created: now };
        self.publish_segments();
        Ok(())
    }

    /// Writes the producers down as they are at `offset`.
    fn write_snapshot(&mut self, offset: Offset, durability: Durability) -> Result<(), StorageError> {
        let path = producer_snapshot::path(&self.dir, offset);
        let bytes = producer_snapshot::encode(&self.producers);
        replace_file(self.handles.fs().as_ref(), &path, &bytes, durability).map_err(StorageError::io("writing", &path))
    }

    /// What must be synced for the recovery point to reach the log end offset; `None` where it has. Run it without
    /// holding the log, then tell [`Log::flushed`].
    pub fn flush_job(&self) -> Option<FlushJob> {
        self.flush_job_up_to(self.log_end)
    }

    /// As [`Log::flush_job`], for the recovery point to reach the last segment, which still grows; `None` also where a sync
    /// has failed before.
    pub fn flush_closed_job(&self) -> Option<FlushJob> {
        let grows_from = self.active_segment().base_offset();
        if self.failed { None } else { self.flush_job_up_to(grows_from) }
    }

    fn flush_job_up_to(&self, up_to: Offset) -> Option<FlushJob> {
        (self.recovery_point < up_to).then(|| {
            let concerned = |segment: &&Arc<Segment>| segment.size() > 0 && segment.base_offset() < up_to;
            // Also the one that ends there: it was closed, and its indexes got their last entries, since its batches were synced.
            let first = self.segments.partition_point(|segment| segment.base_offset() < self.recovery_point);
            let segments = self.segments[first.saturating_sub(1)..].iter().filter(concerned).cloned().collect();
            FlushJob {
                segments,
                handles: self.handles.clone(),
                dir: self.dir.clone(),
                removed: self.recovery_point < self.segments[0].base_offset(),
                synced: Synced { up_to, cuts: self.cuts },
            }
        })
    }

    /// Moves the recovery point to what [`FlushJob::run`] gave; not where the log was cut since, for what is there now may have
    /// been written behind the sync.
    ///
    /// After a failed sync the kernel forgets what it could not write, and a second sync would say that all is well. So the
    /// log takes no more writes then until it was opened, and scanned, anew.
    ///
    /// # Errors
    /// That of the job; the epochs could not be written, or another sync has failed meanwhile. The recovery point stays.
    pub fn flushed(&mut self, ran: Result<Synced, StorageError>, now: Timestamp) -> Result<(), StorageError> {
        self.failed |= matches!(ran, Err(StorageError::SyncFailed { .. }));
        let Synced { up_to, cuts } = ran?;
        self.check_synced()?;
        if cuts != self.cuts {
            return Ok(());
        }
        self.epochs.flush(self.handles.fs().as_ref(), &self.dir, Durability::Synced)?;
        self.recovery_point = self.recovery_point.max(up_to);
        // Of the last segment as well.
        if up_to > self.active_segment().base_offset() || up_to == self.log_end {
            self.last_flush = now;
        }
        Ok(())
    }

    /// Makes all that was appended safe.
    ///
    /// # Errors
    /// Some of it may be lost by a crash; the recovery point stays. So it is for good where a sync has failed before.
    pub fn flush(&mut self, now: Timestamp) -> Result<(), StorageError> {
        self.check_synced()?;
        match self.flush_job() {
            Some(job) => self.flushed(job.run(), now),
            None => Ok(()),
        }
    }

    /// Flushes if `flush.ms` is over.
    ///
    /// # Errors
    /// As [`Log::flush`].
    pub fn flush_if_due(&mut self, now: Timestamp) -> Result<(), StorageError> {
        let due = now.saturating_sub(self.last_flush) >= self.config.flush_ms;
        if due { self.flush(now) } else { Ok(()) }
    }

    /// Whether there is something to sync when it is closed.
    pub fn is_unsynced(&self) -> bool {
        self.recovery_point < self.log_end || self.unsynced_removal
    }

    /// Closes the log: all is made safe, indexes and producers are written down, files are closed. The caller writes the
    /// checkpoints and, once all logs are closed, the clean-shutdown file. Reads go on; writes are refused.
    ///
    /// # Errors
    /// The shutdown is not clean then.
    pub fn close(&mut self, now: Timestamp) -> Result<(), StorageError> {
        self.close_as(now, Durability::Synced)
    }

    /// As [`Log::close`], but nothing is made safe: syncing ten thousand logs one by one takes minutes. The caller syncs
    /// them all at once ([`LogDir::sync`](super::LogDir::sync)) and then tells [`Log::closed_safely`].
    ///
    /// # Errors
    /// As [`Log::close`].
    pub fn close_unsynced(&mut self, now: Timestamp) -> Result<(), StorageError> {
        self.close_as(now, Durability::Lazy)
    }

    /// Takes note that what [`Log::close_unsynced`] wrote is safe.
    pub fn closed_safely(&mut self) {
        if self.closed && !self.failed {
            self.recovery_point = self.log_end;
            self.unsynced_removal = false;
        }
    }

    fn close_as(&mut self, now: Timestamp, durability: Durability) -> Result<(), StorageError> {
        self.mend()?;
        let segment = Arc::clone(self.active_segment());
        if segment.size() > 0 {
            segment.seal(durability).map_err(StorageError::io("closing", &segment.path()))?;
        }
        if durability == Durability::Synced {
            self.flush(now)?;
            if self.unsynced_removal {
                segment.sync().inspect_err(|_| self.failed = true)?;
                self.sync_names()?;
                self.unsynced_removal = false;
            }
        }
        // An empty log that never held anything has nothing to say: ten thousand of them close in no time.
        if self.log_end > 0 {
            if self.snapshot_at != self.log_end {
                self.write_snapshot(self.log_end, durability)?;
            }
            self.epochs.flush(self.handles.fs().as_ref(), &self.dir, durability)?;
        }
        self.closed = true;
        self.release();
        Ok(())
    }

    /// Ends a log that was taken away: reads go on, writes are refused, nothing is made safe.
    pub(super) fn end(&mut self) {
        self.closed = true;
        self.release();
    }

    /// Closes all files; they open again when they are used. What an idle log holds of the machine it gives back.
    pub fn release(&self) {
        self.segments.iter().for_each(|segment| segment.close());
    }
}
