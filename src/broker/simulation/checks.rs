//! What must hold, after each step and now and then.

use std::collections::BTreeMap;
use std::ops::Range;

use super::brokers::Message;
use super::clients::{KEY, told};
use super::commits::told_by;
use super::{NODES, TOPIC, World};
use crate::common::ids::{NodeId, Offset, ProducerId};
use crate::record::{BatchError, batches};
use crate::replica::Partition;

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
        self.check_commits();
        let logs: Vec<Held> = NODES.iter().filter_map(|id| Some(Held::of(*id, &*self.partition(*id)?))).collect();
        for log in &logs {
            let Held { id, start, end, .. } = log;
            assert_eq!(log.start + offset(log.values.len()), *end, "{id} has not got all offsets up to its end");
            let deleted = self.deleted;
            assert!(*start <= deleted, "{id} has not got what lies before {start}, and only {deleted} was deleted");
            // One that leads no more, and has not heard of it, takes anything of a producer that it does not know.
            let good = if self.truly_leads(*id) { *end } else { log.mark };
            self.check_sequences(log, good);
        }
        for one in &logs {
            for other in &logs {
                let both = one.start.max(other.start)..one.mark.min(other.mark);
                let (ours, theirs) = (one.records(&both), other.records(&both));
                let differ = || (both.start..).zip(ours.iter().zip(theirs)).find(|(_, (one, other))| one != other);
                assert!(ours == theirs, "{} and {} differ in {both:?}: {:?}", one.id, other.id, differ());
            }
        }
        for log in &logs {
            let known = offset(self.readable.len());
            let shown = log.start..log.mark.min(known);
            let is_same = log.records(&shown) == self.readable.get(places(&shown)).unwrap_or_default();
            assert!(is_same, "{} shows readers other records than they were shown", log.id);
            self.readable.extend_from_slice(log.records(&(known..log.mark)));
        }
        let partition = self.controllers.image.partition(TOPIC, 0).unwrap();
        let may_lead = |id: &NodeId| partition.isr.contains(id) || partition.eligible.contains(id);
        let must_have = |id: &NodeId| self.truly_leads(*id) || may_lead(id) && !self.damaged.contains_key(id);
        for log in logs.iter().filter(|log| must_have(&log.id)) {
            let (id, all) = (log.id, log.start..offset(self.readable.len()));
            assert!(
                log.end >= all.end && log.records(&all) == &self.readable[places(&all)],
                "{id} has not got all that readers were shown"
            );
            for (at, value) in self.acknowledged.range(log.start..) {
                let found = log.records(&(*at..*at + 1)).first();
                assert_eq!(found, Some(value), "{value} was acknowledged at {at}, and {id} has not got it");
            }
        }
    }

    /// Whether a broker leads by the image, and knows it.
    pub(super) fn truly_leads(&self, id: NodeId) -> bool {
        let truth = self.controllers.image.partition(TOPIC, 0).unwrap();
        let knows = |it: &Partition| it.is_leader() && it.leader_epoch() == truth.leader_epoch;
        truth.leader == id && self.partition(id).is_some_and(|partition| knows(&partition))
    }

    /// Whether all replicas are in sync, and hold the same, and nobody else has any of it.
    pub(super) fn is_well(&self) -> bool {
        let partition = self.controllers.image.partition(TOPIC, 0).unwrap();
        let all: Vec<_> = partition.replicas.iter().filter_map(|id| self.partition(*id)).collect();
        let is_gone = |id: &NodeId| partition.replicas.contains(id) || self.partition(*id).is_none();
        partition.isr.len() == partition.replicas.len()
            && !partition.is_reassigning()
            && partition.eligible.is_empty()
            && partition.last_known_eligible.is_empty()
            && !partition.recovering
            && all.len() == partition.replicas.len()
            && NODES.iter().all(is_gone)
            && all.iter().all(|it| it.log_end_offset() == all[0].log_end_offset())
            && all.iter().all(|it| it.high_watermark() == all[0].log_end_offset())
            && !self.messages.iter().any(|message| matches!(message, Message::Wish { .. }))
    }

    /// Each idempotent producer's records up to `good`, once and in its order; from the first on that is still there, and but
    /// for what it no longer waited for.
    fn check_sequences(&self, log: &Held, good: Offset) {
        let mut next: BTreeMap<ProducerId, i32> = BTreeMap::new();
        for (producer, sequence) in log.records(&(log.start..good)).iter().map(|value| told(value)) {
            if producer < 0 {
                continue;
            }
            let first = if log.start == 0 { 0 } else { sequence };
            let next = next.entry(producer).or_insert(first);
            while *next < sequence && self.no_longer_waited_for(producer, *next) {
                *next += 1;
            }
            assert_eq!(*next, sequence, "{} has another record of producer {producer} than the next", log.id);
            *next += 1;
        }
    }

    fn no_longer_waited_for(&self, producer: ProducerId, sequence: i32) -> bool {
        self.producers.iter().any(|known| known.id == producer && known.had.contains(&sequence))
    }
}

/// What a broker holds.
struct Held {
    id: NodeId,
    start: Offset,
    end: Offset,
    mark: Offset,
    values: Vec<String>,
}

impl Held {
    fn of(id: NodeId, partition: &Partition) -> Held {
        let (start, end, mark) = (partition.log_start_offset(), partition.log_end_offset(), partition.high_watermark());
        Held { id, start, end, mark, values: values(partition) }
    }

    /// Its records of these offsets, as far as it has them.
    fn records(&self, offsets: &Range<Offset>) -> &[String] {
        let from = |at: Offset| (at - self.start).clamp(0, offset(self.values.len()));
        &self.values[places(&(from(offsets.start)..from(offsets.end.max(offsets.start))))]
    }
}

/// What the records of a log say, as far as it can be read.
fn values(partition: &Partition) -> Vec<String> {
    let reader = partition.log_reader();
    let (mut offset, mut values) = (reader.log_start_offset(), Vec::new());
    while let Ok(read) = reader.read(offset, 1 << 20, Offset::MAX, true)
        && !read.records.is_empty()
    {
        for batch in batches(&read.records) {
            let batch = batch.unwrap_or_else(|error| unreadable(offset, &error));
            let body = batch.body(1 << 20).unwrap_or_else(|error| unreadable(offset, &error));
            for record in body.iter() {
                let record = record.unwrap_or_else(|error| unreadable(offset, &error));
                values.push(match record.key.unwrap() {
                    KEY => String::from_utf8(record.value.unwrap().to_vec()).unwrap(),
                    key => told_by(key, record.value),
                });
            }
            offset = batch.next_offset();
        }
    }
    values
}

fn unreadable(offset: Offset, error: &BatchError) -> ! {
    panic!("a log has not got what it says that it has behind {offset}: {error}")
}

/// Where the records of these offsets lie behind each other.
fn places(offsets: &Range<Offset>) -> Range<usize> {
    let place = |offset| usize::try_from(offset).unwrap();
    place(offsets.start)..place(offsets.end.max(offsets.start))
}

/// The offset behind so many records.
fn offset(records: usize) -> Offset {
    Offset::try_from(records).unwrap()
}
