//! What every partition of a broker has in common: how long a follower may lag, which brokers may be in sync, how much
//! replication may cost, the way to the controller, and the checkpoint that must not say more than a log that is cut.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;

use super::error::FollowError;
use super::following::Position;
use super::throttle::Throttles;
use crate::common::clock::SharedClock;
use crate::common::ids::{LeaderEpoch, NodeId, Offset, TopicPartition, Uuid};
use crate::log::StorageError;

/// Whether a broker may be in sync, by its id and the epoch of its registration as it told it (-1 for any).
pub type Eligibility = Arc<dyn Fn(NodeId, i64) -> bool + Send + Sync>;

/// Sees to it that nothing of a log behind an offset is written down as safe, and keeps it so while the log is cut there; what cuts
/// it tells where it ends then.
pub(super) type Cutting =
    Box<dyn Fn(&TopicPartition, Offset, &mut dyn FnMut() -> Option<Offset>) -> Result<(), StorageError> + Send + Sync>;

/// What a leader wishes the controller to make its partition's ISR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterIsrWish {
    /// The partition.
    pub id: TopicPartition,
    /// Its topic.
    pub topic_id: Uuid,
    /// The epoch in which this broker leads it.
    pub leader_epoch: LeaderEpoch,
    /// The partition epoch that it knows.
    pub partition_epoch: i32,
    /// Those in sync, with the epochs of their registrations; -1 for this broker itself, and where one told none.
    pub isr: Vec<(NodeId, i64)>,
}

/// See [the module](self).
pub(super) struct Surroundings {
    clock: SharedClock,
    max_lag_ms: AtomicU64,
    eligible: RwLock<Eligibility>,
    pub(super) throttles: Arc<Throttles>,
    wishes: mpsc::UnboundedSender<AlterIsrWish>,
    told: Mutex<Option<mpsc::UnboundedReceiver<AlterIsrWish>>>,
    cutting: OnceLock<Cutting>,
}

impl Surroundings {
    /// Until more is known: every broker may be in sync, and may lag for Kafka's thirty seconds.
    pub(super) fn new(clock: SharedClock) -> Arc<Surroundings> {
        let (wishes, told) = mpsc::unbounded_channel();
        Arc::new(Surroundings {
            clock,
            max_lag_ms: AtomicU64::new(30_000),
            eligible: RwLock::new(Arc::new(|_, _| true)),
            throttles: Arc::default(),
            wishes,
            told: Mutex::new(Some(told)),
            cutting: OnceLock::new(),
        })
    }

    /// The time by which lags are measured.
    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    pub(super) fn max_lag(&self) -> Duration {
        Duration::from_millis(self.max_lag_ms.load(Ordering::Relaxed))
    }

    pub(super) fn set_max_lag(&self, max_lag: Duration) {
        self.max_lag_ms.store(u64::try_from(max_lag.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn is_eligible(&self, node: NodeId, broker_epoch: i64) -> bool {
        let eligible = self.eligible.read().clone();
        eligible(node, broker_epoch)
    }

    pub(super) fn set_eligible(&self, eligible: Eligibility) {
        *self.eligible.write() = eligible;
    }

    pub(super) fn wish(&self, wish: AlterIsrWish) {
        // Nobody listens in a broker that stops.
        let _ = self.wishes.send(wish);
    }

    pub(super) fn set_cutting(&self, cutting: Cutting) {
        let _ = self.cutting.set(cutting);
    }

    /// Cuts a log at `to`. What it had there may be written down as safe, and what comes there next is not: whoever finds the
    /// log after a crash would neither look through that nor sync it.
    ///
    /// # Errors
    /// [`FollowError::Storage`] where that cannot be written, and those of `cut`.
    pub(super) fn cut(
        &self,
        id: &TopicPartition,
        to: Offset,
        cut: impl FnOnce() -> Result<Position, FollowError>,
    ) -> Result<Position, FollowError> {
        let (mut cut, mut done) = (Some(cut), None);
        let mut once = || {
            done = cut.take().map(|cut| cut());
            Some(done.as_ref()?.as_ref().ok()?.offset)
        };
        match self.cutting.get() {
            Some(cutting) => cutting(id, to, &mut once)?,
            None => _ = once(),
        }
        // Not done: the broker ends.
        done.unwrap_or(Err(FollowError::Overtaken))
    }

    pub(super) fn take_wishes(&self) -> Option<mpsc::UnboundedReceiver<AlterIsrWish>> {
        self.told.lock().take()
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("max_lag", &self.max_lag()).finish_non_exhaustive()
    }
}
