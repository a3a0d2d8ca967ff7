//! CreatePartitions (key 37): gives topics more partitions.
//!
//! Versions 0-3; 1 and 3 changed nothing on the wire, 2 is flexible.

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The topics that grow.
    CreatePartitionsRequest (request of CreatePartitions, answered by CreatePartitionsResponse) {
        topics: Vec<CreatePartitionsTopic>,
        /// How long to wait until it is done, in milliseconds.
        timeout_ms: i32,
        /// Only says whether it would work.
        validate_only: bool,
    }

    /// One topic.
    CreatePartitionsTopic {
        name: Str,
        /// How many partitions it has afterwards.
        count: i32,
        /// Where the replicas of the new ones go; null leaves it to the controller.
        assignments: Option<Vec<CreatePartitionsAssignment>>,
    }

    /// The replicas of one new partition.
    CreatePartitionsAssignment {
        broker_ids: Vec<i32>,
    }

    /// What became of each topic.
    CreatePartitionsResponse (response of CreatePartitions) {
        throttle_time_ms: i32,
        results: Vec<CreatePartitionsTopicResult>,
    }

    /// What became of one topic.
    CreatePartitionsTopicResult {
        name: Str,
        error_code: ErrorCode,
        error_message: Option<Str>,
    }
}
