//! LeaveGroup (key 13): members leave a classic group.
//!
//! Versions 0-5.
//!
//! ```text
//!  1  throttle time           3  several members at once, static ones too (KIP-345)
//!  2  no change on the wire   4  flexible                  5  the reason why (KIP-800)
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Who leaves: one, or from version 3 any number.
    LeaveGroupRequest (request of LeaveGroup, answered by LeaveGroupResponse) {
        group_id: Str,
        member_id: Str               [0-2],
        members: Vec<MemberIdentity> [3+],
    }

    /// A member that leaves, by its id or by the name of a static member.
    MemberIdentity {
        member_id: Str,
        group_instance_id: Option<Str>,
        reason: Option<Str> [5+] ignorable,
    }

    /// What became of it.
    LeaveGroupResponse (response of LeaveGroup) {
        throttle_time_ms: i32        [1+] ignorable,
        error_code: ErrorCode,
        members: Vec<MemberResponse> [3+],
    }

    /// What became of one member.
    MemberResponse {
        member_id: Str,
        group_instance_id: Option<Str>,
        error_code: ErrorCode,
    }
}
