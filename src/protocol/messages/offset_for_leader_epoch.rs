//! OffsetForLeaderEpoch (key 23): where an epoch ended, for a client that looks for where logs part (KIP-320).
//!
//! Versions 2-4.
//!
//! ```text
//!  2  the leader epoch the client believes in         4  flexible
//!  3  a consumer says that it is one
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The epochs asked for.
    OffsetForLeaderEpochRequest (request of OffsetForLeaderEpoch, answered by OffsetForLeaderEpochResponse) {
        /// The follower that asks; -1 for a consumer, -2 for a debugger.
        replica_id: i32 [3+] ignorable = -2,
        topics: Vec<OffsetForLeaderTopic>,
    }

    /// The partitions of one topic.
    OffsetForLeaderTopic {
        topic: Str,
        partitions: Vec<OffsetForLeaderPartition>,
    }

    /// One partition.
    OffsetForLeaderPartition {
        partition: i32,
        /// The epoch of the leader the client believes in; -1 to not be checked.
        current_leader_epoch: i32 = -1,
        /// The epoch whose end is asked for.
        leader_epoch: i32,
    }

    /// The end of each epoch.
    OffsetForLeaderEpochResponse (response of OffsetForLeaderEpoch) {
        throttle_time_ms: i32,
        topics: Vec<OffsetForLeaderTopicResult>,
    }

    /// The partitions of one topic.
    OffsetForLeaderTopicResult {
        topic: Str,
        partitions: Vec<EpochEndOffset>,
    }

    /// The end of an epoch in one partition.
    EpochEndOffset {
        error_code: ErrorCode,
        partition: i32,
        /// The highest epoch at or below the one asked for; -1 if there is none.
        leader_epoch: i32 = -1,
        /// The offset behind its last record; -1 if there is none.
        end_offset: i64   = -1,
    }
}
