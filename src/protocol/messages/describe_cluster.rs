//! DescribeCluster (key 60): the cluster's id, its controller and its brokers.
//!
//! Versions 0-2, flexible from the start.
//!
//! ```text
//!  1  brokers or controllers (KIP-919)     2  fenced brokers too (KIP-1073)
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Asks for the cluster.
    DescribeClusterRequest (request of DescribeCluster, answered by DescribeClusterResponse) {
        include_cluster_authorized_operations: bool,
        /// 1 brokers, 2 controllers.
        endpoint_type: i8            [1+] = 1,
        include_fenced_brokers: bool [2+],
    }

    /// The cluster.
    DescribeClusterResponse (response of DescribeCluster) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Str>,
        /// 1 brokers, 2 controllers.
        endpoint_type: i8                  [1+] = 1,
        cluster_id: Str,
        controller_id: i32                 = -1,
        brokers: Vec<DescribeClusterBroker>,
        /// A bit for each operation that is allowed; `i32::MIN` if not asked.
        cluster_authorized_operations: i32 = i32::MIN,
    }

    /// Where a broker can be reached.
    DescribeClusterBroker {
        broker_id: i32,
        host: Str,
        port: i32,
        rack: Option<Str>,
        is_fenced: bool [2+],
    }
}
