//! A member's side of a classic group: a state machine without I/O.
//!
//! ```text
//!            begin_join                 joined
//! Unjoined ------------> Joining ------------------> Stable
//!    ^                      | failed                    | rebalance asked for, thrown out, subscription changed
//!    +----------------------+---------------------------+
//! ```
//! The caller sends what it is told to, tells what was answered, and reads off what has become of the membership.

use std::collections::BTreeMap;

use crate::client::ClientError;
use crate::client::offsets::Committer;
use crate::common::ids::TopicPartition;
use crate::protocol::ErrorCode;

use super::assignor::Assignor;

/// Where the member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It must join.
    Unjoined,
    /// It is joining.
    Joining,
    /// It has its share.
    Stable,
}

/// What joining and syncing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) member_id: String,
    pub(super) generation: i32,
    pub(super) assignor: Assignor,
    pub(super) share: Vec<TopicPartition>,
    /// For the member that leads: how many partitions each topic had when it shared them out.
    pub(super) counted: Option<BTreeMap<String, usize>>,
}

/// Why joining failed, and what to do about it.
#[derive(Debug)]
pub(super) enum JoinFailed {
    /// Try again under this member id, at once.
    Again(String),
    /// Try again under this member id, after a rest.
    AgainLater(String, ClientError),
    /// It will not work.
    Fatal(ClientError),
}

/// A member of a classic group.
#[derive(Debug)]
pub(super) struct Membership {
    group: String,
    instance_id: Option<String>,
    phase: Phase,
    member_id: String,
    generation: i32,
    /// The partitions were lost: somebody else may have them already.
    lost: bool,
    fatal: Option<ClientError>,
    counted: Option<BTreeMap<String, usize>>,
}

impl Membership {
    pub(super) fn new(group: String, instance_id: Option<String>) -> Membership {
        Membership {
            group,
            instance_id,
            phase: Phase::Unjoined,
            member_id: String::new(),
            generation: -1,
            lost: false,
            fatal: None,
            counted: None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn member_id(&self) -> &str {
        &self.member_id
    }

    pub(super) fn generation(&self) -> i32 {
        self.generation
    }

    /// Who commits for this member.
    pub(super) fn committer(&self) -> Committer {
        Committer {
            group: self.group.clone(),
            generation: self.generation,
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
        }
    }

    /// For the member that leads: how many partitions each topic had when it shared them out.
    pub(super) fn counted(&self) -> Option<&BTreeMap<String, usize>> {
        self.counted.as_ref()
    }

    /// Whether the partitions were lost, since this was last asked.
    pub(super) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// What cannot be mended by joining again.
    pub(super) fn take_fatal(&mut self) -> Option<ClientError> {
        self.fatal.take()
    }

    pub(super) fn begin_join(&mut self) {
        self.phase = Phase::Joining;
    }

    /// Joining again may change the share: the subscription or the topics are no longer what they were.
    pub(super) fn rejoin(&mut self) {
        if self.phase == Phase::Stable {
            self.phase = Phase::Unjoined;
        }
    }

    pub(super) fn joined(&mut self, joined: &Joined) {
        self.phase = Phase::Stable;
        self.member_id.clone_from(&joined.member_id);
        self.generation = joined.generation;
        self.counted.clone_from(&joined.counted);
        self.lost = false;
    }

    pub(super) fn join_failed(&mut self, error: ClientError) {
        self.phase = Phase::Unjoined;
        self.reset();
        self.fatal = Some(error);
    }

    /// Answers to a heartbeat that was sent in `generation`. Returns whether the coordinator must be looked for.
    pub(super) fn heartbeat_answered(&mut self, generation: i32, code: ErrorCode) -> bool {
        // What was asked in an older generation says nothing about this one.
        if self.phase != Phase::Stable || self.generation != generation {
            return false;
        }
        match code {
            ErrorCode::NONE | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => false,
            ErrorCode::REBALANCE_IN_PROGRESS => {
                self.phase = Phase::Unjoined;
                false
            }
            ErrorCode::ILLEGAL_GENERATION => {
                self.generation = -1;
                self.thrown_out();
                false
            }
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.reset();
                self.thrown_out();
                false
            }
            ErrorCode::FENCED_INSTANCE_ID | ErrorCode::GROUP_AUTHORIZATION_FAILED => {
                let context = format!("heartbeat to group {}", self.group);
                self.fatal = Some(ClientError::kafka(code, context));
                self.reset();
                self.thrown_out();
                false
            }
            _ => true,
        }
    }

    /// The member left, or stays away for too long and is about to be removed.
    pub(super) fn left(&mut self) {
        self.reset();
        self.thrown_out();
    }

    fn thrown_out(&mut self) {
        self.lost = self.phase == Phase::Stable;
        self.phase = Phase::Unjoined;
    }

    fn reset(&mut self) {
        self.member_id.clear();
        self.generation = -1;
        self.counted = None;
    }
}

/// What to do about an error of JoinGroup or SyncGroup.
pub(super) fn judge(group: &str, code: ErrorCode, member_id: &str, message: &str) -> JoinFailed {
    let error = ClientError::kafka(code, format!("{message} group {group}"));
    match code {
        // The group waits for this member under the id that came with the error.
        ErrorCode::MEMBER_ID_REQUIRED | ErrorCode::REBALANCE_IN_PROGRESS => JoinFailed::Again(member_id.to_owned()),
        ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION => JoinFailed::Again(String::new()),
        _ if error.retriable() => JoinFailed::AgainLater(member_id.to_owned(), error),
        _ => JoinFailed::Fatal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stable() -> Membership {
        let mut membership = Membership::new("g".to_owned(), None);
        assert_eq!(membership.phase(), Phase::Unjoined);
        membership.begin_join();
        membership.joined(&Joined {
            member_id: "m".to_owned(),
            generation: 3,
            assignor: Assignor::Range,
            share: Vec::new(),
            counted: None,
        });
        membership
    }

    #[test]
    fn a_rebalance_keeps_the_member_id_and_loses_nothing() {
        let mut membership = stable();
        assert!(!membership.heartbeat_answered(3, ErrorCode::REBALANCE_IN_PROGRESS));
        assert_eq!((membership.phase(), membership.member_id()), (Phase::Unjoined, "m"));
        assert!(!membership.take_lost());
    }

    #[test]
    fn a_member_that_was_thrown_out_has_lost_its_partitions() {
        for (code, id) in [(ErrorCode::UNKNOWN_MEMBER_ID, ""), (ErrorCode::ILLEGAL_GENERATION, "m")] {
            let mut membership = stable();
            membership.heartbeat_answered(3, code);
            assert_eq!((membership.phase(), membership.member_id()), (Phase::Unjoined, id));
            assert!(membership.take_lost() && !membership.take_lost());
        }
    }

    #[test]
    fn an_answer_from_an_older_generation_says_nothing() {
        let mut membership = stable();
        assert!(!membership.heartbeat_answered(2, ErrorCode::UNKNOWN_MEMBER_ID));
        assert_eq!(membership.phase(), Phase::Stable);
    }

    #[test]
    fn a_fenced_static_member_cannot_go_on() {
        let mut membership = stable();
        membership.heartbeat_answered(3, ErrorCode::FENCED_INSTANCE_ID);
        assert_eq!(membership.take_fatal().unwrap().code(), Some(ErrorCode::FENCED_INSTANCE_ID));
        assert!(membership.take_lost());
    }

    #[test]
    fn a_coordinator_that_moved_is_looked_for() {
        let mut membership = stable();
        assert!(membership.heartbeat_answered(3, ErrorCode::NOT_COORDINATOR));
        assert_eq!(membership.phase(), Phase::Stable);
    }

    #[test]
    fn join_errors_are_judged_as_kafkas_client_does() {
        let judge = |code| judge("g", code, "m", "join");
        assert!(matches!(judge(ErrorCode::MEMBER_ID_REQUIRED), JoinFailed::Again(id) if id == "m"));
        assert!(matches!(judge(ErrorCode::UNKNOWN_MEMBER_ID), JoinFailed::Again(id) if id.is_empty()));
        assert!(matches!(judge(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS), JoinFailed::AgainLater(..)));
        assert!(matches!(judge(ErrorCode::INCONSISTENT_GROUP_PROTOCOL), JoinFailed::Fatal(_)));
    }
}
