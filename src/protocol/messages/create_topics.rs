//! CreateTopics (key 19): creates topics.
//!
//! Versions 2-7.
//!
//! ```text
//!  2  (the first that is left)            5  flexible; the topic as it was created (KIP-525)
//!  3  no change on the wire               6  no change on the wire (quotas, KIP-599)
//!  4  -1 leaves partitions and            7  the topic's id (KIP-516)
//!     replication factor to the broker
//! ```

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The topics to create.
    CreateTopicsRequest (request of CreateTopics, answered by CreateTopicsResponse) {
        topics: Vec<CreatableTopic>,
        /// How long to wait until they are created, in milliseconds.
        timeout_ms: i32 = 60000,
        /// Only says whether it would work.
        validate_only: bool,
    }

    /// One topic to create.
    CreatableTopic {
        name: Str,
        /// -1 for the broker's default, or with assignments.
        num_partitions: i32,
        /// -1 for the broker's default, or with assignments.
        replication_factor: i16,
        /// Where the replicas go; empty leaves it to the controller.
        assignments: Vec<CreatableReplicaAssignment>,
        configs: Vec<CreatableTopicConfig>,
    }

    /// The replicas of one partition.
    CreatableReplicaAssignment {
        partition_index: i32,
        broker_ids: Vec<i32>,
    }

    /// A config of the new topic.
    CreatableTopicConfig {
        name: Str,
        value: Option<Str>,
    }

    /// What became of each topic.
    CreateTopicsResponse (response of CreateTopics) {
        throttle_time_ms: i32,
        topics: Vec<CreatableTopicResult>,
    }

    /// What became of one topic.
    CreatableTopicResult {
        name: Str,
        topic_id: Uuid                              [7+] ignorable,
        error_code: ErrorCode,
        error_message: Option<Str>,
        /// Why the configs are not told, if they are not.
        topic_config_error_code: ErrorCode          [5+] tag 0 ignorable,
        num_partitions: i32                         [5+] ignorable = -1,
        replication_factor: i16                     [5+] ignorable = -1,
        /// The configs of the new topic; null if they may not be told.
        configs: Option<Vec<CreatableTopicConfigs>> [5+] ignorable,
    }

    /// A config as the new topic has it.
    CreatableTopicConfigs {
        name: Str,
        value: Option<Str>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
    }
}
