//! JoinGroup: a member enters the group, or enters it again for a rebalance.
//!
//! Rules
//!   no id yet          a static member gets one and is in (it replaces its predecessor, who is fenced); a dynamic one is
//!                      given an id and told to come again with it (MEMBER_ID_REQUIRED, KIP-394), or is in at once when
//!                      its request is too old to know that
//!   the first member   the group waits group.initial.rebalance.delay.ms for others, again for each that comes, at most
//!                      its rebalance timeout in all
//!   an id we know      joins the rebalance under way; outside one, starts a rebalance if it is the leader or its
//!                      protocols changed, and is otherwise told what it already was
//!   a full group       GROUP_MAX_SIZE_REACHED
//!   another protocol   INCONSISTENT_GROUP_PROTOCOL: nothing that all members could speak
//!
//! The reply waits until all members have joined or the longest rebalance timeout is over; those who did not join are
//! then removed, but for static ones.

use bytes::Bytes;

use super::group::{ClassicGroup, InitialWait, State};
use super::member::{Member, Protocol};
use super::sync::SyncReply;
use super::{Context, NEW_MEMBER_JOIN_TIMEOUT_MS};
use crate::common::ids::Uuid;
use crate::coordinator::records::Record;
use crate::coordinator::step::{After, Replaced, Reply, ReplyToken};
use crate::protocol::ErrorCode;

/// A JoinGroup request.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The group.
    pub group_id: String,
    /// The member's id; empty when it has none yet.
    pub member_id: String,
    /// The name of a static member.
    pub group_instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from (Kafka writes `/127.0.0.1`).
    pub client_host: String,
    /// How long it may stay silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for it, in milliseconds; -1 for the session timeout.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`, ...
    pub protocol_type: String,
    /// The protocols it can speak, the best first.
    pub protocols: Vec<Protocol>,
    /// Why it joins, for the log; the state machine does not look at it.
    pub reason: Option<String>,
    /// A random id that the member gets part of its name from, if it needs one: the state machine itself has no chance.
    pub fresh_id: Uuid,
    /// Whether it understands MEMBER_ID_REQUIRED (version 4 and up).
    pub requires_known_member_id: bool,
    /// Whether it understands `skip_assignment` (version 9 and up).
    pub supports_skipping_assignment: bool,
}

/// What JoinGroup is told.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinReply {
    /// What went wrong.
    pub error: ErrorCode,
    /// The generation; -1 in an error.
    pub generation_id: i32,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The protocol that was chosen.
    pub protocol_name: Option<String>,
    /// The leader's id; empty in an error.
    pub leader: String,
    /// Whether the leader need not assign anew.
    pub skip_assignment: bool,
    /// The member's id.
    pub member_id: String,
    /// All members with their metadata, for the leader only.
    pub members: Vec<JoinedMember>,
}

/// One member, for the leader.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Its name, if it is static.
    pub group_instance_id: Option<String>,
    /// Its metadata under the chosen protocol.
    pub metadata: Bytes,
}

impl JoinReply {
    /// A reply that says what went wrong.
    pub fn error(member_id: &str, error: ErrorCode) -> JoinReply {
        JoinReply {
            error,
            generation_id: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: Vec::new(),
        }
    }
}

/// Whether the group has room for this member.
fn has_room(group: &ClassicGroup, member_id: &str, max_size: usize) -> bool {
    match group.state {
        State::Empty | State::Dead => true,
        // Who is waiting counts, so that a group that is too large sheds the last to join.
        State::PreparingRebalance => {
            group.members.get(member_id).is_some_and(|member| member.awaiting_join.is_some())
                || group.awaiting_join() < max_size
        }
        State::CompletingRebalance | State::Stable => {
            group.members.contains_key(member_id) || group.members.len() < max_size
        }
    }
}

/// Lets a member join a group, which may have been made for it.
pub(in crate::coordinator) fn join(
    group: &mut ClassicGroup,
    cx: &mut Context<'_>,
    token: ReplyToken,
    request: JoinRequest,
) {
    let is_new = request.member_id.is_empty();
    if !has_room(group, &request.member_id, cx.config.max_size) {
        super::rebalance::remove_member(group, cx, &request.member_id);
        cx.reply(token, Reply::Join(JoinReply::error("", ErrorCode::GROUP_MAX_SIZE_REACHED)));
        return super::rebalance::complete_if_all_joined(group, cx);
    }
    if group.state == State::Dead {
        let reply = JoinReply::error(&request.member_id, ErrorCode::COORDINATOR_NOT_AVAILABLE);
        return cx.reply(token, Reply::Join(reply));
    }
    if !group.supports(&request.protocol_type, &request.protocols) {
        let reply = JoinReply::error(&request.member_id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        return cx.reply(token, Reply::Join(reply));
    }
    if is_new { join_new(group, cx, token, request) } else { join_known(group, cx, token, request) }
}

fn join_new(group: &mut ClassicGroup, cx: &mut Context<'_>, token: ReplyToken, request: JoinRequest) {
    let name = request.group_instance_id.as_deref().unwrap_or(&request.client_id);
    let member_id = member_id(name, request.fresh_id);
    let predecessor =
        request.group_instance_id.as_ref().and_then(|instance| group.static_members.get(instance)).cloned();
    if let Some(predecessor) = predecessor {
        return replace_static(group, cx, token, request, &predecessor, member_id);
    }
    if request.group_instance_id.is_none() && request.requires_known_member_id {
        group.pending_join.insert(member_id.clone());
        cx.expect_within(group, &member_id, i64::from(request.session_timeout_ms));
        let reply = JoinReply::error(&member_id, ErrorCode::MEMBER_ID_REQUIRED);
        return cx.reply(token, Reply::Join(reply));
    }
    add_member(group, cx, token, request, member_id);
}

fn join_known(group: &mut ClassicGroup, cx: &mut Context<'_>, token: ReplyToken, request: JoinRequest) {
    let member_id = request.member_id.clone();
    if group.pending_join.contains(&member_id) {
        // An id is only handed out to a dynamic member.
        if request.group_instance_id.is_some() {
            return cx.reply(token, Reply::Join(JoinReply::error(&member_id, ErrorCode::UNKNOWN_MEMBER_ID)));
        }
        return add_member(group, cx, token, request, member_id);
    }
    if let Err(error) = group.check_member(&member_id, request.group_instance_id.as_deref()) {
        return cx.reply(token, Reply::Join(JoinReply::error(&member_id, error)));
    }
    let same_protocols = group.members.get(&member_id).is_some_and(|member| member.protocols == request.protocols);
    match group.state {
        State::PreparingRebalance => rejoin(group, cx, token, request),
        // It may not have got its reply.
        State::CompletingRebalance if same_protocols => {
            let reply = joined(group, &member_id);
            cx.reply(token, Reply::Join(reply));
        }
        // The leader may know of a reason to assign anew that is in nobody's metadata: a topic that grew.
        State::Stable if same_protocols && !group.is_leader(&member_id) => {
            let reply = JoinReply { members: Vec::new(), ..joined(group, &member_id) };
            cx.reply(token, Reply::Join(reply));
        }
        State::CompletingRebalance | State::Stable => rejoin(group, cx, token, request),
        State::Empty | State::Dead => {
            cx.reply(token, Reply::Join(JoinReply::error(&member_id, ErrorCode::UNKNOWN_MEMBER_ID)));
        }
    }
}

fn rejoin(group: &mut ClassicGroup, cx: &mut Context<'_>, token: ReplyToken, request: JoinRequest) {
    update_member(group, cx, token, &request.member_id.clone(), request);
    super::rebalance::prepare_or_complete(group, cx);
}

/// What the member is told once the join phase is over.
pub(super) fn joined(group: &ClassicGroup, member_id: &str) -> JoinReply {
    let protocol = group.protocol_name.as_deref().unwrap_or_default();
    let member = |member: &Member| JoinedMember {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        metadata: member.metadata(protocol),
    };
    JoinReply {
        error: ErrorCode::NONE,
        generation_id: group.generation_id,
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol_name.clone(),
        leader: group.leader_id.clone().unwrap_or_default(),
        skip_assignment: false,
        member_id: member_id.to_owned(),
        members: if group.is_leader(member_id) { group.members.values().map(member).collect() } else { Vec::new() },
    }
}

fn add_member(
    group: &mut ClassicGroup,
    cx: &mut Context<'_>,
    token: ReplyToken,
    request: JoinRequest,
    member_id: String,
) {
    if let Some(wait) = &mut group.initial_wait {
        wait.member_added = true;
    }
    if group.members.is_empty() {
        group.protocol_type = Some(request.protocol_type.clone());
    }
    group.add(Member {
        member_id: member_id.clone(),
        group_instance_id: request.group_instance_id,
        client_id: request.client_id,
        client_host: request.client_host,
        rebalance_timeout_ms: rebalance_timeout(request.rebalance_timeout_ms, request.session_timeout_ms),
        session_timeout_ms: request.session_timeout_ms,
        protocols: request.protocols,
        assignment: Bytes::new(),
        awaiting_join: Some(token),
        awaiting_sync: None,
        is_new: true,
    });
    // It sends no heartbeats while it waits, and if its client is gone nobody tells us: it will ask again if it is not.
    cx.expect_within(group, &member_id, NEW_MEMBER_JOIN_TIMEOUT_MS);
    super::rebalance::prepare_or_complete(group, cx);
}

fn rebalance_timeout(asked: i32, session_timeout_ms: i32) -> i32 {
    if asked < 0 { session_timeout_ms } else { asked }
}

fn update_member(
    group: &mut ClassicGroup,
    cx: &mut Context<'_>,
    token: ReplyToken,
    member_id: &str,
    request: JoinRequest,
) {
    let Some(member) = group.members.get_mut(member_id) else {
        return cx.reply(token, Reply::Join(JoinReply::error(member_id, ErrorCode::UNKNOWN_MEMBER_ID)));
    };
    member.protocols = request.protocols;
    member.rebalance_timeout_ms = rebalance_timeout(request.rebalance_timeout_ms, request.session_timeout_ms);
    member.session_timeout_ms = request.session_timeout_ms;
    let earlier = member.awaiting_join.replace(token);
    // Kafka leaves the earlier request without a reply: its client has gone. We answer, so that nothing is kept for it.
    if let Some(earlier) = earlier {
        cx.reply(earlier, Reply::Join(JoinReply::error(member_id, ErrorCode::REBALANCE_IN_PROGRESS)));
    }
}

/// A static member came back without its id (it restarted): it takes its predecessor's place.
fn replace_static(
    group: &mut ClassicGroup,
    cx: &mut Context<'_>,
    token: ReplyToken,
    request: JoinRequest,
    old_id: &str,
    new_id: String,
) {
    let was_leader = group.leader_id.clone();
    let Some(predecessor) = group.members.remove(old_id) else {
        return cx.reply(token, Reply::Join(JoinReply::error("", ErrorCode::UNKNOWN_MEMBER_ID)));
    };
    // A twin that still waits must not go on as if it were the member.
    if let Some(waiting) = predecessor.awaiting_join {
        cx.reply(waiting, Reply::Join(JoinReply::error(old_id, ErrorCode::FENCED_INSTANCE_ID)));
    }
    if let Some(waiting) = predecessor.awaiting_sync {
        cx.reply(waiting, Reply::Sync(SyncReply::error(ErrorCode::FENCED_INSTANCE_ID)));
    }
    cx.forget_session(group, old_id);
    group.pending_sync.remove(old_id);
    let predecessor = Member { awaiting_join: None, awaiting_sync: None, ..predecessor };
    let successor = Member { member_id: new_id.clone(), is_new: false, ..predecessor.clone() };
    group.members.insert(new_id.clone(), successor);
    if let Some(instance) = &request.group_instance_id {
        group.static_members.insert(instance.clone(), new_id.clone());
    }
    if was_leader.as_deref() == Some(old_id) {
        group.leader_id = Some(new_id.clone());
    }
    let supports_skipping = request.supports_skipping_assignment;
    update_member(group, cx, token, &new_id, request);
    cx.expect_heartbeat(group, &new_id);
    match group.state {
        State::Stable if group.protocol_name == group.select_protocol() => {
            let record = Record::group(&group.group_id, group.snapshot(None));
            if let Some(member) = group.members.get_mut(&new_id) {
                member.awaiting_join = None;
            }
            let mut success = joined(group, &new_id);
            if supports_skipping {
                success.skip_assignment = group.is_leader(&new_id);
            } else {
                // A leader that cannot be told to skip the assignment is told that another leads, so that it does.
                success.leader = was_leader.clone().unwrap_or_default();
                success.members = Vec::new();
            }
            let replaced =
                Replaced { group_id: group.group_id.clone(), new_member_id: new_id, predecessor, was_leader, success };
            cx.write(vec![record], After::Replaced(token, Box::new(replaced)));
        }
        State::Stable => super::rebalance::prepare_or_complete(group, cx),
        // The leader may be assigning to the old id just now.
        State::CompletingRebalance => super::rebalance::prepare(group, cx),
        State::PreparingRebalance | State::Empty | State::Dead => super::rebalance::complete_if_all_joined(group, cx),
    }
}

/// What came of the write that made a replacement last.
pub(in crate::coordinator) fn replaced(
    group: Option<&mut ClassicGroup>,
    cx: &mut Context<'_>,
    token: ReplyToken,
    replaced: Replaced,
    result: Result<(), ErrorCode>,
) {
    let Err(error) = result else {
        return cx.reply(token, Reply::Join(replaced.success));
    };
    if let Some(group) = group
        && group.members.remove(&replaced.new_member_id).is_some()
    {
        cx.forget_session(group, &replaced.new_member_id);
        let old_id = replaced.predecessor.member_id.clone();
        if let Some(instance) = &replaced.predecessor.group_instance_id {
            group.static_members.insert(instance.clone(), old_id.clone());
        }
        if group.is_leader(&replaced.new_member_id) {
            group.leader_id = replaced.was_leader.clone();
        }
        group.members.insert(old_id.clone(), replaced.predecessor);
        cx.expect_heartbeat(group, &old_id);
    }
    let mut reply = JoinReply::error("", crate::coordinator::step::write_error(error));
    reply.generation_id = replaced.success.generation_id;
    reply.protocol_type = replaced.success.protocol_type;
    reply.protocol_name = replaced.success.protocol_name;
    reply.leader = replaced.was_leader.unwrap_or_default();
    cx.reply(token, Reply::Join(reply));
}

/// Starts the wait of a first rebalance for more members.
pub(super) fn begin_initial_wait(group: &mut ClassicGroup, cx: &mut Context<'_>) {
    let delay_ms = cx.config.initial_rebalance_delay_ms;
    let remaining_ms = (group.rebalance_timeout_ms() - delay_ms).max(0);
    group.initial_wait = Some(InitialWait { delay_ms, remaining_ms, member_added: false });
    cx.timers.set(super::join_key(group), cx.now.saturating_add(delay_ms));
}

/// A member's id: its name or its client's, and a random id as Java writes it (8-4-4-4-12 hexadecimal digits).
pub(in crate::coordinator) fn member_id(name: &str, id: Uuid) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(id.0));
    format!("{name}-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
