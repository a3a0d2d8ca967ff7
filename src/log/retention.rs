//! What goes from the front of a log: by delete-records, by age and by size.
//!
//! Delete-records only moves the log start offset; bytes go by whole segments, oldest first. A segment that goes gets
//! `.deleted` behind its files' names and is unlinked `file.delete.delay.ms` later, by whoever holds the
//! [`RemovedSegments`]; a reader in the middle of it finishes undisturbed.
//!
//! Crash: names change oldest first, so what is left is a log without its begin; `.deleted` files go when it is opened. The log
//! start offset may go back to the one that was written down, as far as there are segments, and deleted records are there again.
//! So the epochs go with the segments that hold them: a leader that knew them no more would take its followers' logs for right
//! up to where its own epochs begin. Where all is too old, an empty file's name tells where the log ends, and is safe before
//! the first of the others changes. The recovery point stays at what goes unsynced until a flush has made it safe that it is gone.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::StorageError;
use super::fs::SharedFs;
use super::fs::remove_if_there;
use super::log::Log;
use super::producer_snapshot;
use super::segment::{self, Segment, TXN_INDEX};
use crate::common::ids::{Offset, Timestamp};

/// Segments that left their log; their files are to be unlinked after `file.delete.delay.ms`.
#[derive(Debug)]
#[must_use = "the files stay until they are deleted"]
pub struct RemovedSegments {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) extra: Vec<PathBuf>,
    pub(super) fs: SharedFs,
}

impl RemovedSegments {
    /// Whether nothing was removed.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// How many segments were removed.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// How many bytes of batches they hold.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size()).sum()
    }

    /// Unlinks the files.
    ///
    /// # Errors
    /// Some may be left: they go when the log is opened next.
    pub fn delete(&self) -> Result<(), StorageError> {
        for segment in &self.segments {
            segment.remove().map_err(StorageError::io("removing", &segment.path()))?;
        }
        for path in &self.extra {
            remove_if_there(self.fs.as_ref(), path).map_err(StorageError::io("removing", path))?;
        }
        Ok(())
    }
}

impl Log {
    /// Takes all before `to` away from readers; the bytes go with the next [`Log::enforce_retention`]. `false` where the
    /// log begins behind it already. `to` must not be behind the log end offset: what the caller should check against the
    /// high watermark is cut to it here.
    pub fn delete_records(&mut self, to: Offset) -> bool {
        let to = to.min(self.log_end);
        if to <= self.log_start {
            return false;
        }
        self.log_start = to;
        self.cleaned_to = self.cleaned_to.max(to);
        self.shared.aborted.write().retain(|txn| txn.last_offset >= to);
        self.publish();
        true
    }

    /// Removes the oldest segments that lie before the log start offset, are older than `retention.ms`, or that the log
    /// can do without under `retention.bytes`; never one that reaches `high_watermark`. When all are too old, the last one
    /// is closed and goes too.
    ///
    /// # Errors
    /// The file system's; segments that were removed before it failed are removed.
    pub fn enforce_retention(
        &mut self,
        now: Timestamp,
        high_watermark: Offset,
    ) -> Result<RemovedSegments, StorageError> {
        let mut removed = RemovedSegments { segments: Vec::new(), extra: Vec::new(), fs: self.handles.fs().clone() };
        let mut excess = match self.config.retention_bytes.filter(|_| self.config.delete) {
            Some(limit) => self.size().saturating_sub(limit),
            None => 0,
        };
        loop {
            let segment = Arc::clone(&self.segments[0]);
            let end = self.segments.get(1).map_or(self.log_end, |next| next.base_offset());
            let empty = segment.size() == 0 && self.segments.len() == 1;
            if empty || end > high_watermark || !self.may_go(&segment, end, excess, now)? {
                return Ok(removed);
            }
            excess = excess.saturating_sub(segment.size());
            if self.segments.len() == 1 {
                self.roll(now)?;
                // The name that tells where the log ends, before those go that told it so far.
                self.sync_names()?;
            }
            self.remove_first(&mut removed)?;
        }
    }

    /// Whether the first segment may go.
    fn may_go(&self, segment: &Segment, end: Offset, excess: u64, now: Timestamp) -> Result<bool, StorageError> {
        let active = self.segments.len() == 1;
        if end <= self.log_start && !active {
            return Ok(true);
        }
        // A size below the limit is kept by the last segment too; by age it may go.
        if excess >= segment.size() && !active {
            return Ok(true);
        }
        let Some(limit) = self.config.retention_ms.filter(|_| self.config.delete) else { return Ok(false) };
        let error = || |source| StorageError::Io { what: "reading", path: segment.path(), source };
        let newest = segment.max_timestamp().map_err(error())?.map(|max| max.timestamp).filter(|max| *max >= 0);
        let newest = match newest {
            Some(newest) => newest,
            None => segment.modified().map_err(error())?.unwrap_or(now),
        };
        Ok(now.saturating_sub(newest) > limit)
    }

    fn remove_first(&mut self, removed: &mut RemovedSegments) -> Result<(), StorageError> {
        let segment = Arc::clone(&self.segments[0]);
        segment.add_suffix(".deleted").map_err(StorageError::io("renaming", &segment.path()))?;
        let base = segment.base_offset();
        removed.extra.push(producer_snapshot::path(&self.dir, base));
        removed.extra.push(segment::path(&self.dir, base, TXN_INDEX));
        removed.segments.push(segment);
        self.segments.remove(0);
        let first = self.segments[0].base_offset();
        self.log_start = self.log_start.max(first);
        self.cleaned_to = self.cleaned_to.max(self.log_start);
        self.epochs.truncate_from_start(first);
        self.shared.aborted.write().retain(|txn| txn.last_offset >= first);
        self.publish_segments();
        Ok(())
    }
}
