//! OffsetFetch (key 9): how far groups have read.
//!
//! Versions 1-10.
//!
//! ```text
//!  1  kept by the coordinator              6  flexible
//!  2  null asks for all partitions;        7  whether to wait for open transactions (KIP-447)
//!     an error for the whole response      8  several groups at once (KIP-709)
//!  3  throttle time                        9  consumer groups' member epochs (KIP-848)
//!  4  no change on the wire               10  topic ids in place of names (KIP-848)
//!  5  the leader epoch
//! ```
//!
//! Until 7 one group stands in the request itself, from 8 on any number in `groups`; the response likewise.

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The groups and partitions that are asked for.
    OffsetFetchRequest (request of OffsetFetch, answered by OffsetFetchResponse) {
        group_id: Str                                [0-7],
        /// Null asks for all.
        topics: Option<Vec<OffsetFetchRequestTopic>> [0-7] null [2-7],
        groups: Vec<OffsetFetchRequestGroup>         [8+],
        /// Answer UNSTABLE_OFFSET_COMMIT while a transaction on the partition is open.
        require_stable: bool                         [7+],
    }

    /// Partitions of one topic.
    OffsetFetchRequestTopic {
        name: Str,
        partition_indexes: Vec<i32>,
    }

    /// One group.
    OffsetFetchRequestGroup {
        group_id: Str,
        member_id: Option<Str> [9+] ignorable,
        member_epoch: i32      [9+] ignorable = -1,
        /// Null asks for all.
        topics: Option<Vec<OffsetFetchRequestTopics>>,
    }

    /// Partitions of one topic.
    OffsetFetchRequestTopics {
        name: Str      [8-9] ignorable,
        topic_id: Uuid [10+] ignorable,
        partition_indexes: Vec<i32>,
    }

    /// The committed offsets.
    OffsetFetchResponse (response of OffsetFetch) {
        throttle_time_ms: i32                 [3+] ignorable,
        topics: Vec<OffsetFetchResponseTopic> [0-7],
        error_code: ErrorCode                 [2-7] ignorable,
        groups: Vec<OffsetFetchResponseGroup> [8+],
    }

    /// Those of one topic.
    OffsetFetchResponseTopic {
        name: Str,
        partitions: Vec<OffsetFetchResponsePartition>,
    }

    /// That of one partition.
    OffsetFetchResponsePartition {
        partition_index: i32,
        /// -1 if there is none.
        committed_offset: i64,
        committed_leader_epoch: i32 [5-7] ignorable = -1,
        metadata: Option<Str>,
        error_code: ErrorCode,
    }

    /// Those of one group.
    OffsetFetchResponseGroup {
        group_id: Str,
        topics: Vec<OffsetFetchResponseTopics>,
        error_code: ErrorCode,
    }

    /// Those of one topic.
    OffsetFetchResponseTopics {
        name: Str      [8-9] ignorable,
        topic_id: Uuid [10+] ignorable,
        partitions: Vec<OffsetFetchResponsePartitions>,
    }

    /// That of one partition.
    OffsetFetchResponsePartitions {
        partition_index: i32,
        /// -1 if there is none.
        committed_offset: i64,
        committed_leader_epoch: i32 = -1,
        metadata: Option<Str>,
        error_code: ErrorCode,
    }
}
