//! What must hold, after each step and now and then.

use std::collections::BTreeMap;

use super::brokers::Message;
use super::clients::told;
use super::{NODES, TOPIC, World};
use crate::common::ids::{NodeId, Offset, ProducerId};
use crate::replica::Partition;
use crate::replica::tests::values;

impl World {
    /// One leader an epoch, and no high watermark that falls in a reign.
    pub(super) fn check(&mut self) {
        for id in NODES {
            let Some(partition) = self.partition(id).filter(|partition| partition.is_leader()) else { continue };
            let (epoch, shown) = (partition.leader_epoch(), partition.high_watermark());
            let known = *self.led.entry(epoch).or_insert(id);
            assert_eq!(known, id, "{id} leads in epoch {epoch}, which is {known}'s");
            let up = self.up(id).unwrap();
            let before = up.shown.insert(epoch, shown).unwrap_or(0);
            assert!(shown >= before, "the high watermark of {id} fell from {before} to {shown}");
        }
    }

    /// Agreement, offsets and sequences without gaps, and nothing lost.
    pub(super) fn check_logs(&mut self) {
        let logs: Vec<_> = NODES
            .iter()
            .filter_map(|id| {
                let partition = self.partition(*id)?;
                let held = values(&partition);
                assert_eq!(held.len() as Offset, partition.log_end_offset(), "offsets of {id} have a gap");
                // One that leads no more, and has not heard of it, takes anything of a producer that it does not know.
                let good = if self.truly_leads(*id) { held.len() } else { count(partition.high_watermark()) };
                check_sequences(*id, &held[..good]);
                Some((*id, partition.high_watermark(), held))
            })
            .collect();
        for (one, its_mark, its) in &logs {
            for (other, mark, others) in &logs {
                let safe = count(*its_mark.min(mark));
                assert!(its[..safe] == others[..safe], "{one} and {other} differ below {safe}");
            }
        }
        for (id, mark, held) in &logs {
            let (known, safe) = (self.readable.len(), &held[..count(*mark)]);
            let both = known.min(safe.len());
            assert!(safe[..both] == self.readable[..both], "{id} shows readers other records than they were shown");
            self.readable.extend(safe.iter().skip(known).cloned());
        }
        let partition = self.controllers.image.partition(TOPIC, 0).unwrap();
        let may_lead = |id: &NodeId| partition.isr.contains(id) || partition.eligible.contains(id);
        let must_have = |id: &NodeId| self.truly_leads(*id) || may_lead(id) && !self.damaged.contains_key(id);
        for (id, _, held) in logs.iter().filter(|(id, ..)| must_have(id)) {
            assert!(held.starts_with(&self.readable), "{id} has not got all that readers were shown");
            for (offset, value) in &self.acknowledged {
                let found = held.get(count(*offset));
                assert_eq!(found, Some(value), "{value} was acknowledged at {offset}, and {id} has not got it");
            }
        }
    }

    /// Whether a broker leads by the image, and knows it.
    pub(super) fn truly_leads(&self, id: NodeId) -> bool {
        let truth = self.controllers.image.partition(TOPIC, 0).unwrap();
        let knows = |it: &Partition| it.is_leader() && it.leader_epoch() == truth.leader_epoch;
        truth.leader == id && self.partition(id).is_some_and(|partition| knows(&partition))
    }

    /// Whether all are in sync, and hold the same.
    pub(super) fn is_well(&self) -> bool {
        let partition = self.controllers.image.partition(TOPIC, 0).unwrap();
        let all: Vec<_> = NODES.iter().filter_map(|id| self.partition(*id)).collect();
        partition.isr.len() == 3
            && partition.eligible.is_empty()
            && partition.last_known_eligible.is_empty()
            && !partition.recovering
            && all.len() == 3
            && all.iter().all(|it| it.log_end_offset() == all[0].log_end_offset())
            && all.iter().all(|it| it.high_watermark() == all[0].log_end_offset())
            && !self.messages.iter().any(|message| matches!(message, Message::Wish { .. }))
    }
}

/// Each idempotent producer's records, once and in its order.
fn check_sequences(id: NodeId, held: &[String]) {
    let mut next: BTreeMap<ProducerId, i32> = BTreeMap::new();
    for (producer, sequence) in held.iter().map(|value| told(value)).filter(|(producer, _)| *producer >= 0) {
        let next = next.entry(producer).or_default();
        assert_eq!(*next, sequence, "{id} has another record of producer {producer} than the next");
        *next += 1;
    }
}

/// How many records lie below an offset.
fn count(offset: Offset) -> usize {
    usize::try_from(offset).unwrap()
}
