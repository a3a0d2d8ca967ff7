//! How a node gets the metadata that it does not vote for: it looks for the leader, and asks to be let in.
//!
//! ```text
//! a node that starts     says who it is, and which log dir it has, to whoever leads: as the log remembers, as the configuration
//!                        names the voters, or by way of the bootstrap servers, each of which knows who leads
//! the leader             takes one without a vote as an observer; of a voter it takes note where it is, and which log dir it has
//! an observer            that hears nothing any more says all of it again: it may have been forgotten, or be elsewhere now
//! ```
//! A voter whose log dir is another one than it was has lost what it voted for, and is refused: a vote that it gave would be
//! given twice. Whoever looks after the cluster takes its vote (RemoveRaftVoter), and it comes back as an observer. A node
//! that wants a vote, because `controller.quorum.auto.join.enable` says so or because it is named among the first voters, has all of that done by
//! the leader: its old vote goes, where nothing is heard of the old log dir any more, and it gets a new one once it has caught up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::types::Voter;
use super::{Controller, Core};
use crate::common::ids::{NodeId, Uuid};
use crate::metadata::Refusal;
use crate::protocol::messages::quorum_hello::{QuorumHelloRequest, QuorumHelloResponse};
use crate::protocol::{ErrorCode, Str};

/// How long an answer may take before another node is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// An observer that hears nothing of its leader for so long asks again.
const SILENCE: Duration = Duration::from_secs(1);
/// How long to rest before the next one is asked: at first, and at most.
const REST: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How this node comes to have the log.
#[derive(Debug, Default)]
pub(super) struct Joining {
    /// Where leaders may be asked for, besides those whom the log knows.
    pub(super) servers: Vec<Voter>,
    /// Whether a vote is wanted whenever there is none.
    wants_vote: bool,
    /// Whether it is wanted only until there is one: the configuration names this node among the voters, and its log is new.
    wants_first_vote: bool,
    /// Who leads, as another node told.
    told: Mutex<Option<Voter>>,
    turn: AtomicUsize,
}

impl Joining {
    pub(super) fn new(servers: Vec<Voter>, wants_vote: bool, wants_first_vote: bool) -> Joining {
        Joining { servers, wants_vote, wants_first_vote, ..Joining::default() }
    }

    /// Who leads, as far as this node was told by another one.
    pub(super) fn told(&self) -> Option<Voter> {
        self.told.lock().clone()
    }
}

/// A bootstrap server: nobody knows its id yet.
pub(super) fn server((host, port): (String, u16)) -> Voter {
    Voter { id: -1, host, port, ..Voter::default() }
}

/// Why a node was not taken in.
#[derive(Debug)]
struct Unwelcome {
    problem: String,
    /// Whether somebody has to do something about it.
    is_lasting: bool,
}

/// Who is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Whoever leads, as this node knows.
    Leader,
    /// Whoever leads as the last one that was asked knows: it may be another one, and not be reached either.
    Told,
    InTurn,
}

/// What this node is, as far as it knows.
enum Standing {
    /// It leads, or votes alone.
    Leads,
    Votes,
    Observes,
}

impl Core {
    fn standing(&self) -> Standing {
        let metrics = self.raft().server_metrics();
        let metrics = metrics.borrow();
        let us = self.node.id;
        let membership = &metrics.membership_config;
        if metrics.current_leader == Some(us) || membership.voter_ids().eq([us]) {
            return Standing::Leads;
        }
        let is_us = |voter: &Voter| voter.directory_id == self.node.directory_id;
        match membership.membership().get_node(&us).filter(|voter| is_us(voter)) {
            Some(_) if membership.voter_ids().any(|id| id == us) => Standing::Votes,
            _ => Standing::Observes,
        }
    }

    /// Whom to ask next: the leader where one is known, and everybody else in turn where that one does not take it in.
    fn whom_to_ask(&self, next: Next) -> Option<Voter> {
        let metrics = self.raft().server_metrics();
        let metrics = metrics.borrow();
        let us = self.node.id;
        let known: Vec<Voter> = metrics.membership_config.nodes().map(|(_, voter)| self.peers.located(voter)).collect();
        let leader = || known.iter().find(|voter| Some(voter.id) == metrics.current_leader).cloned();
        let first = match next {
            Next::Leader => leader().or_else(|| self.joining.told()),
            Next::Told => self.joining.told(),
            Next::InTurn => None,
        };
        if let Some(first) = first.filter(|first| first.id != us) {
            return Some(first);
        }
        let voters = known.into_iter().filter(|node| metrics.membership_config.voter_ids().any(|id| id == node.id));
        let all = self.voters.iter().cloned().chain(self.joining.servers.iter().cloned()).chain(voters);
        let all: Vec<Voter> = all.filter(|voter| voter.id != us).collect();
        let turn = self.joining.turn.fetch_add(1, Ordering::Relaxed);
        all.get(turn % all.len().max(1)).cloned()
    }

    /// Says who this node is to somebody; whether it was the leader, and took it in.
    async fn say_hello(&self, to: &Voter, wants_vote: bool) -> Result<bool, Unwelcome> {
        let unheard = |problem: String| Unwelcome { problem, is_lasting: false };
        let answer = tokio::select! {
            answer = self.peers.hello(to, true, wants_vote) => answer.map_err(unheard)?,
            () = self.clock.sleep(PATIENCE) => return Err(unheard("no answer".to_owned())),
        };
        let leads = answer.leader_id >= 0 && answer.leader_id != self.node.id;
        let leader = leads.then(|| Voter {
            id: answer.leader_id,
            host: answer.leader_host.to_string(),
            port: answer.leader_port,
            ..Voter::default()
        });
        let knows = leader.is_some();
        *self.joining.told.lock() = leader;
        self.say();
        match answer.error_code {
            ErrorCode::NONE => Ok(true),
            ErrorCode::NOT_CONTROLLER if knows => Ok(false),
            code => {
                let problem = answer.error_message.map_or(code.to_string(), |sentence| sentence.to_string());
                let is_lasting = !matches!(code, ErrorCode::NOT_CONTROLLER | ErrorCode::REQUEST_TIMED_OUT);
                Err(Unwelcome { problem, is_lasting })
            }
        }
    }
}

/// Makes this node known to whoever leads, until the controller ends.
pub(super) async fn join(core: Arc<Core>) {
    let mut raised = core.raised.subscribe();
    let mut metrics = core.raft().server_metrics();
    let (mut is_in, mut next, mut rest, mut told) = (false, Next::Leader, REST.0, String::new());
    let mut wants_vote = core.joining.wants_vote || core.joining.wants_first_vote;
    loop {
        metrics.mark_unchanged();
        let standing = core.standing();
        // One that was taken out is not to come back for what it was told at the beginning.
        wants_vote &= core.joining.wants_vote || matches!(standing, Standing::Observes);
        let silent = core.clock.monotonic().saturating_sub(*core.heard_at.lock()) >= SILENCE;
        let pause = match standing {
            Standing::Leads => core.tell_of_itself().await.is_err().then_some(REST.1),
            Standing::Votes if is_in => None,
            Standing::Observes if is_in && !silent && !wants_vote => Some(SILENCE),
            _ => Some(match core.whom_to_ask(next) {
                None => SILENCE,
                Some(to) => match core.say_hello(&to, wants_vote && matches!(standing, Standing::Observes)).await {
                    Ok(true) => {
                        (is_in, next, rest) = (true, Next::Leader, REST.0);
                        SILENCE
                    }
                    Ok(false) if next != Next::Told => {
                        next = Next::Told;
                        Duration::ZERO
                    }
                    // Sent from one to the other: they do not agree yet.
                    Ok(false) => {
                        (next, rest) = (Next::InTurn, (rest * 2).min(REST.1));
                        rest
                    }
                    Err(Unwelcome { problem, is_lasting }) => {
                        tracing::debug!(node = core.node.id, asked = %to, problem, "not in the quorum yet");
                        // Once is enough: it may be so for long.
                        if is_lasting && problem != told {
                            tracing::warn!(node = core.node.id, asked = %to, problem, "the quorum does not take this node in");
                            told = problem;
                        }
                        (next, rest) = (Next::InTurn, (rest * 2).min(REST.1));
                        rest
                    }
                },
            }),
        };
        tokio::select! {
            () = async { core.clock.sleep(pause.unwrap_or_default()).await }, if pause.is_some() => {}
            changed = metrics.changed() => if changed.is_err() {
                let _ = raised.changed().await;
                metrics = core.raft().server_metrics();
            },
        }
    }
}

impl Controller {
    /// Answers a node that says who it is; the leader takes it in.
    pub async fn handle_hello(&self, request: QuorumHelloRequest) -> QuorumHelloResponse {
        let core = &self.core;
        let way = &request.way;
        let leadership = core.leadership.borrow().clone();
        let leader = if leadership.is_us { Some(core.node.clone()) } else { leadership.leader };
        let mut answer = QuorumHelloResponse {
            term: leadership.epoch,
            has_entries: !core.store.journal.lock().is_pristine(),
            ..QuorumHelloResponse::default()
        };
        if let Some(leader) = leader {
            (answer.leader_id, answer.leader_port) = (leader.id, leader.port);
            answer.leader_host = Str::from(leader.host);
        }
        let done = match &core.cluster_id {
            Some(ours) if **ours != *request.cluster_id => {
                let sentence =
                    format!("node {} is of cluster {}, and this is cluster {ours}", way.sender_id, request.cluster_id);
                Err(Refusal::new(ErrorCode::INCONSISTENT_CLUSTER_ID, sentence))
            }
            _ if request.joins => {
                let (id, directory_id) = (way.sender_id, way.sender_directory_id);
                let sender = Voter { id, directory_id, host: way.sender_host.to_string(), port: way.sender_port };
                core.take_in(sender, request.wants_vote).await
            }
            _ => Ok(()),
        };
        if let Err(refusal) = done {
            (answer.error_code, answer.error_message) = (refusal.code, Some(Str::from(refusal.message)));
        }
        answer
    }
}

impl Core {
    /// Lets a node have the log, and have a vote where it wants one.
    async fn take_in(self: &Arc<Self>, sender: Voter, wants_vote: bool) -> Result<(), Refusal> {
        self.deciding_term().ok_or_else(|| self.not_controller())?;
        let id = sender.id;
        // One of the bootstrap servers may be whoever asks.
        if sender == self.node {
            return Ok(());
        }
        if id < 0 || id == self.node.id {
            let sentence =
                format!("a node comes with the id {id}: it must be at least 0, and not that of {}", self.node);
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence));
        }
        if let Some(known) = self.voter(id) {
            let (old, new) = (known.directory_id, sender.directory_id);
            if old == new || old.is_zero() {
                return self.add_observer(sender).await;
            }
            if !wants_vote || self.answers(id) {
                return Err(lost_its_log_dir(id, old, new));
            }
            self.remove_voter(id, old).await?;
        }
        self.add_observer(sender.clone()).await?;
        if wants_vote {
            let core = self.clone();
            // It takes as long as it has to catch up.
            self.spawn(async move {
                match core.add_voter(sender, core.timing.request).await {
                    Ok(()) => tracing::info!(node = id, "a controller has got its vote"),
                    Err(refusal) => tracing::debug!(node = id, %refusal, "a controller has no vote yet"),
                }
            });
        }
        Ok(())
    }

    /// Writes down where this node is, and which log dir it has, where the log does not know it.
    async fn tell_of_itself(&self) -> Result<(), Refusal> {
        let known = self.voter(self.node.id);
        if self.has_others() && self.deciding_term().is_some() && known.is_some_and(|known| known != self.node) {
            return self.add_observer(self.node.clone()).await;
        }
        Ok(())
    }
}

fn lost_its_log_dir(id: NodeId, old: Uuid, new: Uuid) -> Refusal {
    let sentence = format!(
        "voter {id} had the log dir {old}, and comes with {new}: what it voted for is lost, so its vote must be taken first \
         (strandline cluster remove-voter --controller-id {id} --controller-directory-id {old}); then it comes back as an observer"
    );
    Refusal::new(ErrorCode::INVALID_VOTER_KEY, sentence)
}
