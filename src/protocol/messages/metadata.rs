//! Metadata (key 3): the brokers, and where each partition is led.
//!
//! Versions 0-13.
//!
//! ```text
//!  0  an empty list of topics asks for all            8  what the client is allowed to do (KIP-430)
//!  1  null asks for all, an empty list for none;      9  flexible
//!     the controller, racks, internal topics         10  topic ids in the response; asking by id in the request
//!  2  the cluster's id                               11  no more operations on the cluster: DescribeCluster has them
//!  3  throttle time                                  12  asking by topic id works (KIP-516)
//!  4  whether to create what is missing              13  an error for the whole response (KIP-1102)
//!  5  replicas whose log dir failed
//!  6  no change on the wire
//!  7  the leader epoch
//! ```

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Which topics to tell of.
    MetadataRequest (request of Metadata, answered by MetadataResponse) {
        /// Null asks for all. In version 0, where nothing may be null, an empty list does.
        topics: Option<Vec<MetadataRequestTopic>>   [0+] null [1+],
        /// Whether the broker may create what is missing, if it is set up to.
        allow_auto_topic_creation: bool             [4+] = true,
        include_cluster_authorized_operations: bool [8-10],
        include_topic_authorized_operations: bool   [8+],
    }

    /// One topic, by id or by name.
    MetadataRequestTopic {
        topic_id: Uuid    [10+] ignorable,
        /// Null if the id says which.
        name: Option<Str> [0+] null [10+],
    }

    /// The cluster as this broker knows it.
    MetadataResponse (response of Metadata) {
        throttle_time_ms: i32              [3+] ignorable,
        brokers: Vec<MetadataResponseBroker>,
        cluster_id: Option<Str>            [2+] ignorable,
        controller_id: i32                 [1+] ignorable = -1,
        topics: Vec<MetadataResponseTopic>,
        /// A bit for each operation that is allowed; `i32::MIN` if not asked.
        cluster_authorized_operations: i32 [8-10] = i32::MIN,
        error_code: ErrorCode              [13+] ignorable,
    }

    /// Where a broker can be reached.
    MetadataResponseBroker {
        node_id: i32,
        host: Str,
        port: i32,
        rack: Option<Str> [1+] ignorable,
    }

    /// One topic, or why there is none.
    MetadataResponseTopic {
        error_code: ErrorCode,
        /// Null if it was asked for by an id that is not known.
        name: Option<Str>                [0+] null [12+],
        topic_id: Uuid                   [10+] ignorable,
        is_internal: bool                [1+] ignorable,
        partitions: Vec<MetadataResponsePartition>,
        /// A bit for each operation that is allowed; `i32::MIN` if not asked.
        topic_authorized_operations: i32 [8+] = i32::MIN,
    }

    /// One partition: its leader and its replicas.
    MetadataResponsePartition {
        error_code: ErrorCode,
        partition_index: i32,
        /// -1 if there is no leader.
        leader_id: i32,
        leader_epoch: i32          [7+] ignorable = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        offline_replicas: Vec<i32> [5+] ignorable,
    }
}
