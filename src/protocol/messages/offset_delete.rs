//! OffsetDelete (key 47): forgets a group's offsets.
//!
//! Version 0, the only API here that never became flexible. Topics that the group reads at this moment are refused with
//! GROUP_SUBSCRIBED_TO_TOPIC.

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The offsets to forget.
    OffsetDeleteRequest (request of OffsetDelete, answered by OffsetDeleteResponse) {
        group_id: Str,
        topics: Vec<OffsetDeleteRequestTopic>,
    }

    /// Those of one topic.
    OffsetDeleteRequestTopic {
        name: Str,
        partitions: Vec<OffsetDeleteRequestPartition>,
    }

    /// That of one partition.
    OffsetDeleteRequestPartition {
        partition_index: i32,
    }

    /// What became of each.
    OffsetDeleteResponse (response of OffsetDelete) {
        error_code: ErrorCode,
        throttle_time_ms: i32,
        topics: Vec<OffsetDeleteResponseTopic>,
    }

    /// What became of those of one topic.
    OffsetDeleteResponseTopic {
        name: Str,
        partitions: Vec<OffsetDeleteResponsePartition>,
    }

    /// What became of that of one partition.
    OffsetDeleteResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
