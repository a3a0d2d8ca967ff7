//! What a broker does with its logs from time to time, and what an administrator has it do: logs are synced, checkpoints
//! written, records deleted, and the segments that nobody needs let go.
//!
//! Records are deleted as by DeleteRecords: by whoever believes to lead, up to where readers were shown them. Whoever deletes
//! what a producer sent last takes its sequence from those who come after, and Kafka promises nothing of duplicates then; so
//! of each producer the last batches that may come again stay. A retention of days leaves far more.

use std::collections::BTreeMap;

use super::clients::{IN_FLIGHT, told};
use super::{NODES, World, Wrong};
use crate::common::ids::{NodeId, Offset, ProducerId, Timestamp};
use crate::log::LogConfig;

/// How segments of a seed's logs may be: one for all, or some with many records, a few, and hardly any.
const SEGMENTS: [u64; 4] = [1 << 30, 4_000, 800, 200];

impl World {
    /// What the topic's configs say to the log.
    pub(super) fn log_config(choose: &mut impl FnMut(usize) -> usize) -> LogConfig {
        let segment_bytes = SEGMENTS[choose(SEGMENTS.len())];
        let index_interval_bytes = if segment_bytes > 1_000 { 1_000 } else { 100 };
        LogConfig { delete: true, segment_bytes, index_interval_bytes, ..LogConfig::default() }
    }

    /// Whether a log is more than one segment.
    pub(super) fn rolls(&self) -> bool {
        self.log.segment_bytes < SEGMENTS[0]
    }

    /// One of the things that a broker does from time to time.
    pub(super) fn keep_house(&mut self, id: NodeId) {
        let (now, which, wrong) = (self.wall(id), self.one_of(5), self.wrong);
        let Some(partition) = self.partition(id) else { return };
        let manager = &self.up(id).unwrap().manager;
        let (what, done) = match which {
            0 if wrong == Wrong::TrustsWhatIsNotSynced => {
                let trusted = partition.with_log(|log| log.flush_job().map(|job| log.flushed(job.skip(), now)));
                ("synced", trusted.unwrap_or(Ok(())))
            }
            0 => ("synced", partition.with_log(|log| log.flush(now))),
            1 => ("written down", manager.checkpoint()),
            2 => {
                manager.flush_closed(now);
                ("synced but for its last segment", Ok(()))
            }
            3 => {
                manager.enforce_retention(now);
                ("trimmed", Ok(()))
            }
            _ => {
                manager.empty_trash(Timestamp::MAX);
                ("rid of what was removed", Ok(()))
            }
        };
        self.tell(|| format!("the log of {id} is {what}: {done:?}"));
    }

    /// Has some broker that believes to lead delete old records.
    pub(super) fn delete_records(&mut self) {
        // What is deleted was seen, and is known here.
        self.check_logs();
        let leads = |id: &NodeId| self.partition(*id).is_some_and(|partition| partition.is_leader());
        let leaders: Vec<NodeId> = NODES.into_iter().filter(leads).collect();
        if leaders.is_empty() {
            return;
        }
        let id = leaders[self.one_of(leaders.len())];
        let partition = self.partition(id).unwrap();
        let (from, to) = (partition.log_start_offset(), self.may_go().min(partition.high_watermark()));
        if to <= from {
            return;
        }
        let to = from + 1 + self.one_of(usize::try_from(to - from).unwrap()) as Offset;
        let start = partition.delete_records(to).unwrap();
        self.deleted = self.deleted.max(start);
        self.seen.deleted += 1;
        self.tell(|| format!("{id} deletes what lies before {start}"));
    }

    /// Up to where no producer may come to need its records, and nothing is committed.
    fn may_go(&self) -> Offset {
        let committed = self.committer.committed.map_or(Offset::MAX, |(_, at)| at);
        let producers = self.producers.iter().filter(|producer| producer.id >= 0);
        let mut counts: BTreeMap<ProducerId, usize> = producers.map(|producer| (producer.id, 0)).collect();
        for (offset, value) in self.acknowledged.iter().rev() {
            if let Some(count) = counts.get_mut(&told(value).0) {
                *count += 1;
            }
            if counts.values().all(|count| *count > 2 * IN_FLIGHT) {
                return committed.min(*offset);
            }
        }
        0
    }
}
