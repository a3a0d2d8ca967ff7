//! OffsetCommit (key 8): remembers how far a group has read.
//!
//! Versions 2-10.
//!
//! ```text
//!  2  (the first that is left)             7  static members (KIP-345)
//!  3  throttle time                        8  flexible
//!  4  no change on the wire                9  consumer groups' member epochs (KIP-848)
//!  5  no retention time of its own        10  topic ids in place of names (KIP-848)
//!  6  the leader epoch of what was read
//! ```

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// A member's offsets.
    OffsetCommitRequest (request of OffsetCommit, answered by OffsetCommitResponse) {
        group_id: Str,
        /// -1 (with no member id) for a commit from outside the group.
        generation_id_or_member_epoch: i32 = -1,
        member_id: Str,
        group_instance_id: Option<Str>     [7+],
        /// Until 4; -1 leaves it to the broker.
        retention_time_ms: i64             [2-4] ignorable = -1,
        topics: Vec<OffsetCommitRequestTopic>,
    }

    /// The offsets of one topic.
    OffsetCommitRequestTopic {
        name: Str      [0-9] ignorable,
        topic_id: Uuid [10+] ignorable,
        partitions: Vec<OffsetCommitRequestPartition>,
    }

    /// The offset of one partition.
    OffsetCommitRequestPartition {
        partition_index: i32,
        /// The next offset to read.
        committed_offset: i64,
        /// The epoch of the last record that was read; -1 if not known.
        committed_leader_epoch: i32 [6+] ignorable = -1,
        /// Whatever the client wants kept beside it.
        committed_metadata: Option<Str>,
    }

    /// What became of each offset.
    OffsetCommitResponse (response of OffsetCommit) {
        throttle_time_ms: i32 [3+] ignorable,
        topics: Vec<OffsetCommitResponseTopic>,
    }

    /// What became of one topic's offsets.
    OffsetCommitResponseTopic {
        name: Str      [0-9] ignorable,
        topic_id: Uuid [10+] ignorable,
        partitions: Vec<OffsetCommitResponsePartition>,
    }

    /// What became of one partition's offset.
    OffsetCommitResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
