//! DeleteGroups (key 42): takes groups and their offsets away, if they have no members.
//!
//! Versions 0-2 are served; 2 is flexible.
//!
//! Rules
//!   NON_EMPTY_GROUP with members, GROUP_ID_NOT_FOUND without the group

use std::sync::Arc;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::coordinator::Reply;
use crate::protocol::ErrorCode;
use crate::protocol::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

pub(super) async fn handle(
    broker: &Arc<Broker>,
    _context: &Context,
    request: DeleteGroupsRequest,
) -> Outcome<DeleteGroupsResponse> {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let ids = [group_id.to_string()];
        let error_code = match broker.ask_group(&group_id, |shard, token, _| shard.delete_groups(token, &ids)).await {
            Ok(Reply::DeleteGroups(groups)) => groups.first().map_or(ErrorCode::NONE, |group| group.error),
            Ok(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
            Err(code) => code,
        };
        results.push(DeletableGroupResult { group_id, error_code });
    }
    Outcome::Reply(DeleteGroupsResponse { results, ..Default::default() })
}
