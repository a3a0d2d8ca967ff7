//! DeleteRecords (key 21): deletes the records of a partition up to an offset.
//!
//! Versions 0-2; 1 changed nothing on the wire, 2 is flexible.

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Up to where to delete.
    DeleteRecordsRequest (request of DeleteRecords, answered by DeleteRecordsResponse) {
        topics: Vec<DeleteRecordsTopic>,
        /// How long to wait until it is done, in milliseconds.
        timeout_ms: i32,
    }

    /// The partitions of one topic.
    DeleteRecordsTopic {
        name: Str,
        partitions: Vec<DeleteRecordsPartition>,
    }

    /// One partition.
    DeleteRecordsPartition {
        partition_index: i32,
        /// The first offset that stays; -1 for the high watermark.
        offset: i64,
    }

    /// What became of each partition.
    DeleteRecordsResponse (response of DeleteRecords) {
        throttle_time_ms: i32,
        topics: Vec<DeleteRecordsTopicResult>,
    }

    /// The partitions of one topic.
    DeleteRecordsTopicResult {
        name: Str,
        partitions: Vec<DeleteRecordsPartitionResult>,
    }

    /// What became of one partition.
    DeleteRecordsPartitionResult {
        partition_index: i32,
        /// The lowest start of the log among its replicas, afterwards.
        low_watermark: i64,
        error_code: ErrorCode,
    }
}
