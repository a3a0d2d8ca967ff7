//! SyncGroup: the leader brings the assignment, everybody else fetches theirs.
//!
//! Rules
//!   joining            REBALANCE_IN_PROGRESS: join again
//!   CompletingRebalance  waits; the leader's request is written to the log, and then all who wait are answered
//!   Stable             answered at once
//!   a failed write     all who wait are told so, and the group rebalances
//!   protocol type and name, where a request brings them, must be the group's (INCONSISTENT_GROUP_PROTOCOL)
//!
//! Members that do not send SyncGroup within the rebalance timeout are removed.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::group::{ClassicGroup, State};
use super::{Context, sync_key};
use crate::coordinator::records::Record;
use crate::coordinator::step::{After, Reply, ReplyToken, write_error};
use crate::protocol::ErrorCode;

/// A SyncGroup request.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// The group.
    pub group_id: String,
    /// The generation that the member joined.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// Its name, if it is static.
    pub group_instance_id: Option<String>,
    /// The protocol type it takes the group to have (version 5 and up).
    pub protocol_type: Option<String>,
    /// The protocol it takes the group to have (version 5 and up).
    pub protocol_name: Option<String>,
    /// Each member's assignment; the leader's request only.
    pub assignments: Vec<(String, Bytes)>,
}

/// What SyncGroup is told.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncReply {
    /// What went wrong.
    pub error: ErrorCode,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The protocol that was chosen.
    pub protocol_name: Option<String>,
    /// The member's assignment.
    pub assignment: Bytes,
}

impl SyncReply {
    /// A reply that says what went wrong.
    pub fn error(error: ErrorCode) -> SyncReply {
        SyncReply { error, protocol_type: None, protocol_name: None, assignment: Bytes::new() }
    }
}

fn check(group: &ClassicGroup, request: &SyncRequest) -> Result<(), ErrorCode> {
    if group.state == State::Dead {
        return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    }
    group.check_member(&request.member_id, request.group_instance_id.as_deref())?;
    if request.generation_id != group.generation_id {
        return Err(ErrorCode::ILLEGAL_GENERATION);
    }
    let differs = |asked: &Option<String>, is: &Option<String>| asked.is_some() && is.is_some() && asked != is;
    if differs(&request.protocol_type, &group.protocol_type) || differs(&request.protocol_name, &group.protocol_name) {
        return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    Ok(())
}

/// Takes a SyncGroup request.
pub(in crate::coordinator) fn sync(
    group: &mut ClassicGroup,
    cx: &mut Context<'_>,
    token: ReplyToken,
    request: SyncRequest,
) {
    let checked = match group.state {
        State::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        _ => check(group, &request),
    };
    if let Err(error) = checked {
        return cx.reply(token, Reply::Sync(SyncReply::error(error)));
    }
    match group.state {
        State::CompletingRebalance => {
            forget_pending_sync(group, cx, &request.member_id);
            let earlier =
                group.members.get_mut(&request.member_id).and_then(|member| member.awaiting_sync.replace(token));
            // As with JoinGroup: the earlier request's client has gone, but nothing is kept for it.
            if let Some(earlier) = earlier {
                cx.reply(earlier, Reply::Sync(SyncReply::error(ErrorCode::REBALANCE_IN_PROGRESS)));
            }
            if group.is_leader(&request.member_id) {
                let assignments: BTreeMap<String, Bytes> = request.assignments.into_iter().collect();
                let record = Record::group(&group.group_id, group.snapshot(Some(&assignments)));
                let (group_id, generation_id) = (group.group_id.clone(), group.generation_id);
                cx.write(vec![record], After::Assigned { group_id, generation_id, assignments });
            }
        }
        State::Stable => {
            forget_pending_sync(group, cx, &request.member_id);
            let assignment = group.members.get(&request.member_id).map(|member| member.assignment.clone());
            cx.reply(token, Reply::Sync(assigned(group, assignment.unwrap_or_default())));
        }
        State::PreparingRebalance | State::Empty | State::Dead => {
            cx.reply(token, Reply::Sync(SyncReply::error(ErrorCode::REBALANCE_IN_PROGRESS)));
        }
    }
}

fn forget_pending_sync(group: &mut ClassicGroup, cx: &mut Context<'_>, member_id: &str) {
    group.pending_sync.remove(member_id);
    if group.pending_sync.is_empty() {
        cx.timers.cancel(&sync_key(group));
    }
}

fn assigned(group: &ClassicGroup, assignment: Bytes) -> SyncReply {
    SyncReply {
        error: ErrorCode::NONE,
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol_name.clone(),
        assignment,
    }
}

/// What came of the write of an assignment. It counts only if the group has not moved on meanwhile.
pub(in crate::coordinator) fn written(
    group: &mut ClassicGroup,
    cx: &mut Context<'_>,
    generation_id: i32,
    assignments: &BTreeMap<String, Bytes>,
    result: Result<(), ErrorCode>,
) {
    if group.state != State::CompletingRebalance || group.generation_id != generation_id {
        return;
    }
    match result {
        Ok(()) => {
            hand_out(group, cx, assignments, ErrorCode::NONE);
            group.transition(State::Stable, cx.now);
        }
        Err(error) => {
            hand_out(group, cx, &BTreeMap::new(), write_error(error));
            super::rebalance::prepare(group, cx);
        }
    }
}

/// Gives each member its assignment, or none, and answers those who wait.
pub(super) fn hand_out(
    group: &mut ClassicGroup,
    cx: &mut Context<'_>,
    assignments: &BTreeMap<String, Bytes>,
    error: ErrorCode,
) {
    let ids: Vec<String> = group.members.keys().cloned().collect();
    for member_id in ids {
        let assignment = assignments.get(&member_id).cloned().unwrap_or_default();
        let reply = match error {
            ErrorCode::NONE => assigned(group, assignment.clone()),
            error => SyncReply::error(error),
        };
        let Some(member) = group.members.get_mut(&member_id) else { continue };
        member.assignment = assignment;
        if let Some(token) = member.awaiting_sync.take() {
            cx.reply(token, Reply::Sync(reply));
            // Its session may have ended while it waited for us; from now on it counts again.
            cx.expect_heartbeat(group, &member_id);
        }
    }
}
