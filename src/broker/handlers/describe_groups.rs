//! DescribeGroups (key 15): a classic group's state, protocol and members.
//!
//! Versions 0-6 are served.
//!   3  authorized operations (told only with an authorizer)     4  static members     5  flexible     6  an error message
//!
//! Rules
//!   an unknown group   is Dead without an error; from version 6 on GROUP_ID_NOT_FOUND

use std::collections::HashSet;
use std::sync::Arc;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::coordinator::groups::admin::DescribedGroup as Group;
use crate::protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Arc<Broker>,
    context: &Context,
    request: DescribeGroupsRequest,
) -> Outcome<DescribeGroupsResponse> {
    let mut groups = Vec::with_capacity(request.groups.len());
    let mut asked = HashSet::with_capacity(request.groups.len());
    for group_id in request.groups {
        // Told once, where Apache Kafka tells it each time: a reply is far larger than what asks for it.
        if !asked.insert(group_id.clone()) {
            continue;
        }
        groups.push(match broker.look_at_group(&group_id, |shard| shard.describe(&group_id)).await {
            Err(error_code) => DescribedGroup { error_code, group_id, ..Default::default() },
            Ok(group) => describe(group, context.version),
        });
    }
    Outcome::Reply(DescribeGroupsResponse { groups, ..Default::default() })
}

fn describe(group: Group, version: i16) -> DescribedGroup {
    let error_code = if version >= 6 { group.error } else { ErrorCode::NONE };
    let message = || Str::from(format!("there is no group '{}'", group.group_id));
    let members = group.members.iter().map(|member| DescribedGroupMember {
        member_id: Str::from(member.member_id.as_str()),
        group_instance_id: member.group_instance_id.as_deref().map(Str::from),
        client_id: Str::from(member.client_id.as_str()),
        client_host: Str::from(member.client_host.as_str()),
        member_metadata: member.metadata.clone(),
        member_assignment: member.assignment.clone(),
    });
    DescribedGroup {
        error_code,
        error_message: (error_code != ErrorCode::NONE).then(message),
        group_state: Str::from(group.state.name()),
        protocol_type: Str::from(group.protocol_type.as_str()),
        protocol_data: Str::from(group.protocol_name.as_str()),
        members: members.collect(),
        group_id: Str::from(group.group_id.as_str()),
        ..Default::default()
    }
}
