//! What an administrator asks of groups: describe, list, delete.

use bytes::Bytes;

use super::classic::group::{ClassicGroup, State};
use crate::protocol::ErrorCode;

/// A group as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedGroup {
    /// GROUP_ID_NOT_FOUND when there is none (which the API says only from version 6 on).
    pub error: ErrorCode,
    /// Its id.
    pub group_id: String,
    /// Where it stands; Dead when there is none.
    pub state: State,
    /// Its protocol type; empty when it never had members.
    pub protocol_type: String,
    /// The protocol it chose; empty unless it is stable.
    pub protocol_name: String,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: String,
    /// Its name, if it is static.
    pub group_instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// Its metadata under the chosen protocol; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// A group as ListGroups shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedGroup {
    /// Its id.
    pub group_id: String,
    /// Its protocol type; empty when it never had members.
    pub protocol_type: String,
    /// Where it stands.
    pub state: State,
    /// Its kind: `classic`.
    pub group_type: &'static str,
}

/// What DeleteGroups is told of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct DeletedGroup {
    /// Its id.
    pub group_id: String,
    /// What went wrong.
    pub error: ErrorCode,
}

/// A group, or that there is none.
pub(in crate::coordinator) fn describe(group_id: &str, group: Option<&ClassicGroup>) -> DescribedGroup {
    let Some(group) = group else {
        return DescribedGroup {
            error: ErrorCode::GROUP_ID_NOT_FOUND,
            group_id: group_id.to_owned(),
            state: State::Dead,
            protocol_type: String::new(),
            protocol_name: String::new(),
            members: Vec::new(),
        };
    };
    let protocol = group.protocol_name().filter(|_| group.state() == State::Stable);
    let members = group.members().values().map(|member| DescribedMember {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: protocol.map(|name| member.metadata(name)).unwrap_or_default(),
        assignment: member.assignment.clone(),
    });
    DescribedGroup {
        error: ErrorCode::NONE,
        group_id: group_id.to_owned(),
        state: group.state(),
        protocol_type: group.protocol_type().unwrap_or_default().to_owned(),
        protocol_name: protocol.unwrap_or_default().to_owned(),
        members: members.collect(),
    }
}

/// The group in a list, if it passes the filters (words in any case; an empty filter lets all pass).
pub(in crate::coordinator) fn list(group: &ClassicGroup, states: &[String], types: &[String]) -> Option<ListedGroup> {
    let passes =
        |filter: &[String], word: &str| filter.is_empty() || filter.iter().any(|w| w.trim().eq_ignore_ascii_case(word));
    (passes(states, group.state().name()) && passes(types, "classic")).then(|| ListedGroup {
        group_id: group.group_id.clone(),
        protocol_type: group.protocol_type().unwrap_or_default().to_owned(),
        state: group.state(),
        group_type: "classic",
    })
}

/// Why a group cannot be deleted.
pub(in crate::coordinator) fn check_delete(group: Option<&ClassicGroup>) -> ErrorCode {
    match group.map(ClassicGroup::state) {
        None | Some(State::Dead) => ErrorCode::GROUP_ID_NOT_FOUND,
        Some(State::Empty) => ErrorCode::NONE,
        Some(_) => ErrorCode::NON_EMPTY_GROUP,
    }
}
