//! [`Log`]: one partition's batches, from its log start offset to its log end offset.
//!
//! One owner writes ([`Log`], `&mut self`); any number of [`LogReader`]s read at the same time. They meet in a view:
//! the list of segments and how far they are published, replaced as a whole behind a lock that is held for the copy of
//! a few words. What a reader took from a view stays good whatever the writer does next: segments are never changed
//! below what was published, and a removed one lives as long as somebody holds it.
//!
//! The methods lie by what they do: [`append`](super::append), [`read`](super::read), [`roll`](super::roll) (segments,
//! flushing, closing), [`retention`](super::retention), [`truncate`](super::truncate), [`recovery`](super::recovery)
//! (opening).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use super::config::LogConfig;
use super::error::StorageError;
use super::fs::handles::Handles;
use super::leader_epoch::LeaderEpochs;
use super::partition_metadata;
use super::producer_state::ProducerStates;
use super::segment::{Segment, Shape};
use super::transaction_index::AbortedTxn;
use crate::common::ids::{LeaderEpoch, Offset, Timestamp, TopicPartition, Uuid};

/// One partition on disk; the writer's side.
#[derive(Debug)]
pub struct Log {
    pub(super) partition: TopicPartition,
    pub(super) dir: PathBuf,
    pub(super) handles: Handles,
    pub(super) config: LogConfig,
    pub(super) shared: Arc<Shared>,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) active: Active,
    pub(super) producers: ProducerStates,
    pub(super) epochs: LeaderEpochs,
    pub(super) log_start: Offset,
    pub(super) log_end: Offset,
    /// All before it is safe.
    pub(super) recovery_point: Offset,
    /// Whether something may be gone that a loss of power would bring back, a name or the end of a file: who trusts a log that
    /// was closed looks at none.
    pub(super) unsynced_removal: bool,
    /// How often it was cut since it was opened.
    pub(super) cuts: u64,
    pub(super) last_flush: Timestamp,
    pub(super) failed: bool,
    /// Where the last snapshot of the producers is; -1 where there is none that is good.
    pub(super) snapshot_at: Offset,
    /// Whether it was closed: what came behind its snapshot and indexes would be trusted, and not known to them.
    pub(super) closed: bool,
    /// Whether a failed write left bytes behind the published ones that could not be cut off yet.
    pub(super) torn: bool,
    /// Up to where the log is compacted; what is behind it is dirty.
    pub(super) cleaned_to: Offset,
}

/// What the writer knows of the segment that grows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Active {
    /// Bytes appended since the last index entry.
    pub(super) since_index: usize,
    /// The largest timestamp of the first batch, by which `segment.ms` counts.
    pub(super) first_timestamp: Option<Timestamp>,
    /// When the segment was made.
    pub(super) created: Timestamp,
}

/// What the writer shows and the readers see.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) view: RwLock<View>,
    /// Aborted transactions, by the offset of their marker.
    pub(super) aborted: RwLock<Vec<AbortedTxn>>,
}

/// A consistent sight of the log.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) segments: Arc<[Arc<Segment>]>,
    pub(super) active_size: u64,
    pub(super) log_start: Offset,
    pub(super) log_end: Offset,
    pub(super) last_stable: Offset,
}

/// The readers' side of a log. Clones are cheap and read at the same time as the writer writes.
#[derive(Debug, Clone)]
pub struct LogReader {
    pub(super) shared: Arc<Shared>,
}

/// What is needed to open a log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Whose log it is.
    pub partition: TopicPartition,
    /// Its folder; made where it is not there.
    pub dir: PathBuf,
    /// How it behaves.
    pub config: LogConfig,
    /// Where its open files are kept.
    pub handles: Handles,
    /// From `recovery-point-offset-checkpoint`: all before it is safe. 0 where it is not known.
    pub recovery_point: Offset,
    /// From `log-start-offset-checkpoint`: where the log begins, if inside its first segment. 0 where it is not known.
    pub log_start_offset: Offset,
    /// From `cleaner-offset-checkpoint`: up to where the log is compacted. 0 where it is not known.
    pub cleaned_to: Offset,
    /// Whether the last broker closed the log: its files are trusted then.
    pub clean: bool,
    /// The time.
    pub now: Timestamp,
}

impl Log {
    /// Whose log it is.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A reader of it.
    pub fn reader(&self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    /// How it behaves.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Makes it behave otherwise from now on. The segment that grows keeps the size it may be mapped at.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The first offset that can be read.
    pub fn log_start_offset(&self) -> Offset {
        self.log_start
    }

    /// The offset of the next record.
    pub fn log_end_offset(&self) -> Offset {
        self.log_end
    }

    /// Where the first open transaction begins, or the log end offset: read_committed stops here.
    pub fn last_stable_offset(&self) -> Offset {
        self.producers.first_open_txn().unwrap_or(self.log_end)
    }

    /// All before it is safe: what goes into `recovery-point-offset-checkpoint`.
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// Up to where it is compacted: what goes into `cleaner-offset-checkpoint`.
    pub fn cleaned_to(&self) -> Offset {
        self.cleaned_to
    }

    /// How many bytes its batches take.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size()).sum()
    }

    /// How many segments it has.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// What it remembers of its producers; DescribeProducers tells it.
    pub fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// Which leader wrote from which offset on.
    pub fn leader_epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// Takes note that a leader's reign begins at the log end offset.
    pub fn assign_leader_epoch(&mut self, epoch: LeaderEpoch) {
        self.epochs.assign(epoch, self.log_end);
    }

    /// Forgets producers that were silent for `producer.id.expiration.ms`.
    pub fn expire_producers(&mut self, now: Timestamp) {
        self.producers.expire(now, self.config.producer_id_expiration_ms);
    }

    /// Whether an earlier write failed and could not be taken back: reads go on. Appends are refused until the disk lets
    /// what was half written be cut off, or, where more than that went wrong, until the log is opened anew.
    pub fn has_failed(&self) -> bool {
        self.failed || self.torn
    }

    /// Whether it was closed or taken away: reads go on, writes are refused.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The id in `partition.metadata`, `None` where there is none that can be read.
    pub fn topic_id(&self) -> Result<Option<Uuid>, StorageError> {
        partition_metadata::read(self.handles.fs().as_ref(), &self.dir)
    }

    /// Writes `partition.metadata`.
    pub fn set_topic_id(&self, topic_id: Uuid) -> Result<(), StorageError> {
        partition_metadata::write(self.handles.fs().as_ref(), &self.dir, topic_id)
    }

    /// Renames the log's folder; readers go on.
    ///
    /// # Errors
    /// The folder keeps its name then.
    pub fn rename_dir(&mut self, to: PathBuf) -> Result<(), StorageError> {
        self.handles.fs().rename(&self.dir, &to).map_err(StorageError::io("renaming", &self.dir))?;
        self.segments.iter().for_each(|segment| segment.moved(&to));
        self.dir = to;
        Ok(())
    }

    /// What a new segment takes of the configuration.
    pub(super) fn shape(&self) -> Shape {
        shape(&self.config)
    }

    /// The segment that grows.
    pub(super) fn active_segment(&self) -> &Arc<Segment> {
        // Opening makes a segment where there is none, and no operation leaves the list empty.
        self.segments.last().unwrap_or_else(|| unreachable!("a log has a segment"))
    }

    /// Shows the readers how things are.
    pub(super) fn publish(&self) {
        let last_stable = self.last_stable_offset();
        let mut view = self.shared.view.write();
        view.active_size = self.active_segment().size();
        (view.log_start, view.log_end, view.last_stable) = (self.log_start, self.log_end, last_stable);
    }

    /// Shows the readers another list of segments.
    pub(super) fn publish_segments(&self) {
        let view = View {
            segments: self.segments.as_slice().into(),
            active_size: self.active_segment().size(),
            log_start: self.log_start,
            log_end: self.log_end,
            last_stable: self.last_stable_offset(),
        };
        *self.shared.view.write() = view;
    }

    /// Cuts off what a failed write left, so that the next one does not leave it lying behind its own bytes.
    ///
    /// # Errors
    /// The disk still does not take writes.
    pub(super) fn mend(&mut self) -> Result<(), StorageError> {
        self.check_writable()?;
        if self.torn {
            let segment = self.active_segment();
            segment.cut_tail().map_err(StorageError::io("cutting", &segment.path()))?;
            self.torn = false;
        }
        Ok(())
    }

    /// Refuses a write to a log whose files are not what it takes them for.
    pub(super) fn check_writable(&self) -> Result<(), StorageError> {
        self.check_synced()?;
        if self.closed { Err(StorageError::Closed(self.dir.clone())) } else { Ok(()) }
    }

    /// Refuses to call anything safe after a sync has failed.
    pub(super) fn check_synced(&self) -> Result<(), StorageError> {
        if self.failed { Err(StorageError::Failed(self.dir.clone())) } else { Ok(()) }
    }
}

/// What a segment takes of a configuration.
pub(super) fn shape(config: &LogConfig) -> Shape {
    Shape { map_len: config.map_len(), index_interval: config.index_interval_bytes }
}
