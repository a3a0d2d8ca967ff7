//! One change of a partition: what it is to become, made consistent and told as the one record that makes it so.
//!
//! The rules are those of Kafka's `PartitionChangeBuilder`:
//!
//! ```text
//! a reassignment   is done as soon as all that are to stay are in sync: then those that go are gone, from the ISR too
//! the eligible     (KIP-966) while fewer are in sync than min.insync.replicas says, the high watermark stands still: whoever left
//!                  the ISR since then has every record that was acknowledged, and may lead where nobody in sync does. One that
//!                  was shut down uncleanly may have lost some, and goes from there too.
//! the leader       stays as long as it is in sync and there; else the first of the replicas that is; else, where nobody is
//!                  in sync, the first that is eligible; else, where nobody is that either, the last that led, once it is there:
//!                  it may lack records. Where an unclean election is asked for, any that is there; else nobody.
//! the last leader  is remembered while nobody is in sync
//! a replica gone   makes a new leader epoch also where the leader stays: what the one that went still sends is refused
//! ```
//! A leader that may lack records is alone in sync, and the partition is *recovering* until it asks for another ISR.
//!
//! Without the feature `eligible.leader.replicas.version` the last in sync stays in the ISR, and nobody is eligible: but where it
//! is switched off while nobody is in sync, whoever was eligible stays so until one leads.

use super::failover::{NO_LEADER, change_of};
use crate::common::ids::{NodeId, Uuid};
use crate::metadata::image::{BrokerImage, Image, PartitionImage, RECOVERING, ResourceType, TopicImage};
use crate::metadata::records::PartitionChangeRecord;

/// The feature by which replicas out of sync stay eligible.
pub(super) const ELIGIBLE_FEATURE: &str = "eligible.leader.replicas.version";

/// The config whose value says how many must be in sync.
pub(super) const MIN_IN_SYNC: &str = "min.insync.replicas";

/// Whether replicas out of sync stay eligible.
pub(super) fn keeps_eligible(image: &Image) -> bool {
    image.features().get(ELIGIBLE_FEATURE).is_some_and(|level| *level > 0)
}

/// `min.insync.replicas` of a topic, as the cluster's configs say it: a cluster that keeps the eligible has one for all topics.
fn min_in_sync(image: &Image, topic: &str) -> usize {
    let value = |kind, name| image.configs(kind, name).and_then(|configs| configs.get(MIN_IN_SYNC)?.parse().ok());
    value(ResourceType::Topic, topic).or_else(|| value(ResourceType::Broker, "")).unwrap_or(1)
}

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
    /// A broker that is about to go: it is still there in the image.
    pub(super) gone: Option<NodeId>,
    /// A broker that is about to be back: it is still fenced in the image.
    pub(super) back: Option<NodeId>,
    /// Whether that one may have lost records.
    pub(super) lost: bool,
    /// Whether anybody may lead who is there.
    pub(super) unclean: bool,
    /// Whether the leader has looked through its log.
    pub(super) recovered: bool,
    /// Those that are eligible beside the ISR.
    eligible: Vec<NodeId>,
}

impl<'a> Change<'a> {
    /// A change of partition `index` of a topic, where nothing is changed yet; `None` where it has no such partition.
    pub(super) fn of(image: &'a Image, topic: &'a TopicImage, index: usize) -> Option<Change<'a>> {
        let was = topic.partitions.get(index)?;
        Some(Change {
            image,
            topic,
            index,
            was,
            replicas: was.replicas.clone(),
            isr: was.isr.clone(),
            adding: was.adding.clone(),
            removing: was.removing.clone(),
            gone: None,
            back: None,
            lost: false,
            unclean: false,
            recovered: false,
            eligible: was.eligible.clone(),
        })
    }

    /// The record of it; `None` where nothing changes.
    pub(super) fn finish(mut self) -> Option<PartitionChangeRecord> {
        self.complete();
        let keeps = keeps_eligible(self.image);
        self.find_eligible(keeps);
        let was = self.was;
        let mut record = change_of(self.topic, self.index);
        let as_it_was = record.clone();
        let (leader, may_lack) = self.elect(keeps);
        let one_went = was.replicas.iter().any(|node| !self.replicas.contains(node));
        if leader != was.leader || one_went {
            record.leader = leader;
        }
        if leader != was.leader && (may_lack || self.eligible.contains(&leader)) {
            self.isr = vec![leader];
            self.eligible.retain(|node| !may_lack && *node != leader);
            if may_lack && !was.recovering {
                record.leader_recovery_state = RECOVERING;
            }
        }
        if self.recovered && was.recovering && record.leader_recovery_state != RECOVERING {
            record.leader_recovery_state = 0;
        }
        let changed = |now: &Vec<NodeId>, then: &Vec<NodeId>| (now != then).then(|| now.clone());
        if !keeps && !self.isr.is_empty() {
            self.eligible.clear();
        }
        // Without the feature only the last one in sync has every record, and stays.
        record.isr = changed(&self.isr, &was.isr).filter(|isr| keeps || !isr.is_empty());
        record.eligible_leader_replicas = changed(&self.eligible, &was.eligible);
        if keeps {
            record.last_known_elr = self.last_leader(&record);
        }
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

    /// Who is eligible beside the new ISR.
    fn find_eligible(&mut self, keeps: bool) {
        let needed = || min_in_sync(self.image, &self.topic.name).min(self.replicas.len());
        // Where the feature was switched off while nobody was in sync, who was eligible then still has every record.
        let is_gone = !keeps && !self.was.isr.is_empty();
        if is_gone || self.isr.len() == self.replicas.len() || self.isr.len() >= needed() {
            self.eligible.clear();
            return;
        }
        let lost = self.gone.filter(|_| self.lost);
        let mut eligible: Vec<NodeId> = self.was.isr.iter().chain(&self.was.eligible).copied().collect();
        eligible.retain(|node| self.replicas.contains(node) && !self.isr.contains(node) && Some(*node) != lost);
        eligible.sort_unstable();
        eligible.dedup();
        self.eligible = eligible;
    }

    /// Who leads, and whether that one may lack records.
    fn elect(&self, keeps: bool) -> (NodeId, bool) {
        let there = |node: &NodeId| {
            let is_active = || self.image.broker(*node).is_some_and(BrokerImage::is_active);
            Some(*node) != self.gone && (Some(*node) == self.back || is_active())
        };
        let whole = |node: &NodeId| self.isr.contains(node) || self.isr.is_empty() && self.eligible.contains(node);
        let valid = |node: &&NodeId| whole(node) && there(node);
        if let Some(leader) = [self.was.leader].iter().find(valid).or_else(|| self.replicas.iter().find(valid)) {
            return (*leader, false);
        }
        let last = match self.was.last_known_eligible.as_slice() {
            [last] if keeps && self.isr.is_empty() && self.eligible.is_empty() => Some(last),
            _ => None,
        };
        let any = || self.replicas.iter().find(|node| self.unclean && there(node));
        match last.filter(|node| self.replicas.contains(node) && there(node)).or_else(any) {
            Some(leader) => (*leader, true),
            None => (NO_LEADER, false),
        }
    }

    /// What is remembered of who led last, where that changes.
    fn last_leader(&self, record: &PartitionChangeRecord) -> Option<Vec<NodeId>> {
        let (was, last) = (self.was, &self.was.last_known_eligible);
        let is_nobody = |isr: &Vec<NodeId>| isr.is_empty();
        if record.isr.as_ref().is_some_and(is_nobody) && (last.len() != 1 || last.first() != Some(&was.leader)) {
            return Some(vec![was.leader]);
        }
        let leads = record.leader >= 0 || (was.leader != NO_LEADER && record.leader != NO_LEADER);
        (leads && !last.is_empty()).then(Vec::new)
    }
}

#[cfg(test)]
pub(super) mod tests;
