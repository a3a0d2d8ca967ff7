//! What a consumer reads, and where it stands in each partition: state without I/O.
//!
//! A partition's life: assigned without a position; given one (committed, looked up, or sought); then fetched ahead of
//! what the caller was handed. Each time its position is set from outside its `stamp` changes, so that answers to older
//! questions are recognised and dropped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use crate::client::ClientError;
use crate::client::config::OffsetReset;
use crate::client::metadata::ClusterView;
use crate::client::offsets::{CommittedOffset, LATEST};
use crate::common::ids::{LeaderEpoch, NodeId, Offset, Timestamp, TopicPartition};

use super::batch::{Fetched, FetchedBatch};
use super::session::Marks;

/// How many answers of one partition are kept before no more is fetched: one to hand out, one to follow.
const FETCHED_AHEAD: usize = 2;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(super) enum Subscription {
    /// Nothing.
    #[default]
    None,
    /// These topics, shared with the group.
    Topics(BTreeSet<String>),
    /// The topics that match, shared with the group.
    Pattern(Regex),
    /// These partitions, shared with nobody.
    Assigned,
}

impl Subscription {
    /// The topics it comes to in this cluster.
    pub(super) fn topics(&self, view: &ClusterView, exclude_internal: bool) -> BTreeSet<String> {
        match self {
            Subscription::None | Subscription::Assigned => BTreeSet::new(),
            Subscription::Topics(topics) => topics.clone(),
            Subscription::Pattern(pattern) => view
                .topics
                .values()
                .filter(|topic| pattern.is_match(&topic.name) && !(exclude_internal && topic.internal))
                .map(|topic| topic.name.to_string())
                .collect(),
        }
    }

    /// Whether the group decides on the partitions.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Subscription::Topics(_) | Subscription::Pattern(_))
    }
}

/// Where a partition stands.
#[derive(Debug)]
pub(super) enum Place {
    /// Nobody knows: the group may have committed it.
    Unknown,
    /// To be looked up by time.
    Reset(Timestamp),
    /// At this offset, the next to hand out.
    At(Offset),
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) name: Arc<TopicPartition>,
    pub(super) place: Place,
    /// The epoch of the last record that was handed out; -1 before.
    pub(super) leader_epoch: LeaderEpoch,
    /// Changes when the place is set from outside.
    pub(super) stamp: u64,
    pub(super) paused: bool,
    /// The next offset to fetch: at the place, or ahead of it.
    pub(super) fetch_from: Offset,
    pub(super) fetching: bool,
    fetched: VecDeque<Fetched>,
    /// As the last answer had them; -1 before.
    pub(super) marks: Marks,
    /// The replica to read from instead of the leader, and until when (on the monotonic clock).
    pub(super) preferred: Option<(NodeId, Duration)>,
    /// Nothing is asked of it before this, on the monotonic clock.
    pub(super) not_before: Duration,
    pub(super) failures: u32,
}

/// The partitions that a consumer has.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    partitions: BTreeMap<TopicPartition, Partition>,
    stamps: u64,
    /// To be handed to the caller.
    pub(super) error: Option<ClientError>,
    /// Whose turn it is to be handed out first.
    turn: usize,
}

impl Assignment {
    /// Has exactly these partitions. Those it had already stay where they are.
    pub(super) fn set(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        let mut before = std::mem::take(&mut self.partitions);
        for name in partitions {
            match before.remove(&name) {
                Some(kept) => {
                    self.partitions.insert(name, kept);
                }
                None => self.add(name),
            }
        }
    }

    /// Adds a partition, in an unknown place.
    pub(super) fn add(&mut self, name: TopicPartition) {
        self.stamps += 1;
        let stamp = self.stamps;
        self.partitions.entry(name.clone()).or_insert_with(|| Partition {
            name: Arc::new(name),
            place: Place::Unknown,
            leader_epoch: -1,
            stamp,
            paused: false,
            fetch_from: -1,
            fetching: false,
            fetched: VecDeque::new(),
            marks: Marks { high_watermark: -1, last_stable: -1, log_start: -1 },
            preferred: None,
            not_before: Duration::ZERO,
            failures: 0,
        });
    }

    pub(super) fn remove(&mut self, name: &TopicPartition) {
        self.partitions.remove(name);
    }

    pub(super) fn clear(&mut self) {
        self.partitions.clear();
    }

    pub(super) fn names(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    pub(super) fn topics(&self) -> BTreeSet<&str> {
        self.partitions.keys().map(|name| name.topic.as_str()).collect()
    }

    pub(super) fn get(&self, name: &TopicPartition) -> Option<&Partition> {
        self.partitions.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &TopicPartition) -> Option<&mut Partition> {
        self.partitions.get_mut(name)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.partitions.values_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.values()
    }

    /// The partition, if its place was not set from outside since `stamp`.
    pub(super) fn unchanged(&mut self, name: &TopicPartition, stamp: u64) -> Option<&mut Partition> {
        self.partitions.get_mut(name).filter(|partition| partition.stamp == stamp)
    }

    /// Sets a partition's place; what was fetched for another one is thrown away. `false` if it is not assigned.
    pub(super) fn seek(&mut self, name: &TopicPartition, place: Place) -> bool {
        let Some(partition) = self.partitions.get_mut(name) else { return false };
        self.stamps += 1;
        partition.stamp = self.stamps;
        partition.fetched.clear();
        partition.fetching = false;
        partition.leader_epoch = -1;
        partition.preferred = None;
        (partition.failures, partition.not_before) = (0, Duration::ZERO);
        partition.fetch_from = if let Place::At(offset) = place { offset } else { -1 };
        partition.place = place;
        true
    }

    /// What would be committed now: for each partition with a place, the next offset to hand out.
    pub(super) fn positions(&self) -> impl Iterator<Item = (TopicPartition, CommittedOffset)> + '_ {
        self.partitions.iter().filter_map(|(name, partition)| {
            let Place::At(offset) = partition.place else { return None };
            let committed = CommittedOffset { offset, leader_epoch: partition.leader_epoch, metadata: String::new() };
            Some((name.clone(), committed))
        })
    }

    /// Takes out up to `most` records, from one partition after the other, and moves their places on.
    pub(super) fn take(&mut self, most: usize) -> Vec<FetchedBatch> {
        let mut taken = Vec::new();
        let mut left = most;
        let count = self.partitions.len();
        if count == 0 {
            return taken;
        }
        self.turn = (self.turn + 1) % count;
        let (before, after): (Vec<_>, Vec<_>) =
            self.partitions.values_mut().enumerate().partition(|(index, _)| *index < self.turn);
        for (_, partition) in after.into_iter().chain(before) {
            if partition.paused {
                continue;
            }
            while left > 0
                && let Some(fetched) = partition.fetched.front_mut()
            {
                if let Some(batch) = fetched.take(left) {
                    left -= batch.len();
                    partition.place = Place::At(batch.next_offset());
                    partition.leader_epoch = batch.leader_epoch();
                    taken.push(batch);
                }
                if fetched.is_empty() {
                    // It may have held nothing but control batches: the place moves past them.
                    partition.place = Place::At(fetched.next_offset());
                    partition.fetched.pop_front();
                }
            }
            if left == 0 {
                break;
            }
        }
        taken
    }
}

impl Partition {
    /// Whether more should be fetched, were its broker free.
    pub(super) fn wants_more(&self, now: Duration) -> bool {
        matches!(self.place, Place::At(_)) && !self.paused && !self.fetching && now >= self.not_before
    }

    /// Whether enough was fetched ahead.
    pub(super) fn is_full(&self) -> bool {
        self.fetched.len() >= FETCHED_AHEAD
    }

    /// An answer to the last fetch.
    pub(super) fn arrived(&mut self, fetched: Fetched) {
        self.fetch_from = fetched.next_offset();
        (self.failures, self.not_before) = (0, Duration::ZERO);
        let moves = matches!(self.place, Place::At(offset) if offset != fetched.next_offset());
        if !fetched.is_empty() || moves {
            self.fetched.push_back(fetched);
        }
    }

    /// How far behind the end of the partition the place is, by the last answer.
    pub(super) fn lag(&self, read_committed: bool) -> Option<Offset> {
        let end = if read_committed { self.marks.last_stable } else { self.marks.high_watermark };
        match self.place {
            Place::At(offset) if end >= 0 => Some((end - offset).max(0)),
            _ => None,
        }
    }

    /// Nothing was committed, or the offset is gone: what `auto.offset.reset` says.
    pub(super) fn reset(&mut self, policy: OffsetReset, now: Timestamp) -> Result<(), ClientError> {
        let timestamp =
            policy.timestamp(now).ok_or_else(|| ClientError::NoOffset(TopicPartition::clone(&self.name)))?;
        self.place = Place::Reset(timestamp);
        self.fetched.clear();
        Ok(())
    }

    /// The place that a look-up found. A time after the last record stands for the end.
    pub(super) fn found(&mut self, offset: Offset) {
        if offset < 0 {
            self.place = Place::Reset(LATEST);
        } else {
            (self.place, self.fetch_from) = (Place::At(offset), offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::consumer::batch::Reading;
    use crate::record::{BatchBuilder, BatchOptions};

    fn name(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn fetched(partition: i32, base_offset: Offset, count: usize) -> Fetched {
        let mut builder = BatchBuilder::new(BatchOptions { base_offset, leader_epoch: 3, ..BatchOptions::default() });
        for _ in 0..count {
            builder.append(0, None, Some(b"v"), std::iter::empty());
        }
        let partition = Arc::new(name(partition));
        let reading = Reading { partition, from: base_offset, check_crcs: true, aborted: None };
        Fetched::read(reading, &builder.build().unwrap()).unwrap()
    }

    fn standing() -> Assignment {
        let mut assignment = Assignment::default();
        assignment.set([name(0), name(1)]);
        assert!(assignment.seek(&name(0), Place::At(10)) && assignment.seek(&name(1), Place::At(20)));
        assignment
    }

    #[test]
    fn places_move_as_records_are_handed_out() {
        let mut assignment = standing();
        assignment.get_mut(&name(0)).unwrap().arrived(fetched(0, 10, 5));
        assignment.get_mut(&name(1)).unwrap().arrived(fetched(1, 20, 5));
        assert_eq!(assignment.get(&name(0)).unwrap().fetch_from, 15);
        let handed: usize = assignment.take(7).iter().map(FetchedBatch::len).sum();
        assert_eq!(handed, 7);
        let moved: Offset = assignment.positions().map(|(_, position)| position.offset).sum();
        assert_eq!(moved, 10 + 20 + 7);
        assert!(assignment.positions().any(|(_, position)| position.leader_epoch == 3));
    }

    #[test]
    fn a_paused_partition_keeps_what_was_fetched() {
        let mut assignment = standing();
        let partition = assignment.get_mut(&name(0)).unwrap();
        partition.arrived(fetched(0, 10, 5));
        partition.paused = true;
        assert!(!partition.wants_more(Duration::ZERO) && assignment.take(10).is_empty());
        assignment.get_mut(&name(0)).unwrap().paused = false;
        assert_eq!(assignment.take(10).len(), 1);
    }

    #[test]
    fn a_seek_throws_away_what_was_fetched_and_outdates_what_is_under_way() {
        let mut assignment = standing();
        let partition = assignment.get_mut(&name(0)).unwrap();
        partition.arrived(fetched(0, 10, 5));
        let stamp = partition.stamp;
        assignment.seek(&name(0), Place::At(0));
        assert!(assignment.take(10).is_empty() && assignment.unchanged(&name(0), stamp).is_none());
        assert!(!assignment.seek(&name(9), Place::At(0)));
    }

    #[test]
    fn partitions_that_stay_keep_their_place() {
        let mut assignment = standing();
        assignment.set([name(1), name(2)]);
        assert!(matches!(assignment.get(&name(1)).unwrap().place, Place::At(20)));
        assert!(matches!(assignment.get(&name(2)).unwrap().place, Place::Unknown));
        assert!(assignment.get(&name(0)).is_none());
    }

    #[test]
    fn a_reset_follows_the_policy() {
        let mut assignment = standing();
        let partition = assignment.get_mut(&name(0)).unwrap();
        assert!(partition.reset(OffsetReset::None, 0).is_err());
        partition.reset(OffsetReset::ByDuration(Duration::from_secs(1)), 5_000).unwrap();
        assert!(matches!(partition.place, Place::Reset(4_000)));
        partition.found(-1);
        assert!(matches!(partition.place, Place::Reset(LATEST)));
        partition.found(33);
        assert!(matches!(partition.place, Place::At(33)));
    }
}
