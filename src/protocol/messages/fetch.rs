//! Fetch (key 1): reads record batches, for consumers and for followers.
//!
//! Versions 4-18.
//!
//! ```text
//!  4  isolation level, aborted transactions           14  no change on the wire (tiered logs)
//!  5  the log start offset                            15  who fetches moves to a tagged field (KIP-903)
//!  6  no change on the wire                           16  tagged: where the leaders live (KIP-951)
//!  7  fetch sessions (KIP-227)                        17  tagged: a follower's log dir (KIP-853)
//!  8  no change on the wire                           18  tagged: a follower's high watermark (KIP-1166)
//!  9  the leader epoch the client believes in (KIP-320)
//! 10  zstd may be answered (KIP-110)
//! 11  the consumer's rack, the replica to prefer (KIP-392)
//! 12  flexible; diverging epochs (KIP-595)
//! 13  topic ids in place of names (KIP-516)
//! ```
//!
//! The first batch of a response goes out whole even when it is over every limit; what lies behind the end of the last
//! whole batch is the client's to drop, as are records before the offset it asked for.

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Records, Str, message};

message! {
    /// What to read, and how long to wait for it.
    FetchRequest (request of Fetch, answered by FetchResponse) {
        /// The cluster the sender believes it talks to; followers of the metadata log set it.
        cluster_id: Option<Str>                    [12+] tag 0 ignorable,
        /// The follower that fetches; -1 for a consumer.
        replica_id: i32                            [0-14] = -1,
        replica_state: ReplicaState                [15+] tag 1,
        /// How long the broker may wait for `min_bytes`, in milliseconds.
        max_wait_ms: i32,
        /// How many bytes are worth an answer before the wait is over.
        min_bytes: i32,
        /// The most bytes in the whole response (the first batch excepted).
        max_bytes: i32                             = i32::MAX,
        /// 0 reads up to the high watermark, 1 (read_committed) up to the last stable offset.
        isolation_level: i8,
        /// The fetch session; 0 for none yet.
        session_id: i32                            [7+] ignorable,
        /// 0 asks for a new session, -1 for none (or its end), else the request's number in its session.
        session_epoch: i32                         [7+] ignorable = -1,
        /// All partitions, or within a session those that are new or changed.
        topics: Vec<FetchTopic>,
        /// What a session no longer wants.
        forgotten_topics_data: Vec<ForgottenTopic> [7+],
        /// Where the consumer is, to be read from a replica nearby.
        rack_id: Str                               [11+] ignorable,
    }

    /// The follower that fetches.
    ReplicaState {
        /// -1 for a consumer.
        replica_id: i32    = -1,
        replica_epoch: i64 = -1,
    }

    /// What to read of one topic.
    FetchTopic {
        topic: Str     [0-12] ignorable,
        topic_id: Uuid [13+] ignorable,
        partitions: Vec<FetchPartition>,
    }

    /// What to read of one partition.
    FetchPartition {
        partition: i32,
        /// The epoch of the leader the client believes in; -1 to not be checked.
        current_leader_epoch: i32  [9+] ignorable = -1,
        fetch_offset: i64,
        /// The epoch of the last record the client has; -1 to not be checked.
        last_fetched_epoch: i32    [12+] = -1,
        /// A follower's first offset; -1 from a consumer.
        log_start_offset: i64      [5+] ignorable = -1,
        /// The most bytes of this partition (the first batch excepted).
        partition_max_bytes: i32,
        replica_directory_id: Uuid [17+] tag 0 ignorable,
        high_watermark: i64        [18+] tag 1 ignorable = i64::MAX,
    }

    /// Partitions that leave a session.
    ForgottenTopic {
        topic: Str     [7-12] ignorable,
        topic_id: Uuid [13+] ignorable,
        partitions: Vec<i32>,
    }

    /// What was read.
    FetchResponse (response of Fetch) {
        throttle_time_ms: i32,
        error_code: ErrorCode             [7+] ignorable,
        session_id: i32                   [7+],
        responses: Vec<FetchableTopicResponse>,
        /// Where the leaders named in `current_leader` live.
        node_endpoints: Vec<NodeEndpoint> [16+] tag 0,
    }

    /// What was read of one topic.
    FetchableTopicResponse {
        topic: Str     [0-12] ignorable,
        topic_id: Uuid [13+] ignorable,
        partitions: Vec<PartitionData>,
    }

    /// What was read of one partition.
    PartitionData {
        partition_index: i32,
        error_code: ErrorCode,
        high_watermark: i64,
        /// Below it every transaction is decided; -1 if not asked.
        last_stable_offset: i64          = -1,
        log_start_offset: i64            [5+] ignorable = -1,
        /// Where the client's log leaves the leader's, when `last_fetched_epoch` shows that it does.
        diverging_epoch: EpochEndOffset  [12+] tag 0,
        /// Whom to ask instead, with NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH.
        current_leader: LeaderIdAndEpoch [12+] tag 1,
        snapshot_id: SnapshotId          [12+] tag 2,
        /// For read_committed: whose records to skip, from which offset on.
        aborted_transactions: Option<Vec<AbortedTransaction>>,
        /// The replica to read from next; -1 for this one.
        preferred_read_replica: i32      [11+] = -1,
        /// Whole batches, the last one perhaps cut; slices of the log.
        records: Option<Records>,
    }

    /// The end of an epoch in the leader's log.
    EpochEndOffset {
        epoch: i32      = -1,
        end_offset: i64 = -1,
    }

    /// A partition's leader, as far as the broker knows it.
    LeaderIdAndEpoch {
        leader_id: i32    = -1,
        leader_epoch: i32 = -1,
    }

    /// The snapshot to load first.
    SnapshotId {
        end_offset: i64 = -1,
        epoch: i32      = -1,
    }

    /// A producer's transaction that was aborted.
    AbortedTransaction {
        producer_id: i64,
        first_offset: i64,
    }

    /// Where a broker can be reached.
    NodeEndpoint {
        node_id: i32,
        host: Str,
        port: i32,
        rack: Option<Str>,
    }
}
