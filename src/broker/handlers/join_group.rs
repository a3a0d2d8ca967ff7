//! JoinGroup (key 11): a member enters its group, and waits until all have.
//!
//! Versions 0-9 are served.
//!   1  rebalance timeout     4  a member id must be fetched first (KIP-394)     5  static members     6  flexible
//!   7  protocol type         8  a reason                                        9  skip_assignment for the leader
//!
//! The rules are the coordinator's: `coordinator/groups/classic/join.rs`.

use std::sync::Arc;

use bytes::Bytes;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::common::ids::Uuid;
use crate::coordinator::Reply;
use crate::coordinator::groups::classic::join::{JoinReply, JoinRequest};
use crate::coordinator::groups::classic::member::Protocol;
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Arc<Broker>,
    context: &Context,
    request: JoinGroupRequest,
) -> Outcome<JoinGroupResponse> {
    let group_id = request.group_id.to_string();
    let member_id = request.member_id.to_string();
    let protocol = |protocol: crate::protocol::messages::join_group::JoinGroupRequestProtocol| Protocol {
        name: protocol.name.to_string(),
        // Kept as long as the member: a slice would keep the whole frame.
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    };
    let join = JoinRequest {
        group_id: group_id.clone(),
        member_id: member_id.clone(),
        group_instance_id: request.group_instance_id.map(String::from),
        client_id: context.client_id(),
        client_host: context.client_host(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.into_iter().map(protocol).collect(),
        reason: request.reason.map(String::from),
        fresh_id: Uuid::random(),
        requires_known_member_id: context.version >= 4,
        supports_skipping_assignment: context.version >= 9,
    };
    let reply = match broker.ask_group(&group_id, |shard, token, now| shard.join(token, join, now)).await {
        Ok(Reply::Join(reply)) => reply,
        Ok(_) => JoinReply::error(&member_id, ErrorCode::UNKNOWN_SERVER_ERROR),
        Err(code) => JoinReply::error(&member_id, code),
    };
    // Before version 7 there is no null to tell.
    let protocol_name = match (reply.protocol_name, context.version) {
        (None, ..7) => Some(Str::default()),
        (name, _) => name.map(Str::from),
    };
    Outcome::Reply(JoinGroupResponse {
        error_code: reply.error,
        generation_id: reply.generation_id,
        protocol_type: reply.protocol_type.map(Str::from),
        protocol_name,
        leader: Str::from(reply.leader),
        skip_assignment: reply.skip_assignment,
        member_id: Str::from(reply.member_id),
        members: reply
            .members
            .into_iter()
            .map(|member| JoinGroupResponseMember {
                member_id: Str::from(member.member_id),
                group_instance_id: member.group_instance_id.map(Str::from),
                metadata: member.metadata,
            })
            .collect(),
        ..Default::default()
    })
}
