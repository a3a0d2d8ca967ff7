//! Which brokers are alive, as far as the active controller knows: when it last heard of each.
//!
//! A broker has a session from its last sign of life on, for `broker.session.timeout.ms`. When that is over it is fenced.
//! Who takes office knows of no signs of life yet, so it gives everybody a whole session; but the node whose office it takes
//! was heard of, as the leader, until it was given up: its session began then. A broker that was seen to be gone (its
//! connection broke, and nobody listens where it did) has no session any more, however young its last one was; and one whose
//! connection broke need not be waited for by another start of it.
//!
//! Pure: time is an argument, and nothing is sent from here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::common::ids::NodeId;

/// How often the sessions are looked at while one lasts.
const LOOKS: u32 = 16;

/// The sessions of all brokers that are not fenced.
#[derive(Debug, Default)]
pub struct Sessions {
    alive: BTreeMap<NodeId, Session>,
    /// Those whose connection broke since they were last heard of.
    broken: BTreeSet<NodeId>,
    timeout: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    /// When its last sign of life came.
    heard: Duration,
    /// When it is over.
    ends: Duration,
}

impl Sessions {
    /// Takes office at `now`: these brokers are not fenced, and have `timeout` to be heard of.
    pub fn begin(&mut self, brokers: impl IntoIterator<Item = NodeId>, timeout: Duration, now: Duration) {
        self.timeout = timeout;
        self.alive = brokers.into_iter().map(|id| (id, Session { heard: now, ends: now + timeout })).collect();
        self.broken.clear();
    }

    /// One of them was last heard of before that. As it could tell nobody of itself meanwhile, half a session is left to it in
    /// any case.
    pub fn silent_for(&mut self, id: NodeId, silent: Duration) {
        if let Some(session) = self.alive.get_mut(&id) {
            let silent = silent.min(self.timeout / 2);
            session.heard = session.heard.saturating_sub(silent);
            session.ends = session.ends.saturating_sub(silent);
        }
    }

    /// This controller stood still itself for so long, until `now`, and has not read yet what it was told meanwhile: that
    /// time is not counted. Nobody was heard of by that.
    pub fn stood_still(&mut self, late: Duration, now: Duration) {
        let latest = now + self.timeout;
        self.alive.values_mut().for_each(|session| session.ends = (session.ends + late).min(latest));
    }

    /// A sign of life.
    pub fn heard(&mut self, id: NodeId, now: Duration) {
        self.alive.insert(id, Session { heard: now, ends: now + self.timeout });
        self.broken.remove(&id);
    }

    /// The connection broke by which the broker was heard of.
    pub fn broke(&mut self, id: NodeId) {
        self.broken.insert(id);
    }

    /// The broker is gone, or fenced: nobody waits for it.
    pub fn end(&mut self, id: NodeId) {
        self.alive.remove(&id);
        self.broken.remove(&id);
    }

    /// Whether it has a session, but was not heard of after `at`.
    pub fn is_silent_since(&self, id: NodeId, at: Duration) -> bool {
        self.alive.get(&id).is_some_and(|session| session.heard <= at)
    }

    /// Whether another start of the broker must wait: this one lives, as far as is known, and has its connection.
    pub fn holds(&self, id: NodeId, now: Duration) -> bool {
        self.is_alive(id, now) && !self.broken.contains(&id)
    }

    /// Whether the broker was heard of within its session.
    pub fn is_alive(&self, id: NodeId, now: Duration) -> bool {
        self.alive.get(&id).is_some_and(|session| now < session.ends)
    }

    /// The brokers whose session is over; they have none any more.
    pub fn take_expired(&mut self, now: Duration) -> Vec<NodeId> {
        let over: Vec<NodeId> = self.alive.keys().copied().filter(|id| !self.is_alive(*id, now)).collect();
        over.iter().for_each(|id| self.end(*id));
        over
    }

    /// When to look at them next, at the latest: who stands still can tell by that how much too late it does. `None` while
    /// there are none.
    pub fn next_look(&self, now: Duration) -> Option<Duration> {
        self.next_deadline().map(|at| at.min(now + self.timeout / LOOKS).max(now))
    }

    /// When the next session is over, if nothing is heard until then.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.alive.values().map(|session| session.ends).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_is_over_when_nothing_was_heard_for_its_time() {
        let mut sessions = Sessions::default();
        sessions.begin([1, 2], 9 * SECOND, 100 * SECOND);
        assert!(sessions.is_alive(1, 108 * SECOND) && !sessions.is_alive(3, 108 * SECOND));
        sessions.heard(2, 105 * SECOND);
        assert_eq!(sessions.next_deadline(), Some(109 * SECOND));
        assert!(sessions.take_expired(108 * SECOND).is_empty());
        assert_eq!(sessions.take_expired(109 * SECOND), [1]);
        assert_eq!(sessions.next_deadline(), Some(114 * SECOND));
        assert_eq!(sessions.take_expired(200 * SECOND), [2]);
        assert_eq!(sessions.next_deadline(), None);
    }

    #[test]
    fn who_led_before_has_its_session_from_its_last_word_on() {
        let mut sessions = Sessions::default();
        sessions.begin([1, 2], 10 * SECOND, 100 * SECOND);
        sessions.silent_for(1, SECOND);
        sessions.silent_for(3, SECOND);
        assert_eq!(sessions.take_expired(109 * SECOND), [1]);
        sessions.silent_for(2, 60 * SECOND);
        assert!(sessions.is_alive(2, 104 * SECOND));
        assert_eq!(sessions.take_expired(105 * SECOND), [2]);
    }

    #[test]
    fn nobodys_session_runs_while_the_controller_stands_still() {
        let mut sessions = Sessions::default();
        sessions.begin([1, 2], 9 * SECOND, 100 * SECOND);
        sessions.heard(2, 104 * SECOND);
        sessions.stood_still(20 * SECOND, 125 * SECOND);
        assert!(sessions.take_expired(128 * SECOND).is_empty());
        assert_eq!(sessions.take_expired(129 * SECOND), [1]);
        assert_eq!(sessions.take_expired(133 * SECOND), [2]);
    }

    #[test]
    fn a_controller_that_stood_still_has_heard_of_nobody_by_that() {
        let mut sessions = Sessions::default();
        sessions.begin([1], 9 * SECOND, 100 * SECOND);
        sessions.stood_still(5 * SECOND, 106 * SECOND);
        assert!(sessions.is_silent_since(1, 101 * SECOND) && sessions.is_alive(1, 113 * SECOND));
    }

    #[test]
    fn who_was_heard_of_after_the_controller_woke_is_not_heard_of_in_future() {
        let mut sessions = Sessions::default();
        sessions.begin([1], 9 * SECOND, 100 * SECOND);
        sessions.heard(1, 120 * SECOND);
        sessions.stood_still(20 * SECOND, 121 * SECOND);
        assert_eq!(sessions.next_deadline(), Some(130 * SECOND));
    }

    #[test]
    fn sessions_are_looked_at_often_and_when_one_is_over() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.next_look(SECOND), None);
        sessions.begin([1], 16 * SECOND, 100 * SECOND);
        assert_eq!(sessions.next_look(100 * SECOND), Some(101 * SECOND));
        assert_eq!(sessions.next_look(115 * SECOND + SECOND / 2), Some(116 * SECOND));
        assert_eq!(sessions.next_look(120 * SECOND), Some(120 * SECOND));
    }

    #[test]
    fn who_is_silent_is_so_until_it_is_heard_of_or_fenced() {
        let mut sessions = Sessions::default();
        sessions.begin([1], 9 * SECOND, SECOND);
        assert!(sessions.is_silent_since(1, SECOND) && !sessions.is_silent_since(2, SECOND));
        sessions.heard(1, 2 * SECOND);
        assert!(!sessions.is_silent_since(1, SECOND) && sessions.is_silent_since(1, 2 * SECOND));
        sessions.end(1);
        assert!(!sessions.is_silent_since(1, 2 * SECOND));
    }

    #[test]
    fn who_is_seen_to_be_gone_has_no_session() {
        let mut sessions = Sessions::default();
        sessions.begin([1], 9 * SECOND, SECOND);
        sessions.end(1);
        assert!(!sessions.is_alive(1, SECOND));
        sessions.heard(1, 2 * SECOND);
        assert!(sessions.is_alive(1, 2 * SECOND));
    }

    #[test]
    fn who_lost_its_connection_lives_and_may_be_started_again() {
        let mut sessions = Sessions::default();
        sessions.begin([1], 9 * SECOND, SECOND);
        assert!(sessions.holds(1, SECOND));
        sessions.broke(1);
        assert!(sessions.is_alive(1, SECOND) && !sessions.holds(1, SECOND));
        sessions.heard(1, 2 * SECOND);
        assert!(sessions.holds(1, 2 * SECOND));
    }
}
