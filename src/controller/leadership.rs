//! Who leads, and when that one may decide.
//!
//! A leader may decide once it has applied an entry of its own term, which is its first one, a blank: all that earlier
//! leaders have committed is in its image then. Before it says that it leads it also sees to it that a new cluster has
//! what it begins with.
//!
//! A voter that hears of no leader stands for election, after a time that is drawn anew each time.
//!
//! A leader that no majority has answered for as long as an election takes does not say any more that it leads, for
//! another one may. It goes on trying, and says so again when they answer.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Core;
use super::types::{Voter, epoch};
use crate::common::ids::{LeaderEpoch, NodeId};
use crate::metadata::{Image, Refusal};

/// How often it is tried to go on after the disk failed, where nobody asks for it.
const REVIVAL: Duration = Duration::from_secs(1);

/// Who leads the quorum, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The leader; `None` while there is none, or none is known.
    pub leader: Option<Voter>,
    /// The newest term that this node knows of.
    pub epoch: LeaderEpoch,
    /// Whether it is this node, and it may decide.
    pub is_us: bool,
}

impl Core {
    /// The term in which this node leads, if it does.
    fn leading_term(&self) -> Option<u64> {
        let metrics = self.raft().server_metrics();
        let metrics = metrics.borrow();
        (metrics.state == ServerState::Leader).then_some(metrics.vote.leader_id.term)
    }

    /// The term in which this node leads, if it may decide.
    pub(super) fn deciding_term(&self) -> Option<u64> {
        let term = self.leading_term()?;
        let applied = *self.state.applied.borrow();
        applied.is_some_and(|applied| applied.leader_id.term == term).then_some(term)
    }

    /// Ends when this node does not lead in `term` any more.
    pub(super) async fn term_is_over(&self, term: u64) {
        let mut metrics = self.raft().server_metrics();
        // An error means that the quorum has ended, and with it the term.
        let _ = metrics
            .wait_for(|metrics| metrics.state != ServerState::Leader || metrics.vote.leader_id.term != term)
            .await;
    }

    /// Whether a majority has not answered for as long as an election takes.
    fn is_left_alone(&self) -> bool {
        let silent = self.raft().data_metrics().borrow().millis_since_quorum_ack;
        let patience = self.timing.election.1 * 2;
        silent.is_some_and(|silent| u128::from(silent) > patience.as_millis())
    }

    fn look(&self) -> Leadership {
        // First, for it borrows the metrics as well: who does that twice waits for itself, where openraft wants to write
        // to them in between.
        let decides = self.deciding_term().filter(|_| self.bootstrap.lock().is_none() && !self.is_left_alone());
        let metrics = self.raft().server_metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let leads = metrics.state == ServerState::Leader;
        let is_us = leads && decides == Some(metrics.vote.leader_id.term);
        let leader = metrics.current_leader.filter(|_| !leads || is_us);
        let leader = leader.and_then(|id| membership.get_node(&id)).map(|voter| self.peers.located(voter));
        // One that has no part in the quorum yet goes by what it was told.
        let is_in = membership.get_node(&self.node.id).is_some();
        let leader = leader.or_else(|| self.joining.told().filter(|_| !is_in));
        Leadership { leader, epoch: epoch(metrics.vote.leader_id.term), is_us }
    }

    /// Gives a new cluster what it begins with, where this node may.
    pub(super) async fn bootstrap(&self) -> Result<(), Refusal> {
        let Some(records) = self.bootstrap.lock().clone().filter(|_| self.deciding_term().is_some()) else {
            return Ok(());
        };
        let decide = move |image: &Image| {
            let is_new = *image == Image::default();
            Ok(((), if is_new { records } else { Vec::new() }))
        };
        self.carry_out(decide).await?;
        *self.bootstrap.lock() = None;
        Ok(())
    }

    /// Says who leads.
    pub(super) fn say(&self) {
        let seen = self.look();
        let mut before = None;
        self.leadership.send_if_modified(|known| {
            let changed = *known != seen;
            if changed {
                before = Some(std::mem::replace(known, seen.clone()));
            }
            changed
        });
        if let Some(before) = before {
            tell(self.node.id, &before, &seen);
        }
    }
}

/// Tells the log what has become of the quorum's leader.
fn tell(node: NodeId, before: &Leadership, seen: &Leadership) {
    let id = |leadership: &Leadership| leadership.leader.as_ref().map(|leader| leader.id);
    match id(seen) {
        Some(_) if seen.is_us && !before.is_us => {
            tracing::info!(node, epoch = seen.epoch, "this controller is the active one");
        }
        Some(leader) if !seen.is_us && Some(leader) != id(before) => {
            tracing::info!(node, leader, epoch = seen.epoch, "another controller is the active one");
        }
        None if id(before).is_some() => tracing::warn!(node, epoch = seen.epoch, "no active controller is known"),
        _ => tracing::debug!(node, ?seen, "the quorum's leader"),
    }
}

/// Follows the quorum until the controller ends: says who leads, and has snapshots written that are due.
pub(super) async fn follow(core: Arc<Core>) {
    let mut raised = core.raised.subscribe();
    let mut applied = core.state.applied.subscribe();
    let mut metrics = core.raft().server_metrics();
    loop {
        if raised.has_changed().unwrap_or(false) {
            raised.mark_unchanged();
            metrics = core.raft().server_metrics();
        }
        metrics.mark_unchanged();
        applied.mark_unchanged();
        if let Err(refusal) = core.bootstrap().await {
            tracing::debug!(%refusal, "the cluster's first records were not written");
        }
        core.say();
        let leads = core.leading_term().is_some();
        let waits_to_lead = leads && !core.leadership.borrow().is_us;
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { ended(&core).await },
            _ = raised.changed() => metrics = core.raft().server_metrics(),
            _ = applied.changed(), if waits_to_lead => {}
            () = core.state.snapshot_due.notified() => {
                // It fails only where the quorum has ended.
                let _ = core.raft().trigger().snapshot().await;
            }
            () = async { core.clock.sleep(core.timing.heartbeat).await }, if leads && core.has_others() => {}
        }
    }
}

/// Says, until the controller ends, that this node leads, while it does.
pub(super) async fn beat(core: Arc<Core>) {
    let mut raised = core.raised.subscribe();
    let mut metrics = core.raft().server_metrics();
    loop {
        metrics.mark_unchanged();
        let leads = core.leading_term().is_some() && core.has_others();
        tokio::select! {
            _ = raised.changed() => metrics = core.raft().server_metrics(),
            () = async { core.clock.sleep(core.timing.heartbeat).await }, if leads => {
                // It fails only where openraft has ended.
                let _ = core.raft().trigger().heartbeat().await;
            }
            changed = metrics.changed(), if !leads => if changed.is_err() {
                let _ = raised.changed().await;
                metrics = core.raft().server_metrics();
            },
        }
    }
}

/// openraft has ended. Waits until it was raised again, or does that.
async fn ended(core: &Arc<Core>) {
    let mut raised = core.raised.subscribe();
    core.say();
    loop {
        tokio::select! {
            _ = raised.changed() => return,
            () = core.clock.sleep(REVIVAL) => {
                let _turn = core.turn.lock().await;
                if let Err(error) = core.revive().await {
                    tracing::warn!(%error, "the quorum cannot go on yet");
                }
            }
        }
    }
}

/// Stands for election, until the controller ends, each time that no leader is heard of any more.
pub(super) async fn stand(core: Arc<Core>) {
    let seed = core.timing.seed.map(|seed| seed.wrapping_add(core.node.id.unsigned_abs().into()));
    let mut random = StdRng::seed_from_u64(seed.unwrap_or_else(rand::random));
    let (spread, patience) = core.timing.election;
    let mut raised = core.raised.subscribe();
    let mut metrics = core.raft().server_metrics();
    loop {
        let (follows, has_leader) = {
            let metrics = metrics.borrow_and_update();
            let mut voters = metrics.membership_config.voter_ids();
            let follows = metrics.state != ServerState::Leader && voters.any(|id| id == core.node.id);
            (follows, metrics.vote.committed)
        };
        let drawn = spread.mul_f64(random.random_range(0.0..1.0));
        // Where there was no leader, an election was not won: there is only to wait until it is over everywhere.
        let wait: Duration = if has_leader { patience + drawn } else { spread / 2 + drawn };
        tokio::select! {
            () = async { core.clock.sleep(wait).await }, if follows => {
                // It fails only where openraft has ended.
                let _ = core.raft().trigger().elect().await;
            }
            () = core.heard.notified() => {}
            changed = metrics.changed() => if changed.is_err() {
                let _ = raised.changed().await;
                metrics = core.raft().server_metrics();
            },
        }
    }
}
