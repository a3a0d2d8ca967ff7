//! How controllers reach each other.
//!
//! [`QuorumNetwork`] is all that the quorum wants of a network: four questions that may fail. `transport` asks them over
//! connections; a test or a simulation hands them over in memory, and cuts a link by failing. `Peers` gives it to openraft,
//! and knows where each one is: as the configuration says, or as it said of itself when it last asked something, and
//! only else as the log remembers.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, SnapshotMismatch, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::{AnyError, RaftNetwork, RaftNetworkFactory, SnapshotSegmentId};
use parking_lot::{Mutex, RwLock};

use super::types::{Types, Voter};
use super::wire;
use crate::common::clock::SharedClock;
use crate::common::ids::{NodeId, Timestamp};
use crate::protocol::messages::quorum_append::{QuorumAppendRequest, QuorumAppendResponse};
use crate::protocol::messages::quorum_hello::{QuorumHelloRequest, QuorumHelloResponse};
use crate::protocol::messages::quorum_snapshot::{QuorumSnapshotRequest, QuorumSnapshotResponse};
use crate::protocol::messages::quorum_vote::{QuorumVoteRequest, QuorumVoteResponse, QuorumWay};
use crate::protocol::{ErrorCode, Str};

/// How long is waited before one that was not reached is asked again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// An answer under way, or why there is none.
pub type Asking<'a, R> = Pin<Box<dyn Future<Output = Result<R, String>> + Send + 'a>>;

/// Asks other controllers. A call that nobody waits for any more is dropped.
pub trait QuorumNetwork: Send + Sync + fmt::Debug + 'static {
    /// Asks for a vote.
    fn vote<'a>(&'a self, to: &'a Voter, request: QuorumVoteRequest) -> Asking<'a, QuorumVoteResponse>;
    /// Hands on entries.
    fn append<'a>(&'a self, to: &'a Voter, request: QuorumAppendRequest) -> Asking<'a, QuorumAppendResponse>;
    /// Hands on a piece of a snapshot.
    fn snapshot<'a>(&'a self, to: &'a Voter, request: QuorumSnapshotRequest) -> Asking<'a, QuorumSnapshotResponse>;
    /// Says who this node is, and asks who leads.
    fn hello<'a>(&'a self, to: &'a Voter, request: QuorumHelloRequest) -> Asking<'a, QuorumHelloResponse>;
}

/// The others.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) us: Voter,
    cluster_id: Option<String>,
    network: Arc<dyn QuorumNetwork>,
    clock: SharedClock,
    addresses: RwLock<HashMap<NodeId, (String, u16)>>,
    answered: RwLock<HashMap<NodeId, Answered>>,
    /// Those that could not be reached when they were last asked.
    lost: Mutex<HashSet<NodeId>>,
}

/// When a follower last took what this node sent, and when that was all there was; -1 for never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) at: Timestamp,
    pub(super) caught_up: Timestamp,
    /// When it last did, on the clock that is never set.
    since: Duration,
}

impl Peers {
    pub(super) fn new(
        us: Voter,
        cluster_id: Option<String>,
        network: Arc<dyn QuorumNetwork>,
        clock: SharedClock,
        known: &[Voter],
    ) -> Peers {
        let addresses = known.iter().map(|voter| (voter.id, (voter.host.clone(), voter.port))).collect();
        Peers {
            us,
            cluster_id,
            network,
            clock,
            addresses: RwLock::new(addresses),
            answered: RwLock::default(),
            lost: Mutex::default(),
        }
    }

    /// Takes note of where one of them is.
    pub(super) fn learn(&self, id: NodeId, host: &str, port: u16) {
        let known = self.addresses.read().get(&id).is_some_and(|(at, on)| at == host && *on == port);
        if id != self.us.id && !known && !host.is_empty() {
            self.addresses.write().insert(id, (host.to_owned(), port));
        }
    }

    /// When one of them last answered this node as its leader.
    pub(super) fn answered(&self, id: NodeId) -> Answered {
        self.answered.read().get(&id).copied().unwrap_or(Answered { at: -1, caught_up: -1, since: Duration::ZERO })
    }

    /// Whether it did so within this time.
    pub(super) fn has_answered_within(&self, id: NodeId, time: Duration) -> bool {
        let since = self.answered.read().get(&id).map(|answered| answered.since);
        since.is_some_and(|since| self.clock.monotonic().saturating_sub(since) < time)
    }

    fn has_answered(&self, id: NodeId, with_all: bool) {
        let (at, since) = (self.clock.now(), self.clock.monotonic());
        let mut answered = self.answered.write();
        let known = answered.entry(id).or_insert(Answered { at, caught_up: -1, since });
        (known.at, known.since) = (at, since);
        if with_all {
            known.caught_up = at;
        }
    }

    /// The voter as it is reached now.
    pub(super) fn located(&self, voter: &Voter) -> Voter {
        match self.addresses.read().get(&voter.id) {
            Some((host, port)) => Voter { host: host.clone(), port: *port, ..voter.clone() },
            None => voter.clone(),
        }
    }

    /// Asks one of them, and tells the log when it is not reached any more, and when it is again.
    async fn ask<R>(&self, to: &Voter, asking: Asking<'_, R>) -> Result<R, Unreachable> {
        match asking.await {
            Ok(answer) => {
                if self.lost.lock().remove(&to.id) {
                    tracing::info!(%to, "a controller is reached again");
                }
                Ok(answer)
            }
            Err(reason) => {
                if self.lost.lock().insert(to.id) {
                    tracing::warn!(%to, reason, "a controller is not reached");
                }
                Err(unreachable(reason))
            }
        }
    }

    /// Says who this node is: whether it wants the log, and a vote.
    pub(super) async fn hello(&self, to: &Voter, joins: bool, wants_vote: bool) -> Result<QuorumHelloResponse, String> {
        let cluster_id = Str::from(self.cluster_id.as_deref().unwrap_or_default());
        let request = QuorumHelloRequest { way: self.way(to), cluster_id, joins, wants_vote };
        self.network.hello(to, request).await
    }

    fn way(&self, target: &Voter) -> QuorumWay {
        QuorumWay {
            sender_id: self.us.id,
            sender_directory_id: self.us.directory_id,
            sender_host: Str::from(self.us.host.as_str()),
            sender_port: self.us.port,
            target_id: target.id,
            target_directory_id: target.directory_id,
        }
    }
}

/// openraft's way to the others.
#[derive(Debug, Clone)]
pub(super) struct Ways(pub(super) Arc<Peers>);

impl RaftNetworkFactory<Types> for Ways {
    type Network = Way;

    async fn new_client(&mut self, target: NodeId, node: &Voter) -> Way {
        Way { peers: self.0.clone(), target: Voter { id: target, ..node.clone() } }
    }
}

/// The way to one of them.
#[derive(Debug)]
pub(super) struct Way {
    peers: Arc<Peers>,
    target: Voter,
}

type Asked<R, E = openraft::error::Infallible> = Result<R, RPCError<NodeId, Voter, RaftError<NodeId, E>>>;

fn unreachable(problem: impl fmt::Display) -> Unreachable {
    Unreachable::new(&AnyError::error(problem.to_string()))
}

/// An error code is the other one's refusal to talk at all.
fn heard(code: ErrorCode) -> Result<(), Unreachable> {
    code.ok().map_err(unreachable)
}

fn waits() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(BACKOFF.0), |wait| Some((*wait * 2).min(BACKOFF.1)))
}

impl RaftNetwork<Types> for Way {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Asked<AppendEntriesResponse<NodeId>> {
        let told = wire::tell_append(self.peers.way(&self.target), &request);
        let to = self.peers.located(&self.target);
        let response = self.peers.ask(&to, self.peers.network.append(&to, told)).await?;
        heard(response.error_code)?;
        let response = wire::read_append_response(&response).map_err(unreachable)?;
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
            self.peers.has_answered(self.target.id, response.is_success() && last >= request.leader_commit);
        }
        Ok(response)
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Asked<InstallSnapshotResponse<NodeId>, InstallSnapshotError> {
        let (id, offset) = (request.meta.snapshot_id.clone(), request.offset);
        let told = wire::tell_snapshot(self.peers.way(&self.target), request).map_err(unreachable)?;
        let to = self.peers.located(&self.target);
        let response = self.peers.ask(&to, self.peers.network.snapshot(&to, told)).await?;
        heard(response.error_code)?;
        if response.mismatch {
            let (expect, got) = (SnapshotSegmentId { id: id.clone(), offset: 0 }, SnapshotSegmentId { id, offset });
            let mismatch = InstallSnapshotError::SnapshotMismatch(SnapshotMismatch { expect, got });
            return Err(RemoteError::new(self.target.id, RaftError::APIError(mismatch)).into());
        }
        Ok(InstallSnapshotResponse { vote: wire::read_vote(&response.vote).map_err(unreachable)? })
    }

    /// Asks until there is an answer; openraft gives up when the election is over.
    async fn vote(&mut self, request: VoteRequest<NodeId>, _: RPCOption) -> Asked<VoteResponse<NodeId>> {
        let mut waits = waits();
        loop {
            let told = wire::tell_vote_request(self.peers.way(&self.target), &request);
            let to = self.peers.located(&self.target);
            if let Ok(response) = self.peers.ask(&to, self.peers.network.vote(&to, told)).await {
                heard(response.error_code)?;
                return Ok(wire::read_vote_response(&response).map_err(unreachable)?);
            }
            self.peers.clock.sleep(waits.next().unwrap_or(BACKOFF.1)).await;
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(waits())
    }
}
