//! Heartbeat (key 12): keeps a member of a classic group alive, and tells it of a rebalance.
//!
//! Versions 0-4.
//!
//! ```text
//!  1  throttle time           3  static members (KIP-345)
//!  2  no change on the wire   4  flexible
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// A member that is alive.
    HeartbeatRequest (request of Heartbeat, answered by HeartbeatResponse) {
        group_id: Str,
        generation_id: i32,
        member_id: Str,
        group_instance_id: Option<Str> [3+],
    }

    /// REBALANCE_IN_PROGRESS asks it to join again.
    HeartbeatResponse (response of Heartbeat) {
        throttle_time_ms: i32 [1+] ignorable,
        error_code: ErrorCode,
    }
}
