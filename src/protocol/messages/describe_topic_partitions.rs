//! DescribeTopicPartitions (key 75): topics and their partitions, page by page (KIP-966).
//!
//! Version 0. Unlike Metadata it tells of eligible leader replicas, creates nothing, and ends a long answer with a
//! cursor.

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The topics asked for.
    DescribeTopicPartitionsRequest (request of DescribeTopicPartitions, answered by DescribeTopicPartitionsResponse) {
        /// Empty for all.
        topics: Vec<TopicRequest>,
        /// The most partitions in one answer.
        response_partition_limit: i32 = 2000,
        /// Where the last answer ended; null to begin.
        cursor: Option<Cursor>,
    }

    /// One topic.
    TopicRequest {
        name: Str,
    }

    /// The first partition that the next answer should have.
    Cursor {
        topic_name: Str,
        partition_index: i32,
    }

    /// One page.
    DescribeTopicPartitionsResponse (response of DescribeTopicPartitions) {
        throttle_time_ms: i32,
        topics: Vec<DescribeTopicPartitionsResponseTopic>,
        /// Where the next page begins; null on the last.
        next_cursor: Option<Cursor>,
    }

    /// One topic, or why there is none.
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode,
        name: Option<Str>,
        topic_id: Uuid,
        is_internal: bool,
        partitions: Vec<DescribeTopicPartitionsResponsePartition>,
        /// A bit for each operation that is allowed.
        topic_authorized_operations: i32 = i32::MIN,
    }

    /// One partition: its leader and its replicas.
    DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode,
        partition_index: i32,
        /// -1 if there is no leader.
        leader_id: i32,
        leader_epoch: i32 = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        eligible_leader_replicas: Option<Vec<i32>>,
        last_known_elr: Option<Vec<i32>>,
        offline_replicas: Vec<i32>,
    }
}
