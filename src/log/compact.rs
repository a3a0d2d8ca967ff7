//! Compaction: of each key only the last record stays.
//!
//! Three steps, so that reading and writing gigabytes does not hold up the log: [`Log::compaction`] decides and takes
//! hold of the closed segments; [`Compaction::run`] reads and writes without the log; [`Log::install`] puts the result
//! in place. [`Log::compact`] is all three.
//!
//! First the dirty part (from where the last run ended, up to the last segment or what is too young) is read into a map
//! of each key's last offset, until that is full. Then all segments up to there are written anew, as many into one as
//! fit: a record stays if it is its key's last. A tombstone stays for `delete.retention.ms` after the run that first met
//! it, which its batch carries as its delete horizon. Records keep their offsets. Records of aborted transactions go,
//! markers stay.
//!
//! Crash, in the order of what happens:
//! ```text
//! 00.log.cleaned is written and synced      opening removes it
//! renamed to 00.log.swap                    it is whole: opening removes 00.log and what else it covers, gives it the name
//! the old segments renamed to .deleted      as before
//! 00.log.swap renamed to 00.log             done; indexes are made anew if they are not there
//! ```

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use super::append::DECOMPRESSED_LIMIT;
use super::config::LogConfig;
use super::error::StorageError;
use super::fs::handles::Handles;
use super::fs::{Durability, File, OpenMode, remove_if_there, with_suffix};
use super::log::Log;
use super::retention::RemovedSegments;
use super::segment::{self, LOG, Segment};
use super::transaction_index::AbortedTxn;
use crate::common::ids::{Offset, Timestamp};
use crate::record::{Batch, RecordView};

/// How many bytes of keys (with what a map adds) one run remembers (`log.cleaner.dedupe.buffer.size`).
const MAP_BYTES: usize = 128 << 20;
/// What a map adds to a key.
const MAP_ENTRY: usize = 64;
/// How much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// The last offset of each key.
type LastOffsets = HashMap<Box<[u8]>, Offset>;

/// Segments that are due to be compacted.
#[derive(Debug)]
pub struct Compaction {
    segments: Vec<Arc<Segment>>,
    /// Where the dirty part begins and ends.
    dirty: (Offset, Offset),
    config: LogConfig,
    handles: Handles,
    dir: PathBuf,
    aborted: Vec<AbortedTxn>,
    now: Timestamp,
}

/// Segments that were written anew, to be put in place by [`Log::install`].
#[derive(Debug)]
#[must_use = "nothing is compacted until it is installed"]
pub struct Compacted {
    groups: Vec<Group>,
    cleaned_to: Offset,
}

/// Segments and what is to take their place.
#[derive(Debug)]
struct Group {
    old: Vec<Arc<Segment>>,
    cleaned: PathBuf,
    size: u64,
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

impl Log {
    /// What there is to compact; `None` where nothing is due: by `min.cleanable.dirty.ratio`, `min.compaction.lag.ms` and
    /// `max.compaction.lag.ms`.
    ///
    /// # Errors
    /// The file system's.
    pub fn compaction(&self, now: Timestamp) -> Result<Option<Compaction>, StorageError> {
        if !self.config.compact || self.failed {
            return Ok(None);
        }
        let mut end = 0;
        let (mut clean, mut dirty, mut oldest) = (0u64, 0u64, Timestamp::MAX);
        let begin = self.cleaned_to.max(self.log_start);
        let undecided = self.last_stable_offset();
        for pair in self.segments.windows(2) {
            let (segment, next) = (&pair[0], pair[1].base_offset());
            let newest = segment.max_timestamp().map_err(StorageError::io("reading", &segment.path()))?;
            let newest = newest.map_or(-1, |max| max.timestamp);
            let lag = self.config.min_compaction_lag_ms;
            if next > undecided || (lag > 0 && newest > now.saturating_sub(lag)) {
                break;
            }
            end += 1;
            if next <= begin {
                clean += segment.size();
            } else {
                dirty += segment.size();
                oldest = oldest.min(newest);
            }
        }
        let overdue = oldest < now.saturating_sub(self.config.max_compaction_lag_ms);
        let ratio = dirty as f64 / (clean + dirty).max(1) as f64;
        if dirty == 0 || (ratio < self.config.min_cleanable_dirty_ratio && !overdue) {
            return Ok(None);
        }
        Ok(Some(Compaction {
            dirty: (begin, self.segments[end].base_offset()),
            segments: self.segments[..end].to_vec(),
            config: self.config.clone(),
            handles: self.handles.clone(),
            dir: self.dir.clone(),
            aborted: self.shared.aborted.read().clone(),
            now,
        }))
    }

    /// Puts what a compaction wrote in the place of what it read; what was removed or cut meanwhile stays so. The old
    /// segments' files are to be unlinked as those that retention removes.
    ///
    /// # Errors
    /// The log takes no more writes where files were left half renamed: opening it anew mends that.
    pub fn install(&mut self, compacted: Compacted) -> Result<(RemovedSegments, CompactionReport), StorageError> {
        let mut removed = RemovedSegments { segments: Vec::new(), extra: Vec::new(), fs: self.handles.fs().clone() };
        let mut report = CompactionReport { bytes_before: 0, bytes_after: 0, cleaned_to: self.cleaned_to };
        let mut whole = true;
        for group in compacted.groups {
            let at = self.segments.iter().position(|segment| Arc::ptr_eq(segment, &group.old[0]));
            let range = at.map(|at| at..at + group.old.len());
            let current = range.clone().and_then(|range| self.segments.get(range));
            let same = current.is_some_and(|current| current.iter().zip(&group.old).all(|(a, b)| Arc::ptr_eq(a, b)));
            let (true, Some(range)) = (same, range) else {
                whole = false;
                let path = &group.cleaned;
                remove_if_there(self.handles.fs().as_ref(), path).map_err(StorageError::io("removing", path))?;
                continue;
            };
            let segment = self.swap(&group).inspect_err(|_| self.failed = true)?;
            report.bytes_before += group.old.iter().map(|segment| segment.size()).sum::<u64>();
            report.bytes_after += segment.size();
            self.segments.splice(range, [Arc::new(segment)]);
            removed.segments.extend(group.old);
            self.publish_segments();
        }
        if whole {
            self.cleaned_to = self.cleaned_to.max(compacted.cleaned_to);
        }
        report.cleaned_to = self.cleaned_to;
        Ok((removed, report))
    }

    fn swap(&self, group: &Group) -> Result<Segment, StorageError> {
        let (fs, base) = (self.handles.fs(), group.old[0].base_offset());
        let path = segment::path(&self.dir, base, LOG);
        let swap = with_suffix(&path, ".swap");
        let steps = || -> io::Result<Segment> {
            fs.rename(&group.cleaned, &swap)?;
            fs.sync_dir(&self.dir)?;
            for old in &group.old {
                old.add_suffix(".deleted")?;
            }
            fs.rename(&swap, &path)?;
            let segment = Segment::open_unindexed(&self.handles, &self.dir, base, group.size, self.shape());
            segment.rebuild_indexes()?;
            segment.flush_indexes(Durability::Synced)?;
            fs.sync_dir(&self.dir)?;
            Ok(segment)
        };
        steps().map_err(StorageError::io("swapping in", &path))
    }

    /// Compacts the log if that is due: all steps at once.
    ///
    /// # Errors
    /// As [`Compaction::run`] and [`Log::install`].
    pub fn compact(&mut self, now: Timestamp) -> Result<Option<(RemovedSegments, CompactionReport)>, StorageError> {
        match self.compaction(now)? {
            Some(compaction) => self.install(compaction.run()?).map(Some),
            None => Ok(None),
        }
    }
}

impl Compaction {
    /// Reads the segments and writes what is to take their place, beside them.
    ///
    /// # Errors
    /// The file system's, and damage in a segment; what was written is removed when the log is opened next.
    pub fn run(&self) -> Result<Compacted, StorageError> {
        let (map, end) = self.map_keys()?;
        let last = self.segments.partition_point(|segment| segment.base_offset() < end);
        let mut groups = Vec::new();
        for old in self.groups(&self.segments[..last]) {
            groups.push(self.rewrite(old, &map, end)?);
        }
        Ok(Compacted { groups, cleaned_to: end })
    }

    /// The last offset of each key in the dirty part, and up to where that is known.
    fn map_keys(&self) -> Result<(LastOffsets, Offset), StorageError> {
        let mut map = LastOffsets::new();
        let (mut size, mut end, mut full) = (0, self.dirty.0, false);
        for segment in self.segments.iter() {
            let visit = |batch: &Batch<'_>| {
                if full || batch.last_offset() < self.dirty.0 {
                    return Ok(());
                }
                // A batch that cannot be taken whole ends the run; the first one always can.
                full = size > MAP_BYTES;
                if full {
                    return Ok(());
                }
                end = batch.next_offset();
                if batch.is_control() || self.is_aborted(batch) {
                    return Ok(());
                }
                for record in batch.body(DECOMPRESSED_LIMIT).map_err(invalid)?.iter() {
                    let record = record.map_err(invalid)?;
                    let Some(key) = record.key else { continue };
                    match map.get_mut(key) {
                        Some(offset) => *offset = record.offset,
                        None => {
                            size += key.len() + MAP_ENTRY;
                            map.insert(key.into(), record.offset);
                        }
                    }
                }
                Ok(())
            };
            each_batch(segment, visit).map_err(StorageError::io("reading", &segment.path()))?;
        }
        Ok((map, if full { end } else { self.dirty.1 }))
    }

    fn is_aborted(&self, batch: &Batch<'_>) -> bool {
        let within = |txn: &AbortedTxn| (txn.first_offset..=txn.last_offset).contains(&batch.base_offset());
        batch.is_transactional() && self.aborted.iter().any(|txn| txn.producer_id == batch.producer_id() && within(txn))
    }

    /// Neighbours that fit into one segment even if nothing goes.
    fn groups(&self, segments: &[Arc<Segment>]) -> Vec<Vec<Arc<Segment>>> {
        let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
        let mut size = 0;
        for (index, segment) in segments.iter().enumerate() {
            let next = segments.get(index + 1).map_or(self.dirty.1, |next| next.base_offset());
            let fits = |group: &Vec<Arc<Segment>>| {
                size + segment.size() <= self.config.segment_bytes
                    && next - group[0].base_offset() <= i64::from(i32::MAX)
            };
            match groups.last_mut().filter(|group| fits(group)) {
                Some(group) => {
                    size += segment.size();
                    group.push(Arc::clone(segment));
                }
                None => {
                    size = segment.size();
                    groups.push(vec![Arc::clone(segment)]);
                }
            }
        }
        groups
    }

    fn rewrite(&self, old: Vec<Arc<Segment>>, map: &LastOffsets, end: Offset) -> Result<Group, StorageError> {
        let path = segment::path(&self.dir, old[0].base_offset(), LOG);
        let cleaned = with_suffix(&path, ".cleaned");
        let write = || -> io::Result<u64> {
            let file = self.handles.fs().open(&cleaned, OpenMode::Fresh)?;
            let mut out = Writer { file: file.as_ref(), size: 0, buffer: Vec::with_capacity(WRITE_BYTES) };
            for segment in &old {
                each_batch(segment, |batch| self.rewrite_batch(batch, map, end, &mut out))?;
            }
            out.flush()?;
            file.sync()?;
            Ok(out.size)
        };
        let size = write().map_err(StorageError::io("compacting into", &cleaned))?;
        Ok(Group { old, cleaned, size })
    }

    fn rewrite_batch(&self, batch: &Batch<'_>, map: &LastOffsets, end: Offset, out: &mut Writer<'_>) -> io::Result<()> {
        if batch.base_offset() >= end || batch.is_control() {
            return out.put(batch.as_bytes());
        }
        if self.is_aborted(batch) {
            return Ok(());
        }
        let horizon = batch.delete_horizon();
        let keep = |record: &RecordView<'_>| {
            let last = record.key.is_some_and(|key| map.get(key).is_none_or(|last| record.offset >= *last));
            last && !(record.value.is_none() && horizon.is_some_and(|horizon| horizon <= self.now))
        };
        // A first look decides whether the batch must be written anew at all.
        let (mut dropped, mut tombstones) = (false, false);
        for record in batch.body(DECOMPRESSED_LIMIT).map_err(invalid)?.iter() {
            let record = record.map_err(invalid)?;
            let kept = keep(&record);
            dropped |= !kept;
            tombstones |= kept && record.value.is_none();
        }
        let first_met = tombstones && horizon.is_none();
        if !dropped && !first_met {
            return out.put(batch.as_bytes());
        }
        let horizon_now = first_met.then(|| self.now.saturating_add(self.config.delete_retention_ms));
        let kept = batch.retaining(DECOMPRESSED_LIMIT, horizon_now, keep).map_err(invalid)?;
        kept.map_or(Ok(()), |kept| out.put(&kept))
    }
}

/// Gathers what is written to a file that is new.
struct Writer<'a> {
    file: &'a dyn File,
    size: u64,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > WRITE_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_at(self.size, &mut [IoSlice::new(&self.buffer)])?;
            self.size += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

fn each_batch(segment: &Segment, mut visit: impl FnMut(&Batch<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut result = Ok(());
    segment.walk_batches(0, |_, batch| {
        result = visit(batch);
        result.is_ok()
    })?;
    result
}

fn invalid(error: crate::record::BatchError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
