//! JoinGroup (key 11): enters a classic group, or enters it again for a rebalance. The answer waits for all members.
//!
//! Versions 0-9.
//!
//! ```text
//!  1  a rebalance timeout of its own      6  flexible
//!  2  throttle time                       7  protocol type and name in the response
//!  3  no change on the wire               8  the reason why (KIP-800)
//!  4  MEMBER_ID_REQUIRED (KIP-394)        9  a leader may be told to skip the assignment (KIP-814)
//!  5  static members (KIP-345)
//! ```

use bytes::Bytes;

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// A member that wants in.
    JoinGroupRequest (request of JoinGroup, answered by JoinGroupResponse) {
        group_id: Str,
        /// After this long without a heartbeat the member is out, in milliseconds.
        session_timeout_ms: i32,
        /// How long the member may take to rejoin, in milliseconds; -1 means the session timeout.
        rebalance_timeout_ms: i32      [1+] ignorable = -1,
        /// Empty for one that has no id yet.
        member_id: Str,
        /// The name of a static member.
        group_instance_id: Option<Str> [5+],
        /// `consumer` for consumers.
        protocol_type: Str,
        /// The assignors that the member knows, the one it likes best first.
        protocols: Vec<JoinGroupRequestProtocol>,
        reason: Option<Str>            [8+] ignorable,
    }

    /// An assignor and what it needs to know of the member.
    JoinGroupRequestProtocol {
        name: Str,
        metadata: Bytes,
    }

    /// The group's new generation.
    JoinGroupResponse (response of JoinGroup) {
        throttle_time_ms: i32      [2+] ignorable,
        error_code: ErrorCode,
        generation_id: i32         = -1,
        protocol_type: Option<Str> [7+] ignorable,
        protocol_name: Option<Str> [0+] null [7+],
        /// The member that must work out the assignment.
        leader: Str,
        skip_assignment: bool      [9+],
        member_id: Str,
        /// All members; for the leader only.
        members: Vec<JoinGroupResponseMember>,
    }

    /// A member, as the leader needs to know it.
    JoinGroupResponseMember {
        member_id: Str,
        group_instance_id: Option<Str> [5+] ignorable,
        metadata: Bytes,
    }
}
