//! One partition that this broker leads: appended to, read from, waited for.
//!
//! The log has one writer, behind a lock; readers go through their own handle and never wait for it. After each append
//! the high watermark moves up, since this broker holds the only replica, and those who wait are woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::PartitionSpec;
use super::waiters::{Waiter, Waiters};
use crate::common::ids::{LeaderEpoch, NodeId, Offset, ProducerId, Timestamp, TopicPartition, Uuid};
use crate::log::producer_state::ProducerEntry;
use crate::log::{AppendError, AppendInfo, Log, LogConfig, LogReader, ReadError, TimestampOffset};
use crate::protocol::ErrorCode;

/// What a fetch wants of a partition.
#[derive(Debug, Clone, Copy)]
pub struct FetchFrom {
    /// The first record it has not.
    pub offset: Offset,
    /// The leader epoch it knows of, -1 for none.
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of the last record it has, -1 for none.
    pub last_fetched_epoch: LeaderEpoch,
    /// How many bytes at most.
    pub max_bytes: usize,
    /// Whether the first batch is due even where it is larger.
    pub min_one: bool,
    /// Whether records of open transactions are held back.
    pub read_committed: bool,
}

/// What a fetch gets.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Whole batches, mapped from the segment.
    pub records: Bytes,
    /// Up to where records are safe to read.
    pub high_watermark: Offset,
    /// Up to where every transaction is decided.
    pub last_stable_offset: Offset,
    /// The first offset that is still there.
    pub log_start_offset: Offset,
    /// Where the reader's last epoch ended here, if its records go beyond.
    pub diverging_epoch: Option<(LeaderEpoch, Offset)>,
}

/// Why a fetch gets nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The reader's leader epoch is not ours.
    #[error("leader epoch {asked} was asked for, and {leader_epoch} is current")]
    LeaderEpoch {
        /// The reader's.
        asked: LeaderEpoch,
        /// Who leads.
        leader_id: NodeId,
        /// Ours.
        leader_epoch: LeaderEpoch,
    },
    /// No such offset, or the log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl FetchError {
    /// The code on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            FetchError::LeaderEpoch { asked, leader_epoch, .. } if asked < leader_epoch => {
                ErrorCode::FENCED_LEADER_EPOCH
            }
            FetchError::LeaderEpoch { .. } => ErrorCode::UNKNOWN_LEADER_EPOCH,
            FetchError::Read(ReadError::OffsetOutOfRange { .. }) => ErrorCode::OFFSET_OUT_OF_RANGE,
            FetchError::Read(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }
}

/// One partition that this broker leads.
#[derive(Debug)]
pub struct Partition {
    id: TopicPartition,
    topic_id: Uuid,
    leader_id: NodeId,
    leader_epoch: AtomicI32,
    min_in_sync_replicas: AtomicI32,
    log: Mutex<Log>,
    reader: LogReader,
    waiters: Waiters,
}

impl Partition {
    /// The partition that `spec` describes, over its log.
    pub fn new(spec: PartitionSpec, mut log: Log) -> Partition {
        log.assign_leader_epoch(spec.leader_epoch);
        Partition {
            id: spec.id,
            topic_id: spec.topic_id,
            leader_id: spec.leader_id,
            leader_epoch: AtomicI32::new(spec.leader_epoch),
            min_in_sync_replicas: AtomicI32::new(spec.min_in_sync_replicas),
            reader: log.reader(),
            log: Mutex::new(log),
            waiters: Waiters::default(),
        }
    }
}

impl Partition {
    /// Its topic and index.
    pub fn id(&self) -> &TopicPartition {
        &self.id
    }

    /// A reader of its log, for whoever reads beside the protocol; [`Partition::high_watermark`] bounds what it may see.
    pub fn log_reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// Its topic's id.
    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// The epoch in which this broker leads it.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// How many replicas must be in sync for acks=all (`min.insync.replicas`).
    pub fn min_in_sync_replicas(&self) -> i32 {
        self.min_in_sync_replicas.load(Ordering::Relaxed)
    }

    /// How many replicas are in sync: this broker's is the only one.
    pub fn in_sync_replicas(&self) -> i32 {
        1
    }

    /// Appends a producer's batches, all or none, and wakes who waits for them.
    pub fn append(&self, records: Bytes, now: Timestamp) -> Result<AppendInfo, AppendError> {
        let appended = self.log.lock().append_as_leader(records, self.leader_epoch(), now)?;
        if !appended.duplicate {
            self.waiters.wake();
        }
        Ok(appended)
    }

    /// Reads from `from` on, up to the high watermark or, for a committed reader, the last stable offset.
    pub fn fetch(&self, from: FetchFrom) -> Result<Fetched, FetchError> {
        self.check_leader_epoch(from.current_leader_epoch)?;
        let high_watermark = self.high_watermark();
        let last_stable_offset = self.last_stable_offset();
        let log_start_offset = self.log_start_offset();
        let empty = Fetched {
            records: Bytes::new(),
            high_watermark,
            last_stable_offset,
            log_start_offset,
            diverging_epoch: None,
        };
        // A reader of the newest epoch cannot have gone another way.
        if from.last_fetched_epoch >= 0 && from.last_fetched_epoch != self.leader_epoch() {
            let (epoch, end) = self.log.lock().leader_epochs().end_offset_for(from.last_fetched_epoch, high_watermark);
            if end >= 0 && (epoch < from.last_fetched_epoch || end < from.offset) {
                return Ok(Fetched { diverging_epoch: Some((epoch, end)), ..empty });
            }
        }
        let upper = if from.read_committed { last_stable_offset } else { high_watermark };
        let read = self.reader.read(from.offset, from.max_bytes, upper, from.min_one)?;
        Ok(Fetched { records: read.records, ..empty })
    }

    /// Notes `waiter` to be woken by the next append.
    pub fn wait_with(&self, waiter: &Arc<Waiter>) {
        self.waiters.add(waiter);
    }

    /// Fails where a client's leader epoch is not ours; a negative one is any.
    pub fn check_leader_epoch(&self, asked: LeaderEpoch) -> Result<(), FetchError> {
        let leader_epoch = self.leader_epoch();
        if asked < 0 || asked == leader_epoch {
            return Ok(());
        }
        Err(FetchError::LeaderEpoch { asked, leader_id: self.leader_id, leader_epoch })
    }

    /// The offset after the last record that is safe to read.
    pub fn high_watermark(&self) -> Offset {
        self.reader.log_end_offset()
    }

    /// The offset up to where every transaction is decided.
    pub fn last_stable_offset(&self) -> Offset {
        self.reader.last_stable_offset()
    }

    /// The first offset that is still there.
    pub fn log_start_offset(&self) -> Offset {
        self.reader.log_start_offset()
    }

    /// The bytes of all segments.
    pub fn size(&self) -> u64 {
        self.reader.size()
    }

    /// The epoch in which `offset` was written, or will be; -1 where the log does not tell.
    pub fn epoch_of(&self, offset: Offset) -> LeaderEpoch {
        self.log.lock().leader_epochs().epoch_for(offset).unwrap_or(-1)
    }

    /// The largest epoch not after `epoch`, and the offset where it ended; (-1, -1) where there is none.
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        // The current epoch has an end even where nothing was written in it.
        if epoch == self.leader_epoch() {
            return (epoch, self.high_watermark());
        }
        self.log.lock().leader_epochs().end_offset_for(epoch, self.high_watermark())
    }

    /// The first record at or after `timestamp`.
    pub fn offset_for_timestamp(&self, timestamp: Timestamp) -> Result<Option<TimestampOffset>, ReadError> {
        self.reader.offset_for_timestamp(timestamp)
    }

    /// The record with the greatest timestamp.
    pub fn offset_of_max_timestamp(&self) -> Result<Option<TimestampOffset>, ReadError> {
        self.reader.max_timestamp_offset()
    }

    /// Moves the log start offset up to `offset` (-1: the high watermark) and returns where it is then.
    pub fn delete_records(&self, offset: Offset) -> Result<Offset, ErrorCode> {
        let mut log = self.log.lock();
        let high_watermark = self.high_watermark();
        if !log.config().delete {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        let offset = if offset == -1 { high_watermark } else { offset };
        if offset > high_watermark || offset < 0 {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        log.delete_records(offset);
        Ok(log.log_start_offset())
    }

    /// The producers whose last batches are remembered.
    pub fn producers(&self) -> Vec<(ProducerId, ProducerEntry)> {
        let log = self.log.lock();
        log.producers().describe().into_iter().map(|(id, entry)| (id, entry.clone())).collect()
    }

    /// Takes new configs.
    pub fn reconfigure(&self, config: LogConfig, min_in_sync_replicas: i32) {
        self.min_in_sync_replicas.store(min_in_sync_replicas, Ordering::Relaxed);
        self.log.lock().set_config(config);
    }

    /// Whether its log takes no writes any more: the topic is gone, or the broker stops.
    pub fn is_closed(&self) -> bool {
        self.log.lock().is_closed()
    }

    /// Works on the log itself: what is due from time to time, and at the end.
    pub fn with_log<R>(&self, work: impl FnOnce(&mut Log) -> R) -> R {
        work(&mut self.log.lock())
    }
}
