//! SyncGroup (key 14): the leader of a classic group hands in the assignment, each member takes its own.
//!
//! Versions 0-5.
//!
//! ```text
//!  1  throttle time           3  static members (KIP-345)   5  protocol type and name, to be checked (KIP-559)
//!  2  no change on the wire   4  flexible
//! ```

use bytes::Bytes;

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// A member that waits for its assignment.
    SyncGroupRequest (request of SyncGroup, answered by SyncGroupResponse) {
        group_id: Str,
        generation_id: i32,
        member_id: Str,
        group_instance_id: Option<Str> [3+],
        protocol_type: Option<Str>     [5+] ignorable,
        protocol_name: Option<Str>     [5+] ignorable,
        /// From the leader only.
        assignments: Vec<SyncGroupRequestAssignment>,
    }

    /// What the leader gives to one member.
    SyncGroupRequestAssignment {
        member_id: Str,
        assignment: Bytes,
    }

    /// The member's assignment.
    SyncGroupResponse (response of SyncGroup) {
        throttle_time_ms: i32      [1+] ignorable,
        error_code: ErrorCode,
        protocol_type: Option<Str> [5+] ignorable,
        protocol_name: Option<Str> [5+] ignorable,
        assignment: Bytes,
    }
}
