//! A segment: a run of batches in one file, and the indexes that find them.
//!
//! ```text
//! 00000000000000001234.log          record batches, one behind the other; the name is the first one's base offset
//! 00000000000000001234.index        offset index, 00000000000000001234.timeindex: time index
//! 00000000000000001234.snapshot     the producers as they were where the segment begins
//! ```
//! Only the last segment grows. A writer puts bytes behind what is published and publishes them when they are all there;
//! readers take slices of what is published and never look behind it. So a write that fails half-way is cut off again
//! without anyone having seen it, and nothing that was seen ever changes.
//!
//! Crash: the file may end in a torn batch, or in zeros; opening cuts it at the first batch whose length or CRC is wrong.
//!
//! It knows nothing of producers, epochs and retention.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::error::StorageError;
use super::fs::handles::{Handle, Handles};
use super::fs::{Durability, OpenMode, remove_if_there};
use super::index_file::IndexFile;
use super::offset_index::{self, OffsetIndex};
use super::order::Order;
use super::time_index::{self, TimeIndex};
use crate::common::ids::{Offset, Timestamp};
use crate::record::{Batch, batches};

/// Files of a segment, by what stands behind its base offset.
pub(crate) const SUFFIXES: [&str; 4] = [LOG, INDEX, TIME_INDEX, TXN_INDEX];
/// The batches.
pub(crate) const LOG: &str = ".log";
/// The offset index.
pub(crate) const INDEX: &str = ".index";
/// The time index.
pub(crate) const TIME_INDEX: &str = ".timeindex";
/// The index of aborted transactions.
pub(crate) const TXN_INDEX: &str = ".txnindex";

/// Where a segment's file lies.
pub(crate) fn path(dir: &Path, base_offset: Offset, suffix: &str) -> PathBuf {
    dir.join(format!("{base_offset:020}{suffix}"))
}

/// One segment. Readers and the writer share it.
#[derive(Debug)]
pub(crate) struct Segment {
    base_offset: Offset,
    log: Arc<Handle>,
    handles: Handles,
    offsets: IndexFile,
    times: IndexFile,
    /// How much of the file is published.
    size: AtomicU64,
    /// The largest timestamp and the last offset of its batch, once known.
    max_timestamp: Mutex<Option<time_index::Entry>>,
    /// How large the file may grow.
    map_len: u64,
    index_interval: usize,
    /// Whether the file's name was never synced.
    unsynced_name: AtomicBool,
    /// Whether transactions were aborted in it, so that it has an index of them.
    has_aborted: AtomicBool,
    /// Whether an earlier broker wrote it and this one did not look through it.
    trusted: bool,
}

/// What a walk over a segment's batches needs of the log's configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// How large the file may grow.
    pub(crate) map_len: u64,
    /// `index.interval.bytes`.
    pub(crate) index_interval: usize,
}

/// A write that failed.
#[derive(Debug)]
pub(crate) struct WriteFailure {
    /// Why.
    pub(crate) source: io::Error,
    /// Whether what was written of it could not be cut off again.
    pub(crate) broken: bool,
}

impl Segment {
    fn new(handles: &Handles, dir: &Path, base_offset: Offset, size: u64, shape: Shape, fresh: bool) -> Segment {
        let index = |suffix| {
            let handle = handles.handle(path(dir, base_offset, suffix));
            if fresh { IndexFile::fresh(handles, handle) } else { IndexFile::closed(handles, handle) }
        };
        Segment {
            base_offset,
            log: handles.handle(path(dir, base_offset, LOG)),
            handles: handles.clone(),
            offsets: index(INDEX),
            times: index(TIME_INDEX),
            size: AtomicU64::new(size),
            max_timestamp: Mutex::new(None),
            map_len: shape.map_len,
            index_interval: shape.index_interval,
            // An empty segment was not worth a sync when it was closed.
            unsynced_name: AtomicBool::new(fresh || size == 0),
            has_aborted: AtomicBool::new(false),
            trusted: !fresh,
        }
    }

    /// A segment without a batch; its file is made by the first append.
    pub(crate) fn create(handles: &Handles, dir: &Path, base_offset: Offset, shape: Shape) -> Segment {
        Segment::new(handles, dir, base_offset, 0, shape, true)
    }

    /// Makes the file, still empty: where no batch is left before it, its name alone says where the log ends.
    pub(crate) fn make_file(&self) -> io::Result<()> {
        self.log.file().map(drop)
    }

    /// The segment in a file of `size` bytes, all of them good batches.
    pub(crate) fn open(handles: &Handles, dir: &Path, base_offset: Offset, size: u64, shape: Shape) -> Segment {
        Segment::new(handles, dir, base_offset, size, shape, false)
    }

    /// The segment in the file at `log`, whatever its name, without indexes.
    pub(crate) fn open_at(handles: &Handles, log: PathBuf, base: Offset, size: u64, shape: Shape) -> Segment {
        let mut segment = Segment::new(handles, log.parent().unwrap_or(Path::new("")), base, size, shape, true);
        segment.log = handles.handle(log);
        segment
    }

    /// The segment in a file of `size` bytes whose indexes are not to be trusted.
    pub(crate) fn open_unindexed(handles: &Handles, dir: &Path, base: Offset, size: u64, shape: Shape) -> Segment {
        Segment::new(handles, dir, base, size, shape, true)
    }

    /// The offset that its name carries.
    pub(crate) fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// How many bytes are published.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Where the batches lie.
    pub(crate) fn path(&self) -> PathBuf {
        self.log.path()
    }

    /// The published bytes `start..end`, without a copy.
    pub(crate) fn slice(&self, start: u64, end: u64) -> io::Result<Bytes> {
        if end <= start {
            return Ok(Bytes::new());
        }
        self.log.map(end, self.map_len)?.slice(start, (end - start) as usize)
    }

    /// As [`Segment::slice`], for who takes batches out of it: where nobody looked through the segment, only so far as
    /// they are whole and in order, so that what is read always ends behind where it began.
    pub(crate) fn slice_in_order(&self, start: u64, end: u64) -> io::Result<Bytes> {
        let mut bytes = self.slice(start, end)?;
        if self.trusted {
            let (mut order, mut good) = (Order::new(self.base_offset), 0);
            for batch in batches(&bytes).map_while(Result::ok).take_while(|batch| order.take(batch).is_ok()) {
                good += batch.size_in_bytes();
            }
            bytes.truncate(good);
        }
        Ok(bytes)
    }

    /// Writes batches behind the published ones, all or none of them; [`Segment::publish`] shows them.
    pub(crate) fn write(&self, parts: &mut [IoSlice<'_>]) -> Result<(), WriteFailure> {
        let failure = |source| WriteFailure { source, broken: false };
        let file = self.log.file().map_err(failure)?;
        let position = self.size();
        file.write_at(position, parts).map_err(|source| {
            // Nobody was given the bytes behind `position`, so the file may shrink to it.
            let broken = file.set_len(position).is_err();
            WriteFailure { source, broken }
        })
    }

    /// Cuts off whatever lies behind the published bytes: nobody was given it.
    pub(crate) fn cut_tail(&self) -> io::Result<()> {
        self.log.file()?.set_len(self.size())
    }

    /// Shows readers all up to `size`.
    pub(crate) fn publish(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// Takes note of a batch at `position` for the indexes. `indexed` says whether it gets an entry.
    pub(crate) fn note(&self, batch: &BatchInfo, indexed: bool) {
        let mut max = self.max_timestamp.lock();
        if max.is_none_or(|max| batch.max_timestamp > max.timestamp) {
            *max = Some(time_index::Entry { timestamp: batch.max_timestamp, offset: batch.last_offset });
        }
        if indexed {
            let entry = offset_index::Entry { offset: batch.last_offset, position: batch.position };
            self.offsets.push(&offset_index::encode(self.base_offset, entry));
            if let Some(max) = *max {
                self.push_time(max);
            }
        }
    }

    /// Adds a time entry unless the index already ends with one as late.
    fn push_time(&self, entry: time_index::Entry) {
        let known =
            self.times.with(|_| true, || Ok(Vec::new()), |bytes| TimeIndex::new(self.base_offset, bytes).last());
        if entry.timestamp >= 0 && !matches!(known, Ok(Some(last)) if last.timestamp >= entry.timestamp) {
            self.times.push(&time_index::encode(self.base_offset, entry));
        }
    }

    /// The bytes that the larger of its indexes takes.
    pub(crate) fn index_len(&self) -> usize {
        self.offsets.len().max(self.times.len())
    }

    fn with_offsets<T>(&self, f: impl FnOnce(OffsetIndex<'_>) -> T) -> io::Result<T> {
        let base = self.base_offset;
        let check = |bytes: &[u8]| {
            let index = OffsetIndex::new(base, bytes);
            index.is_sound(self.size()) && index.last().is_none_or(|last| self.is_at(last))
        };
        self.offsets.with(check, || Ok(self.build_indexes()?.0), |bytes| f(OffsetIndex::new(base, bytes)))
    }

    /// Whether a batch lies where an entry says.
    fn is_at(&self, entry: offset_index::Entry) -> bool {
        let bytes = self.slice(entry.position.into(), self.size());
        bytes.is_ok_and(|bytes| Batch::parse(&bytes).is_ok_and(|batch| batch.last_offset() == entry.offset))
    }

    fn with_times<T>(&self, f: impl FnOnce(TimeIndex<'_>) -> T) -> io::Result<T> {
        let base = self.base_offset;
        let check =
            |bytes: &[u8]| TimeIndex::new(base, bytes).is_sound(i64::MAX) && (!bytes.is_empty() || self.size() == 0);
        self.times.with(check, || Ok(self.build_indexes()?.1), |bytes| f(TimeIndex::new(base, bytes)))
    }

    /// Walks all batches for the entries that both indexes should have.
    pub(crate) fn build_indexes(&self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut offsets, mut times) = (Vec::new(), Vec::new());
        let mut pending = 0;
        let mut max = time_index::Entry { timestamp: -1, offset: self.base_offset };
        let mut last = -1;
        let mut put_time = |max: time_index::Entry| {
            if max.timestamp > last {
                last = max.timestamp;
                times.extend_from_slice(&time_index::encode(self.base_offset, max));
            }
        };
        self.walk(0, |info| {
            if info.max_timestamp > max.timestamp {
                max = time_index::Entry { timestamp: info.max_timestamp, offset: info.last_offset };
            }
            if pending > self.index_interval {
                pending = 0;
                let entry = offset_index::Entry { offset: info.last_offset, position: info.position };
                offsets.extend_from_slice(&offset_index::encode(self.base_offset, entry));
                put_time(max);
            }
            pending += info.size;
            true
        })?;
        put_time(max);
        Ok((offsets, times))
    }

    /// Visits the batches from `position` on (where one must begin) until `visit` says `false`.
    pub(crate) fn walk(&self, position: u32, mut visit: impl FnMut(BatchInfo) -> bool) -> io::Result<()> {
        self.walk_batches(position, |at, batch| visit(BatchInfo::of(batch, at)))
    }

    /// As [`Segment::walk`], with the batch itself.
    pub(crate) fn walk_batches(&self, position: u32, mut visit: impl FnMut(u32, &Batch<'_>) -> bool) -> io::Result<()> {
        let bytes = self.slice(position.into(), self.size())?;
        let mut at = position;
        let mut order = Order::new(self.base_offset);
        for batch in batches(&bytes) {
            let batch = batch.map_err(|error| self.damaged(at, &error.to_string()))?;
            order.take(&batch).map_err(|text| self.damaged(at, &text))?;
            if !visit(at, &batch) {
                break;
            }
            at += batch.size_in_bytes() as u32;
        }
        Ok(())
    }

    fn damaged(&self, at: u32, text: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} at byte {at}: {text}", self.path().display()))
    }

    /// The batch that holds `offset`, or the first one behind it.
    pub(crate) fn find(&self, offset: Offset) -> io::Result<Option<BatchInfo>> {
        let from = self.with_offsets(|index| index.floor(offset))?;
        let mut found = None;
        let mut seek = |from| {
            self.walk(from, |info| {
                found = (info.last_offset >= offset).then_some(info);
                found.is_none()
            })
        };
        match seek(from) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData && from > 0 => {
                // It is the index that led astray, unless the walk from the begin fails too.
                seek(0)?;
                self.rebuild_indexes()?;
            }
            result => result?,
        }
        Ok(found)
    }

    /// Where to begin to walk to reach `offset`.
    pub(crate) fn position_before(&self, offset: Offset) -> io::Result<u32> {
        self.with_offsets(|index| index.floor(offset))
    }

    /// A position at or before `position` where a batch begins, by the index alone.
    pub(crate) fn floor_position(&self, position: u32) -> io::Result<u32> {
        self.with_offsets(|index| index.floor_position(position))
    }

    /// The offset behind its last batch.
    pub(crate) fn next_offset(&self) -> io::Result<Offset> {
        let mut next = self.base_offset;
        let from = self.with_offsets(|index| index.floor(Offset::MAX))?;
        self.walk(from, |info| {
            next = info.last_offset + 1;
            true
        })?;
        Ok(next)
    }

    /// The largest timestamp, and the last offset of the first batch that has it; `None` in an empty segment.
    pub(crate) fn max_timestamp(&self) -> io::Result<Option<time_index::Entry>> {
        if let Some(max) = *self.max_timestamp.lock() {
            return Ok(Some(max));
        }
        let last = self.with_times(|index| index.last())?;
        *self.max_timestamp.lock() = last;
        Ok(last)
    }

    /// The first batch that has a timestamp at or after `timestamp`, from `offset` on.
    pub(crate) fn find_timestamp(&self, timestamp: Timestamp, offset: Offset) -> io::Result<Option<BatchInfo>> {
        let floor = self.with_times(|index| index.floor(timestamp))?.max(offset);
        let from = self.with_offsets(|index| index.floor(floor))?;
        let mut found = None;
        self.walk(from, |info| {
            found = (info.last_offset >= offset && info.max_timestamp >= timestamp).then_some(info);
            found.is_none()
        })?;
        Ok(found)
    }

    /// Makes the batches safe.
    ///
    /// # Errors
    /// [`StorageError::SyncFailed`] where they may be lost. One that could not be opened is as it was.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        let file = match self.log.reader() {
            // Never written, or removed while the flush waited.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(StorageError::io("opening", &self.path()))?,
        };
        file.sync().map_err(|source| StorageError::SyncFailed { path: self.path(), source })
    }

    /// Makes the indexes and the names safe.
    pub(crate) fn flush_around(&self, dir: &Path) -> io::Result<()> {
        if self.size() == 0 {
            return Ok(());
        }
        self.flush_indexes(Durability::Synced)?;
        if self.has_aborted.load(Ordering::Acquire) {
            self.handles.fs().open(&path(dir, self.base_offset, TXN_INDEX), OpenMode::Create)?.sync()?;
        }
        if self.unsynced_name.load(Ordering::Acquire) {
            self.handles.fs().sync_dir(dir)?;
            // The folder may be as new as the segment.
            if let Some(root) = dir.parent() {
                self.handles.fs().sync_dir(root)?;
            }
            self.unsynced_name.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Brings the index files up to date.
    pub(crate) fn flush_indexes(&self, durability: Durability) -> io::Result<()> {
        self.offsets.flush(durability)?;
        self.times.flush(durability)
    }

    /// Takes note that its index of aborted transactions has an entry.
    pub(crate) fn note_aborted(&self) {
        self.has_aborted.store(true, Ordering::Release);
    }

    /// Ends the segment: the time index gets its last entry, index memory is given back.
    pub(crate) fn seal(&self, durability: Durability) -> io::Result<()> {
        if let Some(max) = self.max_timestamp()? {
            self.push_time(max);
        }
        self.flush_indexes(durability)?;
        self.offsets.close();
        self.times.close();
        Ok(())
    }

    /// Reads what a segment that grows needs to have at hand, after it was closed.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        self.max_timestamp()?;
        self.with_offsets(|_| ())
    }

    /// Closes all files; they open again when used.
    pub(crate) fn close(&self) {
        self.log.close();
        self.offsets.close();
        self.times.close();
    }

    /// Renames the segment's files to `name.log` + `suffix`. Readers that hold them go on.
    pub(crate) fn add_suffix(&self, suffix: &str) -> io::Result<()> {
        for handle in [&self.log, self.offsets.handle(), self.times.handle()] {
            let to = super::fs::with_suffix(&handle.path(), suffix);
            match handle.rename(&to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => handle.moved(to),
                result => result?,
            }
        }
        Ok(())
    }

    /// Lets a flush that still holds the segment leave the files alone: another has taken its name.
    pub(crate) fn retire(&self) {
        self.offsets.retire();
        self.times.retire();
    }

    /// Unlinks the segment's files.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.retire();
        self.offsets.remove()?;
        self.times.remove()?;
        self.log.close_removed(self.size());
        remove_if_there(self.handles.fs().as_ref(), &self.log.path())
    }

    /// Takes note that the segment's folder is being removed with all in it.
    pub(crate) fn removed(&self) {
        self.log.close_removed(self.size());
    }

    /// Takes note that the folder was renamed to `dir`.
    pub(crate) fn moved(&self, dir: &Path) {
        for handle in [&self.log, self.offsets.handle(), self.times.handle()] {
            if let Some(name) = handle.path().file_name() {
                handle.moved(dir.join(name));
            }
        }
    }

    /// Makes both indexes anew, after the file was found or made other than they say.
    pub(crate) fn rebuild_indexes(&self) -> io::Result<()> {
        let (offsets, times) = self.build_indexes()?;
        self.set_indexes(offsets, times);
        Ok(())
    }

    /// Gives both indexes the entries that [`Segment::build_indexes`] found.
    pub(crate) fn set_indexes(&self, offsets: Vec<u8>, times: Vec<u8>) {
        let last = TimeIndex::new(self.base_offset, &times).last();
        self.offsets.set(offsets);
        self.times.set(times);
        *self.max_timestamp.lock() = last;
    }

    /// The largest timestamp of the first batch; `None` in an empty segment.
    pub(crate) fn first_timestamp(&self) -> io::Result<Option<Timestamp>> {
        let mut first = None;
        self.walk(0, |info| {
            first = Some(info.max_timestamp);
            false
        })?;
        Ok(first)
    }

    /// When the file was last written; `None` where there is none.
    pub(crate) fn modified(&self) -> io::Result<Option<Timestamp>> {
        Ok(self.handles.fs().stat(&self.path())?.map(|stat| stat.modified))
    }
}

/// What the log needs to know of a batch in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchInfo {
    /// Where in the segment it begins.
    pub(crate) position: u32,
    /// Its length in bytes.
    pub(crate) size: usize,
    /// Its first offset.
    pub(crate) base_offset: Offset,
    /// Its last offset.
    pub(crate) last_offset: Offset,
    /// Its largest timestamp.
    pub(crate) max_timestamp: Timestamp,
}

impl BatchInfo {
    /// What `batch`, which begins at `position`, says.
    pub(crate) fn of(batch: &Batch<'_>, position: u32) -> BatchInfo {
        BatchInfo {
            position,
            size: batch.size_in_bytes(),
            base_offset: batch.base_offset(),
            last_offset: batch.last_offset(),
            max_timestamp: batch.max_timestamp(),
        }
    }

    /// Where the next batch begins.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.position) + self.size as u64
    }
}
