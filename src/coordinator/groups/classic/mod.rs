//! Classic groups: JoinGroup, SyncGroup, Heartbeat, LeaveGroup, as every Kafka client has spoken them since 0.9.
//!
//! ```text
//!            a member joins
//!   Empty ------------------> PreparingRebalance <--------------------------+
//!     ^                         |            |                              |
//!     |  nobody is left         |            | all joined, or time is up    | a member joins, leaves, fails,
//!     +-------------------------+            v                              | or changes its protocols
//!                                   CompletingRebalance --------------------+
//!                                            |                              |
//!                                            | the leader's assignment      |
//!                                            v  is in the log               |
//!                                          Stable --------------------------+
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | [`group`] | the group: its members, votes, states |
//! | [`member`] | one member |
//! | [`join`], [`sync`], [`heartbeat`], [`leave`] | one request each, opening with its rules |
//! | `rebalance` | the phases between them |
//!
//! The members of a group choose a leader (the first to join), who gets everybody's metadata with its JoinGroup reply
//! and sends everybody's assignment with SyncGroup. The coordinator understands neither, but for the topics of consumers'
//! subscriptions, which keep their offsets from expiring.

pub mod group;
pub mod heartbeat;
pub mod join;
pub mod leave;
pub mod member;
pub(in crate::coordinator) mod rebalance;
pub mod sync;

use super::super::shard::GroupConfig;
use super::super::step::{After, Reply, ReplyToken, Step, Writes};
use super::super::timers::{TimerKey, Timers};
use crate::common::ids::Timestamp;
use crate::coordinator::records::Record;
use group::ClassicGroup;

/// How long a new member's JoinGroup may wait: it cannot send heartbeats yet, and may be gone.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;

/// What a transition may use besides the group itself.
pub(in crate::coordinator) struct Context<'a> {
    pub(in crate::coordinator) config: &'a GroupConfig,
    pub(in crate::coordinator) timers: &'a mut Timers,
    pub(in crate::coordinator) writes: &'a mut Writes,
    pub(in crate::coordinator) step: &'a mut Step,
    pub(in crate::coordinator) now: Timestamp,
}

impl Context<'_> {
    fn reply(&mut self, token: ReplyToken, reply: Reply) {
        self.step.reply(token, reply);
    }

    fn write(&mut self, records: Vec<Record>, after: After) {
        self.writes.begin(self.step, records, after);
    }

    /// Expects to hear of a member within its session timeout.
    pub(in crate::coordinator) fn expect_heartbeat(&mut self, group: &ClassicGroup, member_id: &str) {
        if let Some(member) = group.members.get(member_id) {
            self.expect_within(group, member_id, i64::from(member.session_timeout_ms));
        }
    }

    fn expect_within(&mut self, group: &ClassicGroup, member_id: &str, timeout_ms: i64) {
        self.timers.set(session_key(group, member_id), self.now.saturating_add(timeout_ms));
    }

    fn forget_session(&mut self, group: &ClassicGroup, member_id: &str) {
        self.timers.cancel(&session_key(group, member_id));
    }
}

fn session_key(group: &ClassicGroup, member_id: &str) -> TimerKey {
    TimerKey::Session { group_id: group.group_id.clone(), member_id: member_id.to_owned() }
}

fn join_key(group: &ClassicGroup) -> TimerKey {
    TimerKey::Join { group_id: group.group_id.clone() }
}

fn sync_key(group: &ClassicGroup) -> TimerKey {
    TimerKey::Sync { group_id: group.group_id.clone() }
}
