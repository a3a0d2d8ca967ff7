//! What the image makes of this broker's partitions: led, followed, or gone; and the way of a wish for another ISR.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::fetcher::FetcherRules;
use super::link::{AddressOf, Connected};
use super::session::FetchLimits;
use super::surroundings::{AlterIsrWish, Eligibility};
use super::throttle::ThrottleRates;
use super::{IsrState, PartitionSpec, ReplicaManager, Windows};
use crate::client::Doors;
use crate::common::ids::{NodeId, TopicPartition};
use crate::common::shutdown::Shutdown;
use crate::log::StorageError;
use crate::protocol::ErrorCode;

/// What following goes by.
#[derive(Clone)]
pub struct FetcherOptions {
    /// This broker.
    pub local: NodeId,
    /// The epoch of its registration, as it is now; -1 for none.
    pub local_epoch: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// How to connect to leaders; its clock is the one by which is waited.
    pub doors: Doors,
    /// Where a broker is.
    pub address_of: AddressOf,
    /// Ends all fetching.
    pub shutdown: Shutdown,
    /// `num.replica.fetchers`
    pub fetchers: i32,
    /// `replica.fetch.*`
    pub limits: FetchLimits,
    /// `replica.socket.timeout.ms`
    pub socket_timeout: Duration,
}

impl fmt::Debug for FetcherOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetcherOptions")
            .field("local", &self.local)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl ReplicaManager {
    /// Takes what the image says now of partitions, in the order of its versions. To be called on a thread that may wait for
    /// the disk.
    ///
    /// One that is led here is opened when somebody asks for it; one that is followed is opened and fetched; one that this
    /// broker is no replica of any more is taken away.
    pub fn apply(&self, specs: Vec<PartitionSpec>) {
        let mut gone = Vec::new();
        for spec in specs {
            let id = spec.id.clone();
            if !spec.replicas.contains(&spec.local) {
                gone.push(spec);
            } else if let Err(error) = self.apply_one(spec) {
                tracing::error!(partition = %id, %error, "a partition's log could not be opened");
            }
        }
        for topic in gone.chunk_by(|a, b| a.id.topic == b.id.topic) {
            if let Err(error) = self.remove(topic.to_vec()) {
                tracing::error!(topic = topic[0].id.topic, %error, "partitions that went elsewhere could not be taken away");
            }
        }
    }

    fn apply_one(&self, spec: PartitionSpec) -> Result<(), StorageError> {
        let leads = spec.leader == spec.local;
        let partition = match self.get(&spec.id.topic, spec.id.partition) {
            Some(partition) => partition,
            // Nobody has asked for it: it is led all the same, once somebody does.
            None if leads || spec.leader < 0 => return Ok(()),
            None => self.open_blocking(spec.clone())?,
        };
        partition.apply(&spec, self.clock.monotonic());
        match partition.leader_id() {
            leader if leader == spec.local || leader < 0 => self.fetchers.leave(&spec.id),
            leader => self.fetchers.follow(leader, &partition),
        }
        Ok(())
    }

    /// Which brokers may be in sync, by their ids and the epochs of their registrations: those that are registered so,
    /// neither fenced nor about to stop. Without this all are, and the controller refuses.
    pub fn set_eligibility(&self, eligible: Eligibility) {
        self.surroundings.set_eligible(eligible);
    }

    /// For how long a follower may not have been at the end and still be in sync (`replica.lag.time.max.ms`).
    pub fn set_max_lag(&self, max_lag: Duration) {
        self.surroundings.set_max_lag(max_lag);
    }

    /// Over which windows of time throttled replication is measured (`replication.quota.window.*`).
    pub fn set_quota_windows(&self, windows: Windows) {
        self.surroundings.throttles.set_windows(windows);
    }

    /// How much throttled replication may cost (`*.replication.throttled.rate`).
    pub fn set_throttle_rates(&self, rates: ThrottleRates) {
        self.surroundings.throttles.set_rates(rates);
    }

    /// To be called once rates, or what is throttled, have changed: what is held back may be free now.
    pub fn throttles_changed(&self) {
        self.fetchers.throttles_changed();
    }

    /// Counts bytes of throttled partitions that go out to followers.
    pub fn gave_throttled(&self, bytes: usize, now: Duration) {
        self.surroundings.throttles.leader.record(bytes, now);
    }

    /// The ISRs that leaders here wish for; each is to be answered by [`ReplicaManager::isr_answered`], once and in order.
    /// `None` for whoever asks a second time.
    pub fn isr_wishes(&self) -> Option<mpsc::UnboundedReceiver<AlterIsrWish>> {
        self.surroundings.take_wishes()
    }

    /// Takes the controller's answer to a wish. A wish that failed for reasons that pass comes again by itself.
    pub fn isr_answered(&self, id: &TopicPartition, answer: Result<IsrState, ErrorCode>) {
        if let Some(partition) = self.get(&id.topic, id.partition) {
            partition.isr_answered(answer.as_ref().map_err(|code| *code), self.clock.monotonic());
        }
    }

    /// Wishes followers out of the ISRs that lagged for too long; to be called at half of `replica.lag.time.max.ms`, with
    /// the broker's clock that never goes back.
    pub fn shrink_isrs(&self, now: Duration) {
        for partition in self.all_open() {
            partition.shrink_isr(now);
        }
    }

    /// Starts to fetch what is followed, from now on until the shutdown.
    pub fn start_fetchers(&self, options: FetcherOptions) {
        let FetcherOptions { local, local_epoch, doors, address_of, shutdown, fetchers, limits, socket_timeout } =
            options;
        let waits = doors.clock.clone();
        let leaders = Arc::new(Arc::new(Connected { local, doors, address_of, timeout: socket_timeout }));
        let clock = self.clock.clone();
        self.start_fetchers_over(FetcherRules {
            local,
            local_epoch,
            leaders,
            clock,
            waits,
            throttles: self.surroundings.throttles.clone(),
            shutdown,
            fetchers,
            limits,
        });
    }

    /// Whether nothing could be fetched of a leader just now, so that it is probably gone.
    pub fn has_lost(&self, leader: NodeId, now: Duration) -> bool {
        self.fetchers.lost.is_lost(leader, now)
    }

    /// As [`ReplicaManager::start_fetchers`], by other ways to the leaders than connections.
    pub(super) fn start_fetchers_over(&self, rules: FetcherRules) {
        self.fetchers.start(rules);
    }
}
