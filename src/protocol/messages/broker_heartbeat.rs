//! BrokerHeartbeat (key 63): a broker tells the controller that it lives, and learns where it stands.
//!
//! Versions 0-1 (KIP-631, KIP-858), flexible from the start; between brokers and controllers only.

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, message};

message! {
    /// A sign of life.
    BrokerHeartbeatRequest (request of BrokerHeartbeat, answered by BrokerHeartbeatResponse) {
        broker_id: i32,
        broker_epoch: i64 = -1,
        /// Up to which offset it has read the metadata.
        current_metadata_offset: i64,
        want_fence: bool,
        want_shut_down: bool,
        offline_log_dirs: Vec<Uuid> [1+] tag 0,
    }

    /// Where the broker stands.
    BrokerHeartbeatResponse (response of BrokerHeartbeat) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        is_caught_up: bool,
        is_fenced: bool = true,
        should_shut_down: bool,
    }
}
