//! Who is in sync with a leader, and how far all of them are: a state machine without I/O.
//!
//! A [`Leadership`] is what a leader knows of its followers. It is told of appends, of fetches, of the time and of what the
//! controller says, and answers with [`Effects`]: whether the high watermark moved, and which ISR the leader wishes for.
//!
//! ```text
//!   ISR as the controller has it ──┬── fetch: a follower reached the high watermark ──▶ wish: ISR + it ──┐
//!                ▲                 └── time: a follower was not at the end for too long ▶ wish: ISR - it ─┤
//!                └──────────────── answer, or the image: the next partition epoch ◀─────────────────────┘
//! ```
//! - **The high watermark** is the least log end offset of the *maximal* ISR: those in sync, and those that were asked for
//!   and may be in it by now. It never goes back, and stands still while fewer than `min.insync.replicas` are in sync, so
//!   that what is below it is on as many disks as the topic asks for. A follower that is at the end, and may join, is waited
//!   for too: else a busy leader would be past it each time it comes, and it could never join.
//! - **A follower is caught up** for as long as it has asked for what is the log end; else at the last time at which it did,
//!   or at the time of the fetch before, if it has now reached what was the end then. So one that is in sync and at the end
//!   need not be heard of.
//! - **A wish** is asked for one at a time. A refusal that only says "you know too little" leaves the wish standing, for it
//!   may have been granted; the image that comes then decides. What is refused outright is asked again after a rest.
//!
//! The rules are Kafka's (its `Partition`); times are those of a clock that never goes back.

use std::time::Duration;

use crate::common::ids::{LeaderEpoch, NodeId, Offset};
use crate::protocol::ErrorCode;

/// How long a wish that was refused, or could not be told, rests.
const REST: Duration = Duration::from_secs(1);

/// Whether a broker, at the epoch it told, may be in sync: it is registered so, not fenced and not about to stop.
pub(super) type Eligible<'a> = &'a dyn Fn(NodeId, i64) -> bool;

/// What the image says of a partition that is led here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reign {
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) partition_epoch: i32,
    pub(super) replicas: Vec<NodeId>,
    pub(super) isr: Vec<NodeId>,
    pub(super) min_in_sync_replicas: i32,
}

/// What follows from an event.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "who waits for the high watermark is to be woken, and the controller to be asked"]
pub(super) struct Effects {
    /// Whether the high watermark moved.
    pub(super) moved: bool,
    /// The ISR to ask the controller for.
    pub(super) wish: Option<Wish>,
    /// Whether the first offset that all replicas hold may have moved.
    pub(super) low_watermark: bool,
}

/// An ISR that the leader asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) partition_epoch: i32,
    /// With the epoch of each broker's registration, as it told it; -1 for the leader's own, and where it told none.
    pub(super) isr: Vec<(NodeId, i64)>,
}

/// The partition as the controller has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrState {
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The partition's.
    pub partition_epoch: i32,
    /// Those in sync.
    pub isr: Vec<NodeId>,
}

/// A fetch, as far as it tells of the follower that sent it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FollowerFetch {
    pub(super) node: NodeId,
    /// Of its registration; -1 where it told none.
    pub(super) broker_epoch: i64,
    /// The first offset it has not.
    pub(super) offset: Offset,
    /// The first offset it has.
    pub(super) log_start: Offset,
}

/// What is known of a follower; -1 stands for an offset that it never told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Follower {
    node: NodeId,
    log_end: Offset,
    log_start: Offset,
    /// Where our log ended at its last fetch, and when that was.
    last_fetch: Option<(Offset, Duration)>,
    caught_up: Option<Duration>,
    broker_epoch: Option<i64>,
}

impl Follower {
    fn new(node: NodeId, in_sync: bool, now: Duration) -> Follower {
        let caught_up = in_sync.then_some(now);
        Follower { node, log_end: -1, log_start: -1, last_fetch: None, caught_up, broker_epoch: None }
    }

    fn is_caught_up(&self, log_end: Offset, now: Duration, max_lag: Duration) -> bool {
        self.log_end == log_end || self.caught_up.is_some_and(|at| now.saturating_sub(at) <= max_lag)
    }
}

/// A wish that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    wish: Wish,
    /// Who would come in; `None` for one that takes replicas out.
    joins: Option<NodeId>,
    /// When it is to be told again: the answer was that nobody could be asked.
    again: Option<Duration>,
}

/// What a leader knows of its partition's replicas.
#[derive(Debug, Clone)]
pub(super) struct Leadership {
    local: NodeId,
    leader_epoch: LeaderEpoch,
    partition_epoch: i32,
    /// Where its log ended when the reign began.
    epoch_start: Offset,
    followers: Vec<Follower>,
    isr: Vec<NodeId>,
    asked: Option<Asked>,
    /// Whether an answer is still to come, also to a wish that the image has overtaken.
    unanswered: bool,
    /// No wish before.
    rest_until: Duration,
    min_in_sync_replicas: i32,
    max_lag: Duration,
    log_end: Offset,
    high_watermark: Offset,
    /// The latest time that was told.
    now: Duration,
}

impl Leadership {
    /// A reign that begins at `log_end`, where `high_watermark` is what was known before.
    pub(super) fn new(
        local: NodeId,
        reign: &Reign,
        (high_watermark, log_end): (Offset, Offset),
        max_lag: Duration,
        now: Duration,
        eligible: Eligible<'_>,
    ) -> (Leadership, Effects) {
        let mut leadership = Leadership {
            local,
            leader_epoch: reign.leader_epoch,
            partition_epoch: reign.partition_epoch,
            epoch_start: log_end,
            followers: Vec::new(),
            isr: reign.isr.clone(),
            asked: None,
            unanswered: false,
            rest_until: Duration::ZERO,
            min_in_sync_replicas: reign.min_in_sync_replicas,
            max_lag,
            log_end,
            high_watermark,
            now,
        };
        leadership.take_replicas(&reign.replicas);
        let effects = leadership.advance(eligible);
        (leadership, effects)
    }

    /// Takes what the image says now; what it said before, or is known already, changes nothing.
    pub(super) fn update(&mut self, reign: &Reign, now: Duration, eligible: Eligible<'_>) -> Effects {
        if reign.leader_epoch < self.leader_epoch || reign.partition_epoch < self.partition_epoch {
            return Effects::default();
        }
        self.now = self.now.max(now);
        let newer = reign.partition_epoch > self.partition_epoch || reign.leader_epoch > self.leader_epoch;
        self.min_in_sync_replicas = reign.min_in_sync_replicas;
        if newer {
            // Whoever was put out, for its lag or because its broker is gone, is no longer waited for.
            for follower in &mut self.followers {
                if self.isr.contains(&follower.node) && !reign.isr.contains(&follower.node) {
                    follower.caught_up = None;
                }
            }
            self.isr.clone_from(&reign.isr);
            self.partition_epoch = reign.partition_epoch;
            self.asked = None;
            self.take_replicas(&reign.replicas);
        }
        if reign.leader_epoch > self.leader_epoch {
            (self.leader_epoch, self.epoch_start) = (reign.leader_epoch, self.log_end);
            for follower in &mut self.followers {
                let in_sync = reign.isr.contains(&follower.node);
                // Another may have led in between, unheard of here, and had it cut off what it told us of.
                follower.log_end = -1;
                follower.caught_up = in_sync.then_some(self.now);
                follower.last_fetch = in_sync.then_some((self.log_end, self.now));
            }
        }
        self.advance(eligible)
    }

    fn take_replicas(&mut self, replicas: &[NodeId]) {
        self.followers.retain(|follower| replicas.contains(&follower.node));
        for node in replicas.iter().filter(|node| **node != self.local) {
            if !self.followers.iter().any(|follower| follower.node == *node) {
                self.followers.push(Follower::new(*node, self.isr.contains(node), self.now));
            }
        }
    }

    /// The log grew to `log_end`. Who is in sync and was at the end was caught up until now.
    pub(super) fn appended(&mut self, log_end: Offset, now: Duration, eligible: Eligible<'_>) -> Effects {
        self.now = self.now.max(now);
        for follower in &mut self.followers {
            if follower.log_end == self.log_end && self.isr.contains(&follower.node) {
                follower.caught_up = Some(self.now);
            }
        }
        self.log_end = log_end;
        self.advance(eligible)
    }

    /// Whether there is no other replica.
    pub(super) fn is_alone(&self) -> bool {
        self.followers.is_empty()
    }

    /// Whether `node` is in sync, as the controller has it.
    pub(super) fn is_in_sync(&self, node: NodeId) -> bool {
        self.isr.contains(&node)
    }

    /// A follower asks for what is behind its log. `None` where it is none of ours, or one that was started anew since.
    pub(super) fn fetched(&mut self, fetch: FollowerFetch, now: Duration, eligible: Eligible<'_>) -> Option<Effects> {
        self.now = self.now.max(now);
        let log_end = self.log_end;
        let follower = self.followers.iter_mut().find(|follower| follower.node == fetch.node)?;
        if follower.broker_epoch.is_some_and(|known| fetch.broker_epoch != -1 && known > fetch.broker_epoch) {
            return None;
        }
        let caught_up = match follower.last_fetch {
            _ if fetch.offset >= log_end => Some(self.now),
            Some((end_then, then)) if fetch.offset >= end_then => Some(then),
            _ => None,
        };
        follower.caught_up = follower.caught_up.max(caught_up);
        follower.last_fetch = Some((log_end, self.now));
        follower.broker_epoch = Some(fetch.broker_epoch);
        let low_watermark = follower.log_start != fetch.log_start;
        let grown = follower.log_end != fetch.offset;
        (follower.log_end, follower.log_start) = (fetch.offset, fetch.log_start);
        let wish = self.expand(fetch.node, eligible).or_else(|| self.ask_again());
        let moved = grown && self.advance(eligible).moved;
        Some(Effects { moved, wish, low_watermark })
    }

    /// Wishes followers out that were not at the end for too long.
    pub(super) fn shrink(&mut self, now: Duration, max_lag: Duration, eligible: Eligible<'_>) -> Effects {
        (self.now, self.max_lag) = (self.now.max(now), max_lag);
        let late = |follower: &&Follower| {
            self.isr.contains(&follower.node) && !follower.is_caught_up(self.log_end, self.now, self.max_lag)
        };
        let out: Vec<NodeId> = match self.may_wish() {
            true => self.followers.iter().filter(late).map(|follower| follower.node).collect(),
            false => Vec::new(),
        };
        let wish = match out.is_empty() {
            true => self.ask_again(),
            false => Some(self.ask(self.isr.iter().copied().filter(|node| !out.contains(node)).collect(), None)),
        };
        Effects { wish, ..self.advance(eligible) }
    }

    /// The controller's answer to the last wish.
    pub(super) fn answered(
        &mut self,
        answer: Result<&IsrState, ErrorCode>,
        now: Duration,
        eligible: Eligible<'_>,
    ) -> Effects {
        self.now = self.now.max(now);
        self.unanswered = false;
        match answer {
            Ok(state) if state.leader_epoch == self.leader_epoch && state.partition_epoch >= self.partition_epoch => {
                self.isr.clone_from(&state.isr);
                self.partition_epoch = state.partition_epoch;
                self.asked = None;
            }
            // Of another reign, or older than what the image has told since.
            Ok(_) => {}
            Err(ErrorCode::OPERATION_NOT_ATTEMPTED | ErrorCode::INELIGIBLE_REPLICA) => {
                self.asked = None;
                self.rest_until = self.now + REST;
            }
            // We know too little: the image will tell whether the wish came true.
            Err(
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                | ErrorCode::UNKNOWN_TOPIC_ID
                | ErrorCode::FENCED_LEADER_EPOCH
                | ErrorCode::INVALID_UPDATE_VERSION
                | ErrorCode::INVALID_REQUEST
                | ErrorCode::NEW_LEADER_ELECTED,
            ) => {}
            Err(_) => {
                if let Some(asked) = &mut self.asked {
                    asked.again = Some(self.now + REST);
                }
            }
        }
        self.advance(eligible)
    }

    /// Takes the ISR with a follower that has caught up.
    fn expand(&mut self, node: NodeId, eligible: Eligible<'_>) -> Option<Wish> {
        let follower = self.followers.iter().find(|follower| follower.node == node)?;
        let at_end = follower.log_end >= self.high_watermark && follower.log_end >= self.epoch_start;
        if !at_end || self.isr.contains(&node) || !self.may_wish() || !may_join(follower, eligible) {
            return None;
        }
        let isr = self.isr.iter().copied().chain([node]).collect();
        Some(self.ask(isr, Some(node)))
    }

    fn may_wish(&self) -> bool {
        self.asked.is_none() && !self.unanswered && self.now >= self.rest_until
    }

    fn ask(&mut self, isr: Vec<NodeId>, joins: Option<NodeId>) -> Wish {
        let epoch_of = |node: &NodeId| {
            let follower = self.followers.iter().find(|follower| follower.node == *node);
            follower.and_then(|follower| follower.broker_epoch).unwrap_or(-1)
        };
        let wish = Wish {
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            isr: isr.iter().map(|node| (*node, epoch_of(node))).collect(),
        };
        self.asked = Some(Asked { wish: wish.clone(), joins, again: None });
        self.unanswered = true;
        wish
    }

    /// The wish that nobody heard, once it has rested.
    fn ask_again(&mut self) -> Option<Wish> {
        let asked = self.asked.as_mut()?;
        asked.again.take_if(|again| *again <= self.now)?;
        self.unanswered = true;
        Some(asked.wish.clone())
    }

    /// Moves the high watermark up, as far as it goes.
    fn advance(&mut self, eligible: Eligible<'_>) -> Effects {
        if self.is_under_min_isr() {
            return Effects::default();
        }
        let mut least = self.log_end;
        for follower in &self.followers {
            if follower.log_end < least && (self.may_be_in_sync(follower.node) || self.waits_for(follower, eligible)) {
                least = follower.log_end;
            }
        }
        let moved = least > self.high_watermark;
        if moved {
            self.high_watermark = least;
        }
        Effects { moved, ..Effects::default() }
    }

    /// Whether a follower that is not in sync is about to be.
    fn waits_for(&self, follower: &Follower, eligible: Eligible<'_>) -> bool {
        follower.is_caught_up(self.log_end, self.now, self.max_lag) && may_join(follower, eligible)
    }

    /// Whether `node` is in the maximal ISR.
    fn may_be_in_sync(&self, node: NodeId) -> bool {
        self.isr.contains(&node) || self.asked.as_ref().is_some_and(|asked| asked.joins == Some(node))
    }

    /// How many replicas must be in sync: never more than there are.
    pub(super) fn needed(&self) -> usize {
        usize::try_from(self.min_in_sync_replicas).unwrap_or(0).min(self.followers.len() + 1)
    }

    fn is_under_min_isr(&self) -> bool {
        self.isr.len() < self.needed()
    }

    /// How many are in sync, as the controller has it.
    pub(super) fn in_sync(&self) -> usize {
        self.isr.len()
    }

    /// How many are in sync, or may be by now.
    pub(super) fn most_in_sync(&self) -> usize {
        self.isr.len() + usize::from(self.asked.as_ref().is_some_and(|asked| asked.joins.is_some()))
    }

    /// Those in sync, as the controller has it.
    pub(super) fn isr(&self) -> &[NodeId] {
        &self.isr
    }

    pub(super) fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    pub(super) fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Where its log ended when the reign began.
    pub(super) fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    pub(super) fn set_min_in_sync_replicas(&mut self, min: i32, eligible: Eligible<'_>) -> Effects {
        self.min_in_sync_replicas = min;
        self.advance(eligible)
    }

    /// Whether `node` follows.
    pub(super) fn is_follower(&self, node: NodeId) -> bool {
        self.followers.iter().any(|follower| follower.node == node)
    }

    /// The followers in sync that have `offset`, with the offset where each ends, and when it was last caught up.
    pub(super) fn holders(&self, offset: Offset) -> impl Iterator<Item = (NodeId, Offset, Option<Duration>)> {
        let holds = move |follower: &&Follower| {
            self.isr.contains(&follower.node) && (follower.log_start.max(0)..=follower.log_end).contains(&offset)
        };
        self.followers.iter().filter(holds).map(|follower| (follower.node, follower.log_end, follower.caught_up))
    }

    /// The first offset that every follower that `counts` still has, at most `log_start`.
    pub(super) fn low_watermark(&self, log_start: Offset, counts: impl Fn(NodeId) -> bool) -> Offset {
        let followers = self.followers.iter().filter(|follower| counts(follower.node));
        followers.map(|follower| follower.log_start).fold(log_start, Offset::min)
    }
}

fn may_join(follower: &Follower, eligible: Eligible<'_>) -> bool {
    follower.broker_epoch.is_some_and(|epoch| eligible(follower.node, epoch))
}

#[cfg(test)]
mod tests;
