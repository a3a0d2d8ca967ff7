//! What goes from the end of a log: what a follower wrote and its leader does not have.
//!
//! What is cut off may have been read, and be mapped. So the segment that is cut is written anew, up to the cut, and
//! renamed over the old file, which lives on for those who hold it; segments behind it are unlinked.
//!
//! Crash: segments go from the last one back, then the cut one is replaced in one step; whatever of it happened leaves a
//! log that is a prefix of the old one, and the follower truncates again.

use std::io::IoSlice;
use std::sync::Arc;

use super::error::StorageError;
use super::fs::{OpenMode, with_suffix};
use super::log::{Active, Log};
use super::recovery::load_producers;
use super::segment::{self, LOG, Segment};
use crate::common::ids::{Offset, Timestamp};

impl Log {
    /// Cuts the log so that it ends at `offset`; `false` where it ended there or before. A batch that holds the offset
    /// goes as a whole, and the log ends before it.
    ///
    /// # Errors
    /// The log takes no more writes then, and is to be opened anew.
    pub fn truncate_to(&mut self, offset: Offset, now: Timestamp) -> Result<bool, StorageError> {
        self.mend()?;
        if offset >= self.log_end {
            // A leader that wrote nothing has noted its epoch all the same, and that one nobody else may know.
            self.epochs.truncate_from_end(self.log_end);
            return Ok(false);
        }
        if offset <= self.segments[0].base_offset() || offset <= self.log_start {
            return self.truncate_fully_and_start_at(offset, now).map(|()| true);
        }
        self.cut(offset, now).inspect_err(|_| self.failed = true)?;
        Ok(true)
    }

    fn cut(&mut self, offset: Offset, now: Timestamp) -> Result<(), StorageError> {
        while self.segments.len() > 1 && self.active_segment().base_offset() >= offset {
            let segment = Arc::clone(self.active_segment());
            self.segments.pop();
            segment
                .remove_all(self.handles.fs().as_ref(), &self.dir)
                .map_err(StorageError::io("removing", &segment.path()))?;
        }
        let old = Arc::clone(self.active_segment());
        let error = || |source| StorageError::Io { what: "cutting", path: old.path(), source };
        let keep = old.find(offset).map_err(error())?.map_or(old.size(), |info| info.position.into());
        let cut = self.rewrite(&old, keep).map_err(error())?;
        old.retire();
        let end = cut.next_offset().map_err(error())?;
        self.segments.pop();
        self.segments.push(Arc::new(cut));
        self.log_end = end;
        if end < self.log_start {
            // Only deleted records are left of it.
            return self.truncate_fully_and_start_at(self.log_start, now);
        }
        self.active = Active { since_index: usize::MAX / 2, first_timestamp: None, created: now };
        self.forget_from(end, now)
    }

    /// The first `keep` bytes of a segment in a file of their own that has taken its name.
    fn rewrite(&self, old: &Segment, keep: u64) -> std::io::Result<Segment> {
        let fs = self.handles.fs();
        let path = segment::path(&self.dir, old.base_offset(), LOG);
        let beside = with_suffix(&path, ".cleaned");
        let bytes = old.slice(0, keep)?;
        let file = fs.open(&beside, OpenMode::Fresh)?;
        file.write_at(0, &mut [IoSlice::new(&bytes)])?;
        file.sync()?;
        drop(file);
        fs.rename(&beside, &path)?;
        fs.sync_dir(&self.dir)?;
        let base = old.base_offset();
        let segment = Segment::open_unindexed(&self.handles, &self.dir, base, keep, self.shape());
        segment.rebuild_indexes()?;
        Ok(segment)
    }

    /// Empties the log and lets it begin at `offset`.
    ///
    /// # Errors
    /// The log takes no more writes then, and is to be opened anew.
    pub fn truncate_fully_and_start_at(&mut self, offset: Offset, now: Timestamp) -> Result<(), StorageError> {
        self.mend()?;
        while let Some(segment) = self.segments.pop() {
            let removed = segment.remove_all(self.handles.fs().as_ref(), &self.dir);
            if let Err(source) = removed {
                self.failed = true;
                self.segments.push(Arc::clone(&segment));
                return Err(StorageError::io("removing", &segment.path())(source));
            }
        }
        self.segments.push(Arc::new(Segment::create(&self.handles, &self.dir, offset, self.shape())));
        self.make_active_file().and_then(|()| self.sync_names()).inspect_err(|_| self.failed = true)?;
        self.active = Active { since_index: 0, first_timestamp: None, created: now };
        (self.log_start, self.log_end) = (offset, offset);
        self.epochs.clear();
        self.forget_from(offset, now).inspect_err(|_| self.failed = true)
    }

    /// Brings producers, epochs and points back to how they were at `offset`, and shows the readers.
    fn forget_from(&mut self, offset: Offset, now: Timestamp) -> Result<(), StorageError> {
        self.epochs.truncate_from_end(offset);
        self.cuts += 1;
        self.recovery_point = self.recovery_point.min(offset);
        self.cleaned_to = self.cleaned_to.clamp(self.log_start.min(offset), offset);
        self.snapshot_at = -1;
        let mut notes = Vec::new();
        let (mut producers, aborted, _) =
            load_producers(&self.handles, &self.dir, &self.segments, offset, false, &mut notes)?;
        producers.expire(now, self.config.producer_id_expiration_ms);
        self.producers = producers;
        *self.shared.aborted.write() = aborted;
        self.publish_segments();
        Ok(())
    }
}
