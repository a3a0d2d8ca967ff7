//! What the sender knows of one partition: which batches are on their way, which must go again, and the sequence.
//!
//! The rules that keep order, and keep records single when the producer is idempotent:
//! - a batch that must go again goes before anything newer, alone, and only once nothing older is on its way;
//! - a new batch takes the next sequence numbers when it is first sent, and keeps them;
//! - the first batch under an identity goes alone: a broker that has written nothing of the producer takes whatever
//!   sequence comes first, so the second would be taken for the first when that has to go again;
//! - after a gap (a batch was given up, or the broker forgot the producer) the epoch is bumped once nothing is on its
//!   way, and what is left is numbered anew from 0 under the new epoch.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::common::ids::{Offset, ProducerEpoch, ProducerId};
use crate::record::batch::increment_sequence;
use crate::record::{Batch, BatchBuilder, BatchError, BatchOptions, ProducerState};

use super::accumulator::{PartitionQueue, Waiting};
use super::delivery::BatchDelivery;

/// Who the producer is for its brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// A batch with its final bytes.
pub(super) struct Ready {
    pub(super) delivery: Arc<BatchDelivery>,
    pub(super) bytes: Bytes,
    pub(super) count: i32,
    /// When its first record was appended, on the monotonic clock.
    pub(super) created: Duration,
    pub(super) reserved: usize,
    /// How often it was sent.
    pub(super) attempts: u32,
    /// Its place among the partition's batches; of a part, also the index of its first record in the whole.
    order: (u64, u32),
    /// Whose sequence it carries.
    identity: Option<Identity>,
    base_sequence: i32,
}

impl Ready {
    /// Whether it carries sequence numbers that the broker may have seen.
    pub(super) fn is_sequenced(&self) -> bool {
        self.identity.is_some()
    }
}

/// What the sender knows of one partition.
pub(super) struct Partition {
    pub(super) queue: Arc<PartitionQueue>,
    /// Whether the sender looks at it.
    pub(super) active: bool,
    /// Nothing is sent before this, on the monotonic clock.
    pub(super) not_before: Duration,
    /// To go again, in order.
    again: VecDeque<Ready>,
    in_flight: BTreeSet<(u64, u32)>,
    next_order: u64,
    identity: Option<Identity>,
    next_sequence: i32,
    /// Whether the broker has written something under the identity.
    known: bool,
    /// Whether the sequence has a gap that only a new epoch can mend.
    broken: bool,
}

/// What a partition has to send.
pub(super) enum Next {
    /// This.
    Batch(Ready),
    /// Nothing yet; perhaps at this time.
    Later(Option<Duration>),
    /// Nothing until the producer has an identity.
    NeedsIdentity,
    /// A batch could not be built.
    Failed(Unbuilt, BatchError),
}

/// What is left of a batch that could not be built.
pub(super) struct Unbuilt {
    pub(super) delivery: Arc<BatchDelivery>,
    pub(super) reserved: usize,
}

impl Partition {
    pub(super) fn new(queue: Arc<PartitionQueue>) -> Partition {
        Partition {
            queue,
            active: false,
            not_before: Duration::ZERO,
            again: VecDeque::new(),
            in_flight: BTreeSet::new(),
            next_order: 0,
            identity: None,
            next_sequence: 0,
            known: false,
            broken: false,
        }
    }

    /// Whether nothing of it is left with the sender.
    pub(super) fn is_idle(&self) -> bool {
        self.again.is_empty() && self.in_flight.is_empty()
    }

    /// Whether its sequence has a gap.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether it waits for nothing but a new epoch.
    pub(super) fn wants_bump(&self) -> bool {
        self.broken && self.in_flight.is_empty()
    }

    /// The next batch to send. `identity` is the producer's, if it is idempotent.
    pub(super) fn next(
        &mut self,
        now: Duration,
        linger: Duration,
        hurry: bool,
        idempotent: bool,
        identity: Option<Identity>,
        ratio: impl FnOnce(&str, usize, usize),
    ) -> Next {
        if now < self.not_before {
            return Next::Later(Some(self.not_before));
        }
        if self.broken {
            return Next::Later(None);
        }
        if let Some(first) = self.again.front() {
            if self.in_flight.first().is_some_and(|oldest| *oldest < first.order) {
                return Next::Later(None);
            }
            if let Some(mut ready) = self.again.pop_front() {
                ready.attempts += 1;
                self.in_flight.insert(ready.order);
                return Next::Batch(ready);
            }
        }
        if idempotent {
            match identity {
                None => {
                    return match self.queue.due(linger, hurry) {
                        Some(due) if due <= now => Next::NeedsIdentity,
                        due => Next::Later(due),
                    };
                }
                // What was numbered under another identity comes to its end first.
                Some(identity) if self.identity != Some(identity) => {
                    if !self.in_flight.is_empty() {
                        return Next::Later(None);
                    }
                    (self.identity, self.next_sequence, self.known) = (Some(identity), 0, false);
                }
                Some(_) if !self.known && !self.in_flight.is_empty() => return Next::Later(None),
                Some(_) => {}
            }
        }
        let Some(waiting) = self.queue.take(now, linger, hurry) else {
            return Next::Later(self.queue.due(linger, hurry));
        };
        self.build(waiting, ratio)
    }

    fn build(&mut self, waiting: Waiting, ratio: impl FnOnce(&str, usize, usize)) -> Next {
        let Waiting { mut builder, delivery, created, reserved } = waiting;
        let count = builder.record_count();
        let uncompressed = builder.uncompressed_size();
        if let Some(identity) = self.identity {
            let base_sequence = self.next_sequence;
            builder.set_producer(ProducerState { id: identity.id, epoch: identity.epoch, base_sequence });
        }
        let bytes = match builder.build() {
            Ok(bytes) => bytes,
            Err(error) => return Next::Failed(Unbuilt { delivery, reserved }, error),
        };
        ratio(&self.queue.topic, uncompressed, bytes.len());
        let order = (self.next_order, 0);
        self.next_order += 1;
        self.in_flight.insert(order);
        let base_sequence = self.next_sequence;
        self.next_sequence = increment_sequence(base_sequence, count);
        let identity = self.identity;
        Next::Batch(Ready { delivery, bytes, count, created, reserved, attempts: 1, order, identity, base_sequence })
    }

    /// A batch came back, whatever was said of it.
    pub(super) fn landed(&mut self, ready: &Ready) {
        self.in_flight.remove(&ready.order);
    }

    /// A batch was written.
    pub(super) fn written(&mut self, ready: &Ready) {
        self.known |= ready.identity == self.identity;
    }

    /// Whether a batch that came back was the oldest that is not written.
    pub(super) fn is_first(&self, ready: &Ready) -> bool {
        let before = |order: Option<&(u64, u32)>| order.is_none_or(|order| *order > ready.order);
        before(self.in_flight.first()) && before(self.again.front().map(|first| &first.order))
    }

    /// A batch that came back must go again.
    pub(super) fn retry(&mut self, ready: Ready) {
        let at = self.again.partition_point(|other| other.order < ready.order);
        self.again.insert(at, ready);
    }

    /// The numbers of a batch that was given up leave a gap, or the broker has forgotten what came before.
    pub(super) fn break_sequence(&mut self) {
        self.broken = true;
    }

    /// Numbers what must go again from 0 under a new identity. Nothing may be on its way.
    pub(super) fn renumber(&mut self, identity: Identity) {
        debug_assert!(self.in_flight.is_empty());
        (self.identity, self.next_sequence, self.broken, self.known) = (Some(identity), 0, false, false);
        for ready in &mut self.again {
            // What was built here is a batch.
            if let Ok(batch) = Batch::parse(&ready.bytes) {
                ready.bytes = batch.with_producer(identity.id, identity.epoch, self.next_sequence);
            }
            (ready.identity, ready.base_sequence) = (Some(identity), self.next_sequence);
            self.next_sequence = increment_sequence(self.next_sequence, ready.count);
        }
    }

    /// What must go again and was begun before `oldest`.
    pub(super) fn take_older(&mut self, oldest: Duration) -> Vec<Ready> {
        let mut old = Vec::new();
        while self.again.front().is_some_and(|ready| ready.created < oldest) {
            old.extend(self.again.pop_front());
        }
        old
    }

    /// Everything that must go again.
    pub(super) fn take_all(&mut self) -> Vec<Ready> {
        self.again.drain(..).collect()
    }

    /// When the oldest batch that is not on its way was begun.
    pub(super) fn oldest(&self) -> Option<Duration> {
        let again = self.again.front().map(|ready| ready.created);
        again.into_iter().chain(self.queue.oldest()).min()
    }

    /// Splits a batch of several records that is too large for the broker into two, which go again in its place and
    /// share its numbers.
    pub(super) fn split(
        &mut self,
        ready: Ready,
        options: BatchOptions,
    ) -> Result<Vec<Arc<BatchDelivery>>, Box<(Ready, BatchError)>> {
        let half = ready.count / 2;
        let halves = match rebuild(&ready, half, options) {
            Ok(halves) => halves,
            Err(error) => return Err(Box::new((ready, error))),
        };
        let parts = ready.delivery.split(&[0, half as u32]);
        let mut reserved = ready.reserved;
        let mut base_sequence = ready.base_sequence;
        for (index, (bytes, delivery)) in halves.into_iter().zip(&parts).enumerate() {
            let count = if index == 0 { half } else { ready.count - half };
            let order = (ready.order.0, ready.order.1 + (index as i32 * half) as u32);
            self.retry(Ready {
                delivery: delivery.clone(),
                bytes,
                count,
                created: ready.created,
                reserved: std::mem::take(&mut reserved),
                attempts: ready.attempts,
                order,
                identity: ready.identity,
                base_sequence,
            });
            base_sequence = increment_sequence(base_sequence, count);
        }
        Ok(parts)
    }

    /// The offset that a broker's answer gives the batch, `None` for "it was here before".
    pub(super) fn base_offset(answered: Offset) -> Option<Offset> {
        (answered >= 0).then_some(answered)
    }
}

fn rebuild(ready: &Ready, half: i32, options: BatchOptions) -> Result<Vec<Bytes>, BatchError> {
    let batch = Batch::parse(&ready.bytes)?;
    // It was built here, so it holds what was appended.
    let body = batch.body(i32::MAX as usize)?;
    let mut records = body.iter();
    let mut halves = Vec::new();
    let mut base_sequence = ready.base_sequence;
    for count in [half, ready.count - half] {
        let producer = match ready.identity {
            Some(Identity { id, epoch }) => ProducerState { id, epoch, base_sequence },
            None => ProducerState::NONE,
        };
        let mut builder = BatchBuilder::new(BatchOptions { producer, ..options });
        for record in records.by_ref().take(count as usize) {
            let record = record?;
            builder.append(record.timestamp, record.key, record.value, record.headers);
        }
        halves.push(builder.build()?);
        base_sequence = increment_sequence(base_sequence, count);
    }
    Ok(halves)
}
