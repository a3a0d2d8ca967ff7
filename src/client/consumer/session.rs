//! Fetch sessions (KIP-227): a broker remembers what a consumer fetches, and is told only what changed.

use std::collections::HashMap;

use crate::common::ids::{LeaderEpoch, Offset, TopicPartition, Uuid};
use crate::protocol::ErrorCode;

/// What is asked of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) topic_id: Uuid,
    pub(super) from: Offset,
    pub(super) leader_epoch: LeaderEpoch,
}

/// What a request says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) session_id: i32,
    pub(super) epoch: i32,
    /// What is new or changed.
    pub(super) ask: Vec<(TopicPartition, Ask)>,
    /// What is no longer fetched.
    pub(super) forget: Vec<(TopicPartition, Uuid)>,
}

/// A consumer's session with one broker.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    id: i32,
    /// The epoch of the next request; 0 begins a session.
    epoch: i32,
    known: HashMap<TopicPartition, Ask>,
    /// What the broker last told of each partition: it does so again only when something changes.
    marks: HashMap<TopicPartition, Marks>,
}

/// Where a partition's log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) high_watermark: Offset,
    pub(super) last_stable: Offset,
    pub(super) log_start: Offset,
}

impl FetchSession {
    /// The next request, for these partitions.
    pub(super) fn next(&mut self, wanted: HashMap<TopicPartition, Ask>) -> Step {
        // A topic that was created anew cannot be told apart by name: the session begins anew too.
        if self.epoch > 0 && wanted.iter().any(|(p, ask)| self.known.get(p).is_some_and(|k| k.topic_id != ask.topic_id))
        {
            self.epoch = 0;
        }
        if self.epoch == 0 {
            let ask = wanted.iter().map(|(partition, ask)| (partition.clone(), *ask)).collect();
            self.known = wanted;
            self.marks.clear();
            // The broker closes the session that is named and begins another.
            return Step { session_id: self.id, epoch: 0, ask, forget: Vec::new() };
        }
        let ask = wanted
            .iter()
            .filter(|(partition, ask)| self.known.get(partition) != Some(ask))
            .map(|(partition, ask)| (partition.clone(), *ask));
        let ask = ask.collect();
        let gone = self.known.iter().filter(|(partition, _)| !wanted.contains_key(partition));
        let forget = gone.map(|(partition, known)| (partition.clone(), known.topic_id)).collect();
        self.marks.retain(|partition, _| wanted.contains_key(partition));
        self.known = wanted;
        Step { session_id: self.id, epoch: self.epoch, ask, forget }
    }

    /// A response to the last request; `session_id` is 0 where the broker keeps no session.
    pub(super) fn answered(&mut self, code: ErrorCode, session_id: i32) {
        match code {
            ErrorCode::NONE if session_id == 0 => (self.id, self.epoch) = (0, 0),
            ErrorCode::NONE => {
                // After the greatest epoch comes 1: 0 would begin a session.
                self.epoch =
                    if self.id == session_id && self.epoch > 0 { self.epoch.checked_add(1).unwrap_or(1) } else { 1 };
                self.id = session_id;
            }
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND => (self.id, self.epoch) = (0, 0),
            _ => self.epoch = 0,
        }
    }

    /// A partition's marks, as a response has them.
    pub(super) fn note(&mut self, name: &TopicPartition, marks: Marks) {
        self.marks.insert(name.clone(), marks);
    }

    /// A partition's marks, as the last response that had them.
    pub(super) fn marks(&self, name: &TopicPartition) -> Option<Marks> {
        self.marks.get(name).copied()
    }

    /// No response came: the broker may or may not have taken the request.
    pub(super) fn lost(&mut self) {
        self.epoch = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partitions: &[(i32, Offset)]) -> HashMap<TopicPartition, Ask> {
        let ask = |from| Ask { topic_id: Uuid([7; 16]), from, leader_epoch: 1 };
        partitions.iter().map(|(partition, from)| (TopicPartition::new("t", *partition), ask(*from))).collect()
    }

    #[test]
    fn only_changes_are_told() {
        let mut session = FetchSession::default();
        let step = session.next(wanted(&[(0, 10), (1, 20)]));
        assert_eq!((step.session_id, step.epoch, step.ask.len()), (0, 0, 2));
        session.answered(ErrorCode::NONE, 42);
        let step = session.next(wanted(&[(0, 10), (1, 25)]));
        assert_eq!((step.session_id, step.epoch, step.ask.len(), step.forget.len()), (42, 1, 1, 0));
        session.answered(ErrorCode::NONE, 42);
        let step = session.next(wanted(&[(1, 25)]));
        assert_eq!((step.epoch, step.ask.len(), step.forget[0].0.partition), (2, 0, 0));
    }

    #[test]
    fn a_session_that_is_gone_or_in_doubt_begins_anew() {
        let mut session = FetchSession::default();
        session.next(wanted(&[(0, 10)]));
        session.answered(ErrorCode::NONE, 42);
        session.next(wanted(&[(0, 11)]));
        session.lost();
        let step = session.next(wanted(&[(0, 11)]));
        assert_eq!((step.session_id, step.epoch, step.ask.len()), (42, 0, 1));
        session.answered(ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0);
        let step = session.next(wanted(&[(0, 11)]));
        assert_eq!((step.session_id, step.epoch), (0, 0));
    }

    #[test]
    fn a_broker_that_keeps_no_session_is_told_everything() {
        let mut session = FetchSession::default();
        for _ in 0..3 {
            assert_eq!(session.next(wanted(&[(0, 10)])).ask.len(), 1);
            session.answered(ErrorCode::NONE, 0);
        }
    }
}
