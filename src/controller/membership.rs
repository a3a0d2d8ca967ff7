//! Who votes and who only listens, how far each is, and how that changes.
//!
//! An observer has the log and no vote: a broker that is no controller, or a controller that is to become a voter and
//! catches up first. openraft calls it a learner. A voter that goes stays an observer.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};

use super::types::{Types, Voter, epoch};
use super::{Controller, Core};
use crate::common::ids::{LeaderEpoch, NodeId, Offset, Timestamp, Uuid};
use crate::metadata::Refusal;
use crate::protocol::ErrorCode;

/// How the quorum stands, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumView {
    /// Who leads; -1 for nobody.
    pub leader: NodeId,
    /// The newest term.
    pub epoch: LeaderEpoch,
    /// The offset up to which this node has applied what is committed.
    pub high_watermark: Offset,
    /// Those who vote.
    pub voters: Vec<ReplicaView>,
    /// Those who only listen.
    pub observers: Vec<ReplicaView>,
}

/// One replica of the metadata log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaView {
    /// Who it is, and where.
    pub voter: Voter,
    /// The offset up to which it has the log; -1 where this node does not know.
    pub log_end_offset: Offset,
    /// When it was last heard of; -1 where this node does not know.
    pub last_fetch: Timestamp,
    /// When it last had all; -1 where this node does not know.
    pub last_caught_up: Timestamp,
}

type Changed = RaftError<NodeId, ClientWriteError<NodeId, Voter>>;

impl Core {
    /// Whether there is anybody but this node.
    pub(super) fn has_others(&self) -> bool {
        self.raft().server_metrics().borrow().membership_config.nodes().count() > 1
    }

    /// Whether this node is the only voter.
    pub(super) fn votes_alone(&self) -> bool {
        self.raft().server_metrics().borrow().membership_config.voter_ids().eq([self.node.id])
    }

    fn refused(&self, error: &Changed) -> Refusal {
        match error {
            RaftError::Fatal(error) => self.stopped(error),
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => self.not_controller(),
            RaftError::APIError(ClientWriteError::ChangeMembershipError(change)) => match change {
                ChangeMembershipError::InProgress(_) => {
                    Refusal::new(ErrorCode::REQUEST_TIMED_OUT, "another change of the voters is under way")
                }
                ChangeMembershipError::EmptyMembership(_) => {
                    Refusal::new(ErrorCode::INVALID_REQUEST, "the last voter cannot be taken out")
                }
                ChangeMembershipError::LearnerNotFound(error) => {
                    Refusal::new(ErrorCode::VOTER_NOT_FOUND, error.to_string())
                }
            },
        }
    }

    /// A voter, as the log knows it.
    pub(super) fn voter(&self, id: NodeId) -> Option<Voter> {
        let metrics = self.raft().server_metrics();
        let metrics = metrics.borrow();
        let votes = metrics.membership_config.voter_ids().any(|voter| voter == id);
        metrics.membership_config.membership().get_node(&id).filter(|_| votes).cloned()
    }

    /// Whether a node has answered this one, which leads, lately.
    pub(super) fn answers(&self, id: NodeId) -> bool {
        self.peers.has_answered_within(id, self.timing.election.1 * 2)
    }

    pub(super) async fn add_voter(&self, voter: Voter, timeout: Duration) -> Result<(), Refusal> {
        self.deciding_term().ok_or_else(|| self.not_controller())?;
        let membership = self.raft().server_metrics().borrow().membership_config.clone();
        if membership.voter_ids().any(|id| id == voter.id) {
            let sentence = format!("node {} is a voter already", voter.id);
            return Err(Refusal::new(ErrorCode::DUPLICATE_VOTER, sentence));
        }
        let id = voter.id;
        self.add_observer(voter).await?;
        let caught_up = async {
            let mut metrics = self.raft().metrics();
            let target = metrics.borrow().last_log_index;
            let there = metrics.wait_for(|metrics| {
                let all = metrics.replication.as_ref();
                let matching = all.and_then(|all| all.get(&id).copied()).flatten();
                all.is_none() || matching.map(|matching| matching.index) >= target
            });
            there.await.is_ok()
        };
        let there = tokio::select! {
            there = caught_up => there,
            () = self.clock.sleep(timeout) => false,
        };
        if !there {
            let sentence = format!("node {id} does not catch up with the metadata log");
            return Err(Refusal::new(ErrorCode::REQUEST_TIMED_OUT, sentence));
        }
        let _alone = self.members.lock().await;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await
    }

    pub(super) async fn add_observer(&self, observer: Voter) -> Result<(), Refusal> {
        self.deciding_term().ok_or_else(|| self.not_controller())?;
        let _alone = self.members.lock().await;
        self.peers.learn(observer.id, &observer.host, observer.port);
        let membership = self.raft().server_metrics().borrow().membership_config.clone();
        let id = observer.id;
        match membership.nodes().find(|(known, _)| **known == id) {
            Some((_, known)) if *known == observer => Ok(()),
            // What the other log dir had is not to be taken for what this one has.
            Some((_, known)) if !(known.directory_id == observer.directory_id || known.directory_id.is_zero()) => {
                self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id]))).await?;
                let added = self.raft().add_learner(id, observer, false).await;
                added.map(|_| ()).map_err(|error| self.refused(&error))
            }
            Some(_) => self.change(ChangeMembers::SetNodes([(id, observer)].into())).await,
            None => {
                let added = self.raft().add_learner(id, observer, false).await;
                added.map(|_| ()).map_err(|error| self.refused(&error))
            }
        }
    }

    pub(super) async fn remove_voter(&self, id: NodeId, directory_id: Uuid) -> Result<(), Refusal> {
        let _alone = self.members.lock().await;
        self.deciding_term().ok_or_else(|| self.not_controller())?;
        let membership = self.raft().server_metrics().borrow().membership_config.clone();
        let voter = membership.voter_ids().find(|voter| *voter == id);
        let voter = voter.and_then(|id| membership.membership().get_node(&id));
        let is_it = |voter: &&Voter| {
            voter.directory_id == directory_id || voter.directory_id.is_zero() || directory_id.is_zero()
        };
        if voter.filter(is_it).is_none() {
            let sentence = format!("there is no voter {id} with the directory {directory_id}");
            return Err(Refusal::new(ErrorCode::VOTER_NOT_FOUND, sentence));
        }
        self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id]))).await
    }

    async fn change(&self, change: ChangeMembers<NodeId, Voter>) -> Result<(), Refusal> {
        let changed = self.raft().change_membership(change, true).await;
        changed.map(|_: openraft::raft::ClientWriteResponse<Types>| ()).map_err(|error| self.refused(&error))
    }
}

impl Controller {
    /// How the quorum stands.
    pub fn quorum(&self) -> QuorumView {
        let core = &self.core;
        let metrics = core.raft().metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let now = core.store.clock.now();
        let (journal, end) = (core.store.journal.lock(), core.state.end());
        let log_end = journal.end();
        let view = |(id, voter): (&NodeId, &Voter)| {
            let matching = metrics.replication.as_ref().and_then(|all| all.get(id).copied()).flatten();
            let us = *id == core.node.id;
            let has = if us { Some(log_end) } else { matching.and_then(|id| journal.end_of(id.index)) };
            let answered = core.peers.answered(*id);
            ReplicaView {
                voter: core.peers.located(voter),
                log_end_offset: has.unwrap_or(-1),
                last_fetch: if us { now } else { answered.at },
                last_caught_up: if us { now } else { answered.caught_up },
            }
        };
        QuorumView {
            leader: metrics.current_leader.unwrap_or(-1),
            epoch: epoch(metrics.current_term),
            high_watermark: end,
            voters: membership.nodes().filter(|(id, _)| voters.contains(id)).map(view).collect(),
            observers: membership.nodes().filter(|(id, _)| !voters.contains(id)).map(view).collect(),
        }
    }

    /// Makes a node a voter: it catches up first.
    ///
    /// # Errors
    /// NOT_CONTROLLER where this node does not lead, DUPLICATE_VOTER where the node is one, REQUEST_TIMED_OUT where it does
    /// not catch up within `timeout`: it is an observer then.
    pub async fn add_voter(&self, voter: Voter, timeout: Duration) -> Result<(), Refusal> {
        self.core.add_voter(voter, timeout).await
    }

    /// Lets a node have the log without a vote, or takes note that one that has it is elsewhere now, or has another log dir.
    ///
    /// # Errors
    /// NOT_CONTROLLER where this node does not lead.
    pub async fn add_observer(&self, observer: Voter) -> Result<(), Refusal> {
        self.core.add_observer(observer).await
    }

    /// Takes a voter's vote; it stays an observer.
    ///
    /// # Errors
    /// NOT_CONTROLLER where this node does not lead, VOTER_NOT_FOUND where there is no voter of this id and directory,
    /// INVALID_REQUEST for the last one.
    pub async fn remove_voter(&self, id: NodeId, directory_id: Uuid) -> Result<(), Refusal> {
        self.core.remove_voter(id, directory_id).await
    }
}
