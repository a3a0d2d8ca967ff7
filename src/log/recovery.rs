//! Opening a log: what a broker that ended left behind is put in order.
//!
//! After a clean shutdown files are trusted, and little is read: names, the last index entry and what is behind it. After
//! any other end the segments that reach behind the recovery point are scanned, each batch's length and CRC checked; at
//! the first bad one the log is cut and all behind it dropped. The indexes of what was scanned are made anew, the
//! producers are taken from the last snapshot and the batches behind it, the epochs from their file and the batches.
//!
//! Left-overs, as Kafka names them: `.deleted` (a removed segment), `.cleaned` and `.tmp` (a file that was being written)
//! go; `.swap` (a compacted segment, complete) takes the place of the segments that it was made of.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use super::append::producer_batch;
use super::error::{Damage, RecoveryReport, StorageError};
use super::fs::handles::Handles;
use super::fs::{Entry, FileSystem, OpenMode, read_file, remove_if_there};
use super::leader_epoch::LeaderEpochs;
use super::log::{Active, Log, LogOptions, Shared, View, shape};
use super::order::Order;
use super::producer_snapshot;
use super::producer_state::ProducerStates;
use super::segment::{self, INDEX, LOG, SUFFIXES, Segment, Shape, TIME_INDEX, TXN_INDEX};
use super::transaction_index::{self, AbortedTxn};
use crate::common::ids::Offset;
use crate::record::{Batch, EndTxnMarker, batches};

impl Log {
    /// Opens the log in a folder, or makes an empty one. The report says what was scanned, and what was given up.
    ///
    /// # Errors
    /// The file system's; damage is mended.
    pub fn open(options: LogOptions) -> Result<(Log, RecoveryReport), StorageError> {
        Opening { report: RecoveryReport::default(), options, snapshot_at: -1, is_new: false }.open()
    }
}

struct Opening {
    options: LogOptions,
    report: RecoveryReport,
    snapshot_at: Offset,
    is_new: bool,
}

impl Opening {
    fn fs(&self) -> &dyn FileSystem {
        self.options.handles.fs().as_ref()
    }

    fn open(mut self) -> Result<(Log, RecoveryReport), StorageError> {
        let dir = self.options.dir.clone();
        let files = self.tidy(&dir)?;
        let told = self.load_epochs(&dir)?;
        let untold = told.is_none();
        let mut epochs = told.unwrap_or_default();
        let mut segments = self.load_segments(&files, &mut epochs, untold)?;
        let first = segments.first().map_or(0, |segment| segment.base_offset());
        let mut log_start = self.options.log_start_offset.max(first);
        let mut log_end = match segments.last() {
            Some(last) => last.next_offset().map_err(StorageError::io("reading", &last.path()))?,
            None => log_start,
        };
        if log_end < log_start {
            self.note(format!("all segments end at {log_end}, before the log start offset {log_start}: removed"));
            self.drop_segments(&mut segments, 0)?;
            log_end = log_start;
        }
        if segments.is_empty() {
            let shape = shape(&self.options.config);
            segments.push(Arc::new(Segment::create(&self.options.handles, &dir, log_start, shape)));
        }
        log_start = log_start.min(log_end);
        epochs.truncate_from_end(log_end);
        epochs.truncate_from_start(log_start);
        let clean = self.options.clean;
        let (mut producers, aborted, snapshot_at) =
            load_producers(&self.options.handles, &dir, &segments, log_end, clean, &mut self.report.notes)?;
        // What was written last is safe after a clean stop only.
        if clean {
            self.snapshot_at = snapshot_at;
        } else {
            epochs.not_known_to_be_safe();
            for (index, segment) in segments.iter().enumerate() {
                let end = segments.get(index + 1).map_or(log_end, |next| next.base_offset());
                if aborted.iter().any(|txn| (segment.base_offset()..end).contains(&txn.last_offset)) {
                    segment.note_aborted();
                }
            }
        }
        producers.expire(self.options.now, self.options.config.producer_id_expiration_ms);
        let log = self.assemble(segments, producers, aborted, epochs, log_start, log_end)?;
        Ok((log, self.report))
    }

    fn assemble(
        &self,
        segments: Vec<Arc<Segment>>,
        producers: ProducerStates,
        aborted: Vec<AbortedTxn>,
        epochs: LeaderEpochs,
        log_start: Offset,
        log_end: Offset,
    ) -> Result<Log, StorageError> {
        let LogOptions { partition, dir, config, handles, recovery_point, cleaned_to, clean, now, .. } =
            self.options.clone();
        let mut created = now;
        if let Some(active) = segments.last()
            && active.size() > 0
        {
            active.reopen().map_err(StorageError::io("reading", &active.path()))?;
            created = active.modified().ok().flatten().unwrap_or(now);
        }
        let view = View {
            segments: segments.as_slice().into(),
            active_size: segments.last().map_or(0, |segment| segment.size()),
            log_start,
            log_end,
            last_stable: producers.first_open_txn().unwrap_or(log_end),
        };
        let shared = Shared { view: RwLock::new(view), aborted: RwLock::new(aborted) };
        Ok(Log {
            partition,
            dir,
            handles,
            config,
            shared: Arc::new(shared),
            segments,
            // The distance to the last index entry is not known: the next batch gets one.
            active: Active { since_index: usize::MAX / 2, first_timestamp: None, created },
            producers,
            epochs,
            log_start,
            log_end,
            recovery_point: if clean { log_end } else { recovery_point.min(log_end) },
            // What was removed, or cut off, before an unclean stop may have been so in memory alone.
            unsynced_removal: !clean && !self.is_new,
            cuts: 0,
            last_flush: now,
            failed: false,
            snapshot_at: self.snapshot_at,
            closed: false,
            torn: false,
            cleaned_to: cleaned_to.clamp(log_start, log_end),
        })
    }

    fn note(&mut self, text: String) {
        self.report.notes.push(text);
    }

    /// Removes left-overs, brings finished swaps into place; the names that stay.
    fn tidy(&mut self, dir: &Path) -> Result<Vec<String>, StorageError> {
        let entries = match self.fs().list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.fs().create_dir_all(dir).map_err(StorageError::io("making", dir))?;
                self.is_new = true;
                return Ok(Vec::new());
            }
            entries => entries.map_err(StorageError::io("listing", dir))?,
        };
        let Names { kept, swaps, dead } = sort_out(entries);
        for name in dead {
            let path = dir.join(&name);
            remove_if_there(self.fs(), &path).map_err(StorageError::io("removing", &path))?;
        }
        if swaps.is_empty() { Ok(kept) } else { self.finish_swap(dir, kept, &swaps) }
    }

    /// Removes the segments that the swapped ones were made of, then gives these their names.
    fn finish_swap(&mut self, dir: &Path, kept: Vec<String>, swaps: &[String]) -> Result<Vec<String>, StorageError> {
        let range = swapped_range(&self.options.handles, dir, swaps)?;
        let mut names = Vec::new();
        for name in kept {
            let replaced = base_of(&name).is_some_and(|base| range.contains(&base));
            if replaced && SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
                let path = dir.join(&name);
                remove_if_there(self.fs(), &path).map_err(StorageError::io("removing", &path))?;
            } else {
                names.push(name);
            }
        }
        for name in swaps {
            let target = name.trim_end_matches(".swap");
            // Only the batches: indexes are made anew.
            if target.ends_with(LOG) {
                self.fs()
                    .rename(&dir.join(name), &dir.join(target))
                    .map_err(StorageError::io("renaming", &dir.join(name)))?;
                names.push(target.to_owned());
                self.note(format!("{name} took the place of the segments it was made of"));
            } else {
                let path = dir.join(name);
                remove_if_there(self.fs(), &path).map_err(StorageError::io("removing", &path))?;
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What the epoch file tells; `None` where there is none that can be read.
    fn load_epochs(&mut self, dir: &Path) -> Result<Option<LeaderEpochs>, StorageError> {
        match LeaderEpochs::load(self.fs(), dir) {
            Err(StorageError::Damaged { path, damage }) => {
                self.note(format!("{}: {damage}; made anew", path.display()));
                Ok(None)
            }
            told => told,
        }
    }

    fn load_segments(
        &mut self,
        names: &[String],
        epochs: &mut LeaderEpochs,
        untold: bool,
    ) -> Result<Vec<Arc<Segment>>, StorageError> {
        let dir = self.options.dir.clone();
        let mut sizes = BTreeMap::new();
        for name in names {
            if let (true, Some(base)) = (name.ends_with(LOG), base_of(name)) {
                let path = dir.join(name);
                let stat = self.fs().stat(&path).map_err(StorageError::io("reading", &path))?;
                sizes.insert(base, stat.map_or(0, |stat| stat.len));
            }
        }
        for name in names {
            let index = [INDEX, TIME_INDEX, TXN_INDEX].iter().any(|suffix| name.ends_with(suffix));
            if index && base_of(name).is_some_and(|base| !sizes.contains_key(&base)) {
                let path = dir.join(name);
                remove_if_there(self.fs(), &path).map_err(StorageError::io("removing", &path))?;
            }
        }
        let bases: Vec<(Offset, u64)> = sizes.into_iter().collect();
        let mut segments = Vec::with_capacity(bases.len());
        let mut cut = false;
        for (index, (base, size)) in bases.iter().copied().enumerate() {
            let shape = shape(&self.options.config);
            let safe = bases.get(index + 1).is_some_and(|(next, _)| *next <= self.options.recovery_point);
            if cut {
                self.report.dropped_bytes += size;
                self.note(format!("segment {base} with {size} bytes lies behind the cut: removed"));
                Segment::open(&self.options.handles, &dir, base, size, shape)
                    .remove_all(self.fs(), &dir)
                    .map_err(StorageError::io("removing", &dir))?;
            } else if self.options.clean || safe {
                let segment = Segment::open(&self.options.handles, &dir, base, size, shape);
                segments.push(Arc::new(segment));
            } else {
                let (segment, end, whole) = self.scan(base, size, epochs)?;
                cut = !whole;
                segments.push(Arc::new(segment));
                // A segment begins where the one before it ends, so a gap is what power took. Compaction makes gaps too:
                // a compacted log syncs a segment before it begins the next, and has none of the other kind, nor has
                // what was compacted of a log that is not any more.
                if let Some((next, _)) = bases.get(index + 1).filter(|(next, _)| *next > end && !cut)
                    && !self.options.config.compact
                    && *next > self.options.cleaned_to
                {
                    self.note(format!("segment {base} ends at offset {end}, and the next begins at {next}"));
                    self.report.truncated_at = Some(end);
                    cut = true;
                }
            }
        }
        if cut {
            // Or the next loss of power brings back what was dropped.
            self.fs().sync_dir(&dir).map_err(StorageError::io("syncing", &dir))?;
        }
        // A clean log without an epoch file, or with a damaged one: the batches know. An empty file is believed: a
        // truncation took all that had an epoch.
        if untold && epochs.entries().is_empty() {
            for segment in &segments {
                let visit = |_, batch: &Batch<'_>| {
                    epochs.assign(batch.partition_leader_epoch(), batch.base_offset());
                    true
                };
                segment.walk_batches(0, visit).map_err(StorageError::io("reading", &segment.path()))?;
            }
        }
        Ok(segments)
    }

    /// Checks each batch of a segment, cuts it at the first bad one, makes its indexes anew. Also where it
    /// ends now, and whether it was whole.
    fn scan(
        &mut self,
        base: Offset,
        size: u64,
        epochs: &mut LeaderEpochs,
    ) -> Result<(Segment, Offset, bool), StorageError> {
        let (dir, shape) = (self.options.dir.clone(), shape(&self.options.config));
        let segment = Segment::open_unindexed(&self.options.handles, &dir, base, size, shape);
        let path = segment.path();
        let bytes = segment.slice(0, size).map_err(StorageError::io("reading", &path))?;
        let Checked { good, next, bad } =
            check(&bytes, base, |batch| epochs.found(batch.partition_leader_epoch(), batch.base_offset()));
        drop(bytes);
        self.report.segments_scanned += 1;
        self.report.bytes_scanned += size;
        if let Some(text) = &bad {
            self.report.truncated_at = Some(next);
            self.report.dropped_bytes += size - good;
            self.note(format!("segment {base} was cut at byte {good}, offset {next}: {text}"));
            // Nobody reads yet: the file itself may shrink, once it is mapped no more.
            segment.close();
            let file = self.fs().open(&path, OpenMode::Create).map_err(StorageError::io("opening", &path))?;
            // Synced, for the recovery point may be at the cut already: nobody would sync it later.
            file.set_len(good).and_then(|()| file.sync()).map_err(StorageError::io("cutting", &path))?;
            epochs.truncate_from_end(next);
        }
        segment.publish(good);
        segment.rebuild_indexes().map_err(StorageError::io("reading", &path))?;
        Ok((segment, next, bad.is_none()))
    }

    fn drop_segments(&self, segments: &mut Vec<Arc<Segment>>, keep: usize) -> Result<(), StorageError> {
        let dir = &self.options.dir;
        for segment in segments.drain(keep..) {
            segment.remove_all(self.fs(), dir).map_err(StorageError::io("removing", &segment.path()))?;
        }
        Ok(())
    }
}

/// What is to become of the names in a partition's folder; each list is in order.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// They stay.
    pub(super) kept: Vec<String>,
    /// Complete segments that take the place of those they were made of.
    pub(super) swaps: Vec<String>,
    /// Left-overs.
    pub(super) dead: Vec<String>,
}

/// Sorts out the names in a partition's folder.
pub(super) fn sort_out(entries: Vec<Entry>) -> Names {
    let mut names: Vec<String> = entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect();
    names.sort_unstable();
    let dead = |name: &str| [".deleted", ".cleaned", ".tmp"].iter().any(|suffix| name.ends_with(suffix));
    // A split that was cut short: its swapped part goes with the unswapped one.
    let cleaned = names.iter().filter(|name| name.ends_with(".cleaned")).filter_map(|name| base_of(name)).min();
    let mut sorted = Names::default();
    for name in names {
        let swap = name.ends_with(".swap");
        let half = swap && cleaned.zip(base_of(&name)).is_some_and(|(least, base)| base >= least);
        let list = match () {
            () if dead(&name) || half => &mut sorted.dead,
            () if swap => &mut sorted.swaps,
            () => &mut sorted.kept,
        };
        list.push(name);
    }
    sorted
}

/// The offsets that swapped segments hold: those which begin among them were what they are made of.
pub(super) fn swapped_range(handles: &Handles, dir: &Path, swaps: &[String]) -> Result<Range<Offset>, StorageError> {
    let mut range: Option<Range<Offset>> = None;
    for name in swaps.iter().filter(|name| name.ends_with(".log.swap")) {
        let (Some(base), path) = (base_of(name), dir.join(name)) else { continue };
        let size = handles.fs().stat(&path).map_err(StorageError::io("reading", &path))?.map_or(0, |stat| stat.len);
        let shape = Shape { map_len: size, index_interval: usize::MAX };
        let segment = Segment::open_at(handles, path.clone(), base, size, shape);
        let next = segment.next_offset().map_err(StorageError::io("reading", &path))?;
        range = Some(range.map_or(base..next, |range| range.start.min(base)..range.end.max(next)));
    }
    Ok(range.unwrap_or(0..0))
}

/// How far the batches of a segment are good.
#[derive(Debug)]
pub(super) struct Checked {
    /// How many bytes of them.
    pub(super) good: u64,
    /// The offset behind the last of them.
    pub(super) next: Offset,
    /// What is wrong with the one that follows, if one does.
    pub(super) bad: Option<String>,
}

/// Checks the batches in `bytes`, a segment that begins at `base`, and visits the good ones up to the first bad one.
pub(super) fn check(bytes: &[u8], base: Offset, mut visit: impl FnMut(&Batch<'_>)) -> Checked {
    let (mut order, mut good) = (Order::new(base), 0);
    for batch in batches(bytes) {
        let whole = batch.and_then(|batch| batch.verify_crc().map(|()| batch)).map_err(|error| error.to_string());
        match whole.and_then(|batch| order.take(&batch).map(|()| batch)) {
            Ok(batch) => {
                visit(&batch);
                good += batch.size_in_bytes() as u64;
            }
            Err(text) => return Checked { good, next: order.next(), bad: Some(text) },
        }
    }
    Checked { good, next: order.next(), bad: None }
}

/// The producers as they are at `log_end`, and the files that say otherwise mended. Damage goes into `notes`. The last
/// value is where the snapshot was, -1 where there was none.
pub(super) fn load_producers(
    handles: &Handles,
    dir: &Path,
    segments: &[Arc<Segment>],
    log_end: Offset,
    trust_absence: bool,
    notes: &mut Vec<String>,
) -> Result<(ProducerStates, Vec<AbortedTxn>, Offset), StorageError> {
    let found = find_producers(handles, dir, segments, log_end, trust_absence, notes)?;
    for path in &found.bad {
        remove_if_there(handles.fs().as_ref(), path).map_err(StorageError::io("removing", path))?;
    }
    // What the files say beyond what the markers do was cut off, or never got there.
    if found.aborted != found.indexed {
        for (index, segment) in segments.iter().enumerate() {
            let (base, end) =
                (segment.base_offset(), segments.get(index + 1).map_or(log_end, |next| next.base_offset()));
            let here = found.aborted.iter().filter(|txn| (base..end).contains(&txn.last_offset));
            transaction_index::replace(handles, dir, base, &here.copied().collect::<Vec<_>>())?;
        }
    }
    Ok((found.states, found.aborted, found.snapshot_at))
}

/// What a folder tells of a log's producers.
#[derive(Debug)]
pub(super) struct Producers {
    /// What is remembered of them.
    pub(super) states: ProducerStates,
    /// The aborted transactions, by the offset of their marker.
    pub(super) aborted: Vec<AbortedTxn>,
    /// Those that the transaction indexes know.
    indexed: Vec<AbortedTxn>,
    /// Where the snapshot was, -1 where there was none.
    snapshot_at: Offset,
    /// Snapshots that are damaged, or of a log that went further.
    bad: Vec<PathBuf>,
}

/// The producers as they are at `log_end`: the last good snapshot, and the batches behind it. With `trust_absence` a log
/// without a snapshot had no producer: the broker that closed it would have written one. Changes nothing; damage goes
/// into `notes`.
pub(super) fn find_producers(
    handles: &Handles,
    dir: &Path,
    segments: &[Arc<Segment>],
    log_end: Offset,
    trust_absence: bool,
    notes: &mut Vec<String>,
) -> Result<Producers, StorageError> {
    let fs = handles.fs().as_ref();
    let mut bad = Vec::new();
    let names = fs.list(dir).map_err(StorageError::io("listing", dir))?;
    let mut snapshots: Vec<Offset> =
        names.iter().filter_map(|entry| producer_snapshot::offset_of(&entry.name)).collect();
    snapshots.sort_unstable();
    let mut found = None;
    while found.is_none()
        && let Some(offset) = snapshots.pop()
    {
        let path = producer_snapshot::path(dir, offset);
        if offset > log_end {
            bad.push(path);
            continue;
        }
        let bytes = read_file(fs, &path, producer_snapshot::MAX_LEN).map_err(StorageError::io("reading", &path))?;
        let told = producer_snapshot::decode(&bytes.unwrap_or_default()).and_then(|states| match states.end() {
            // An open transaction there would hold the last stable offset behind the log's end.
            end if end > offset => Err(Damage(format!("it speaks of offset {}, behind its own", end - 1))),
            _ => Ok(states),
        });
        match told {
            Ok(states) => found = Some((offset, states)),
            Err(damage) => {
                notes.push(format!("{}: {damage}; passed over", path.display()));
                bad.push(path);
            }
        }
    }
    let snapshot_at = found.as_ref().map_or(-1, |(offset, _)| *offset);
    let (from, mut states) = match found {
        Some(found) => found,
        None if trust_absence => (log_end, ProducerStates::new()),
        None => (0, ProducerStates::new()),
    };
    let mut aborted = Vec::new();
    let has_index = names.iter().any(|entry| entry.name.ends_with(TXN_INDEX));
    let mut known = Vec::new();
    for segment in segments.iter().filter(|_| has_index) {
        match transaction_index::load(handles, dir, segment.base_offset()) {
            Ok(entries) => known.extend(entries),
            Err(StorageError::Damaged { path, damage }) => notes.push(format!("{}: {damage}", path.display())),
            Err(error) => return Err(error),
        }
    }
    aborted.extend(known.iter().filter(|txn| txn.last_offset < from));
    let first = segments.partition_point(|segment| segment.base_offset() <= from).saturating_sub(1);
    for segment in segments.get(first..).unwrap_or(&[]) {
        replay(segment, from, log_end, &mut states, &mut aborted)
            .map_err(StorageError::io("reading", &segment.path()))?;
    }
    Ok(Producers { states, aborted, indexed: known, snapshot_at, bad })
}

/// Takes note of the producers' batches of a segment, from `from` on.
fn replay(
    segment: &Segment,
    from: Offset,
    log_end: Offset,
    states: &mut ProducerStates,
    aborted: &mut Vec<AbortedTxn>,
) -> io::Result<()> {
    if from >= log_end {
        return Ok(());
    }
    let position = segment.position_before(from)?;
    segment.walk_batches(position, |_, batch| {
        // A segment below the recovery point is not looked through: what it says of offsets that the log has not is not so.
        let known = from <= batch.base_offset() && batch.last_offset() < log_end;
        let producer = producer_batch(batch, batch.base_offset()).filter(|_| known);
        let marker = producer.filter(|_| batch.is_control()).and_then(|_| EndTxnMarker::read(batch).ok().flatten());
        match (producer, marker) {
            (Some(producer), Some(marker)) => {
                let (id, epoch, offset) = (producer.producer_id, producer.epoch, producer.last_offset);
                let abort = !marker.committed;
                let done = states.end_txn(id, epoch, marker.coordinator_epoch, offset, producer.timestamp, abort);
                if let Some(done) = done.filter(|done| done.aborted) {
                    let stable = states.first_open_txn().unwrap_or(offset + 1);
                    aborted.push(AbortedTxn::new(done, stable));
                }
            }
            (Some(producer), None) if !batch.is_control() => states.update(&producer),
            _ => {}
        }
        true
    })
}

/// The offset that a file's name begins with.
pub(super) fn base_of(name: &str) -> Option<Offset> {
    let (digits, rest) = name.split_at_checked(20)?;
    digits.parse().ok().filter(|offset| *offset >= 0 && rest.starts_with('.'))
}

impl Segment {
    /// Unlinks all files that carry the segment's offset.
    pub(super) fn remove_all(&self, fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
        self.remove()?;
        remove_if_there(fs, &segment::path(dir, self.base_offset(), TXN_INDEX))?;
        remove_if_there(fs, &producer_snapshot::path(dir, self.base_offset()))
    }
}
