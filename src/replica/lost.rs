//! The leaders that this broker has just lost touch with, as far as its own fetching tells.
//!
//! When a process ends, those that fetch from it know before the controller has said who leads now. A client that lost the same
//! broker and asks in between gets a better answer a moment later. So for a moment ([`MOMENT`]) a leader that cannot be asked
//! counts as probably gone. No longer: it may be only this link that broke, and the leader be there for everybody else.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::common::ids::NodeId;

/// How long a leader that cannot be asked counts as gone: the controller needs less where it is.
const MOMENT: Duration = Duration::from_secs(2);
/// From when on a leader that could not be asked, and was not asked since, is lost anew if it cannot be again.
const LONG: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LostLeaders {
    /// Since when, and when it was tried last.
    lost: Mutex<HashMap<NodeId, (Duration, Duration)>>,
}

impl LostLeaders {
    /// A leader could not be asked. Only the first time counts, until it answers again; tells whether this is it.
    pub(super) fn lost(&self, leader: NodeId, now: Duration) -> bool {
        let mut lost = self.lost.lock();
        match lost.get_mut(&leader) {
            Some((_, tried)) if now <= *tried + LONG => {
                *tried = now;
                false
            }
            _ => {
                lost.insert(leader, (now, now));
                true
            }
        }
    }

    /// A leader answered; tells whether it was lost.
    pub(super) fn found(&self, leader: NodeId) -> bool {
        self.lost.lock().remove(&leader).is_some()
    }

    /// Whether it counts as gone.
    pub(super) fn is_lost(&self, leader: NodeId, now: Duration) -> bool {
        self.lost.lock().get(&leader).is_some_and(|(since, _)| now < *since + MOMENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_lost_for_a_moment_however_often_it_is_tried() {
        let (lost, start) = (LostLeaders::default(), Duration::from_secs(9));
        assert!(lost.lost(1, start) && !lost.lost(1, start));
        assert!(!lost.lost(1, start + MOMENT / 2));
        assert!(lost.is_lost(1, start + MOMENT / 2) && !lost.is_lost(2, start));
        assert!(!lost.is_lost(1, start + MOMENT));
        assert!(lost.found(1) && !lost.found(1));
        lost.lost(1, start + MOMENT);
        assert!(lost.is_lost(1, start + MOMENT));
        lost.found(1);
        assert!(!lost.is_lost(1, start + MOMENT));
        // It was found again by others, and not followed meanwhile.
        lost.lost(1, start);
        assert!(lost.lost(1, start + 2 * LONG));
        assert!(lost.is_lost(1, start + 2 * LONG));
    }
}
