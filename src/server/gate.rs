//! Who may connect: the limits on connections, and who has to leave when they are lowered.
//!
//! | limit | what it does |
//! |---|---|
//! | `max.connections` | the listener accepts nobody while so many are here: who comes waits in the system's backlog |
//! | `max.connections.per.ip` | one more from the same address is accepted and closed at once |
//!
//! Both may change while the broker runs. Where `max.connections` is lowered below what is here, those that were silent
//! longest are closed. This is what Apache Kafka does. Nothing here reads a socket or a clock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Counts the connections of a listener. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    here: Mutex<Here>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Here {
    next: u64,
    members: HashMap<u64, Arc<Member>>,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Member {
    address: IpAddr,
    /// When it was heard of last, in nanoseconds of the broker's clock.
    heard: AtomicU64,
    told_to_leave: Notify,
}

/// A connection's place, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    member: Arc<Member>,
    gate: Gate,
}

impl Gate {
    /// How many are here.
    pub(super) fn count(&self) -> usize {
        self.inner.here.lock().members.len()
    }

    /// A place for a connection from `address`, of which at most `most` may be here; else how many are.
    pub(super) fn enter(&self, address: IpAddr, most: usize, now: Duration) -> Result<Place, usize> {
        let mut here = self.inner.here.lock();
        let count = here.by_address.get(&address).copied().unwrap_or(0);
        if count >= most {
            return Err(count);
        }
        here.by_address.insert(address, count + 1);
        let member = Arc::new(Member { address, heard: AtomicU64::new(nanos(now)), told_to_leave: Notify::new() });
        let id = here.next;
        here.next += 1;
        here.members.insert(id, member.clone());
        Ok(Place { id, member, gate: self.clone() })
    }

    /// Tells those that were silent longest to leave, until no more than `most` would be here.
    pub(super) fn shrink(&self, most: usize) {
        let here = self.inner.here.lock();
        let excess = here.members.len().saturating_sub(most);
        if excess == 0 {
            return;
        }
        let mut members: Vec<&Arc<Member>> = here.members.values().collect();
        members.sort_unstable_by_key(|member| member.heard.load(Ordering::Relaxed));
        members[..excess].iter().for_each(|member| member.told_to_leave.notify_one());
    }

    /// Ends when somebody has left since the last time.
    pub(super) async fn left(&self) {
        self.inner.left.notified().await;
    }
}

impl Place {
    /// Notes that the connection was heard of.
    pub(super) fn heard(&self, now: Duration) {
        self.member.heard.store(nanos(now), Ordering::Relaxed);
    }

    /// Ends when the connection has to leave.
    pub(super) async fn told_to_leave(&self) {
        self.member.told_to_leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut here = self.gate.inner.here.lock();
        here.members.remove(&self.id);
        if let Some(count) = here.by_address.get_mut(&self.member.address) {
            *count -= 1;
            if *count == 0 {
                here.by_address.remove(&self.member.address);
            }
        }
        drop(here);
        self.gate.inner.left.notify_one();
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const NOW: Duration = Duration::from_secs(1);

    #[test]
    fn each_address_has_places_of_its_own_and_gets_them_back() {
        let gate = Gate::default();
        let first = gate.enter(HOME, 2, NOW).unwrap();
        let _second = gate.enter(HOME, 2, NOW).unwrap();
        assert_eq!(gate.enter(HOME, 2, NOW).unwrap_err(), 2);
        let away = gate.enter(AWAY, 2, NOW).unwrap();
        assert_eq!((gate.count(), gate.left().now_or_never()), (3, None));
        drop(first);
        assert_eq!((gate.count(), gate.left().now_or_never()), (2, Some(())));
        gate.enter(HOME, 2, NOW).unwrap();
        drop(away);
        assert!(!gate.inner.here.lock().by_address.contains_key(&AWAY));
    }

    #[test]
    fn the_longest_silent_leave_first() {
        let gate = Gate::default();
        let places: Vec<Place> = (0..4).map(|_| gate.enter(HOME, 9, NOW).unwrap()).collect();
        for (place, heard) in places.iter().zip([40, 10, 30, 20]) {
            place.heard(Duration::from_secs(heard));
        }
        gate.shrink(4);
        let told = |places: &[Place]| -> Vec<bool> {
            places.iter().map(|place| place.told_to_leave().now_or_never().is_some()).collect()
        };
        assert_eq!(told(&places), [false; 4]);
        gate.shrink(2);
        assert_eq!(told(&places), [false, true, false, true]);
    }
}
