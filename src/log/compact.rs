//! Compaction: of each key only the last record stays.
//!
//! In steps, so that reading and writing gigabytes does not hold up the log: [`Log::compaction`] decides and takes hold
//! of the closed segments; [`Compaction::read`] and [`Rewrite::next`] read and write without the log, one group of
//! segments after another; [`Log::install`] puts each in place, and [`Log::compacted`] takes note of the end.
//! [`Log::compact`] is all of it.
//!
//! What is due, and how much of it, is Kafka's rule: the part behind where the last run ended is dirty, up to the last
//! segment, the last stable offset, or the first segment that is too young (`min.compaction.lag.ms`). A log is due when
//! more than `min.cleanable.dirty.ratio` of it is dirty, or the first batch of a dirty segment is older than
//! `max.compaction.lag.ms`.
//!
//! Crash, in the order of what happens:
//! ```text
//! 00.log.cleaned is written and synced      opening removes it
//! renamed to 00.log.swap                    it is whole: opening removes 00.log and what else it covers, gives it the name
//! the old segments renamed to .deleted      as before
//! 00.log.swap renamed to 00.log             done; indexes are made anew if they are not there
//! ```
//! Groups are put in place from the oldest to the newest, so that a record's older versions go before it does.

mod rewrite;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::config::LogConfig;
use super::error::StorageError;
use super::fs::handles::Handles;
use super::fs::{Durability, remove_if_there, with_suffix};
use super::log::Log;
use super::producer_snapshot;
use super::retention::RemovedSegments;
use super::segment::{self, LOG, Segment, TXN_INDEX};
use super::transaction_index::{self, AbortedTxn};
use crate::common::ids::{Offset, Timestamp};

pub use rewrite::Rewrite;

/// Segments that are due to be compacted.
#[derive(Debug)]
pub struct Compaction {
    segments: Vec<Arc<Segment>>,
    /// Where the dirty part begins and ends.
    dirty: (Offset, Offset),
    ratio: f64,
    config: LogConfig,
    handles: Handles,
    dir: PathBuf,
    aborted: Vec<AbortedTxn>,
    now: Timestamp,
}

/// Neighbouring segments and the one that was written to take their place, to be put there by [`Log::install`].
#[derive(Debug)]
#[must_use = "nothing is compacted until it is installed"]
pub struct Cleaned {
    old: Vec<Arc<Segment>>,
    path: PathBuf,
    size: u64,
    /// The entries of its offset index and of its time index.
    indexes: (Vec<u8>, Vec<u8>),
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionReport {
    /// Bytes of the segments that were compacted.
    pub bytes_before: u64,
    /// Bytes of what took their place.
    pub bytes_after: u64,
    /// Up to where the log is compacted now.
    pub cleaned_to: Offset,
}

impl Compaction {
    /// How much of what it reads is dirty, from 0 to 1: the dirtiest log is the first to be compacted.
    pub fn dirty_ratio(&self) -> f64 {
        self.ratio
    }
}

impl Cleaned {
    /// Bytes of the segments that it is to replace, and its own.
    pub fn bytes(&self) -> (u64, u64) {
        (self.old.iter().map(|segment| segment.size()).sum(), self.size)
    }
}

impl Log {
    /// What there is to compact below `high_watermark`; `None` where nothing is due.
    ///
    /// # Errors
    /// The file system's.
    pub fn compaction(&self, now: Timestamp, high_watermark: Offset) -> Result<Option<Compaction>, StorageError> {
        if !self.config.compact || self.failed || self.closed {
            return Ok(None);
        }
        let begin = self.cleaned_to.max(self.log_start);
        let undecided = self.last_stable_offset().min(high_watermark);
        let cleanable = self.segments.windows(2).take_while(|pair| pair[1].base_offset() <= undecided);
        let (mut end, mut clean, mut dirty, mut overdue) = (0, 0u64, 0u64, false);
        for pair in cleanable {
            let (segment, next) = (&pair[0], pair[1].base_offset());
            if next <= begin {
                clean += segment.size();
            } else if self.is_too_young(segment, now)? {
                break;
            } else {
                dirty += segment.size();
                overdue |= self.is_overdue(segment, now)?;
            }
            end += 1;
        }
        let ratio = dirty as f64 / (clean + dirty).max(1) as f64;
        if dirty == 0 || (ratio <= self.config.min_cleanable_dirty_ratio && !overdue) {
            return Ok(None);
        }
        Ok(Some(Compaction {
            dirty: (begin, self.segments[end].base_offset()),
            ratio,
            segments: self.segments[..end].to_vec(),
            config: self.config.clone(),
            handles: self.handles.clone(),
            dir: self.dir.clone(),
            aborted: self.shared.aborted.read().clone(),
            now,
        }))
    }

    /// Whether a segment's newest record is younger than `min.compaction.lag.ms`.
    fn is_too_young(&self, segment: &Segment, now: Timestamp) -> Result<bool, StorageError> {
        let lag = self.config.min_compaction_lag_ms;
        if lag <= 0 {
            return Ok(false);
        }
        let error = || |source| StorageError::Io { what: "reading", path: segment.path(), source };
        let newest = segment.max_timestamp().map_err(error())?.map(|max| max.timestamp).filter(|max| *max >= 0);
        let newest = match newest {
            Some(newest) => newest,
            None => segment.modified().map_err(error())?.unwrap_or(now),
        };
        Ok(newest > now.saturating_sub(lag))
    }

    /// Whether a segment's first batch is older than `max.compaction.lag.ms`.
    fn is_overdue(&self, segment: &Segment, now: Timestamp) -> Result<bool, StorageError> {
        if self.config.max_compaction_lag_ms == i64::MAX {
            return Ok(false);
        }
        let first = segment.first_timestamp().map_err(StorageError::io("reading", &segment.path()))?;
        let limit = now.saturating_sub(self.config.max_compaction_lag_ms);
        Ok(first.is_some_and(|first| first > 0 && first < limit))
    }

    /// Puts what a compaction wrote in the place of what it read; `None` where that was removed or cut meanwhile, and
    /// stays so. The old segments' files are to be unlinked as those that retention removes.
    ///
    /// # Errors
    /// The log takes no more writes where files were left half renamed: opening it anew mends that.
    pub fn install(&mut self, cleaned: Cleaned) -> Result<Option<RemovedSegments>, StorageError> {
        let at = self.segments.iter().position(|segment| Arc::ptr_eq(segment, &cleaned.old[0]));
        let range = at.map(|at| at..at + cleaned.old.len());
        let current = range.clone().and_then(|range| self.segments.get(range));
        let same = current.is_some_and(|current| current.iter().zip(&cleaned.old).all(|(a, b)| Arc::ptr_eq(a, b)));
        let (true, Some(range), false) = (same, range, self.closed || self.failed) else {
            let path = &cleaned.path;
            remove_if_there(self.handles.fs().as_ref(), path).map_err(StorageError::io("removing", path))?;
            return Ok(None);
        };
        if self.active_segment().size() == 0 {
            self.make_active_file()?;
        }
        let segment = self.swap(&cleaned).inspect_err(|_| self.failed = true)?;
        self.segments.splice(range, [Arc::new(segment)]);
        self.publish_segments();
        // What belonged to the segments whose names are gone now.
        let bases = cleaned.old[1..].iter().map(|segment| segment.base_offset());
        let extra = bases
            .flat_map(|base| [producer_snapshot::path(&self.dir, base), segment::path(&self.dir, base, TXN_INDEX)]);
        let extra = extra.collect();
        Ok(Some(RemovedSegments { segments: cleaned.old, extra, fs: self.handles.fs().clone() }))
    }

    fn swap(&self, cleaned: &Cleaned) -> Result<Segment, StorageError> {
        let (fs, base) = (self.handles.fs(), cleaned.old[0].base_offset());
        let path = segment::path(&self.dir, base, LOG);
        let swap = with_suffix(&path, ".swap");
        let end = self.segments.iter().map(|segment| segment.base_offset());
        let last = cleaned.old.last().map_or(base, |last| last.base_offset());
        let end = end.filter(|next| *next > last).min().unwrap_or(self.log_end);
        let of_range = |txn: &&AbortedTxn| (base..end).contains(&txn.last_offset);
        let aborted: Vec<AbortedTxn> = self.shared.aborted.read().iter().filter(of_range).copied().collect();
        let steps = || -> io::Result<Segment> {
            fs.rename(&cleaned.path, &swap)?;
            fs.sync_dir(&self.dir)?;
            for old in &cleaned.old {
                old.add_suffix(".deleted")?;
            }
            fs.rename(&swap, &path)?;
            let segment = Segment::open_unindexed(&self.handles, &self.dir, base, cleaned.size, self.shape());
            let (offsets, times) = cleaned.indexes.clone();
            segment.set_indexes(offsets, times);
            segment.flush_indexes(Durability::Synced)?;
            fs.sync_dir(&self.dir)?;
            Ok(segment)
        };
        let segment = steps().map_err(StorageError::io("swapping in", &path))?;
        if !aborted.is_empty() {
            transaction_index::replace(&self.handles, &self.dir, base, &aborted)?;
            segment.note_aborted();
        }
        Ok(segment)
    }

    /// Takes note that all before `to` is compacted; what goes into `cleaner-offset-checkpoint`.
    pub fn compacted(&mut self, to: Offset) {
        self.cleaned_to = self.cleaned_to.max(to.min(self.log_end));
    }

    /// Compacts the log if that is due, all steps at once: remembers up to `room` bytes of keys.
    ///
    /// # Errors
    /// As [`Rewrite::next`] and [`Log::install`].
    pub fn compact(
        &mut self,
        now: Timestamp,
        room: usize,
    ) -> Result<Option<(Vec<RemovedSegments>, CompactionReport)>, StorageError> {
        let Some(compaction) = self.compaction(now, self.log_end)? else { return Ok(None) };
        let mut rewrite = compaction.read(room, &|| false)?;
        let mut report = CompactionReport { bytes_before: 0, bytes_after: 0, cleaned_to: 0 };
        let mut removed = Vec::new();
        while let Some(cleaned) = rewrite.next(&|| false)? {
            let (before, after) = cleaned.bytes();
            (report.bytes_before, report.bytes_after) = (report.bytes_before + before, report.bytes_after + after);
            removed.extend(self.install(cleaned)?);
        }
        self.compacted(rewrite.end());
        report.cleaned_to = self.cleaned_to;
        Ok(Some((removed, report)))
    }
}
