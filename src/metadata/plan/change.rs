//! One change of a partition: what it is to become, made consistent and told as the one record that makes it so.
//!
//! The rules are those of Kafka's `PartitionChangeBuilder`:
//!
//! ```text
//! a reassignment   is done as soon as all that are to stay are in sync: then those that go are gone, from the ISR too
//! the leader       stays as long as it is in sync and there; else the first of the replicas that is; else nobody
//! a replica gone   makes a new leader epoch also where the leader stays: what the one that went still sends is refused
//! ```
//! Each change goes through [`Change::finish`] that may make an ISR larger, or another row of replicas; one that only takes
//! a broker out can finish nothing.

use super::failover::{NO_LEADER, change_of, first_ready};
use crate::common::ids::{NodeId, Uuid};
use crate::metadata::image::{Image, PartitionImage, TopicImage};
use crate::metadata::records::PartitionChangeRecord;

/// What a partition is to become.
#[derive(Debug)]
pub(super) struct Change<'a> {
    image: &'a Image,
    topic: &'a TopicImage,
    index: usize,
    was: &'a PartitionImage,
    /// All that hold it, those that come and those that go too.
    pub(super) replicas: Vec<NodeId>,
    /// Those in sync.
    pub(super) isr: Vec<NodeId>,
    /// Those that come.
    pub(super) adding: Vec<NodeId>,
    /// Those that go.
    pub(super) removing: Vec<NodeId>,
}

impl<'a> Change<'a> {
    /// A change of partition `index` of a topic, where nothing is changed yet; `None` where it has no such partition.
    pub(super) fn of(image: &'a Image, topic: &'a TopicImage, index: usize) -> Option<Change<'a>> {
        let was = topic.partitions.get(index)?;
        let (replicas, isr) = (was.replicas.clone(), was.isr.clone());
        let (adding, removing) = (was.adding.clone(), was.removing.clone());
        Some(Change { image, topic, index, was, replicas, isr, adding, removing })
    }

    /// The record of it; `None` where nothing changes.
    pub(super) fn finish(mut self) -> Option<PartitionChangeRecord> {
        self.complete();
        let was = self.was;
        let mut record = change_of(self.topic, self.index);
        let as_it_was = record.clone();
        let leader = first_ready(self.image, &[was.leader], &self.isr)
            .or_else(|| first_ready(self.image, &self.replicas, &self.isr))
            .unwrap_or(NO_LEADER);
        let one_went = was.replicas.iter().any(|node| !self.replicas.contains(node));
        if leader != was.leader || one_went {
            record.leader = leader;
        }
        let changed = |now: &Vec<NodeId>, then: &Vec<NodeId>| (now != then).then(|| now.clone());
        record.isr = changed(&self.isr, &was.isr);
        record.replicas = changed(&self.replicas, &was.replicas);
        record.adding_replicas = changed(&self.adding, &was.adding);
        record.removing_replicas = changed(&self.removing, &was.removing);
        let directory = |node: &NodeId| {
            let place = was.replicas.iter().position(|replica| replica == node);
            // Zero is Kafka's id for "in some log dir of that broker".
            place.and_then(|place| was.directories.get(place).copied()).unwrap_or(Uuid::ZERO)
        };
        if record.replicas.is_some() {
            record.directories = Some(self.replicas.iter().map(directory).collect());
        }
        (record != as_it_was).then_some(record)
    }

    /// Ends a reassignment where those that are to stay are in sync, all of them.
    fn complete(&mut self) {
        if self.adding.is_empty() && self.removing.is_empty() {
            return;
        }
        let staying = |nodes: &[NodeId]| -> Vec<NodeId> {
            nodes.iter().copied().filter(|node| !self.removing.contains(node)).collect()
        };
        let (replicas, isr) = (staying(&self.replicas), staying(&self.isr));
        if !replicas.is_empty() && replicas.iter().all(|node| isr.contains(node)) {
            (self.replicas, self.isr) = (replicas, isr);
            self.adding.clear();
            self.removing.clear();
        }
    }
}
