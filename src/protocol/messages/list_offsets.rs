//! ListOffsets (key 2): the offset that belongs to a timestamp, or to a place with a name.
//!
//! Versions 1-11.
//!
//! ```text
//!  1  one offset a partition, with its timestamp      7  timestamp -3: the record with the highest timestamp (KIP-734)
//!  2  isolation level                                 8  timestamp -4: the first offset that is on this disk (KIP-405)
//!  3  no change on the wire                           9  timestamp -5: the last offset in the remote tier (KIP-1005)
//!  4  leader epochs (KIP-320)                        10  a timeout, for the remote tier (KIP-1075)
//!  5  OFFSET_NOT_AVAILABLE may be answered           11  timestamp -6: the first offset not in the remote tier (KIP-1023)
//!  6  flexible
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Asks for an offset of each partition.
    ListOffsetsRequest (request of ListOffsets, answered by ListOffsetsResponse) {
        /// -1 for a consumer.
        replica_id: i32     = -1,
        /// With 1 (read_committed) the latest offset is the last stable one.
        isolation_level: i8 [2+],
        topics: Vec<ListOffsetsTopic>,
        timeout_ms: i32     [10+] ignorable,
    }

    /// The partitions of one topic.
    ListOffsetsTopic {
        name: Str,
        partitions: Vec<ListOffsetsPartition>,
    }

    /// What is asked of one partition.
    ListOffsetsPartition {
        partition_index: i32,
        /// The epoch of the leader the client believes in; -1 to not be checked.
        current_leader_epoch: i32 [4+] ignorable = -1,
        /// Milliseconds since 1970, or -1 for the latest, -2 for the earliest offset, and so on.
        timestamp: i64,
    }

    /// An offset of each partition.
    ListOffsetsResponse (response of ListOffsets) {
        throttle_time_ms: i32 [2+] ignorable,
        topics: Vec<ListOffsetsTopicResponse>,
    }

    /// The partitions of one topic.
    ListOffsetsTopicResponse {
        name: Str,
        partitions: Vec<ListOffsetsPartitionResponse>,
    }

    /// The answer for one partition.
    ListOffsetsPartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        /// The timestamp of the record at `offset`; -1 for offsets asked by name.
        timestamp: i64    = -1,
        /// -1 if no record is that young.
        offset: i64       = -1,
        leader_epoch: i32 [4+] = -1,
    }
}
