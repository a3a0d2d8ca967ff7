//! LeaveGroup: members leave, by themselves or at an administrator's word (static ones, by name alone).

use super::Context;
use super::group::{ClassicGroup, State};
use super::rebalance::{complete_if_all_joined, prepare, remove_member};
use crate::coordinator::step::{Reply, ReplyToken};
use crate::protocol::ErrorCode;

/// A LeaveGroup request.
#[derive(Debug, Clone)]
pub struct LeaveRequest {
    /// The group.
    pub group_id: String,
    /// Who leaves; one, before version 3.
    pub members: Vec<LeavingMember>,
}

/// One who leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct LeavingMember {
    /// Its id; empty for a static member that is named by its name alone.
    pub member_id: String,
    /// Its name, if it is static.
    pub group_instance_id: Option<String>,
    /// Why it leaves, for the log.
    pub reason: Option<String>,
}

/// What LeaveGroup is told.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaveReply {
    /// What went wrong with the request as a whole.
    pub error: ErrorCode,
    /// Each who was to leave, in the request's order.
    pub members: Vec<LeftMember>,
}

/// One who was to leave.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftMember {
    /// Its id, as it was given.
    pub member_id: String,
    /// Its name, as it was given.
    pub group_instance_id: Option<String>,
    /// What went wrong.
    pub error: ErrorCode,
}

impl LeaveReply {
    /// A reply that says the same of all.
    pub(in crate::coordinator) fn all(members: Vec<LeavingMember>, error: ErrorCode) -> LeaveReply {
        let left = |member: LeavingMember| LeftMember {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            error,
        };
        LeaveReply { error: ErrorCode::NONE, members: members.into_iter().map(left).collect() }
    }
}

/// Takes a LeaveGroup request.
pub(in crate::coordinator) fn leave(
    group: &mut ClassicGroup,
    cx: &mut Context<'_>,
    token: ReplyToken,
    request: LeaveRequest,
) {
    if group.state == State::Dead {
        let reply = LeaveReply { error: ErrorCode::COORDINATOR_NOT_AVAILABLE, members: Vec::new() };
        return cx.reply(token, Reply::Leave(reply));
    }
    let mut members = Vec::with_capacity(request.members.len());
    for member in request.members {
        let error = match leave_one(group, cx, &member) {
            Ok(()) => ErrorCode::NONE,
            Err(error) => error,
        };
        members.push(LeftMember { member_id: member.member_id, group_instance_id: member.group_instance_id, error });
    }
    let somebody_left = members.iter().any(|member| member.error == ErrorCode::NONE);
    cx.reply(token, Reply::Leave(LeaveReply { error: ErrorCode::NONE, members }));
    if somebody_left {
        match group.state {
            State::Stable | State::CompletingRebalance => prepare(group, cx),
            State::PreparingRebalance => complete_if_all_joined(group, cx),
            State::Empty | State::Dead => {}
        }
    }
}

fn leave_one(group: &mut ClassicGroup, cx: &mut Context<'_>, member: &LeavingMember) -> Result<(), ErrorCode> {
    let instance = member.group_instance_id.as_deref();
    if member.member_id.is_empty() {
        let member_id = instance.and_then(|instance| group.static_members.get(instance)).cloned();
        remove_member(group, cx, &member_id.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?);
        return Ok(());
    }
    if !group.pending_join.contains(&member.member_id) {
        group.check_member(&member.member_id, instance)?;
    }
    remove_member(group, cx, &member.member_id);
    Ok(())
}
