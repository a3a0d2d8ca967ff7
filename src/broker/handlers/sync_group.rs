//! SyncGroup (key 14): the leader hands in the assignment, and every member gets its own.
//!
//! Versions 0-5 are served.
//!   3  static members     4  flexible     5  protocol type and name, to be compared
//!
//! The rules are the coordinator's: `coordinator/groups/classic/sync.rs`.

use std::sync::Arc;

use bytes::Bytes;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::coordinator::Reply;
use crate::coordinator::groups::classic::sync::{SyncReply, SyncRequest};
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Arc<Broker>,
    context: &Context,
    request: SyncGroupRequest,
) -> Outcome<SyncGroupResponse> {
    let group_id = request.group_id.to_string();
    // From version 5 on the protocol must be named.
    if context.version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        let error_code = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
        return Outcome::Reply(SyncGroupResponse { error_code, ..Default::default() });
    }
    let sync = SyncRequest {
        group_id: group_id.clone(),
        generation_id: request.generation_id,
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.map(String::from),
        protocol_type: request.protocol_type.map(String::from),
        protocol_name: request.protocol_name.map(String::from),
        // Kept as long as the generation: a slice would keep the whole frame.
        assignments: request
            .assignments
            .into_iter()
            .map(|one| (one.member_id.to_string(), Bytes::copy_from_slice(&one.assignment)))
            .collect(),
    };
    let reply = match broker.ask_group(&group_id, |shard, token, now| shard.sync(token, sync, now)).await {
        Ok(Reply::Sync(reply)) => reply,
        Ok(_) => SyncReply::error(ErrorCode::UNKNOWN_SERVER_ERROR),
        Err(code) => SyncReply::error(code),
    };
    Outcome::Reply(SyncGroupResponse {
        error_code: reply.error,
        protocol_type: reply.protocol_type.map(Str::from),
        protocol_name: reply.protocol_name.map(Str::from),
        assignment: reply.assignment,
        ..Default::default()
    })
}
