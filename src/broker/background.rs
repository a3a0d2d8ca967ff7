//! What a broker does from time to time: retention, compaction, syncing, checkpoints, snapshots of the metadata.
//!
//! Each job is a task of its own that waits on the broker's clock, so that a test can move it, and works in a turn of it,
//! so that the test knows when the job is done. What a job does is work on files, so it runs where a thread may wait. All
//! end when the broker's shutdown begins.

use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use crate::common::ids::TopicPartition;
use crate::config::broker as key;

/// How often removed files are looked through.
const TRASH_INTERVAL_MS: i64 = 1_000;

/// Starts all jobs.
pub(super) fn start(broker: &Arc<Broker>) {
    every(broker, |values| values.get(key::LOG_RETENTION_CHECK_INTERVAL_MS), Broker::enforce_retention);
    every(broker, |values| values.get(key::LOG_FLUSH_SCHEDULER_INTERVAL_MS), Broker::flush_what_is_due);
    every(broker, |values| values.get(key::LOG_FLUSH_OFFSET_CHECKPOINT_INTERVAL_MS), Broker::checkpoint);
    every(broker, |values| values.get(key::LOG_CLEANER_BACKOFF_MS), Broker::clean_logs);
    every(broker, |_| TRASH_INTERVAL_MS, |broker| broker.replicas.empty_trash(broker.clock().now()));
    every(broker, |values| values.get(key::REPLICA_LAG_TIME_MAX_MS) / 2, Broker::shrink_isrs);
    // 0 stands for never.
    let snapshots = |values: &crate::config::Values| match values.get(key::METADATA_LOG_MAX_SNAPSHOT_INTERVAL_MS) {
        0 => i64::MAX,
        interval => interval,
    };
    every(broker, snapshots, |broker| broker.controller.snapshot_if_due());
    let recovering = broker.clone();
    broker.shutdown().spawn(async move {
        // It ends early only with its runtime.
        let _ = tokio::task::spawn_blocking(move || recovering.recover_logs()).await;
    });
}

/// Runs `job` each time the interval, which may change meanwhile, has passed.
fn every(broker: &Arc<Broker>, interval_ms: fn(&crate::config::Values) -> i64, job: fn(&Broker)) {
    let broker = broker.clone();
    let shutdown = broker.shutdown().clone();
    // Until the first wait.
    let mut turn = broker.clock().busy();
    shutdown.clone().spawn(async move {
        loop {
            let interval = Duration::from_millis(u64::try_from(interval_ms(&broker.values())).unwrap_or(u64::MAX));
            let next = broker.clock().turn(interval.max(Duration::from_millis(1)));
            drop(turn);
            turn = tokio::select! {
                turn = next => turn,
                () = shutdown.begun() => return,
            };
            let working = broker.clone();
            // It ends early only with its runtime.
            let _ = tokio::task::spawn_blocking(move || job(&working)).await;
        }
    });
}

impl Broker {
    /// Compacts the logs that are due (`log.cleaner.enable`).
    fn clean_logs(&self) {
        let values = self.values();
        if !values.get(key::LOG_CLEANER_ENABLE) {
            return;
        }
        let spec =
            |id: &TopicPartition| self.controller.read(|image| self.partition_spec(image, &id.topic, id.partition));
        let room = usize::try_from(values.get(key::LOG_CLEANER_DEDUPE_BUFFER_SIZE)).unwrap_or(0);
        self.replicas.clean(room, &|| self.shutdown.has_begun(), spec);
    }

    /// Opens, and so recovers, the logs that an unclean stop left behind and nobody has asked for yet.
    fn recover_logs(&self) {
        let spec =
            |id: &TopicPartition| self.controller.read(|image| self.partition_spec(image, &id.topic, id.partition));
        self.replicas.recover_all(spec);
    }

    /// Lets old segments go, also of partitions that nobody has asked for yet.
    fn enforce_retention(&self) {
        let spec =
            |id: &TopicPartition| self.controller.read(|image| self.partition_spec(image, &id.topic, id.partition));
        self.replicas.open_stored(spec);
        self.replicas.enforce_retention(self.clock().now());
    }

    /// Syncs the logs whose flush.ms has passed.
    fn flush_what_is_due(&self) {
        let now = self.clock().now();
        for partition in self.replicas.all_open() {
            if let Err(error) = partition.with_log(|log| log.flush_if_due(now)) {
                tracing::warn!(partition = %partition.id(), %error, "a log could not be synced");
            }
        }
    }

    /// Makes safe what has come to an end, and writes down how far each log is, so that recovery after a crash begins there.
    fn checkpoint(&self) {
        self.replicas.flush_closed(self.clock().now());
        if let Err(error) = self.replicas.checkpoint() {
            tracing::warn!(%error, "a checkpoint could not be written");
        }
    }
}
