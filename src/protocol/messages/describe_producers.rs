//! DescribeProducers (key 61): the producers that a partition remembers (KIP-664).
//!
//! Version 0.

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The partitions asked for.
    DescribeProducersRequest (request of DescribeProducers, answered by DescribeProducersResponse) {
        topics: Vec<TopicRequest>,
    }

    /// Partitions of one topic.
    TopicRequest {
        name: Str,
        partition_indexes: Vec<i32>,
    }

    /// Each partition.
    DescribeProducersResponse (response of DescribeProducers) {
        throttle_time_ms: i32,
        topics: Vec<TopicResponse>,
    }

    /// The partitions of one topic.
    TopicResponse {
        name: Str,
        partitions: Vec<PartitionResponse>,
    }

    /// One partition.
    PartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        error_message: Option<Str>,
        active_producers: Vec<ProducerState>,
    }

    /// One producer.
    ProducerState {
        producer_id: i64,
        producer_epoch: i32,
        /// The last sequence number it wrote; -1 if none.
        last_sequence: i32            = -1,
        /// The timestamp of what it last wrote; -1 if none.
        last_timestamp: i64           = -1,
        /// The epoch of the coordinator that last ended a transaction of it.
        coordinator_epoch: i32,
        /// Where its open transaction began; -1 if none is open.
        current_txn_start_offset: i64 = -1,
    }
}
