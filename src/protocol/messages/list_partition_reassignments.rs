//! ListPartitionReassignments (key 46): the partitions that are being moved (KIP-455).
//!
//! Version 0, flexible.

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Which partitions to tell of.
    ListPartitionReassignmentsRequest
        (request of ListPartitionReassignments, answered by ListPartitionReassignmentsResponse)
    {
        /// How long to wait for the controller, in milliseconds.
        timeout_ms: i32 = 60000,
        /// Null for all that are being moved.
        topics: Option<Vec<ListPartitionReassignmentsTopics>>,
    }

    /// Some partitions of a topic.
    ListPartitionReassignmentsTopics {
        name: Str,
        partition_indexes: Vec<i32>,
    }

    /// Those of them that are being moved.
    ListPartitionReassignmentsResponse (response of ListPartitionReassignments) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Str>,
        topics: Vec<OngoingTopicReassignment>,
    }

    /// One topic.
    OngoingTopicReassignment {
        name: Str,
        partitions: Vec<OngoingPartitionReassignment>,
    }

    /// One partition.
    OngoingPartitionReassignment {
        partition_index: i32,
        /// All replicas, those that come and those that go too.
        replicas: Vec<i32>,
        adding_replicas: Vec<i32>,
        removing_replicas: Vec<i32>,
    }
}
