//! What is promised to whoever was acknowledged, and so which failures a day may bring.
//!
//! A broker *falls* when it ends without closing its logs: killed, on a full disk, or without power. Only the last of these
//! takes records with it, those that were not synced; but no controller can tell one from the other.
//!
//! **Without eligible leader replicas** the ISR has all that was acknowledged, and the last one in it stays there whatever
//! became of its disk. So nothing is lost while one broker loses power, two others are in sync, and nothing happens to those
//! before the first is known to be out of sync.
//!
//! **With them** (KIP-966, `eligible.leader.replicas.version`) the ISR and the eligible have it, and who starts again after a
//! fall is neither. So nothing is lost:
//!
//! | in sync | as long as |
//! |---|---|
//! | `min.insync.replicas` or more | fewer of them have fallen than that |
//! | fewer | one of them or of the eligible has not fallen |
//! | nobody, and nobody is eligible | no power is lost: the last leader leads again (`recovering`), with what it has |
//!
//! The first of these is so because all but `min.insync.replicas` may leave the ISR and not be eligible, while the controller takes
//! others for in sync that have fallen: one that has not must be among any that many. Nothing else matters: brokers may be
//! killed, cut off and slow while another is without power, and lose power one after the other. Who was stopped cleanly has
//! not fallen. Where nobody's power was lost all may be killed: their disks have it all. Kafka promises no more than that, and
//! the model claims no more.
//!
//! **A reassignment** that is done leaves all of its replicas in sync, which are never fewer here than `min.insync.replicas`, and
//! that changes nothing of this. One that is taken back puts out of sync at once whom it had brought. Those that stay may be
//! fewer than `min.insync.replicas`, and all of them may have fallen without the controller's knowing: so nobody takes one back
//! then. Without eligible leader replicas nothing is moved at all while one without its power is not known to be out of sync.

use super::{MIN_IN_SYNC, NODES, TOPIC, World};
use crate::common::ids::NodeId;
use crate::metadata::image::{BrokerImage, PartitionImage};
use crate::metadata::{Image, MetadataRecord};

impl World {
    /// Whether a broker may fall, and lose power with that, and still nothing that was acknowledged be lost.
    pub(super) fn may_fall(&self, id: NodeId, power: bool) -> bool {
        if !self.keeps_eligible {
            return !power || self.are_all_in_place();
        }
        if !power && self.damaged.is_empty() {
            return true;
        }
        self.controllers.images(&self.messages, &[]).iter().all(|image| self.holds(image, Some(id)))
    }

    /// Whether these records may be decided on, and still nothing that was acknowledged be lost.
    pub(super) fn may_change(&self, records: &[MetadataRecord]) -> bool {
        if self.damaged.is_empty() {
            return true;
        }
        self.keeps_eligible
            && self.controllers.images(&self.messages, records).iter().all(|image| self.holds(image, None))
    }

    /// Whether enough hold what was acknowledged, as an image has it, when one more falls.
    fn holds(&self, image: &Image, falls: Option<NodeId>) -> bool {
        let PartitionImage { replicas, isr, eligible, leader, .. } = image.partition(TOPIC, 0).unwrap();
        let min = usize::try_from(MIN_IN_SYNC).unwrap();
        let stands = |other: NodeId| Some(other) != falls && self.stands(other, image);
        // Who leads may have been asked by one that fell since, and take it in.
        let leads = self.nodes.get(leader).is_some_and(|node| node.up.is_some());
        let is_active = |other: &NodeId| image.broker(*other).is_some_and(BrokerImage::is_active);
        let may_join = |other: &NodeId| leads && replicas.contains(other) && is_active(other);
        // Whoever has a full disk may come in before it stops.
        let is_full = |other: &NodeId| replicas.contains(other) && self.nodes[other].full;
        let counts = |other: &NodeId| isr.contains(other) || may_join(other) || is_full(other);
        let fallen = NODES.into_iter().filter(counts).filter(|other| !stands(*other)).count();
        let holders = isr.iter().chain(eligible).filter(|other| stands(**other)).count();
        holders > 0 && (fallen < min || !leads && isr.len() < min)
    }

    /// Whether all are in their places, for the controller too, and in sync.
    fn are_all_in_place(&self) -> bool {
        let image = &self.controllers.image;
        let in_sync = &image.partition(TOPIC, 0).unwrap().isr;
        let in_place = |node: NodeId| {
            let up = self.nodes[&node].up.as_ref().filter(|up| !up.leaving);
            let epoch = up.and_then(|up| up.epoch);
            image.broker(node).is_some_and(|known| known.is_active() && Some(known.epoch) == epoch)
        };
        in_sync.len() > usize::try_from(MIN_IN_SYNC).unwrap()
            && self.damaged.is_empty()
            && self.controllers.is_idle()
            && NODES.into_iter().all(in_place)
    }

    /// Whether a broker has not fallen since its registration in an image, nor is about to.
    fn stands(&self, id: NodeId, image: &Image) -> bool {
        let (node, Some(known)) = (&self.nodes[&id], image.broker(id)) else { return false };
        let was_stopped = |epoch: Option<i64>| epoch == Some(known.epoch);
        let stands = match &node.up {
            Some(up) => known.incarnation_id == up.incarnation || was_stopped(up.previous_epoch),
            None => was_stopped(node.stopped),
        };
        stands && !node.full && !self.damaged.contains_key(&id)
    }

    /// Forgets of those that lost power whom no wish from before can bring in again, and who are not waited for.
    pub(super) fn mend(&mut self) {
        if self.damaged.is_empty() {
            return;
        }
        let images = self.controllers.images(&self.messages, &[]);
        let keeps = self.keeps_eligible;
        self.damaged.retain(|id, epoch| {
            images.iter().any(|image| {
                let partition = image.partition(TOPIC, 0).unwrap();
                let counts = [&partition.isr, &partition.eligible, &partition.last_known_eligible];
                let is_as_it_was =
                    image.broker(*id).is_some_and(|known| known.epoch == *epoch && (keeps || known.is_active()));
                is_as_it_was || counts.into_iter().any(|nodes| nodes.contains(id))
            })
        });
    }
}
