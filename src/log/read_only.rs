//! A data dir that is read and left as it is: of a broker that has stopped, ours or Apache Kafka's.
//!
//! What is found is what a broker would serve that opens the dir: after a clean shutdown files are trusted; after any
//! other end the segments behind the recovery point are checked batch by batch, and what lies behind the first bad one
//! is left out, and told. Only, nothing is mended: no byte changes, no name is made, no lock is taken. Indexes that are
//! missing or unsound are made in memory. That it cannot write is not a matter of care: it has a
//! [`ReadOnlyFs`] and nothing else. A log's records are there up to its end, also those that a
//! cluster of several brokers had not replicated yet.
//!
//! A dir that a running broker holds is refused ([`StorageError::InUse`]): how far its batches are published is known in
//! its process alone, a write that fails half-way is cut off again, and Apache Kafka cuts files in place when it
//! truncates. Whoever had such a file mapped would die by SIGBUS. The lock is looked at whenever a topic is opened. A broker
//! that is started *later* is not kept from it, and hurts nobody who still reads: what is handed out are whole good
//! batches below the end that was found, and recovery cuts behind those. One case is left: a follower in a cluster of
//! Apache Kafka brokers, started over a dir that is being read, and told by its leader to drop good batches.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use super::checkpoint::{self, Offsets};
use super::config::LogConfig;
use super::dir::{CLEAN_SHUTDOWN, LOCK, parse_name};
use super::error::{RecoveryReport, StorageError};
use super::fs::handles::{DEFAULT_LIMIT, Handles};
use super::fs::{FileSystem, ReadOnlyFs, SharedFs};
use super::log::{LogReader, Shared, View};
use super::meta_properties::MetaProperties;
use super::recovery::{Checked, Names, base_of, check, find_producers, sort_out, swapped_range};
use super::segment::{LOG, Segment, Shape};
use crate::common::ids::{Offset, TopicPartition};

/// See the module.
#[derive(Debug)]
pub struct ReadOnlyDir {
    root: PathBuf,
    handles: Handles,
    meta: Option<MetaProperties>,
}

/// A log that was found in a folder.
#[derive(Debug)]
pub struct FoundLog {
    /// Reads it.
    pub reader: LogReader,
    /// What was checked of it, and what is left out.
    pub report: RecoveryReport,
}

impl ReadOnlyDir {
    /// Looks at the data dir `root`.
    ///
    /// # Errors
    /// [`StorageError::InUse`] where a broker has it, [`StorageError::NoDataDir`] where it holds nothing of a broker's, and
    /// the file system's.
    pub fn open(fs: SharedFs, root: &Path) -> Result<ReadOnlyDir, StorageError> {
        let handles = Handles::new(ReadOnlyFs::over(fs), DEFAULT_LIMIT);
        let mut dir = ReadOnlyDir { root: root.to_owned(), handles, meta: None };
        let names = dir.fs().list(root).map_err(StorageError::io("listing", root))?;
        dir.check_free()?;
        dir.meta = MetaProperties::read(dir.fs(), root)?;
        if dir.meta.is_none() && dir.partitions()?.is_empty() {
            let text = match names.iter().any(|entry| entry.name.ends_with(LOG) && base_of(&entry.name).is_some()) {
                true => "it is a partition's folder; give the one that it lies in".to_owned(),
                false => "it has neither a meta.properties nor a folder of a partition".to_owned(),
            };
            return Err(StorageError::NoDataDir { path: root.to_owned(), text });
        }
        Ok(dir)
    }

    fn fs(&self) -> &dyn FileSystem {
        self.handles.fs().as_ref()
    }

    fn check_free(&self) -> Result<(), StorageError> {
        let lock = self.root.join(LOCK);
        match self.fs().lock_holder(&lock).map_err(StorageError::io("reading", &lock))? {
            None => Ok(()),
            Some(holder) => Err(StorageError::InUse { path: self.root.clone(), holder }),
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whose it is; `None` where nobody wrote it down.
    pub fn meta(&self) -> Option<&MetaProperties> {
        self.meta.as_ref()
    }

    /// Whether the last broker closed all logs.
    ///
    /// # Errors
    /// The file system's.
    pub fn is_clean(&self) -> Result<bool, StorageError> {
        let path = self.root.join(CLEAN_SHUTDOWN);
        Ok(self.fs().stat(&path).map_err(StorageError::io("reading", &path))?.is_some())
    }

    /// The partitions that have a folder, in order. Folders that were being removed or moved are none.
    ///
    /// # Errors
    /// The file system's.
    pub fn partitions(&self) -> Result<Vec<TopicPartition>, StorageError> {
        let entries = self.fs().list(&self.root).map_err(StorageError::io("listing", &self.root))?;
        let folders = entries.iter().filter(|entry| entry.is_dir);
        let mut partitions: Vec<_> = folders.filter_map(|entry| parse_name(&entry.name)).collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// The logs of a topic, by partition; none where it has no folder.
    ///
    /// # Errors
    /// [`StorageError::InUse`] where a broker has the dir by now, and the file system's.
    pub fn open_topic(&self, topic: &str) -> Result<BTreeMap<i32, FoundLog>, StorageError> {
        self.check_free()?;
        let clean = self.is_clean()?;
        let mut damaged = Vec::new();
        let recovery_points = self.checkpoint(checkpoint::RECOVERY_POINT, &mut damaged)?;
        let log_starts = self.checkpoint(checkpoint::LOG_START, &mut damaged)?;
        let mut found = BTreeMap::new();
        for partition in self.partitions()?.into_iter().filter(|partition| *partition.topic == *topic) {
            let at = |offsets: &Offsets| offsets.get(&partition).copied().unwrap_or(0);
            let looking = Looking {
                handles: &self.handles,
                dir: self.root.join(partition.to_string()),
                clean,
                recovery_point: at(&recovery_points),
                log_start: at(&log_starts),
                report: RecoveryReport { notes: damaged.clone(), ..RecoveryReport::default() },
            };
            found.insert(partition.partition, looking.look()?);
        }
        Ok(found)
    }

    fn checkpoint(&self, name: &str, damaged: &mut Vec<String>) -> Result<Offsets, StorageError> {
        match checkpoint::read(self.fs(), &self.root, name) {
            Err(StorageError::Damaged { path, damage }) => {
                damaged.push(format!("{}: {damage}; taken for empty", path.display()));
                Ok(Offsets::new())
            }
            result => result,
        }
    }
}

/// One partition's folder, while it is looked at.
struct Looking<'a> {
    handles: &'a Handles,
    dir: PathBuf,
    clean: bool,
    recovery_point: Offset,
    log_start: Offset,
    report: RecoveryReport,
}

impl Looking<'_> {
    fn look(mut self) -> Result<FoundLog, StorageError> {
        let mut segments = self.segments()?;
        let first = segments.first().map_or(0, |segment| segment.base_offset());
        let mut log_start = self.log_start.max(first);
        let mut log_end = match segments.last() {
            Some(last) => last.next_offset().map_err(StorageError::io("reading", &last.path()))?,
            None => log_start,
        };
        if log_end < log_start {
            self.note(format!("all segments end at {log_end}, before the log start offset {log_start}: left out"));
            segments.clear();
            log_end = log_start;
        }
        log_start = log_start.min(log_end);
        let notes = &mut self.report.notes;
        let producers = find_producers(self.handles, &self.dir, &segments, log_end, self.clean, notes)?;
        let view = View {
            active_size: segments.last().map_or(0, |segment| segment.size()),
            segments: segments.into(),
            log_start,
            log_end,
            last_stable: producers.states.first_open_txn().unwrap_or(log_end),
        };
        let shared = Shared { view: RwLock::new(view), aborted: RwLock::new(producers.aborted) };
        Ok(FoundLog { reader: LogReader { shared: Arc::new(shared) }, report: self.report })
    }

    fn note(&mut self, text: String) {
        self.report.notes.push(text);
    }

    /// Where the segments lie, by base offset, and whether their indexes are to be made anew.
    fn files(&self) -> Result<BTreeMap<Offset, (PathBuf, bool)>, StorageError> {
        let entries = self.handles.fs().list(&self.dir).map_err(StorageError::io("listing", &self.dir))?;
        let Names { kept, swaps, .. } = sort_out(entries);
        let replaced = swapped_range(self.handles, &self.dir, &swaps)?;
        let named = |name: &String, suffix: &str| {
            let base = base_of(name).filter(|_| name.ends_with(suffix))?;
            Some((base, (self.dir.join(name), suffix != LOG)))
        };
        let kept = kept.iter().filter_map(|name| named(name, LOG)).filter(|(base, _)| !replaced.contains(base));
        Ok(kept.chain(swaps.iter().filter_map(|name| named(name, ".log.swap"))).collect())
    }

    fn segments(&mut self) -> Result<Vec<Arc<Segment>>, StorageError> {
        let files: Vec<(Offset, (PathBuf, bool))> = self.files()?.into_iter().collect();
        let mut segments = Vec::with_capacity(files.len());
        for (index, (base, (path, swapped))) in files.iter().enumerate() {
            let next = files.get(index + 1).map(|(next, _)| *next);
            let stat = self.handles.fs().stat(path).map_err(StorageError::io("reading", path))?;
            let size = stat.map_or(0, |stat| stat.len);
            let trusted = !swapped && (self.clean || next.is_some_and(|next| next <= self.recovery_point));
            if trusted && let Some(segment) = self.trusted(*base, size, next.is_none())? {
                segments.push(Arc::new(segment));
                continue;
            }
            let (segment, checked) = self.checked(*base, path, size)?;
            segments.push(Arc::new(segment));
            if let Some(bad) = checked.bad {
                let behind = files.len() - index - 1;
                self.report.truncated_at = Some(checked.next);
                self.report.dropped_bytes += size - checked.good;
                self.note(format!(
                    "{} is good up to byte {} of {size}, offset {}: {bad}; what follows is left out, with {behind} \
                     segments behind it",
                    path.display(),
                    checked.good,
                    checked.next,
                ));
                break;
            }
            if let Some(next) = next.filter(|next| *next > checked.next) {
                let end = checked.next;
                self.note(format!("segment {base} ends at offset {end}, and the next begins at {next}"));
            }
        }
        Ok(segments)
    }

    /// A segment whose batches and indexes are taken as they are; `None` where the last one does not end with a whole
    /// batch: a copy may have been cut short.
    fn trusted(&self, base: Offset, size: u64, last: bool) -> Result<Option<Segment>, StorageError> {
        let segment = Segment::open(self.handles, &self.dir, base, size, shape(size));
        if !last {
            return Ok(Some(segment));
        }
        match segment.next_offset() {
            Ok(_) => Ok(Some(segment)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(StorageError::io("reading", &segment.path())(error)),
        }
    }

    /// A segment up to its first bad batch, with indexes that are made here.
    fn checked(&mut self, base: Offset, path: &Path, size: u64) -> Result<(Segment, Checked), StorageError> {
        let reading = || StorageError::io("reading", path);
        let segment = Segment::open_at(self.handles, path.to_owned(), base, size, shape(size));
        let bytes = segment.slice(0, size).map_err(reading())?;
        let checked = check(&bytes, base, |_| {});
        self.report.segments_scanned += 1;
        self.report.bytes_scanned += size;
        segment.publish(checked.good);
        segment.rebuild_indexes().map_err(reading())?;
        Ok((segment, checked))
    }
}

fn shape(size: u64) -> Shape {
    // No more is mapped than there is.
    Shape { map_len: size, index_interval: LogConfig::default().index_interval_bytes }
}
