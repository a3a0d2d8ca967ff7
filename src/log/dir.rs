//! A log dir: the folder that holds a broker's partitions.
//!
//! ```text
//! root/
//!   .lock                                  held while a broker runs; its text names the process
//!   meta.properties                        whose it is
//!   .kafka_cleanshutdown                   {"version":0,"brokerEpoch":5}: the last broker closed all logs
//!   *-offset-checkpoint                    an offset a partition
//!   flights-0/                             a partition
//!   flights-1.3f2a...-delete/              one that is being removed
//!   flights-2-future/  flights-3-stray/    Kafka's: a replica that moves, one that nobody claims; left alone
//! ```
//! Opening takes the lock, reads the small files and lists the names; a log is opened when it is asked for.
//!
//! Crash: the clean-shutdown file is removed, and that synced, before any log is opened, and written after the last one
//! was closed and the checkpoints synced: it is there only when all is whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{self, Offsets};
use super::config::LogConfig;
use super::error::{RecoveryReport, StorageError};
use super::fs::handles::Handles;
use super::fs::{Durability, FileLock, FileSystem, holder_text, read_file, remove_if_there, replace_file};
use super::log::{Log, LogOptions};
use super::meta_properties::MetaProperties;
use super::partition_metadata;
use super::segment::Segment;
use crate::common::ids::{NodeId, Timestamp, TopicPartition, Uuid};

/// The clean-shutdown file's name.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// The lock file's name.
pub const LOCK: &str = ".lock";

/// A log dir, locked for this broker.
#[derive(Debug)]
pub struct LogDir {
    root: PathBuf,
    handles: Handles,
    lock: Box<dyn FileLock>,
    clean: bool,
    previous_broker_epoch: Option<i64>,
    recovery_points: Offsets,
    log_starts: Offsets,
    cleaned: Offsets,
    high_watermarks: Offsets,
    notes: Vec<String>,
}

/// A partition's folder on its way out.
#[derive(Debug)]
#[must_use = "the folder stays until it is deleted"]
pub struct DeletedLog {
    dir: PathBuf,
    handles: Handles,
    segments: Vec<Arc<Segment>>,
}

impl DeletedLog {
    /// Removes the folder and all in it.
    ///
    /// # Errors
    /// What is left goes when the log dir is opened next.
    pub fn delete(&self) -> Result<(), StorageError> {
        self.segments.iter().for_each(|segment| segment.removed());
        self.handles.fs().remove_dir_all(&self.dir).map_err(StorageError::io("removing", &self.dir))
    }
}

impl LogDir {
    /// Opens the log dir `root`, made where it is not there, and locks it; `holder` is what another broker is told that
    /// finds it locked: the process id.
    ///
    /// # Errors
    /// [`StorageError::Locked`] where another broker has it, and the file system's.
    pub fn open(handles: Handles, root: &Path, holder: &str) -> Result<LogDir, StorageError> {
        let fs = handles.fs().clone();
        make_root(fs.as_ref(), root).map_err(StorageError::io("making", root))?;
        let path = root.join(LOCK);
        let lock = match fs.lock(&path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let holder = holder_text(fs.as_ref(), &path);
                return Err(StorageError::Locked { path: root.to_owned(), holder });
            }
            lock => lock.map_err(StorageError::io("locking", &path))?,
        };
        lock.set_holder(holder).map_err(StorageError::io("writing", &path))?;
        let mut dir = LogDir {
            root: root.to_owned(),
            handles,
            lock,
            clean: false,
            previous_broker_epoch: None,
            recovery_points: Offsets::new(),
            log_starts: Offsets::new(),
            cleaned: Offsets::new(),
            high_watermarks: Offsets::new(),
            notes: Vec::new(),
        };
        dir.take_clean_shutdown()?;
        dir.recovery_points = dir.read_checkpoint(checkpoint::RECOVERY_POINT)?;
        dir.log_starts = dir.read_checkpoint(checkpoint::LOG_START)?;
        dir.cleaned = dir.read_checkpoint(checkpoint::CLEANER)?;
        dir.high_watermarks = dir.read_checkpoint(checkpoint::HIGH_WATERMARK)?;
        Ok(dir)
    }

    fn fs(&self) -> &dyn FileSystem {
        self.handles.fs().as_ref()
    }

    fn take_clean_shutdown(&mut self) -> Result<(), StorageError> {
        let path = self.root.join(CLEAN_SHUTDOWN);
        let text = read_file(self.fs(), &path, 4096).map_err(StorageError::io("reading", &path))?;
        let Some(text) = text else { return Ok(()) };
        self.clean = true;
        // Kafka wrote an empty file once.
        let content = serde_json::from_slice::<serde_json::Value>(&text).ok();
        self.previous_broker_epoch = content.and_then(|content| content.get("brokerEpoch")?.as_i64());
        remove_if_there(self.fs(), &path).map_err(StorageError::io("removing", &path))?;
        self.fs().sync_dir(&self.root).map_err(StorageError::io("syncing", &self.root))
    }

    fn read_checkpoint(&mut self, name: &str) -> Result<Offsets, StorageError> {
        match checkpoint::read(self.handles.fs().as_ref(), &self.root, name) {
            Err(StorageError::Damaged { path, damage }) => {
                self.notes.push(format!("{}: {damage}; taken for empty", path.display()));
                Ok(Offsets::new())
            }
            result => result,
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where its open files are kept.
    pub fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Whether the last broker closed all logs.
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// The epoch of the broker that closed it cleanly.
    pub fn previous_broker_epoch(&self) -> Option<i64> {
        self.previous_broker_epoch
    }

    /// What was found wrong and mended, in sentences; each is told once.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The high watermarks that the last broker wrote down.
    pub fn high_watermarks(&self) -> &Offsets {
        &self.high_watermarks
    }

    /// Makes sure that the dir is this broker's: reads `meta.properties`, or writes it where there is none. Without a
    /// `cluster_id` the one that is there is taken, or a new one made.
    ///
    /// # Errors
    /// [`StorageError::Foreign`] where the dir is of another cluster or node.
    pub fn claim(&self, cluster_id: Option<&str>, node_id: NodeId) -> Result<MetaProperties, StorageError> {
        let Some(meta) = MetaProperties::read(self.fs(), &self.root)? else {
            let cluster_id = cluster_id.map_or_else(|| Uuid::random().to_string(), str::to_owned);
            let meta = MetaProperties { cluster_id, node_id, directory_id: Uuid::random() };
            meta.write(self.fs(), &self.root)?;
            return Ok(meta);
        };
        let path = self.root.join(super::meta_properties::FILE);
        if let Some(wanted) = cluster_id.filter(|wanted| *wanted != meta.cluster_id) {
            let text = format!("cluster.id is {}, and this broker is of cluster {wanted}", meta.cluster_id);
            return Err(StorageError::Foreign { path, text });
        }
        if meta.node_id != node_id {
            let text = format!("node.id is {}, and this broker is node {node_id}", meta.node_id);
            return Err(StorageError::Foreign { path, text });
        }
        Ok(meta)
    }

    /// The partitions that have a folder, in order. Folders that were being removed go now.
    ///
    /// # Errors
    /// The file system's.
    pub fn partitions(&mut self) -> Result<Vec<TopicPartition>, StorageError> {
        let entries = self.fs().list(&self.root).map_err(StorageError::io("listing", &self.root))?;
        let mut partitions = Vec::new();
        for entry in entries.into_iter().filter(|entry| entry.is_dir) {
            if entry.name.ends_with("-delete") {
                let path = self.root.join(&entry.name);
                self.fs().remove_dir_all(&path).map_err(StorageError::io("removing", &path))?;
            } else if entry.name.ends_with("-future") || entry.name.ends_with("-stray") {
                self.notes.push(format!("{} is left alone", entry.name));
            } else if let Some(partition) = parse_name(&entry.name) {
                partitions.push(partition);
            } else {
                self.notes.push(format!("{} is no partition's folder: left alone", entry.name));
            }
        }
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// The folder of a partition.
    pub fn path_of(&self, partition: &TopicPartition) -> PathBuf {
        self.root.join(partition.to_string())
    }

    /// Whether a partition's folder holds a segment besides the one that grows.
    ///
    /// # Errors
    /// The file system's.
    pub fn closed_segments(&self, partition: &TopicPartition) -> Result<bool, StorageError> {
        let path = self.path_of(partition);
        let entries = self.fs().list(&path).map_err(StorageError::io("listing", &path))?;
        Ok(entries.iter().filter(|entry| entry.name.ends_with(".log")).nth(1).is_some())
    }

    /// The topic id in a partition's folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn topic_id(&self, partition: &TopicPartition) -> Result<Option<Uuid>, StorageError> {
        partition_metadata::read(self.fs(), &self.path_of(partition))
    }

    /// Opens a partition's log, or makes one, as the last broker left it.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_log(
        &self,
        partition: TopicPartition,
        config: LogConfig,
        now: Timestamp,
    ) -> Result<(Log, RecoveryReport), StorageError> {
        let offset = |offsets: &Offsets| offsets.get(&partition).copied().unwrap_or(0);
        Log::open(LogOptions {
            dir: self.path_of(&partition),
            handles: self.handles.clone(),
            recovery_point: offset(&self.recovery_points),
            log_start_offset: offset(&self.log_starts),
            cleaned_to: offset(&self.cleaned),
            clean: self.clean,
            partition,
            config,
            now,
        })
    }

    /// Makes the log of a new partition. Nothing of it is synced: the cluster knows the topic, and makes it again.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn create_log(
        &self,
        partition: TopicPartition,
        topic_id: Uuid,
        config: LogConfig,
        now: Timestamp,
    ) -> Result<Log, StorageError> {
        let options = LogOptions {
            dir: self.path_of(&partition),
            handles: self.handles.clone(),
            recovery_point: 0,
            log_start_offset: 0,
            cleaned_to: 0,
            clean: false,
            partition,
            config,
            now,
        };
        let (log, _) = Log::open(options)?;
        log.set_topic_id(topic_id)?;
        Ok(log)
    }

    /// Takes a log out: its folder gets the name of one that is being removed, and its readers end as they end.
    ///
    /// # Errors
    /// The log stays where it is.
    pub fn delete_log(&self, log: &mut Log) -> Result<DeletedLog, StorageError> {
        let unique = format!("{:032x}", u128::from_be_bytes(Uuid::random().0));
        let mut name = format!("{}.{unique}-delete", log.partition());
        // A folder's name has at most 255 bytes; the end is what counts.
        let excess = name.len().saturating_sub(255);
        name.drain(..excess);
        let dir = self.root.join(name);
        log.rename_dir(dir.clone())?;
        let segments = log.segments.clone();
        log.end();
        Ok(DeletedLog { dir, handles: self.handles.clone(), segments })
    }

    /// Makes safe all that was written into the dir, by one call for however many logs: what
    /// [`Log::close_unsynced`] asks for.
    ///
    /// # Errors
    /// Something of it may be lost.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.lock.sync_volume().map_err(|source| StorageError::SyncFailed { path: self.root.clone(), source })
    }

    /// Replaces one of the checkpoints ([`checkpoint::RECOVERY_POINT`] and its like), synced.
    ///
    /// # Errors
    /// The old one is there then.
    pub fn write_checkpoint(&self, name: &str, offsets: &Offsets) -> Result<(), StorageError> {
        checkpoint::write(self.fs(), &self.root, name, offsets)
    }

    /// Says that all logs were closed and the checkpoints written: the last thing a broker does.
    ///
    /// # Errors
    /// The next start scans then.
    pub fn mark_clean(&self, broker_epoch: i64) -> Result<(), StorageError> {
        let path = self.root.join(CLEAN_SHUTDOWN);
        let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
        replace_file(self.fs(), &path, text.as_bytes(), Durability::Synced).map_err(StorageError::io("writing", &path))
    }
}

/// Makes the log dir where it is not there, and its name safe: all that is synced in it would be lost with it.
pub fn make_root(fs: &dyn FileSystem, root: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for dir in root.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
        if fs.stat(dir)?.is_some() {
            break;
        }
        missing.push(dir);
    }
    fs.create_dir_all(root)?;
    missing.iter().filter_map(|dir| dir.parent()).try_for_each(|parent| match parent.as_os_str().is_empty() {
        true => fs.sync_dir(Path::new(".")),
        false => fs.sync_dir(parent),
    })
}

/// The partition of a folder's name.
pub(super) fn parse_name(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let digits = partition.bytes().all(|byte| byte.is_ascii_digit()) && !topic.is_empty();
    partition.parse().ok().filter(|_| digits).map(|partition| TopicPartition::new(topic, partition))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::log::fs::memory::MemoryFs;
    use crate::log::fs::{RealFs, SharedFs};

    fn open(root: &Path) -> Result<LogDir, StorageError> {
        LogDir::open(Handles::new(RealFs::shared(), 64), root, "4711")
    }

    #[test]
    fn a_second_broker_is_refused_and_told_who_has_the_dir() {
        let root = tempfile::tempdir().unwrap();
        let first = open(root.path()).unwrap();
        assert!(open(root.path()).unwrap_err().to_string().contains("in use by process 4711"));
        drop(first);
        open(root.path()).unwrap();
    }

    #[test]
    fn a_new_dir_is_not_lost_with_its_name() {
        let fs = MemoryFs::new();
        fs.create_dir_all(Path::new("/var")).unwrap();
        let dir = LogDir::open(Handles::new(Arc::new(fs.clone()), 64), Path::new("/var/lib/data"), "1").unwrap();
        let meta = dir.claim(None, 1).unwrap();
        // Of each folder's names only those stay that were synced.
        let image: SharedFs = Arc::new(fs.crash(fs.operations(), &mut |_| 0));
        assert!(image.stat(Path::new("/var/lib")).unwrap().is_none(), "/var itself was never synced");
        fs.sync_dir(Path::new("/")).unwrap();
        let image: SharedFs = Arc::new(fs.crash(fs.operations(), &mut |_| 0));
        let dir = LogDir::open(Handles::new(image, 64), Path::new("/var/lib/data"), "1").unwrap();
        assert_eq!(dir.claim(None, 1).unwrap(), meta);
    }

    #[test]
    fn a_dir_of_another_node_or_cluster_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = open(root.path()).unwrap();
        let meta = dir.claim(None, 1).unwrap();
        assert_eq!(dir.claim(Some(&meta.cluster_id), 1).unwrap(), meta);
        assert!(dir.claim(Some("other"), 1).unwrap_err().to_string().contains("cluster other"));
        assert!(dir.claim(None, 2).unwrap_err().to_string().contains("node.id is 1"));
    }

    #[test]
    fn a_clean_shutdown_counts_once() {
        let root = tempfile::tempdir().unwrap();
        let dir = open(root.path()).unwrap();
        assert!(!dir.was_clean());
        dir.mark_clean(42).unwrap();
        drop(dir);
        let dir = open(root.path()).unwrap();
        assert_eq!((dir.was_clean(), dir.previous_broker_epoch()), (true, Some(42)));
        drop(dir);
        assert!(!open(root.path()).unwrap().was_clean());
    }

    #[test]
    fn partitions_are_found_by_their_folders_and_a_deleted_one_goes() {
        let root = tempfile::tempdir().unwrap();
        let mut dir = open(root.path()).unwrap();
        let id = Uuid::random();
        let flights = TopicPartition::new("my-flights", 12);
        dir.create_log(flights.clone(), id, LogConfig::default(), 0).unwrap();
        let mut other = dir.create_log(TopicPartition::new("other", 0), id, LogConfig::default(), 0).unwrap();
        std::fs::create_dir(root.path().join("flights-3-stray")).unwrap();
        std::fs::create_dir(root.path().join("lost+found")).unwrap();
        let _deleted = dir.delete_log(&mut other).unwrap();
        assert_eq!(dir.partitions().unwrap(), std::slice::from_ref(&flights));
        assert_eq!(dir.take_notes().len(), 2);
        assert_eq!(dir.topic_id(&flights).unwrap(), Some(id));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 4, "the deleted one is gone");
    }
}
