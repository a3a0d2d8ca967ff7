//! The work of a compaction that needs no log: keys are read into a map, segments are written anew.
//!
//! First the dirty part is read into a map of each key's last offset, until that is full (`log.cleaner.dedupe.buffer.size`).
//! Then all segments up to there are written anew, as many into one as fit: a record stays if it is its key's last. A
//! tombstone stays for `delete.retention.ms` after the run that first met it, which its batch carries as its delete
//! horizon. Records keep their offsets. Records of aborted transactions go, markers stay.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::{Cleaned, Compaction};
use crate::common::ids::Offset;
use crate::log::append::DECOMPRESSED_LIMIT;
use crate::log::error::StorageError;
use crate::log::fs::{File, OpenMode, remove_if_there, with_suffix};
use crate::log::log::shape;
use crate::log::segment::{self, LOG, Segment};
use crate::log::transaction_index::AbortedTxn;
use crate::record::{Batch, RecordView};

/// What a map adds to a key.
const MAP_ENTRY: usize = 64;
/// How much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// The last offset of each key.
type LastOffsets = HashMap<Box<[u8]>, Offset>;

/// Asked for each batch: whether the work is to be given up.
type Stop<'a> = &'a dyn Fn() -> bool;

/// A compaction whose keys were read: its segments are written anew, one group after another.
#[derive(Debug)]
pub struct Rewrite {
    compaction: Compaction,
    map: LastOffsets,
    /// Up to where the map knows the keys.
    end: Offset,
    groups: VecDeque<Vec<Arc<Segment>>>,
}

impl Compaction {
    /// Reads the keys of the dirty part, as many as fit into `room` bytes (of the first batch all).
    ///
    /// # Errors
    /// The file system's, damage in a segment, and [`io::ErrorKind::Interrupted`] where `stop` said so.
    pub fn read(self, room: usize, stop: Stop<'_>) -> Result<Rewrite, StorageError> {
        let (map, end) = self.map_keys(room, stop)?;
        let last = self.segments.partition_point(|segment| segment.base_offset() < end);
        let groups = self.groups(&self.segments[..last]);
        Ok(Rewrite { compaction: self, map, end, groups })
    }

    /// The last offset of each key in the dirty part, and up to where that is known.
    fn map_keys(&self, room: usize, stop: Stop<'_>) -> Result<(LastOffsets, Offset), StorageError> {
        let mut map = LastOffsets::new();
        let (mut size, mut end, mut full) = (0, self.dirty.0, false);
        let first = self.segments.partition_point(|segment| segment.base_offset() <= self.dirty.0);
        for segment in &self.segments[first.saturating_sub(1)..] {
            let visit = |batch: &Batch<'_>| {
                if full || batch.last_offset() < self.dirty.0 {
                    return Ok(());
                }
                // A batch that cannot be taken whole ends the run; the first one always can.
                full = size > room;
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
            each_batch(segment, stop, visit).map_err(StorageError::io("reading", &segment.path()))?;
            if full {
                return Ok((map, end));
            }
        }
        Ok((map, self.dirty.1))
    }

    fn is_aborted(&self, batch: &Batch<'_>) -> bool {
        let within = |txn: &AbortedTxn| (txn.first_offset..=txn.last_offset).contains(&batch.base_offset());
        batch.is_transactional() && self.aborted.iter().any(|txn| txn.producer_id == batch.producer_id() && within(txn))
    }

    /// Neighbours that fit into one segment even if nothing goes.
    fn groups(&self, segments: &[Arc<Segment>]) -> VecDeque<Vec<Arc<Segment>>> {
        let mut groups: VecDeque<Vec<Arc<Segment>>> = VecDeque::new();
        let mut size = 0;
        for (index, segment) in segments.iter().enumerate() {
            let next = self.segments.get(index + 1).map_or(self.dirty.1, |next| next.base_offset());
            let fits = |group: &Vec<Arc<Segment>>| {
                size + segment.size() <= self.config.segment_bytes
                    && next - group[0].base_offset() <= i64::from(i32::MAX)
            };
            match groups.back_mut().filter(|group| fits(group)) {
                Some(group) => {
                    size += segment.size();
                    group.push(Arc::clone(segment));
                }
                None => {
                    size = segment.size();
                    groups.push_back(vec![Arc::clone(segment)]);
                }
            }
        }
        groups
    }
}

impl Rewrite {
    /// Up to where the log is compacted once all groups are in place.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Writes the next group of segments anew, beside them; `None` after the last one.
    ///
    /// # Errors
    /// As [`Compaction::read`]. What was written is removed.
    pub fn next(&mut self, stop: Stop<'_>) -> Result<Option<Cleaned>, StorageError> {
        let Some(old) = self.groups.pop_front() else { return Ok(None) };
        let path = with_suffix(&segment::path(&self.compaction.dir, old[0].base_offset(), LOG), ".cleaned");
        let fs = self.compaction.handles.fs();
        let write = || -> io::Result<Cleaned> {
            let file = fs.open(&path, OpenMode::Fresh)?;
            let mut out = Writer { file: file.as_ref(), size: 0, buffer: Vec::with_capacity(WRITE_BYTES) };
            for segment in &old {
                each_batch(segment, stop, |batch| self.batch(batch, &mut out))?;
            }
            out.flush()?;
            file.sync()?;
            let Compaction { handles, config, .. } = &self.compaction;
            let written = Segment::open_at(handles, path.clone(), old[0].base_offset(), out.size, shape(config));
            let indexes = written.build_indexes()?;
            Ok(Cleaned { size: out.size, indexes, path: path.clone(), old: old.clone() })
        };
        write().map(Some).map_err(|source| {
            // It goes when the log is opened next, if not now.
            let _ = remove_if_there(fs.as_ref(), &path);
            StorageError::Io { what: "compacting into", path, source }
        })
    }

    fn batch(&self, batch: &Batch<'_>, out: &mut Writer<'_>) -> io::Result<()> {
        if batch.base_offset() >= self.end || batch.is_control() {
            return out.put(batch.as_bytes());
        }
        if self.compaction.is_aborted(batch) {
            return Ok(());
        }
        let (horizon, now) = (batch.delete_horizon(), self.compaction.now);
        let keep = |record: &RecordView<'_>| {
            let last = record.key.is_some_and(|key| self.map.get(key).is_none_or(|last| record.offset >= *last));
            last && !(record.value.is_none() && horizon.is_some_and(|horizon| horizon <= now))
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
        let horizon_now = first_met.then(|| now.saturating_add(self.compaction.config.delete_retention_ms));
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

fn each_batch(
    segment: &Segment,
    stop: Stop<'_>,
    mut visit: impl FnMut(&Batch<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut result = Ok(());
    segment.walk_batches(0, |_, batch| {
        // A damaged batch that is written anew with a good CRC would be damaged for good.
        result = match stop() {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => batch.verify_crc().map_err(invalid).and_then(|()| visit(batch)),
        };
        result.is_ok()
    })?;
    result
}

fn invalid(error: crate::record::BatchError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
