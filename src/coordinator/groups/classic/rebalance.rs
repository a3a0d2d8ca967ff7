//! The phases of a rebalance: it begins, it ends with a new generation, and members fail at any moment of it.

use std::collections::BTreeMap;

use super::group::{ClassicGroup, State};
use super::join::{JoinReply, begin_initial_wait, joined};
use super::member::Member;
use super::sync::{SyncReply, hand_out};
use super::{Context, join_key, sync_key};
use crate::coordinator::records::Record;
use crate::coordinator::step::{After, Reply};
use crate::protocol::ErrorCode;

/// Begins a rebalance if none is under way; else ends the join phase if that was the last member.
pub(super) fn prepare_or_complete(group: &mut ClassicGroup, cx: &mut Context<'_>) {
    if group.can_rebalance() { prepare(group, cx) } else { complete_if_all_joined(group, cx) }
}

/// Begins a rebalance.
pub(in crate::coordinator) fn prepare(group: &mut ClassicGroup, cx: &mut Context<'_>) {
    if group.state == State::CompletingRebalance {
        // The assignment that they wait for will never come.
        hand_out(group, cx, &BTreeMap::new(), ErrorCode::REBALANCE_IN_PROGRESS);
    }
    group.pending_sync.clear();
    cx.timers.cancel(&sync_key(group));
    let is_first = group.state == State::Empty;
    group.transition(State::PreparingRebalance, cx.now);
    if is_first {
        begin_initial_wait(group, cx);
    } else if group.has_all_joined() {
        complete(group, cx);
    } else {
        await_joins(group, cx);
    }
}

fn await_joins(group: &ClassicGroup, cx: &mut Context<'_>) {
    cx.timers.set(join_key(group), cx.now.saturating_add(group.rebalance_timeout_ms()));
}

/// Ends the join phase if everybody has joined; the first of an empty group always lasts its time.
pub(super) fn complete_if_all_joined(group: &mut ClassicGroup, cx: &mut Context<'_>) {
    if group.state == State::PreparingRebalance && group.initial_wait.is_none() && group.has_all_joined() {
        complete(group, cx);
    }
}

/// The time of the join phase is up.
pub(in crate::coordinator) fn join_time_is_up(group: &mut ClassicGroup, cx: &mut Context<'_>) {
    if group.state != State::PreparingRebalance {
        return;
    }
    if let Some(wait) = &mut group.initial_wait
        && wait.member_added
        && wait.remaining_ms != 0
    {
        wait.member_added = false;
        let delay_ms = cx.config.initial_rebalance_delay_ms.min(wait.remaining_ms);
        wait.remaining_ms = (wait.remaining_ms - wait.delay_ms).max(0);
        wait.delay_ms = delay_ms;
        cx.timers.set(join_key(group), cx.now.saturating_add(delay_ms));
        return;
    }
    complete(group, cx);
}

/// Ends the join phase: who did not join is out, but for static members; the rest are the next generation.
fn complete(group: &mut ClassicGroup, cx: &mut Context<'_>) {
    cx.timers.cancel(&join_key(group));
    let missing: Vec<String> = group
        .members
        .values()
        .filter(|member| member.awaiting_join.is_none() && member.group_instance_id.is_none())
        .map(|member| member.member_id.clone())
        .collect();
    for member_id in missing {
        group.remove(&member_id);
        cx.forget_session(group, &member_id);
    }
    if !group.members.is_empty() && !group.elect_joined_leader() {
        // Only static members are left, and none has joined: wait on, until they do or their sessions end.
        group.initial_wait = None;
        return await_joins(group, cx);
    }
    group.initial_wait = None;
    group.generation_id = group.generation_id.wrapping_add(1);
    group.pending_sync.clear();
    if group.members.is_empty() {
        group.protocol_name = None;
        group.subscribed_topics = group.compute_subscribed_topics();
        group.transition(State::Empty, cx.now);
        let record = Record::group(&group.group_id, group.snapshot(None));
        return cx.write(vec![record], After::Emptied);
    }
    group.protocol_name = group.select_protocol();
    group.subscribed_topics = group.compute_subscribed_topics();
    group.transition(State::CompletingRebalance, cx.now);
    let ids: Vec<String> = group.members.keys().cloned().collect();
    for member_id in ids {
        let reply = joined(group, &member_id);
        if let Some(member) = group.members.get_mut(&member_id) {
            member.is_new = false;
            if let Some(token) = member.awaiting_join.take() {
                cx.reply(token, Reply::Join(reply));
            }
        }
        cx.expect_heartbeat(group, &member_id);
        group.pending_sync.insert(member_id);
    }
    cx.timers.set(sync_key(group), cx.now.saturating_add(group.rebalance_timeout_ms()));
}

/// Members that did not send SyncGroup in time are out.
pub(in crate::coordinator) fn sync_time_is_up(group: &mut ClassicGroup, cx: &mut Context<'_>) {
    let waits = matches!(group.state, State::CompletingRebalance | State::Stable);
    if !waits || group.pending_sync.is_empty() {
        return;
    }
    for member_id in std::mem::take(&mut group.pending_sync) {
        group.remove(&member_id);
        cx.forget_session(group, &member_id);
    }
    prepare(group, cx);
}

/// Nothing was heard of a member for its session timeout, or a pending id was not used.
pub(in crate::coordinator) fn session_is_over(group: &mut ClassicGroup, cx: &mut Context<'_>, member_id: &str) {
    if group.pending_join.contains(member_id) {
        group.remove(member_id);
        return complete_if_all_joined(group, cx);
    }
    if group.members.get(member_id).is_none_or(Member::is_excused) {
        return;
    }
    remove_member(group, cx, member_id);
    match group.state {
        State::Stable | State::CompletingRebalance => prepare(group, cx),
        State::PreparingRebalance if group.has_all_joined() => complete(group, cx),
        _ => {}
    }
}

/// Takes a member out, and answers what it waits for.
pub(super) fn remove_member(group: &mut ClassicGroup, cx: &mut Context<'_>, member_id: &str) {
    cx.forget_session(group, member_id);
    let Some(member) = group.remove(member_id) else { return };
    if let Some(token) = member.awaiting_join {
        cx.reply(token, Reply::Join(JoinReply::error("", ErrorCode::UNKNOWN_MEMBER_ID)));
    }
    if let Some(token) = member.awaiting_sync {
        cx.reply(token, Reply::Sync(SyncReply::error(ErrorCode::UNKNOWN_MEMBER_ID)));
    }
}

/// The coordinator moves: all who wait are sent to look for the new one.
pub(in crate::coordinator) fn unload(group: &mut ClassicGroup, cx: &mut Context<'_>) {
    group.transition(State::Dead, cx.now);
    for member in group.members.values_mut() {
        if let Some(token) = member.awaiting_join.take() {
            let reply = JoinReply::error(&member.member_id, ErrorCode::NOT_COORDINATOR);
            cx.step.reply(token, Reply::Join(reply));
        }
        if let Some(token) = member.awaiting_sync.take() {
            cx.step.reply(token, Reply::Sync(SyncReply::error(ErrorCode::NOT_COORDINATOR)));
        }
    }
}
