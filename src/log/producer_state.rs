//! What a partition remembers of the producers that write to it, so that a retry is not appended twice.
//!
//! Of each producer id: its epoch, its last five batches (as many as a producer has in flight), and where its open
//! transaction begins. A batch must follow the last one without a gap, or repeat one of the five, or begin at sequence 0
//! under a higher epoch. Sequences wrap from `i32::MAX` to 0.
//!
//! A plain state machine: batches and the time come in, verdicts go out. It is written down as a
//! [snapshot](super::producer_snapshot) and rebuilt from the batches behind it. It knows no file.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::common::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};

/// How many batches of a producer are remembered.
const BATCHES: usize = 5;

/// What of a batch concerns its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Who wrote it.
    pub producer_id: ProducerId,
    /// In which incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence of its first record.
    pub first_sequence: i32,
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// The offset of its first record.
    pub first_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// The largest timestamp of its records.
    pub timestamp: Timestamp,
    /// Whether it is part of a transaction.
    pub transactional: bool,
}

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMetadata {
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// How many offsets its first record lies before its last one.
    pub offset_delta: i32,
    /// The largest timestamp of its records.
    pub timestamp: Timestamp,
}

impl BatchMetadata {
    /// The sequence of its first record.
    pub fn first_sequence(&self) -> i32 {
        // Sequences live in 0..=i32::MAX.
        self.last_sequence.wrapping_sub(self.offset_delta) & i32::MAX
    }

    /// The offset of its first record.
    pub fn first_offset(&self) -> Offset {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// What is remembered of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Its highest epoch; -1 while unknown.
    pub epoch: ProducerEpoch,
    /// Its last batches under that epoch, oldest first; at most five.
    pub batches: VecDeque<BatchMetadata>,
    /// The largest timestamp of its last batch, by which it expires; -1 where it never wrote.
    pub last_timestamp: Timestamp,
    /// The epoch of the transaction coordinator that ended its last transaction; -1: none did.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub current_txn_first_offset: Option<Offset>,
}

impl Default for ProducerEntry {
    fn default() -> ProducerEntry {
        ProducerEntry {
            epoch: -1,
            batches: VecDeque::new(),
            last_timestamp: -1,
            coordinator_epoch: -1,
            current_txn_first_offset: None,
        }
    }
}

impl ProducerEntry {
    /// The sequence of its last record, -1 where none is known.
    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }

    fn find(&self, batch: &ProducerBatch) -> Option<&BatchMetadata> {
        let same = |known: &&BatchMetadata| {
            (known.first_sequence(), known.last_sequence) == (batch.first_sequence, batch.last_sequence)
        };
        self.batches.iter().find(same).filter(|_| self.epoch == batch.epoch)
    }

    fn update(&mut self, batch: &ProducerBatch) {
        if self.epoch != batch.epoch {
            self.batches.clear();
            self.epoch = batch.epoch;
        }
        if self.batches.len() == BATCHES {
            self.batches.pop_front();
        }
        self.batches.push_back(BatchMetadata {
            last_sequence: batch.last_sequence,
            last_offset: batch.last_offset,
            offset_delta: (batch.last_offset - batch.first_offset) as i32,
            timestamp: batch.timestamp,
        });
        self.last_timestamp = batch.timestamp;
        if batch.transactional && self.current_txn_first_offset.is_none() {
            self.current_txn_first_offset = Some(batch.first_offset);
        }
    }
}

/// What becomes of a producer's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one.
    Append,
    /// It was appended before, here.
    Duplicate(BatchMetadata),
}

/// Why a producer's batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A newer incarnation of the producer has written.
    #[error("producer {producer_id} has epoch {epoch} here: epoch {current} has written since")]
    InvalidProducerEpoch {
        /// Who.
        producer_id: ProducerId,
        /// The epoch of the batch.
        epoch: ProducerEpoch,
        /// The epoch that is known.
        current: ProducerEpoch,
    },
    /// A batch is missing before this one, or it repeats one that is no longer remembered.
    #[error("sequence {sequence} of producer {producer_id} does not follow: the next is {expected}")]
    OutOfOrderSequence {
        /// Who.
        producer_id: ProducerId,
        /// The first sequence of the batch.
        sequence: i32,
        /// The one that would have been right.
        expected: i32,
    },
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedTxn {
    /// Whose it was.
    pub producer_id: ProducerId,
    /// Its first offset.
    pub first_offset: Offset,
    /// The offset of its marker.
    pub last_offset: Offset,
    /// Whether it was aborted.
    pub aborted: bool,
}

/// All producers of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: HashMap<ProducerId, ProducerEntry>,
    open_txns: BTreeSet<(Offset, ProducerId)>,
}

impl ProducerStates {
    /// No producer.
    pub fn new() -> ProducerStates {
        ProducerStates::default()
    }

    /// Whether a client's batch may be appended. `earlier` are the batches of the same append before it.
    pub fn check(&self, batch: &ProducerBatch, earlier: &[ProducerBatch]) -> Result<Verdict, SequenceError> {
        let mut entry = self.producers.get(&batch.producer_id).map_or_else(ProducerEntry::default, Clone::clone);
        for earlier in earlier.iter().filter(|earlier| earlier.producer_id == batch.producer_id) {
            entry.update(earlier);
        }
        if let Some(known) = entry.find(batch) {
            return Ok(Verdict::Duplicate(*known));
        }
        if batch.epoch < entry.epoch {
            let (producer_id, epoch, current) = (batch.producer_id, batch.epoch, entry.epoch);
            return Err(SequenceError::InvalidProducerEpoch { producer_id, epoch, current });
        }
        // A producer that is not known, perhaps because retention took its records, may begin anywhere.
        let expected = match entry.last_sequence() {
            _ if entry.epoch == -1 => batch.first_sequence,
            _ if entry.epoch != batch.epoch => 0,
            i32::MAX => 0,
            last => last + 1,
        };
        if batch.first_sequence != expected {
            let (producer_id, sequence) = (batch.producer_id, batch.first_sequence);
            return Err(SequenceError::OutOfOrderSequence { producer_id, sequence, expected });
        }
        Ok(Verdict::Append)
    }

    /// Takes note of a batch that was appended.
    pub fn update(&mut self, batch: &ProducerBatch) {
        let entry = self.producers.entry(batch.producer_id).or_default();
        entry.update(batch);
        if let (true, Some(first)) = (batch.transactional, entry.current_txn_first_offset) {
            self.open_txns.insert((first, batch.producer_id));
        }
    }

    /// Takes note of a marker that ends a producer's transaction; `None` where it had none open.
    pub fn end_txn(
        &mut self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
        offset: Offset,
        timestamp: Timestamp,
        aborted: bool,
    ) -> Option<CompletedTxn> {
        let entry = self.producers.entry(producer_id).or_default();
        if entry.epoch != epoch {
            entry.batches.clear();
            entry.epoch = epoch;
        }
        entry.coordinator_epoch = coordinator_epoch;
        entry.last_timestamp = timestamp;
        let first_offset = entry.current_txn_first_offset.take()?;
        self.open_txns.remove(&(first_offset, producer_id));
        Some(CompletedTxn { producer_id, first_offset, last_offset: offset, aborted })
    }

    /// Where the first transaction that is still open begins.
    pub fn first_open_txn(&self) -> Option<Offset> {
        self.open_txns.first().map(|(offset, _)| *offset)
    }

    /// The offset behind all that is remembered.
    pub(crate) fn end(&self) -> Offset {
        let last = |entry: &ProducerEntry| {
            let batch = entry.batches.back().map_or(-1, |batch| batch.last_offset);
            batch.max(entry.current_txn_first_offset.unwrap_or(-1))
        };
        self.producers.values().map(last).max().unwrap_or(-1).saturating_add(1)
    }

    /// Forgets producers that were silent for `expiration_ms` and have no transaction open.
    pub fn expire(&mut self, now: Timestamp, expiration_ms: i64) {
        self.producers.retain(|_, entry| {
            entry.current_txn_first_offset.is_some() || now.saturating_sub(entry.last_timestamp) < expiration_ms
        });
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.producers.clear();
        self.open_txns.clear();
    }

    /// Whether no producer is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// What is known of a producer.
    pub fn get(&self, producer_id: ProducerId) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    /// Puts back what a snapshot holds of a producer; what was known of it before is forgotten.
    pub fn restore(&mut self, producer_id: ProducerId, entry: ProducerEntry) {
        let opened = entry.current_txn_first_offset;
        let before = self.producers.insert(producer_id, entry).and_then(|before| before.current_txn_first_offset);
        // A transaction that nobody has open any more would hold the last stable offset back for ever.
        if let Some(first) = before {
            self.open_txns.remove(&(first, producer_id));
        }
        if let Some(first) = opened {
            self.open_txns.insert((first, producer_id));
        }
    }

    /// All producers, by id: what DescribeProducers tells and a snapshot holds.
    pub fn describe(&self) -> Vec<(ProducerId, &ProducerEntry)> {
        let mut all: Vec<_> = self.producers.iter().map(|(id, entry)| (*id, entry)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: ProducerEpoch, first_sequence: i32, len: i32, first_offset: Offset) -> ProducerBatch {
        let last_sequence = first_sequence.wrapping_add(len - 1) & i32::MAX;
        let last_offset = first_offset + i64::from(len) - 1;
        ProducerBatch {
            producer_id: 7,
            epoch,
            first_sequence,
            last_sequence,
            first_offset,
            last_offset,
            timestamp: 1000 + first_offset,
            transactional: false,
        }
    }

    fn append(states: &mut ProducerStates, batch: &ProducerBatch) {
        assert_eq!(states.check(batch, &[]), Ok(Verdict::Append));
        states.update(batch);
    }

    #[test]
    fn a_producer_that_is_restored_twice_has_one_open_transaction() {
        let mut states = ProducerStates::new();
        let entry = |first| ProducerEntry { current_txn_first_offset: Some(first), ..ProducerEntry::default() };
        states.restore(1, entry(10));
        states.restore(1, entry(20));
        assert_eq!(states.first_open_txn(), Some(20));
        states.restore(1, ProducerEntry::default());
        assert_eq!(states.first_open_txn(), None);
    }

    #[test]
    fn a_gap_in_the_sequence_is_refused() {
        let mut states = ProducerStates::new();
        append(&mut states, &batch(0, 0, 10, 100));
        let error = states.check(&batch(0, 11, 1, 110), &[]).unwrap_err();
        assert_eq!(error, SequenceError::OutOfOrderSequence { producer_id: 7, sequence: 11, expected: 10 });
        append(&mut states, &batch(0, 10, 1, 110));
    }

    #[test]
    fn one_of_the_last_five_batches_is_a_duplicate_and_an_older_one_is_out_of_order() {
        let mut states = ProducerStates::new();
        for n in 0..6 {
            append(&mut states, &batch(0, n * 10, 10, i64::from(n) * 10));
        }
        for n in 1..6 {
            let verdict = states.check(&batch(0, n * 10, 10, 999), &[]).unwrap();
            assert!(matches!(verdict, Verdict::Duplicate(known) if known.first_offset() == i64::from(n) * 10));
        }
        assert!(states.check(&batch(0, 0, 10, 999), &[]).is_err());
        assert!(states.check(&batch(0, 50, 9, 999), &[]).is_err(), "the same begin with another end");
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut states = ProducerStates::new();
        append(&mut states, &batch(0, i32::MAX - 4, 5, 0));
        append(&mut states, &batch(0, 0, 5, 5));
        let mut states = ProducerStates::new();
        append(&mut states, &batch(0, i32::MAX - 1, 5, 0));
        assert_eq!(states.get(7).unwrap().last_sequence(), 2);
        assert!(matches!(states.check(&batch(0, i32::MAX - 1, 5, 9), &[]), Ok(Verdict::Duplicate(_))));
        append(&mut states, &batch(0, 3, 1, 5));
    }

    #[test]
    fn a_higher_epoch_begins_at_zero_and_fences_the_lower_one() {
        let mut states = ProducerStates::new();
        append(&mut states, &batch(3, 40, 10, 0));
        assert!(states.check(&batch(4, 50, 1, 10), &[]).is_err());
        append(&mut states, &batch(4, 0, 1, 10));
        let error = states.check(&batch(3, 50, 1, 11), &[]).unwrap_err();
        assert_eq!(error, SequenceError::InvalidProducerEpoch { producer_id: 7, epoch: 3, current: 4 });
    }

    #[test]
    fn batches_of_one_append_follow_each_other() {
        let states = ProducerStates::new();
        let first = batch(0, 0, 5, 0);
        assert_eq!(states.check(&batch(0, 5, 5, 5), &[first]), Ok(Verdict::Append));
        assert!(states.check(&batch(0, 6, 5, 5), &[first]).is_err());
    }

    #[test]
    fn a_silent_producer_is_forgotten_unless_its_transaction_is_open() {
        let mut states = ProducerStates::new();
        append(&mut states, &batch(0, 0, 1, 0));
        let open = ProducerBatch { producer_id: 8, transactional: true, ..batch(0, 0, 1, 1) };
        append(&mut states, &open);
        assert_eq!(states.first_open_txn(), Some(1));
        states.expire(1099, 100);
        assert!(states.get(7).is_some());
        states.expire(5000, 100);
        assert!(states.get(7).is_none() && states.get(8).is_some());
        let done = states.end_txn(8, 0, 1, 5, 1200, true).unwrap();
        assert_eq!((done.first_offset, done.last_offset, states.first_open_txn()), (1, 5, None));
    }
}
