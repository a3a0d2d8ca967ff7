//! AlterPartitionReassignments (key 45): moves the replicas of partitions to other brokers (KIP-455).
//!
//! Versions 0-1, flexible from the start.
//!
//! ```text
//!  1  a move may be told to keep the number of replicas (KIP-860)
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// What is to move where.
    AlterPartitionReassignmentsRequest
        (request of AlterPartitionReassignments, answered by AlterPartitionReassignmentsResponse)
    {
        /// How long to wait for the controller, in milliseconds.
        timeout_ms: i32 = 60000,
        allow_replication_factor_change: bool [1+] = true,
        topics: Vec<ReassignableTopic>,
    }

    /// One topic.
    ReassignableTopic {
        name: Str,
        partitions: Vec<ReassignablePartition>,
    }

    /// One partition.
    ReassignablePartition {
        partition_index: i32,
        /// Where it is to be; null ends a move that is under way.
        replicas: Option<Vec<i32>>,
    }

    /// What became of each.
    AlterPartitionReassignmentsResponse (response of AlterPartitionReassignments) {
        throttle_time_ms: i32,
        allow_replication_factor_change: bool [1+] = true,
        error_code: ErrorCode,
        error_message: Option<Str>,
        responses: Vec<ReassignableTopicResponse>,
    }

    /// One topic.
    ReassignableTopicResponse {
        name: Str,
        partitions: Vec<ReassignablePartitionResponse>,
    }

    /// One partition.
    ReassignablePartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        error_message: Option<Str>,
    }
}
