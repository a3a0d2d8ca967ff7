//! Clients: one that sends each record once, and idempotent producers, which send again until they are answered.
//!
//! An idempotent producer has up to five batches on their way to one broker, and keeps their order: what follows on one that was
//! refused is sent again behind it. It looks for another broker when it is refused, and also when it grows impatient, so that
//! what it sent may be there already, or may come there late.
//!
//! A snapshot keeps the last batch of each producer, as Apache Kafka's does, and one is written at each stop and with each new
//! segment. So a broker that began from one does not know the four batches before that: where one of them was not acknowledged
//! and comes again, it is refused, and its producer is told so. It is in the log once all the same, and the producer waits for
//! it no longer; but nobody has acknowledged it, so that the next leader may lack it. One that knows of the producer says so, and
//! it is sent again; one that does not takes what comes, as Apache Kafka's does.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{NODES, World};
use crate::common::ids::{NodeId, Offset, ProducerId, Timestamp};
use crate::log::AppendError;
use crate::record::{BatchBuilder, BatchOptions, ProducerState};
use crate::replica::{Partition, Replication, WriteError};

/// How many batches of a producer may be on their way (`max.in.flight.requests.per.connection`); brokers remember as many.
pub(super) const IN_FLIGHT: usize = 5;

/// The key of what producers send.
pub(super) const KEY: &[u8] = b"k";

/// One that produces; without an id it sends each record once.
pub(super) struct Producer {
    pub(super) id: ProducerId,
    /// Of the next record, also where no broker is told of it.
    next: i32,
    /// What is not acknowledged.
    queue: VecDeque<Sent>,
    /// What is not waited for any longer, and not acknowledged, for a leader said that it has it.
    pub(super) had: BTreeSet<i32>,
    /// Whom it talks to.
    leader: Option<NodeId>,
}

struct Sent {
    sequence: i32,
    under_way: Option<UnderWay>,
}

/// What a leader has, and waits for others to have.
struct UnderWay {
    partition: Arc<Partition>,
    append: Replication,
    offset: Offset,
}

impl Producer {
    pub(super) fn new(id: ProducerId) -> Producer {
        Producer { id, next: 0, queue: VecDeque::new(), had: BTreeSet::new(), leader: None }
    }

    fn batch(&self, sequence: i32, now: Timestamp) -> Bytes {
        let base_sequence = if self.id < 0 { -1 } else { sequence };
        let epoch = if self.id < 0 { -1 } else { 0 };
        let producer = ProducerState { id: self.id, epoch, base_sequence };
        let mut builder = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
        builder.append(now, Some(KEY), Some(value(self.id, sequence).as_bytes()), std::iter::empty());
        builder.build().unwrap()
    }

    /// Gives up waiting for answers: all is to be sent again.
    fn give_up(&mut self) {
        if self.id < 0 {
            self.queue.clear();
        }
        self.queue.iter_mut().for_each(|sent| sent.under_way = None);
        self.leader = None;
    }

    /// A leader lacks what another one had: tells whether all of that may be so, and sends it again then.
    fn sends_again(&mut self, lacking: Range<i32>) -> bool {
        let may_be = !lacking.is_empty() && lacking.clone().all(|sequence| self.had.remove(&sequence));
        if may_be {
            lacking.rev().for_each(|sequence| self.queue.push_front(Sent { sequence, under_way: None }));
        }
        may_be
    }

    /// A broker is gone.
    pub(super) fn forget(&mut self, node: NodeId) {
        if self.leader == Some(node) {
            self.give_up();
        }
    }
}

/// What a record says: who sent it, and as which of its records.
fn value(id: ProducerId, sequence: i32) -> String {
    format!("{id}:{sequence}")
}

/// The producer and sequence that a record tells.
pub(super) fn told(value: &str) -> (ProducerId, i32) {
    let (id, sequence) = value.split_once(':').unwrap();
    (id.parse().unwrap(), sequence.parse().unwrap())
}

impl World {
    /// A client sends a batch to some broker that believes to lead.
    pub(super) fn produce(&mut self) {
        let leads = |id: &NodeId| self.partition(*id).is_some_and(|partition| partition.is_leader());
        let leaders: Vec<NodeId> = NODES.into_iter().filter(leads).collect();
        if leaders.is_empty() {
            return;
        }
        let which = self.one_of(self.producers.len());
        let known = self.producers[which].leader.filter(|node| leaders.contains(node));
        let node = match known {
            Some(node) if self.chance(95) => node,
            _ => leaders[self.one_of(leaders.len())],
        };
        let producer = &mut self.producers[which];
        if producer.leader != Some(node) {
            producer.give_up();
            producer.leader = Some(node);
        }
        let place = match producer.queue.iter().position(|sent| sent.under_way.is_none()) {
            Some(place) => place,
            None if producer.queue.len() < IN_FLIGHT => {
                producer.queue.push_back(Sent { sequence: producer.next, under_way: None });
                producer.next += 1;
                producer.queue.len() - 1
            }
            None => return,
        };
        self.send(which, place, node);
    }

    fn send(&mut self, which: usize, place: usize, node: NodeId) {
        let partition = self.partition(node).unwrap();
        let producer = &self.producers[which];
        let (id, sequence) = (producer.id, producer.queue[place].sequence);
        let batch = producer.batch(sequence, super::NOW);
        let answer = partition.append_for_all(batch, self.wall(node));
        let producer = &mut self.producers[which];
        match answer {
            Ok((appended, Some(append))) => {
                let offset = appended.first_offset;
                producer.queue[place].under_way = Some(UnderWay { partition, append, offset });
            }
            Ok((appended, None)) => {
                producer.queue.remove(place);
                self.acknowledge(appended.first_offset, value(id, sequence));
            }
            Err(WriteError::Log(AppendError::Storage(error))) => self.stop_on(node, &error),
            Err(WriteError::Log(AppendError::OutOfOrderSequence { expected, .. })) => {
                producer.give_up();
                if place > 0 || !self.truly_leads(node) || self.producers[which].sends_again(expected..sequence) {
                    return;
                }
                // All before the first that it waits for was acknowledged, and whoever leads must know that.
                assert!(
                    expected > sequence && self.has_forgotten(node, id),
                    "leader {node} wants {expected} of producer {id}, and {sequence} is the first not acknowledged"
                );
                let producer = &mut self.producers[which];
                producer.queue.retain(|sent| sent.sequence >= expected);
                producer.had.extend(sequence..expected);
                producer.next = producer.next.max(expected);
                self.tell(|| {
                    format!("producer {id} is told that {sequence} is out of order, and goes on at {expected}")
                });
            }
            // Its clock is wrong by more than an hour.
            Err(WriteError::Log(AppendError::InvalidTimestamp { .. })) => producer.give_up(),
            Err(WriteError::NotLeader(_) | WriteError::NotEnoughReplicas { .. }) => producer.give_up(),
            Err(error) => panic!("{node} refuses {sequence} of producer {id}: {error}"),
        }
    }

    /// Whether a broker knows fewer batches of a producer than may be on their way: it began from a snapshot.
    fn has_forgotten(&self, node: NodeId, id: ProducerId) -> bool {
        let known = self.partition(node).unwrap().producers().into_iter().find(|(known, _)| *known == id);
        (self.nodes[&node].has_snapshot || self.rolls())
            && known.is_some_and(|(_, entry)| entry.batches.len() < IN_FLIGHT)
    }

    /// A batch that was acknowledged comes once more, late, from the network: nobody waits for an answer.
    pub(super) fn echo(&mut self) {
        let which = self.one_of(self.producers.len());
        let leads = |id: &NodeId| self.partition(*id).is_some_and(|partition| partition.is_leader());
        let Some(node) = NODES.into_iter().find(leads) else { return };
        let producer = &self.producers[which];
        let first = producer.queue.front().map_or(producer.next, |sent| sent.sequence);
        if producer.id < 0 || first == 0 {
            return;
        }
        let back = 1 + self.one_of(2 * IN_FLIGHT) as i32;
        let sequence = (first - back).max(0);
        let batch = self.producers[which].batch(sequence, super::NOW);
        let (partition, now) = (self.partition(node).unwrap(), self.wall(node));
        // Whoever has it does not take it again, whatever the answer says; that is seen in the logs.
        if let Err(WriteError::Log(AppendError::Storage(error))) = partition.append_for_all(batch, now) {
            self.stop_on(node, &error);
        }
    }

    /// Hears what became of what is under way.
    pub(super) fn settle(&mut self) {
        for which in 0..self.producers.len() {
            let producer = &mut self.producers[which];
            let (id, mut refused, mut done) = (producer.id, false, Vec::new());
            producer.queue.retain(|sent| {
                let Some(way) = &sent.under_way else { return true };
                match way.partition.replicated(way.append) {
                    None => true,
                    Some(Ok(())) => {
                        done.push((way.offset, value(id, sent.sequence)));
                        false
                    }
                    Some(Err(_)) => {
                        refused = true;
                        true
                    }
                }
            });
            if refused {
                producer.give_up();
            }
            done.into_iter().for_each(|(offset, value)| self.acknowledge(offset, value));
        }
    }

    fn acknowledge(&mut self, offset: Offset, value: String) {
        self.tell(|| format!("{value} at {offset} is acknowledged"));
        let known = self.acknowledged.insert(offset, value.clone());
        assert_eq!(known, None, "{value} has the offset of another that was acknowledged");
    }

    /// No longer waits for what a broker had that is gone.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.producers.iter_mut().for_each(|producer| producer.forget(node));
        self.committer.forget(node);
    }
}
