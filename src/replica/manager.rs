//! All partitions of a broker, opened when they are first asked for.
//!
//! A partition that was never asked for costs nothing: no file, no lock, no entry. Opening one reads from disk, and
//! after an unclean stop recovers its log, so it is done aside from the async workers; whoever else asks meanwhile waits
//! for the same opening.
//!
//! A stop is only marked as clean when no log is left that an unclean stop before it may have damaged: each one that has
//! a folder was opened, and so recovered, since then ([`ReplicaManager::recover_all`] sees to that).
//!
//! Folders of partitions that the cluster does not know are set aside under Kafka's name for them, `-stray`, and never
//! removed: the metadata may be what is wrong.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::Partition;
use super::cleaner::Cleaner;
use super::fetcher::Fetchers;
use super::surroundings::{Cutting, Surroundings};
use super::throttle::Throttled;
use super::trash::Trash;
use crate::common::clock::SharedClock;
use crate::common::ids::{LeaderEpoch, NodeId, Offset, Timestamp, TopicPartition, Uuid};
use crate::log::checkpoint::{self, Offsets};
use crate::log::{Log, LogConfig, LogDir, StorageError};
use crate::metadata::topic_name::METADATA_TOPIC;

/// What the image says of a partition, and what is to be known before its log can be opened.
#[derive(Debug, Clone)]
pub struct PartitionSpec {
    /// Its topic and index.
    pub id: TopicPartition,
    /// The topic's id.
    pub topic_id: Uuid,
    /// This broker.
    pub local: NodeId,
    /// The broker that leads it, -1 for none.
    pub leader: NodeId,
    /// The epoch in which that one leads.
    pub leader_epoch: LeaderEpoch,
    /// Rises with each change of what is said here.
    pub partition_epoch: i32,
    /// The brokers that hold it.
    pub replicas: Vec<NodeId>,
    /// Those of them that are in sync.
    pub isr: Vec<NodeId>,
    /// What the topic's configs say to the log.
    pub config: LogConfig,
    /// `min.insync.replicas`.
    pub min_in_sync_replicas: i32,
    /// `*.replication.throttled.replicas`, as far as they name this broker.
    pub throttled: Throttled,
}

/// How many logs are synced one by one at the end; more are synced at once, with all else on their volume.
const MOST_SYNCED_ALONE: usize = 32;

/// A partition that is being opened.
type Slot = Arc<Mutex<Option<Arc<Partition>>>>;

/// All partitions of a broker.
#[derive(Debug)]
pub struct ReplicaManager {
    pub(super) dir: Arc<LogDir>,
    pub(super) clock: SharedClock,
    open: RwLock<HashMap<String, HashMap<i32, Arc<Partition>>>>,
    opening: Mutex<HashMap<TopicPartition, Slot>>,
    /// Those that have a folder and were not opened yet.
    pub(super) closed: Mutex<BTreeSet<TopicPartition>>,
    /// What the checkpoints say of those that are not open. Taken before a partition's lock, never behind it.
    pub(super) kept: Arc<Mutex<Checkpoints>>,
    pub(super) trash: Trash,
    pub(super) cleaner: Cleaner,
    pub(super) surroundings: Arc<Surroundings>,
    pub(super) fetchers: Fetchers,
    /// Of the newest registration; -1 before there is one.
    broker_epoch: AtomicI64,
}

/// The offsets that a broker writes down for each partition.
#[derive(Debug, Default, Clone)]
pub(super) struct Checkpoints {
    recovery_points: Offsets,
    log_starts: Offsets,
    high_watermarks: Offsets,
    /// Written by the cleaner, when it has compacted a log.
    pub(super) cleaned: Offsets,
}

impl Checkpoints {
    /// Each with the name of its file.
    fn all(&mut self) -> [(&'static str, &mut Offsets); 4] {
        [
            (checkpoint::RECOVERY_POINT, &mut self.recovery_points),
            (checkpoint::HIGH_WATERMARK, &mut self.high_watermarks),
            (checkpoint::LOG_START, &mut self.log_starts),
            (checkpoint::CLEANER, &mut self.cleaned),
        ]
    }
}

impl ReplicaManager {
    /// The partitions that have a folder in `dir`; none is open yet.
    pub fn new(mut dir: LogDir, clock: SharedClock) -> Result<ReplicaManager, StorageError> {
        // The metadata's own log is the controller's.
        let mut closed: BTreeSet<TopicPartition> = dir.partitions()?.into_iter().collect();
        closed.retain(|partition| partition.topic != METADATA_TOPIC);
        for note in dir.take_notes() {
            tracing::warn!("{note}");
        }
        if !dir.was_clean() && !closed.is_empty() {
            tracing::info!(
                partitions = closed.len(),
                "the last stop was not clean: logs are recovered as they are opened"
            );
        }
        let fs = dir.handles().fs().clone();
        let read = |name| checkpoint::read(fs.as_ref(), dir.root(), name).unwrap_or_default();
        let kept = Checkpoints {
            recovery_points: read(checkpoint::RECOVERY_POINT),
            log_starts: read(checkpoint::LOG_START),
            high_watermarks: read(checkpoint::HIGH_WATERMARK),
            cleaned: read(checkpoint::CLEANER),
        };
        let (dir, kept) = (Arc::new(dir), Arc::new(Mutex::new(kept)));
        let surroundings = Surroundings::new(clock.clone());
        surroundings.set_cutting(lower_before_cutting(&dir, kept.clone()));
        // Until it is registered anew, what it is known by is the start before.
        let known_epoch = dir.previous_broker_epoch().unwrap_or(-1);
        Ok(ReplicaManager {
            dir,
            clock,
            open: RwLock::default(),
            opening: Mutex::default(),
            closed: Mutex::new(closed),
            kept,
            trash: Trash::default(),
            cleaner: Cleaner::default(),
            surroundings,
            fetchers: Fetchers::default(),
            broker_epoch: AtomicI64::new(known_epoch),
        })
    }

    /// Sets folders aside that `is_known` does not know, by name and topic id: to be called once the image is whole.
    pub fn set_strays_aside(
        &self,
        is_known: impl Fn(&TopicPartition, Option<Uuid>) -> bool,
    ) -> Result<(), StorageError> {
        let closed: Vec<TopicPartition> = self.closed.lock().iter().cloned().collect();
        for partition in closed {
            let topic_id = self.dir.topic_id(&partition)?;
            // One that was opened meanwhile is known.
            if !is_known(&partition, topic_id) && self.closed.lock().remove(&partition) {
                set_aside(&self.dir, &partition)?;
            }
        }
        Ok(())
    }

    /// A partition, where it is open.
    pub fn get(&self, topic: &str, partition: i32) -> Option<Arc<Partition>> {
        self.open.read().get(topic)?.get(&partition).cloned()
    }

    /// Whether a partition lies here, open or not.
    pub fn has(&self, id: &TopicPartition) -> bool {
        self.get(&id.topic, id.partition).is_some() || self.closed.lock().contains(id)
    }

    /// A partition, opened if it is not; to be called on a thread that may wait for the disk.
    pub fn open_blocking(&self, spec: PartitionSpec) -> Result<Arc<Partition>, StorageError> {
        let slot = self.opening.lock().entry(spec.id.clone()).or_default().clone();
        let mut slot = slot.lock();
        if let Some(partition) = slot.as_ref() {
            return Ok(partition.clone());
        }
        if let Some(partition) = self.get(&spec.id.topic, spec.id.partition) {
            return Ok(partition);
        }
        let id = spec.id.clone();
        let opened = self.open_log(&spec).map(|log| {
            let high_watermark = self.kept.lock().high_watermarks.get(&id).copied().unwrap_or(0);
            let (surroundings, now) = (self.surroundings.clone(), self.clock.monotonic());
            Arc::new(Partition::new(&spec, log, high_watermark, surroundings, now))
        });
        if let Ok(partition) = &opened {
            *slot = Some(partition.clone());
            self.open.write().entry(id.topic.clone()).or_default().insert(id.partition, partition.clone());
            self.closed.lock().remove(&id);
        }
        self.opening.lock().remove(&id);
        opened
    }

    /// Opens a partition as `spec` tells, and then takes what that has come to meanwhile; `None` where it is none of ours.
    pub(super) fn open_as(
        &self,
        id: &TopicPartition,
        spec: impl Fn(&TopicPartition) -> Option<PartitionSpec>,
    ) -> Option<Result<Arc<Partition>, StorageError>> {
        let ours = |spec: &PartitionSpec| spec.replicas.contains(&spec.local);
        let opened = self.open_blocking(spec(id).filter(ours)?);
        if let (Ok(partition), Some(newer)) = (&opened, spec(id)) {
            partition.apply(&newer, self.clock.monotonic());
        }
        Some(opened)
    }

    fn open_log(&self, spec: &PartitionSpec) -> Result<Log, StorageError> {
        let now = self.clock.now();
        let mut is_new = !self.closed.lock().contains(&spec.id);
        if !is_new && self.dir.topic_id(&spec.id)?.is_some_and(|id| id != spec.topic_id) {
            // A topic of this name was taken away and made anew while this broker did not hear of it.
            set_aside(&self.dir, &spec.id)?;
            self.closed.lock().remove(&spec.id);
            is_new = true;
        }
        if is_new {
            // One of this name may have been taken away when the disk was full.
            self.forget(&BTreeSet::from([spec.id.clone()]))?;
            return self.dir.create_log(spec.id.clone(), spec.topic_id, spec.config.clone(), now);
        }
        let (log, report) = self.dir.open_log(spec.id.clone(), spec.config.clone(), now)?;
        if let Some(offset) = report.truncated_at {
            let bytes = report.dropped_bytes;
            tracing::warn!(partition = %spec.id, offset, bytes, "the log was cut where it was damaged");
        }
        for note in &report.notes {
            tracing::warn!(partition = %spec.id, "{note}");
        }
        Ok(log)
    }

    /// Opens all that have a folder, if the last stop was not clean; `spec` tells what is to be known of each.
    pub fn recover_all(&self, spec: impl Fn(&TopicPartition) -> Option<PartitionSpec>) {
        if !self.dir.was_clean() {
            self.open_stored(spec);
        }
    }

    /// Opens all that have a folder.
    pub fn open_stored(&self, spec: impl Fn(&TopicPartition) -> Option<PartitionSpec>) {
        let closed: Vec<TopicPartition> = self.closed.lock().iter().cloned().collect();
        for partition in closed {
            if let Some(Err(error)) = self.open_as(&partition, &spec) {
                tracing::error!(%partition, %error, "a partition's log could not be opened");
            }
        }
    }

    /// All partitions that are open.
    pub fn all_open(&self) -> Vec<Arc<Partition>> {
        self.open.read().values().flat_map(|partitions| partitions.values().cloned()).collect()
    }

    /// The open partitions of one topic.
    pub fn open_of(&self, topic: &str) -> Vec<Arc<Partition>> {
        self.open.read().get(topic).map(|partitions| partitions.values().cloned().collect()).unwrap_or_default()
    }

    /// Forgets a topic and takes its folders away once `file.delete.delay.ms` is over; who holds a partition may still
    /// read what it has. `specs` are all of its partitions.
    pub fn remove_topic(&self, topic: &str, specs: Vec<PartitionSpec>) -> Result<(), StorageError> {
        self.remove(specs)?;
        self.open.write().remove(topic);
        Ok(())
    }

    /// As [`ReplicaManager::remove_topic`], for some partitions.
    pub(super) fn remove(&self, specs: Vec<PartitionSpec>) -> Result<(), StorageError> {
        let mut removed = BTreeSet::new();
        for spec in specs {
            let id = spec.id.clone();
            self.fetchers.leave(&id);
            let has_folder = self.closed.lock().contains(&id) || self.get(&id.topic, id.partition).is_some();
            if !has_folder {
                continue;
            }
            let partition = self.open_blocking(spec)?;
            partition.retire();
            let (deleted, delay) = partition
                .with_log(|log| self.dir.delete_log(log).map(|deleted| (deleted, log.config().file_delete_delay_ms)))?;
            self.trash.put(deleted, self.clock.now().saturating_add(delay));
            removed.insert(id.clone());
            if let Some(partitions) = self.open.write().get_mut(&id.topic) {
                partitions.remove(&id.partition);
            }
        }
        self.forget(&removed)
    }

    /// Takes partitions out of the checkpoints that name them: a topic of the same name may come, and must not be taken
    /// for as safe, or as compacted, as the old one was.
    fn forget(&self, removed: &BTreeSet<TopicPartition>) -> Result<(), StorageError> {
        let mut kept = self.kept.lock();
        for (name, offsets) in kept.all() {
            if removed.iter().any(|id| offsets.contains_key(id)) {
                let mut left = offsets.clone();
                left.retain(|id, _| !removed.contains(id));
                self.dir.write_checkpoint(name, &left)?;
                *offsets = left;
            }
        }
        Ok(())
    }

    /// Lets old segments of the open logs go.
    pub fn enforce_retention(&self, now: Timestamp) {
        for partition in self.all_open() {
            let high_watermark = partition.high_watermark();
            let removed = partition.with_log(|log| {
                log.expire_producers(now);
                let delay = log.config().file_delete_delay_ms;
                log.enforce_retention(now, high_watermark).map(|removed| (removed, delay))
            });
            match removed {
                Ok((removed, _)) if removed.is_empty() => {}
                Ok((removed, delay)) => {
                    let (segments, bytes) = (removed.len(), removed.bytes());
                    tracing::info!(partition = %partition.id(), segments, bytes, "old segments are removed");
                    self.trash.put(removed, now.saturating_add(delay));
                }
                Err(error) => tracing::warn!(partition = %partition.id(), %error, "retention failed"),
            }
        }
    }

    /// Unlinks the files whose delay is over.
    pub fn empty_trash(&self, now: Timestamp) {
        self.trash.empty(now);
    }

    /// Syncs the segments that are closed, one log after the other and without holding it: recovery after a crash looks only
    /// through what is not known to be safe. Apache Kafka does this behind each roll; by now the system has written most of
    /// it by itself.
    pub fn flush_closed(&self, now: Timestamp) {
        for partition in self.all_open() {
            let Some(job) = partition.with_log(|log| log.flush_closed_job()) else { continue };
            let ran = job.run();
            if let Err(error) = partition.with_log(|log| log.flushed(ran, now)) {
                tracing::warn!(partition = %partition.id(), %error, "closed segments could not be synced");
            }
        }
    }

    /// Writes down how far each log is safe, so that recovery after a crash begins there.
    pub fn checkpoint(&self) -> Result<(), StorageError> {
        let mut all = self.kept.lock();
        for partition in self.all_open() {
            let id = partition.id();
            let (recovery_point, log_start) = partition.with_log(|log| (log.recovery_point(), log.log_start_offset()));
            all.recovery_points.insert(id.clone(), recovery_point);
            all.high_watermarks.insert(id.clone(), partition.high_watermark());
            // Only a start inside a segment must be written down; else the first segment's name tells it.
            put_or_remove(&mut all.log_starts, id, log_start);
        }
        self.dir.write_checkpoint(checkpoint::RECOVERY_POINT, &all.recovery_points)?;
        self.dir.write_checkpoint(checkpoint::HIGH_WATERMARK, &all.high_watermarks)?;
        self.dir.write_checkpoint(checkpoint::LOG_START, &all.log_starts)
    }

    /// The epoch of the broker's registration: by it the controller knows that its last stop was clean.
    pub fn registered(&self, epoch: i64) {
        self.broker_epoch.store(epoch, Ordering::Release);
    }

    /// Closes every log, writes the checkpoints, and marks the stop as clean if all logs are known to be whole.
    pub fn close(&self, now: Timestamp) -> Result<(), StorageError> {
        self.trash.empty(Timestamp::MAX);
        let mut failed = None;
        let all = self.all_open();
        let unsafe_ones = all.iter().filter(|partition| partition.with_log(|log| log.is_unsynced())).count();
        let at_once = unsafe_ones > MOST_SYNCED_ALONE;
        for partition in &all {
            let closed = partition.with_log(|log| if at_once { log.close_unsynced(now) } else { log.close(now) });
            if let Err(error) = closed {
                tracing::error!(partition = %partition.id(), %error, "a log could not be closed");
                failed = Some(error);
            }
        }
        if at_once {
            self.dir.sync()?;
            all.iter().for_each(|partition| partition.with_log(|log| log.closed_safely()));
        }
        self.checkpoint()?;
        match failed {
            Some(error) => Err(error),
            None if self.dir.was_clean() || self.closed.lock().is_empty() => {
                self.dir.mark_clean(self.broker_epoch.load(Ordering::Acquire))
            }
            None => Ok(()),
        }
    }

    /// Where the partitions lie.
    pub fn dir(&self) -> &LogDir {
        &self.dir
    }

    /// The folder that holds them.
    pub fn root(&self) -> &Path {
        self.dir.root()
    }
}

/// Lowers the recovery point that is written down of a log before the log is cut, and lets nobody raise it until it is.
fn lower_before_cutting(dir: &Arc<LogDir>, kept: Arc<Mutex<Checkpoints>>) -> Cutting {
    // Whoever still reads a partition must not hold the log dir of a broker that ended.
    let dir = Arc::downgrade(dir);
    Box::new(move |id, to, cut| {
        let Some(dir) = dir.upgrade() else { return Ok(()) };
        let points = &mut kept.lock().recovery_points;
        let mut lower = |to| match points.get_mut(id).filter(|point| **point > to) {
            Some(point) => {
                *point = to;
                dir.write_checkpoint(checkpoint::RECOVERY_POINT, points)
            }
            None => Ok(()),
        };
        lower(to)?;
        // A batch that holds the offset goes as a whole.
        cut().map_or(Ok(()), lower)
    })
}

fn put_or_remove(offsets: &mut Offsets, id: &TopicPartition, offset: Offset) {
    if offset > 0 {
        offsets.insert(id.clone(), offset);
    } else {
        offsets.remove(id);
    }
}

fn set_aside(dir: &LogDir, partition: &TopicPartition) -> Result<(), StorageError> {
    let from = dir.path_of(partition);
    let name = format!("{partition}.{:032x}-stray", u128::from_be_bytes(Uuid::random().0));
    tracing::warn!(%partition, %name, "a folder that is no partition of this cluster is set aside");
    let renamed = dir.handles().fs().rename(&from, &dir.root().join(name));
    renamed.map_err(|source| StorageError::Io { what: "renaming", path: from, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::clock::ManualClock;
    use crate::log::Handles;
    use crate::log::fs::memory::{Fault, MemoryFs};
    use crate::record::{BatchBuilder, BatchOptions};

    fn start(fs: &Arc<MemoryFs>) -> ReplicaManager {
        let dir = LogDir::open(Handles::new(fs.clone(), 8), Path::new("/data"), "test").unwrap();
        ReplicaManager::new(dir, ManualClock::new(0)).unwrap()
    }

    fn spec() -> PartitionSpec {
        PartitionSpec {
            id: TopicPartition::new("flights", 0),
            topic_id: Uuid([7; 16]),
            local: 1,
            leader: 1,
            leader_epoch: 0,
            partition_epoch: 0,
            replicas: vec![1],
            isr: vec![1],
            config: LogConfig::default(),
            min_in_sync_replicas: 1,
            throttled: Throttled::default(),
        }
    }

    #[test]
    fn a_partition_that_was_taken_away_when_the_disk_was_full_is_not_taken_for_safe_when_it_comes_again() {
        let fs = Arc::new(MemoryFs::new());
        let append = |manager: &ReplicaManager| {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            builder.append(0, None, Some(b"value"), std::iter::empty());
            let partition = manager.open_blocking(spec()).unwrap();
            partition.append(builder.build().unwrap(), 0).unwrap();
            partition
        };
        let written = || checkpoint::read(fs.as_ref(), Path::new("/data"), checkpoint::RECOVERY_POINT).unwrap();
        let manager = start(&fs);
        append(&manager).with_log(|log| log.flush(0)).unwrap();
        manager.checkpoint().unwrap();
        // Its folder gets another name, and that is all.
        let (at, kind) = (fs.operations() + 1, std::io::ErrorKind::StorageFull);
        fs.fail_at(Some(Fault { at, kind, stays: true, written: 0 }));
        assert!(manager.remove(vec![spec()]).is_err());
        fs.fail_at(None);
        assert!(!manager.has(&spec().id) && written().contains_key(&spec().id));
        drop(manager);
        append(&start(&fs));
        assert!(written().is_empty());
    }

    #[test]
    fn a_broker_that_was_stopped_cleanly_and_met_no_controller_since_is_known_by_the_epoch_of_then() {
        let fs = Arc::new(MemoryFs::new());
        let first = start(&fs);
        first.registered(5);
        first.close(0).unwrap();
        drop(first);
        let second = start(&fs);
        second.close(0).unwrap();
        drop(second);
        let third = start(&fs);
        assert_eq!(third.dir().previous_broker_epoch(), Some(5));
        // It is killed.
        drop(third);
        let fourth = start(&fs);
        assert_eq!(fourth.dir().previous_broker_epoch(), None);
        fourth.close(0).unwrap();
        drop(fourth);
        assert_eq!(start(&fs).dir().previous_broker_epoch(), Some(-1));
    }
}
