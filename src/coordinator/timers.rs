//! The shard's deadlines: the runtime sleeps until the first, and need not know what they are.

use std::collections::{BTreeSet, HashMap};

use crate::common::ids::Timestamp;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum TimerKey {
    /// A member that was not heard of, or a pending one that did not come back.
    Session { group_id: String, member_id: String },
    /// The end of a join phase.
    Join { group_id: String },
    /// The end of the wait for SyncGroup.
    Sync { group_id: String },
}

/// Deadlines, one a key.
#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: HashMap<TimerKey, Timestamp>,
    order: BTreeSet<(Timestamp, TimerKey)>,
}

impl Timers {
    /// Sets a key's deadline anew.
    pub(super) fn set(&mut self, key: TimerKey, deadline: Timestamp) {
        self.cancel(&key);
        self.order.insert((deadline, key.clone()));
        self.deadlines.insert(key, deadline);
    }

    /// Forgets a key's deadline.
    pub(super) fn cancel(&mut self, key: &TimerKey) {
        if let Some(deadline) = self.deadlines.remove(key) {
            self.order.remove(&(deadline, key.clone()));
        }
    }

    /// The first deadline.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the first key whose deadline has come.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<TimerKey> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.deadlines.remove(&key);
        Some(key)
    }

    /// Forgets all of a group.
    pub(super) fn cancel_group(&mut self, group: &str) {
        let of_group = |key: &TimerKey| match key {
            TimerKey::Session { group_id, .. } | TimerKey::Join { group_id } | TimerKey::Sync { group_id } => {
                group_id == group
            }
        };
        self.order.retain(|(_, key)| !of_group(key));
        self.deadlines.retain(|key, _| !of_group(key));
    }
}
