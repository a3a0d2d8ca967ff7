//! ListGroups (key 16): every group that this broker keeps.
//!
//! Versions 0-5 are served.
//!   3  flexible     4  by state     5  by type

use std::sync::Arc;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::Str;
use crate::protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

pub(super) async fn handle(
    broker: &Arc<Broker>,
    _context: &Context,
    request: ListGroupsRequest,
) -> Outcome<ListGroupsResponse> {
    let words = |words: Vec<Str>| words.into_iter().map(String::from).collect::<Vec<_>>();
    let (states, types) = (words(request.states_filter), words(request.types_filter));
    let shards = match broker.all_shards().await {
        Ok(shards) => shards,
        Err(error_code) => return Outcome::Reply(ListGroupsResponse { error_code, ..Default::default() }),
    };
    let mut groups = Vec::new();
    for shard in shards {
        groups.extend(shard.look(|shard| shard.list(&states, &types)).into_iter().map(|group| ListedGroup {
            group_id: Str::from(group.group_id),
            protocol_type: Str::from(group.protocol_type),
            group_state: Str::from(group.state.name()),
            group_type: Str::from(group.group_type),
        }));
    }
    Outcome::Reply(ListGroupsResponse { groups, ..Default::default() })
}
