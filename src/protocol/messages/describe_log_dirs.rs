//! DescribeLogDirs (key 35): a broker's log dirs, and what the partitions in them take.
//!
//! Versions 1-5.
//!
//! ```text
//!  2  flexible                                       4  the size of the disk, and what is free (KIP-827)
//!  3  an error for the whole response                5  whether a dir takes no new replicas (KIP-1066)
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Which partitions to tell of.
    DescribeLogDirsRequest (request of DescribeLogDirs, answered by DescribeLogDirsResponse) {
        /// Null for all.
        topics: Option<Vec<DescribableLogDirTopic>>,
    }

    /// Partitions of one topic.
    DescribableLogDirTopic {
        topic: Str,
        partitions: Vec<i32>,
    }

    /// Each log dir.
    DescribeLogDirsResponse (response of DescribeLogDirs) {
        throttle_time_ms: i32,
        error_code: ErrorCode [3+] ignorable,
        results: Vec<DescribeLogDirsResult>,
    }

    /// One log dir.
    DescribeLogDirsResult {
        error_code: ErrorCode,
        log_dir: Str,
        topics: Vec<DescribeLogDirsTopic>,
        /// The size of its disk; -1 if not known.
        total_bytes: i64  [4+] ignorable = -1,
        /// What is free on its disk; -1 if not known.
        usable_bytes: i64 [4+] ignorable = -1,
        is_cordoned: bool [5+] ignorable,
    }

    /// The partitions of one topic.
    DescribeLogDirsTopic {
        name: Str,
        partitions: Vec<DescribeLogDirsPartition>,
    }

    /// One partition.
    DescribeLogDirsPartition {
        partition_index: i32,
        /// The bytes of its segments.
        partition_size: i64,
        /// How far it is behind the high watermark, or behind the replica it will replace.
        offset_lag: i64,
        /// Whether it will replace the replica in another dir.
        is_future_key: bool,
    }
}
