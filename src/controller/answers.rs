//! What a controller answers when another one asks.
//!
//! A request that is meant for another node, or for another log dir of this one (a disk that was replaced has lost its
//! votes), and one of a voter that has another log dir than it is known to have, is refused with INVALID_VOTER_KEY. One that cannot be read is refused with INVALID_REQUEST. Where this node alone
//! votes, nobody else can lead or stand, for none becomes a voter without its consent: all are refused with
//! INCONSISTENT_VOTER_SET.

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::AppendEntriesResponse;

use super::error::ControllerError;
use super::{Controller, wire};
use crate::common::ids::Uuid;
use crate::protocol::ErrorCode;
use crate::protocol::messages::quorum_append::{QuorumAppendRequest, QuorumAppendResponse};
use crate::protocol::messages::quorum_snapshot::{QuorumSnapshotRequest, QuorumSnapshotResponse};
use crate::protocol::messages::quorum_vote::{QuorumVoteRequest, QuorumVoteResponse, QuorumWay};

impl Controller {
    /// Whether it is this node that is meant; takes note of where the sender is.
    fn take(&self, way: &QuorumWay) -> Result<(), ErrorCode> {
        let us = &self.core.node;
        let (meant, of) = (way.target_directory_id, us.directory_id);
        if way.target_id != us.id || !(meant == of || meant.is_zero() || of.is_zero()) {
            tracing::warn!(sender = way.sender_id, target = way.target_id, "a controller means another one");
            return Err(ErrorCode::INVALID_VOTER_KEY);
        }
        if self.core.votes_alone() {
            tracing::warn!(sender = way.sender_id, "somebody speaks for the quorum, which is this controller alone");
            return Err(ErrorCode::INCONSISTENT_VOTER_SET);
        }
        let known = self.core.voter(way.sender_id).map_or(Uuid::ZERO, |voter| voter.directory_id);
        if !(known == way.sender_directory_id || known.is_zero() || way.sender_directory_id.is_zero()) {
            tracing::warn!(sender = way.sender_id, "a voter speaks that has lost its log dir");
            return Err(ErrorCode::INVALID_VOTER_KEY);
        }
        self.core.peers.learn(way.sender_id, &way.sender_host, way.sender_port);
        Ok(())
    }

    /// Answers a candidate.
    pub async fn handle_vote(&self, request: QuorumVoteRequest) -> QuorumVoteResponse {
        let refuse = |error_code| QuorumVoteResponse { error_code, ..Default::default() };
        if let Err(code) = self.take(&request.way) {
            return refuse(code);
        }
        let request = match wire::read_vote_request(&request) {
            Ok(request) => request,
            Err(error) => return refuse(unreadable(&error)),
        };
        match self.core.raft().vote(request).await {
            Ok(response) => {
                if response.vote_granted {
                    self.core.hears();
                }
                wire::tell_vote_response(&response)
            }
            Err(_) => refuse(ErrorCode::NOT_CONTROLLER),
        }
    }

    /// Takes a leader's entries.
    pub async fn handle_append(&self, request: QuorumAppendRequest) -> QuorumAppendResponse {
        let refuse = |error_code| QuorumAppendResponse { error_code, ..Default::default() };
        if let Err(code) = self.take(&request.way) {
            return refuse(code);
        }
        let leader = request.way.sender_id;
        let request = match wire::read_append(&request) {
            Ok(request) => request,
            Err(error) => return refuse(unreadable(&error)),
        };
        match self.core.raft().append_entries(request).await {
            Ok(response) => {
                if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                    self.core.hears_leader(leader);
                }
                wire::tell_append_response(&response)
            }
            Err(_) => refuse(ErrorCode::NOT_CONTROLLER),
        }
    }

    /// Takes a piece of a leader's snapshot.
    pub async fn handle_snapshot(&self, request: QuorumSnapshotRequest) -> QuorumSnapshotResponse {
        let refuse = |error_code| QuorumSnapshotResponse { error_code, ..Default::default() };
        if let Err(code) = self.take(&request.way) {
            return refuse(code);
        }
        let leader = request.way.sender_id;
        let request = match wire::read_snapshot(&request) {
            Ok(request) => request,
            Err(error) => return refuse(unreadable(&error)),
        };
        let vote = request.vote;
        match self.core.raft().install_snapshot(request).await {
            Ok(response) => {
                if response.vote == vote {
                    self.core.hears_leader(leader);
                }
                QuorumSnapshotResponse { vote: wire::tell_vote(&response.vote), ..Default::default() }
            }
            Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(_))) => {
                QuorumSnapshotResponse { mismatch: true, ..Default::default() }
            }
            Err(RaftError::Fatal(_)) => refuse(ErrorCode::NOT_CONTROLLER),
        }
    }
}

fn unreadable(error: &ControllerError) -> ErrorCode {
    tracing::warn!(%error, "what a controller sent cannot be read");
    ErrorCode::INVALID_REQUEST
}
