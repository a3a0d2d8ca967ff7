//! DeleteGroups (key 42): deletes groups that have no members, with their offsets.
//!
//! Versions 0-2; 1 changed nothing on the wire, 2 is flexible.

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The groups to delete.
    DeleteGroupsRequest (request of DeleteGroups, answered by DeleteGroupsResponse) {
        groups_names: Vec<Str>,
    }

    /// What became of each.
    DeleteGroupsResponse (response of DeleteGroups) {
        throttle_time_ms: i32,
        results: Vec<DeletableGroupResult>,
    }

    /// What became of one group.
    DeletableGroupResult {
        group_id: Str,
        error_code: ErrorCode,
    }
}
