//! ElectLeaders (key 43): lets the preferred leaders lead, or any replica where none in sync is left.
//!
//! Versions 0-2.
//!
//! ```text
//!  1  unclean elections (KIP-460)     2  flexible
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The partitions that want another leader.
    ElectLeadersRequest (request of ElectLeaders, answered by ElectLeadersResponse) {
        /// 0 preferred, 1 unclean.
        election_type: i8 [1+],
        /// Null for all there are.
        topic_partitions: Option<Vec<TopicPartitions>>,
        /// How long to wait until it is done, in milliseconds.
        timeout_ms: i32 = 60000,
    }

    /// Some partitions of a topic.
    TopicPartitions {
        topic: Str,
        partitions: Vec<i32>,
    }

    /// What became of each.
    ElectLeadersResponse (response of ElectLeaders) {
        throttle_time_ms: i32,
        error_code: ErrorCode [1+],
        replica_election_results: Vec<ReplicaElectionResult>,
    }

    /// One topic.
    ReplicaElectionResult {
        topic: Str,
        partition_result: Vec<PartitionResult>,
    }

    /// One partition.
    PartitionResult {
        partition_id: i32,
        error_code: ErrorCode,
        error_message: Option<Str>,
    }
}
