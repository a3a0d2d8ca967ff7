//! Replicas that move: an administrator has the partition lie on other brokers, on more or on fewer, changes that, or takes it
//! back, while all else goes on.
//!
//! What the controllers make of it is the planner's. Here is only what nobody may ask for, as nobody is promised anything then:
//! see [`World::may_change`].

use super::{NODES, TOPIC, World, Wrong};
use crate::common::ids::{NodeId, Uuid};
use crate::metadata::MetadataRecord;
use crate::metadata::image::BrokerImage;
use crate::metadata::plan::{self, Reassign};
use crate::metadata::records::PartitionChangeRecord;

/// How many replicas there may be; never fewer than must be in sync.
const FACTORS: [usize; 4] = [2, 3, 3, 4];

impl World {
    /// The partition is to lie on other brokers, or stays where it was after all.
    pub(super) fn reassign(&mut self) {
        let is_moving = self.controllers.image.partition(TOPIC, 0).unwrap().is_reassigning();
        let target = if is_moving && self.chance(40) { None } else { Some(self.some_nodes()) };
        let wish = Reassign { topic: TOPIC.into(), partition: 0, target, may_change_factor: true };
        let records = match &wish.target {
            Some(target) if self.wrong == Wrong::MovesTooSoon => self.moved_already(target),
            _ => plan::reassign(&self.controllers.image, &wish).unwrap_or_default(),
        };
        if records.is_empty() || !self.may_change(&records) {
            return;
        }
        if self.decide(None, |_| Ok(records)) {
            self.seen.cancelled += usize::from(wish.target.is_none());
            self.tell(|| format!("the replicas are to be {:?}", wish.target));
        }
    }

    /// Some of the brokers, in any order.
    fn some_nodes(&mut self) -> Vec<NodeId> {
        let (mut left, count) = (NODES.to_vec(), FACTORS[self.one_of(FACTORS.len())]);
        (0..count).map(|_| left.remove(self.one_of(left.len()))).collect()
    }

    /// As a controller would have it that waits for nobody who comes.
    fn moved_already(&self, target: &[NodeId]) -> Vec<MetadataRecord> {
        let image = &self.controllers.image;
        let topic = image.topic(TOPIC).unwrap();
        let is_there = |node: &&NodeId| image.broker(**node).is_some_and(BrokerImage::is_active);
        let Some(leader) = target.iter().find(is_there) else { return Vec::new() };
        let nobody = || Some(Vec::new());
        vec![MetadataRecord::PartitionChange(PartitionChangeRecord {
            partition_id: 0,
            topic_id: topic.id,
            leader: *leader,
            isr: Some(target.to_vec()),
            replicas: Some(target.to_vec()),
            adding_replicas: nobody(),
            removing_replicas: nobody(),
            eligible_leader_replicas: nobody(),
            last_known_elr: nobody(),
            directories: Some(vec![Uuid::ZERO; target.len()]),
            ..Default::default()
        })]
    }
}
