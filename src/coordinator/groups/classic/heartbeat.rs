//! Heartbeat: a member lives. It is told when the group rebalances.

use super::Context;
use super::group::{ClassicGroup, State};
use crate::protocol::ErrorCode;

/// A Heartbeat request.
#[derive(Debug, Clone)]
pub struct HeartbeatRequest {
    /// The group.
    pub group_id: String,
    /// The generation that the member is in.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// Its name, if it is static.
    pub group_instance_id: Option<String>,
}

/// What the member is told.
pub(in crate::coordinator) fn heartbeat(
    group: &ClassicGroup,
    cx: &mut Context<'_>,
    request: &HeartbeatRequest,
) -> ErrorCode {
    if group.state == State::Dead {
        return ErrorCode::COORDINATOR_NOT_AVAILABLE;
    }
    if let Err(error) = group.check_member(&request.member_id, request.group_instance_id.as_deref()) {
        return error;
    }
    if request.generation_id != group.generation_id {
        return ErrorCode::ILLEGAL_GENERATION;
    }
    match group.state {
        State::Empty | State::Dead => ErrorCode::UNKNOWN_MEMBER_ID,
        State::PreparingRebalance => {
            cx.expect_heartbeat(group, &request.member_id);
            ErrorCode::REBALANCE_IN_PROGRESS
        }
        State::CompletingRebalance | State::Stable => {
            cx.expect_heartbeat(group, &request.member_id);
            ErrorCode::NONE
        }
    }
}
