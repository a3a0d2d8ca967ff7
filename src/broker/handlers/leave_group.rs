//! LeaveGroup (key 13): members go, and the rest rebalance at once.
//!
//! Versions 0-5 are served.
//!   3  several members in one request     4  flexible     5  a reason
//!
//! The rules are the coordinator's: `coordinator/groups/classic/leave.rs`.

use std::sync::Arc;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::coordinator::Reply;
use crate::coordinator::groups::classic::leave::{LeaveReply, LeaveRequest, LeavingMember};
use crate::protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Arc<Broker>,
    context: &Context,
    request: LeaveGroupRequest,
) -> Outcome<LeaveGroupResponse> {
    let group_id = request.group_id.to_string();
    let leaving = |member: MemberIdentity| LeavingMember {
        member_id: member.member_id.to_string(),
        group_instance_id: member.group_instance_id.map(String::from),
        reason: member.reason.map(String::from),
    };
    let one = || MemberIdentity { member_id: request.member_id.clone(), ..Default::default() };
    let members = if context.version >= 3 { request.members } else { vec![one()] };
    let leave = LeaveRequest { group_id: group_id.clone(), members: members.into_iter().map(leaving).collect() };
    let reply = match broker.ask_group(&group_id, |shard, token, now| shard.leave(token, leave, now)).await {
        Ok(Reply::Leave(reply)) => reply,
        Ok(_) => LeaveReply { error: ErrorCode::UNKNOWN_SERVER_ERROR, members: Vec::new() },
        Err(error) => LeaveReply { error, members: Vec::new() },
    };
    if context.version < 3 {
        // One member's error is the whole reply's.
        let error_code = reply.members.first().map_or(reply.error, |member| member.error);
        return Outcome::Reply(LeaveGroupResponse { error_code, ..Default::default() });
    }
    let left = reply.members.into_iter().map(|member| MemberResponse {
        member_id: Str::from(member.member_id),
        group_instance_id: member.group_instance_id.map(Str::from),
        error_code: member.error,
    });
    Outcome::Reply(LeaveGroupResponse { error_code: reply.error, members: left.collect(), ..Default::default() })
}
