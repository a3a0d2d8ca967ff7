//! Produce (key 0): appends record batches to the partitions that this broker leads.
//!
//! Versions 3-13. 0-2 are advertised, because librdkafka looks for them, but not served: whoever sends one is hung up on.
//!
//! ```text
//!  3  batches of magic 2; transactional ids          10  tagged: the leader to ask instead (KIP-951)
//!  4  KAFKA_STORAGE_ERROR may be answered             11  TRANSACTION_ABORTABLE may be answered (KIP-890)
//!  5  the log start offset in the response            12  joins the transaction by itself (KIP-890)
//!  7  zstd may be used (KIP-110)                      13  topic ids in place of names (KIP-516)
//!  8  which records were refused, and why (KIP-467)
//!  9  flexible
//! ```
//!
//! With `acks` 0 there is no response at all.

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Records, Str, message};

message! {
    /// Batches for any number of partitions.
    ProduceRequest (request of Produce, answered by ProduceResponse) {
        transactional_id: Option<Str>,
        /// How many must have it before the answer: 0 nobody (and no answer), 1 the leader, -1 all in-sync replicas.
        acks: i16,
        /// How long the leader may wait for the others, in milliseconds.
        timeout_ms: i32,
        topic_data: Vec<TopicProduceData>,
    }

    /// The batches for one topic.
    TopicProduceData {
        name: Str      [0-12] ignorable,
        topic_id: Uuid [13+] ignorable,
        partition_data: Vec<PartitionProduceData>,
    }

    /// One partition's batches, exactly as the producer built them.
    PartitionProduceData {
        index: i32,
        /// A slice of the frame.
        records: Option<Records>,
    }

    /// What became of each partition's batches.
    ProduceResponse (response of Produce) {
        responses: Vec<TopicProduceResponse>,
        throttle_time_ms: i32,
        /// Where the leaders named in `current_leader` live.
        node_endpoints: Vec<NodeEndpoint> [10+] tag 0,
    }

    /// What became of one topic's batches.
    TopicProduceResponse {
        name: Str      [0-12] ignorable,
        topic_id: Uuid [13+] ignorable,
        partition_responses: Vec<PartitionProduceResponse>,
    }

    /// What became of one partition's batches.
    PartitionProduceResponse {
        index: i32,
        error_code: ErrorCode,
        /// The offset of the first record; -1 with an error.
        base_offset: i64,
        /// The broker's time if the topic uses LogAppendTime, else -1.
        log_append_time_ms: i64                       = -1,
        log_start_offset: i64                         [5+] ignorable = -1,
        /// The records for which the whole batch was refused.
        record_errors: Vec<BatchIndexAndErrorMessage> [8+] ignorable,
        error_message: Option<Str>                    [8+] ignorable,
        /// Whom to ask instead, with NOT_LEADER_OR_FOLLOWER.
        current_leader: LeaderIdAndEpoch              [10+] tag 0,
    }

    /// A record for which its batch was refused.
    BatchIndexAndErrorMessage {
        /// The record's place in its batch, from 0.
        batch_index: i32,
        batch_index_error_message: Option<Str>,
    }

    /// A partition's leader, as far as the broker knows it.
    LeaderIdAndEpoch {
        leader_id: i32    = -1,
        leader_epoch: i32 = -1,
    }

    /// Where a broker can be reached.
    NodeEndpoint {
        node_id: i32,
        host: Str,
        port: i32,
        rack: Option<Str>,
    }
}
