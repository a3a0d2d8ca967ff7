//! DescribeGroups (key 15): the state and the members of classic groups.
//!
//! Versions 0-6.
//!
//! ```text
//!  1  throttle time                             4  static members (KIP-345)
//!  2  no change on the wire                     5  flexible
//!  3  what the client is allowed (KIP-430)      6  an error's text; GROUP_ID_NOT_FOUND (KIP-1043)
//! ```

use bytes::Bytes;

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The groups asked for.
    DescribeGroupsRequest (request of DescribeGroups, answered by DescribeGroupsResponse) {
        groups: Vec<Str>,
        include_authorized_operations: bool [3+],
    }

    /// Each group.
    DescribeGroupsResponse (response of DescribeGroups) {
        throttle_time_ms: i32 [1+] ignorable,
        groups: Vec<DescribedGroup>,
    }

    /// One group.
    DescribedGroup {
        error_code: ErrorCode,
        /// Why there is nothing to tell.
        error_message: Option<Str> [6+],
        group_id: Str,
        /// Kafka's name of it: PreparingRebalance, CompletingRebalance, Stable, Dead, Empty.
        group_state: Str,
        protocol_type: Str,
        /// The assignor that the members agreed on.
        protocol_data: Str,
        members: Vec<DescribedGroupMember>,
        /// A bit for each operation that is allowed; `i32::MIN` if not asked.
        authorized_operations: i32 [3+] = i32::MIN,
    }

    /// One member.
    DescribedGroupMember {
        member_id: Str,
        group_instance_id: Option<Str> [4+] ignorable,
        client_id: Str,
        client_host: Str,
        member_metadata: Bytes,
        member_assignment: Bytes,
    }
}
