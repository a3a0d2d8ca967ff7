//! AlterPartition (key 56): a leader asks the controller for another ISR.
//!
//! Versions 2-3, flexible from the start; between brokers and controllers only.
//!
//! ```text
//!  2  topic ids (KIP-841)     3  the ISR with the epochs of its brokers (KIP-903)
//! ```

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, message};

message! {
    /// The ISRs that a broker wants for what it leads.
    AlterPartitionRequest (request of AlterPartition, answered by AlterPartitionResponse) {
        broker_id: i32,
        broker_epoch: i64 = -1,
        topics: Vec<TopicData>,
    }

    /// One topic.
    TopicData {
        topic_id: Uuid,
        partitions: Vec<PartitionData>,
    }

    /// One partition.
    PartitionData {
        partition_index: i32,
        leader_epoch: i32,
        new_isr: Vec<i32> [0-2],
        new_isr_with_epochs: Vec<BrokerState> [3+],
        /// 1 while it recovers from an unclean election.
        leader_recovery_state: i8,
        /// The partition epoch that the leader knows.
        partition_epoch: i32,
    }

    /// A replica that is in sync.
    BrokerState {
        broker_id: i32,
        broker_epoch: i64 = -1,
    }

    /// The partitions as they are then.
    AlterPartitionResponse (response of AlterPartition) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        topics: Vec<TopicResult>,
    }

    /// One topic.
    TopicResult {
        topic_id: Uuid,
        partitions: Vec<PartitionResult>,
    }

    /// One partition.
    PartitionResult {
        partition_index: i32,
        error_code: ErrorCode,
        leader_id: i32,
        leader_epoch: i32,
        isr: Vec<i32>,
        leader_recovery_state: i8,
        partition_epoch: i32,
    }
}
