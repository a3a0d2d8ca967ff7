//! Throttled replication (KIP-73): two quotas, one for what this broker gives to followers and one for what it fetches of
//! leaders, for the partitions that are throttled.
//!
//! | side | a partition is throttled | over the quota | who is never held back |
//! |---|---|---|---|
//! | leader | `leader.replication.throttled.replicas` | a follower is given no records of it | a replica in the ISR |
//! | follower | `follower.replication.throttled.replicas` | it is left out of what is fetched | one that had all that is safe at its last fetch |
//!
//! What goes to and comes from replicas in sync counts too, so that all replication of throttled partitions stays within the
//! limit as far as it can. The limits are `leader.replication.throttled.rate` and `follower.replication.throttled.rate`.

use std::time::Duration;

use parking_lot::Mutex;

use super::quota::{Quota, Windows};

/// On which sides a partition is throttled at this broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttled {
    /// Where it leads.
    pub as_leader: bool,
    /// Where it follows.
    pub as_follower: bool,
}

/// The limits of a broker, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleRates {
    /// `leader.replication.throttled.rate`
    pub leader: u64,
    /// `follower.replication.throttled.rate`
    pub follower: u64,
}

/// Both sides of a broker.
#[derive(Debug, Default)]
pub(super) struct Throttles {
    pub(super) leader: Throttle,
    pub(super) follower: Throttle,
}

impl Throttles {
    pub(super) fn set_rates(&self, rates: ThrottleRates) {
        self.leader.quota.lock().set_rate(rates.leader);
        self.follower.quota.lock().set_rate(rates.follower);
    }

    pub(super) fn set_windows(&self, windows: Windows) {
        self.leader.quota.lock().set_windows(windows);
        self.follower.quota.lock().set_windows(windows);
    }
}

/// One side: a quota that all throttled partitions share.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    quota: Mutex<Quota>,
}

impl Throttle {
    /// When there is room again; `None` where there is now.
    pub(super) fn free_at(&self, now: Duration) -> Option<Duration> {
        self.quota.lock().free_at(now)
    }

    /// Counts what went over the wire.
    pub(super) fn record(&self, bytes: usize, now: Duration) {
        self.quota.lock().record(bytes as u64, now);
    }
}
