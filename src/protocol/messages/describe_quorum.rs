//! DescribeQuorum (key 55): who leads the metadata quorum, and how far its voters and observers are.
//!
//! Versions 0-2.
//!   1  when a replica last fetched, and when it last had all     2  error messages, directory ids, the voters' listeners

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The partition asked for: the metadata's.
    DescribeQuorumRequest (request of DescribeQuorum, answered by DescribeQuorumResponse) {
        topics: Vec<TopicData>,
    }

    /// Partitions of one topic.
    TopicData {
        topic_name: Str,
        partitions: Vec<PartitionData>,
    }

    /// One partition.
    PartitionData {
        partition_index: i32,
    }

    /// The quorum.
    DescribeQuorumResponse (response of DescribeQuorum) {
        error_code: ErrorCode,
        error_message: Option<Str> [2+] ignorable,
        topics: Vec<TopicQuorum>,
        nodes: Vec<Node> [2+] ignorable,
    }

    /// The partitions of one topic.
    TopicQuorum {
        topic_name: Str,
        partitions: Vec<PartitionQuorum>,
    }

    /// The quorum of one partition.
    PartitionQuorum {
        partition_index: i32,
        error_code: ErrorCode,
        error_message: Option<Str> [2+] ignorable,
        leader_id: i32,
        leader_epoch: i32,
        high_watermark: i64,
        current_voters: Vec<ReplicaState>,
        observers: Vec<ReplicaState>,
    }

    /// One replica.
    ReplicaState {
        replica_id: i32,
        replica_directory_id: Uuid [2+] ignorable,
        log_end_offset: i64,
        last_fetch_timestamp: i64 [1+] ignorable = -1,
        last_caught_up_timestamp: i64 [1+] ignorable = -1,
    }

    /// Where a voter listens.
    Node {
        node_id: i32,
        listeners: Vec<Listener>,
    }

    /// One listener.
    Listener {
        name: Str,
        host: Str,
        port: u16,
    }
}
