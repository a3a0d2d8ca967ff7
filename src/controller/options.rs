//! What a controller is started with, and how long it waits for what.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use super::error::ControllerError;
use super::network::QuorumNetwork;
use super::types::Voter;
use crate::client::Doors;
use crate::common::clock::SharedClock;
use crate::config::{Values, broker as key};

/// How many entries that a snapshot stands for are kept for those who are only a little behind.
pub(super) const KEPT_FOR_OTHERS: u64 = 1_000;

/// No wait of an election is shorter.
const SHORTEST: Duration = Duration::from_millis(20);

/// When a snapshot is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotLimits {
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; 0 for never.
    pub interval_ms: i64,
}

/// How long the quorum waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumTiming {
    /// How often a leader says that it leads.
    pub heartbeat: Duration,
    /// How long it waits for the answer to what it says, before it says the same again: controllers that are further apart than
    /// this agree on nothing.
    pub answer: Duration,
    /// A leader of whom nothing was heard for the longer of the two is given up. Each voter then stands for election
    /// after a time of its own, drawn anew each time, up to the shorter one.
    pub election: (Duration, Duration),
    /// How long a wish, and a connection, waits for its answer.
    pub request: Duration,
    /// What the drawn times come from; `None`: from the system. A simulation gives one, to have the same run again.
    pub seed: Option<u64>,
}

impl QuorumTiming {
    /// As the properties say where they do: `controller.quorum.fetch.timeout.ms` is how long a silent leader is borne,
    /// `controller.quorum.election.timeout.ms` up to when each voter stands after that. Kafka's defaults, made for
    /// followers that ask now and then, are not taken for what nobody has set.
    pub fn of(values: &Values) -> QuorumTiming {
        let mut timing = QuorumTiming::default();
        let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0)).max(SHORTEST);
        if values.is_set(key::CONTROLLER_QUORUM_ELECTION_TIMEOUT_MS) {
            timing.election.0 = millis(values.get(key::CONTROLLER_QUORUM_ELECTION_TIMEOUT_MS));
        }
        if values.is_set(key::CONTROLLER_QUORUM_FETCH_TIMEOUT_MS) {
            timing.election.1 = millis(values.get(key::CONTROLLER_QUORUM_FETCH_TIMEOUT_MS));
        }
        timing.heartbeat = timing.heartbeat.min(timing.election.1 / 4);
        // One that is not answered is still heard of again before it is given up.
        timing.answer = timing.election.1 * 2 / 3;
        timing
    }

    /// What openraft is told of it.
    pub(super) fn openraft(&self, alone: bool) -> Result<Arc<Config>, ControllerError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: "strandline".to_owned(),
            // `leadership::beat` does that: openraft would also wait no longer than this for an answer to what it sends.
            enable_heartbeat: false,
            heartbeat_interval: millis(self.answer),
            // The first is how long it waits for votes, the other how long it lets no other leader come.
            election_timeout_min: millis(self.election.1 - Duration::from_millis(1)),
            election_timeout_max: millis(self.election.1),
            install_snapshot_timeout: millis(self.request),
            snapshot_policy: SnapshotPolicy::Never,
            // `leadership::stand` does that: openraft draws each node's time only once, so that two that draw about the same
            // one would go on taking each other's votes.
            enable_elect: false,
            max_in_snapshot_log_to_keep: if alone { 0 } else { KEPT_FOR_OTHERS },
            ..Config::default()
        };
        let config = config.validate().map_err(|error| ControllerError::Ended(error.to_string()))?;
        Ok(Arc::new(config))
    }
}

impl Default for QuorumTiming {
    /// A leader that is gone is replaced within 0.3 to 0.45 s, but for an election that nobody wins.
    fn default() -> QuorumTiming {
        QuorumTiming {
            heartbeat: Duration::from_millis(75),
            answer: Duration::from_millis(200),
            election: (Duration::from_millis(150), Duration::from_millis(300)),
            request: Duration::from_secs(30),
            seed: None,
        }
    }
}

/// What a controller is started with.
#[derive(Debug, Clone)]
pub struct ControllerOptions {
    /// This node. Its host and port are where its controller listener is; a quorum of one uses neither.
    pub node: Voter,
    /// The cluster that it is of; `None`: whichever it finds.
    pub cluster_id: Option<String>,
    /// The first voters of a new cluster; a log dir that was formatted knows better. A node that is not among them is an
    /// observer.
    pub voters: Vec<Voter>,
    /// `controller.quorum.bootstrap.servers`: where it may be asked who leads.
    pub bootstrap_servers: Vec<(String, u16)>,
    /// Whether it is to be a voter though it was not from the beginning (`controller.quorum.auto.join.enable`).
    pub wants_vote: bool,
    /// How others are reached.
    pub doors: Doors,
    /// Instead of connections through those doors.
    pub network: Option<Arc<dyn QuorumNetwork>>,
    /// The time that records and snapshots go by.
    pub clock: SharedClock,
    /// Whether an entry is on the disk before it counts.
    pub durable: bool,
    /// When a snapshot is due.
    pub limits: SnapshotLimits,
    /// How long the quorum waits for what.
    pub timing: QuorumTiming,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_as_the_properties_say_and_short_where_they_say_nothing() {
        let timing = |given: &[(&str, &str)]| QuorumTiming::of(&Values::broker(given.iter().copied()).unwrap().0);
        assert_eq!(timing(&[]), QuorumTiming::default());
        let (fetch, election) = ("controller.quorum.fetch.timeout.ms", "controller.quorum.election.timeout.ms");
        let slow = timing(&[(fetch, "2000"), (election, "1000")]);
        assert_eq!(slow.election, (Duration::from_secs(1), Duration::from_secs(2)));
        assert_eq!((slow.heartbeat, slow.answer), (Duration::from_millis(75), Duration::from_secs(4) / 3));
        for (patience, spread) in [("0", "0"), ("100", "3000"), ("2147483647", "0")] {
            timing(&[(fetch, patience), (election, spread)]).openraft(false).unwrap();
        }
    }
}
