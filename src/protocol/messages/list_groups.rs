//! ListGroups (key 16): the groups that this broker coordinates.
//!
//! Versions 0-5.
//!
//! ```text
//!  1  throttle time           3  flexible                        5  by type, with the type (KIP-848)
//!  2  no change on the wire   4  by state, with the state (KIP-518)
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Which groups to list.
    ListGroupsRequest (request of ListGroups, answered by ListGroupsResponse) {
        /// The states; empty for all.
        states_filter: Vec<Str> [4+],
        /// The types (`classic`, `consumer`, ...); empty for all.
        types_filter: Vec<Str>  [5+],
    }

    /// The groups.
    ListGroupsResponse (response of ListGroups) {
        throttle_time_ms: i32 [1+] ignorable,
        error_code: ErrorCode,
        groups: Vec<ListedGroup>,
    }

    /// One group.
    ListedGroup {
        group_id: Str,
        protocol_type: Str,
        group_state: Str [4+] ignorable,
        group_type: Str  [5+] ignorable,
    }
}
