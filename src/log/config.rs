//! What a log takes from its topic's configuration.
//!
//! A plain value, made by whoever knows the topic's keys, and replaced as a whole when they change. Names and defaults
//! are Kafka's topic keys'.

use crate::common::ids::Timestamp;
use crate::record::{Compression, TimestampType};

/// How one partition's log behaves. All sizes are bytes, all times milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is closed before it grows past this.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is closed when its first record is older than this.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: up to this is taken off `segment.ms`, so that not all partitions roll at once.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: a segment is closed when its offset or time index is this large.
    pub segment_index_bytes: usize,
    /// `index.interval.bytes`: how much log lies between two index entries.
    pub index_interval_bytes: usize,
    /// `retention.bytes`: old segments go while the log is larger; `None`: no limit.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`: segments whose newest record is older go; `None`: no limit.
    pub retention_ms: Option<i64>,
    /// `max.message.bytes`: the largest batch that is taken.
    pub max_message_bytes: usize,
    /// `cleanup.policy` holds `delete`: retention applies.
    pub delete: bool,
    /// `cleanup.policy` holds `compact`: the last record of each key stays, and a record without a key is refused.
    pub compact: bool,
    /// `min.cleanable.dirty.ratio`: how much of the log must be uncompacted before it is compacted.
    pub min_cleanable_dirty_ratio: f64,
    /// `delete.retention.ms`: how long a tombstone stays after its key was compacted.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: records younger than this are not compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: a log with an uncompacted record older than this is compacted whatever its ratio.
    pub max_compaction_lag_ms: i64,
    /// `message.timestamp.type`: who gives a record its time.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far in the past a producer's timestamp may lie.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far in the future.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`, with its level: `None` is `producer`, batches stay as they came.
    pub compression: Option<Compression>,
    /// `flush.messages`: synced once so many records were appended since the last time.
    pub flush_messages: i64,
    /// `flush.ms`: synced when the last sync is longer ago than this.
    pub flush_ms: i64,
    /// `file.delete.delay.ms`: how long a removed segment's files keep lying as `.deleted`.
    pub file_delete_delay_ms: i64,
    /// `producer.id.expiration.ms` (a broker key): how long a silent producer is remembered.
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        const DAY_MS: Timestamp = 24 * 60 * 60 * 1000;
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_bytes: None,
            retention_ms: Some(7 * DAY_MS),
            max_message_bytes: 1_048_588,
            delete: true,
            compact: false,
            min_cleanable_dirty_ratio: 0.5,
            delete_retention_ms: DAY_MS,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 60 * 60 * 1000,
            compression: None,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            file_delete_delay_ms: 60_000,
            producer_id_expiration_ms: DAY_MS,
        }
    }
}

impl LogConfig {
    /// How old a segment may get. One that grows is not compacted, so a compacted log ends it by
    /// `max.compaction.lag.ms` too.
    pub(crate) fn max_segment_ms(&self) -> i64 {
        if self.compact { self.segment_ms.min(self.max_compaction_lag_ms) } else { self.segment_ms }
    }

    /// How large a segment's file may get, and so how much of it is mapped.
    pub(crate) fn map_len(&self) -> u64 {
        self.segment_bytes.clamp(1, i32::MAX as u64)
    }
}
