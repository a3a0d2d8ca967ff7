//! The log cleaner: of all logs that are due to be compacted, the dirtiest first, one after another.
//!
//! What is due is the log's to say ([`Log::compaction`](crate::log::Log::compaction)). The log is only held while that is
//! decided and while a group of segments is put in place; between, its segments are read and written anew without it.
//! After each log `cleaner-offset-checkpoint` is written, so that what is compacted stays known.
//!
//! A log with a damaged segment is told once and set aside until the next start. Where the disk is at fault, a full one
//! say, the log is tried again in the next round.
//!
//! A log that nobody has asked for yet is opened for this only if it has more than the segment that grows.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Partition, PartitionSpec, ReplicaManager};
use crate::common::ids::{TopicPartition, Uuid};
use crate::log::{Compaction, CompactionReport, StorageError, checkpoint};

/// Which logs are not to be looked at again.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    /// Those that cannot be compacted, by topic id and partition.
    set_aside: Mutex<HashSet<(Uuid, i32)>>,
    /// Those that nobody has opened, and that hold nothing to compact for as long.
    at_rest: Mutex<HashSet<TopicPartition>>,
}

/// What ends a compaction before its time.
type Stop<'a> = &'a dyn Fn() -> bool;

impl ReplicaManager {
    /// Compacts the logs that are due, the dirtiest first, until none is or `stop` says so; remembers up to `room` bytes
    /// of keys at a time. `spec` tells what is to be known of a partition that nobody has opened.
    pub fn clean(&self, room: usize, stop: Stop<'_>, spec: impl Fn(&TopicPartition) -> Option<PartitionSpec>) {
        self.open_compacted(spec);
        let mut tried = HashSet::new();
        while let Some((partition, compaction)) = self.dirtiest(&tried).filter(|_| !stop()) {
            let key = key_of(&partition);
            // Whatever comes of it: what is left of it is for the next round.
            tried.insert(key);
            match self.compact(&partition, compaction, room, stop) {
                Ok(report) => {
                    let CompactionReport { bytes_before, bytes_after, cleaned_to } = report;
                    tracing::info!(partition = %partition.id(), bytes_before, bytes_after, cleaned_to, "a log is compacted");
                }
                Err(_) if stop() || partition.is_closed() => {}
                Err(error) if is_damage(&error) => {
                    let partition = partition.id();
                    tracing::error!(%partition, %error, "a log cannot be compacted and is set aside until the next start");
                    self.cleaner.set_aside.lock().insert(key);
                }
                Err(error) => tracing::warn!(partition = %partition.id(), %error, "a log could not be compacted"),
            }
        }
    }

    /// The log that is due and has the largest dirty part, besides those that were `tried`.
    fn dirtiest(&self, tried: &HashSet<(Uuid, i32)>) -> Option<(Arc<Partition>, Compaction)> {
        let now = self.clock.now();
        let mut dirtiest: Option<(Arc<Partition>, Compaction)> = None;
        for partition in self.all_open() {
            let key = key_of(&partition);
            if tried.contains(&key) || self.cleaner.set_aside.lock().contains(&key) {
                continue;
            }
            let high_watermark = partition.high_watermark();
            match partition.with_log(|log| log.compaction(now, high_watermark)) {
                Ok(Some(due)) if dirtiest.as_ref().is_none_or(|(_, most)| most.dirty_ratio() < due.dirty_ratio()) => {
                    dirtiest = Some((partition, due));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(partition = %partition.id(), %error, "a log cannot be compacted and is set aside until the next start");
                    self.cleaner.set_aside.lock().insert(key);
                }
            }
        }
        dirtiest
    }

    fn compact(
        &self,
        partition: &Partition,
        compaction: Compaction,
        room: usize,
        stop: Stop<'_>,
    ) -> Result<CompactionReport, StorageError> {
        let mut report = CompactionReport { bytes_before: 0, bytes_after: 0, cleaned_to: 0 };
        let stop = &|| stop() || partition.is_closed();
        let mut rewrite = compaction.read(room, stop)?;
        while let Some(cleaned) = rewrite.next(stop)? {
            let (before, after) = cleaned.bytes();
            let (removed, delay) = partition
                .with_log(|log| log.install(cleaned).map(|removed| (removed, log.config().file_delete_delay_ms)))?;
            // The segments went another way meanwhile: the next round looks at what there is then.
            let Some(removed) = removed else { return Ok(report) };
            (report.bytes_before, report.bytes_after) = (report.bytes_before + before, report.bytes_after + after);
            self.trash.put(removed, self.clock.now().saturating_add(delay));
        }
        report.cleaned_to = partition.with_log(|log| {
            log.compacted(rewrite.end());
            log.cleaned_to()
        });
        let mut kept = self.kept.lock();
        kept.cleaned.insert(partition.id().clone(), report.cleaned_to);
        self.dir.write_checkpoint(checkpoint::CLEANER, &kept.cleaned)?;
        Ok(report)
    }

    /// Opens the compacted logs that nobody has opened and that have something to compact, maybe.
    fn open_compacted(&self, spec: impl Fn(&TopicPartition) -> Option<PartitionSpec>) {
        let closed: Vec<TopicPartition> = {
            let at_rest = self.cleaner.at_rest.lock();
            self.closed.lock().iter().filter(|id| !at_rest.contains(*id)).cloned().collect()
        };
        // In order, so that the partitions of one topic follow one another.
        for topic in closed.chunk_by(|a, b| a.topic == b.topic) {
            if !spec(&topic[0]).is_some_and(|spec| spec.config.compact) {
                continue;
            }
            for id in topic {
                if self.dir.closed_segments(id).is_ok_and(|closed| !closed) {
                    self.cleaner.at_rest.lock().insert(id.clone());
                    continue;
                }
                if let Some(Err(error)) = self.open_as(id, &spec) {
                    tracing::error!(partition = %id, %error, "a partition's log could not be opened");
                    self.cleaner.at_rest.lock().insert(id.clone());
                }
            }
        }
    }
}

fn key_of(partition: &Partition) -> (Uuid, i32) {
    (partition.topic_id(), partition.id().partition)
}

/// Whether the log itself is at fault, and not the disk as it is just now.
fn is_damage(error: &StorageError) -> bool {
    match error {
        StorageError::Io { source, .. } => source.kind() == io::ErrorKind::InvalidData,
        StorageError::Damaged { .. } => true,
        _ => false,
    }
}
