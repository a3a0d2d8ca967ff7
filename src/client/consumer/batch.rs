//! What a fetch brought: whole batches, checked, decompressed if they had to be, and otherwise slices of the response.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::client::{ClientError, Result};
use crate::common::ids::{LeaderEpoch, Offset, ProducerId, TopicPartition};
use crate::record::{Batch, BatchError, EndTxnMarker, RecordView, batches};

/// What a batch of a fetched response may decompress to, in bytes. Brokers check nothing of the kind.
const DECOMPRESSED_LIMIT: usize = 1 << 30;

/// The records of one batch, or a run of them. Cloning shares the bytes.
#[derive(Clone)]
pub struct FetchedBatch {
    partition: Arc<TopicPartition>,
    /// The batch as it lies in the log.
    batch: Bytes,
    /// Its records, decompressed.
    body: Bytes,
    /// Where the first record of the run begins in the body, and its index in the batch.
    start: usize,
    index: i32,
    count: usize,
    /// Where the run ends in the body.
    end: usize,
    /// The offset behind the run: behind the batch, if the run goes to its end.
    next_offset: Offset,
}

impl FetchedBatch {
    /// Checks a batch and takes its records from `from` on; `None` if there are none.
    pub(crate) fn new(
        partition: &Arc<TopicPartition>,
        bytes: Bytes,
        from: Offset,
    ) -> std::result::Result<Option<FetchedBatch>, BatchError> {
        let batch = Batch::parse(&bytes)?;
        let body = if batch.is_compressed() {
            let mut out = Vec::new();
            batch.decompress_into(DECOMPRESSED_LIMIT, &mut out)?;
            Bytes::from(out)
        } else {
            bytes.slice(bytes.len() - batch.body_bytes().len()..)
        };
        // Every record is looked at once here, so that reading them later cannot fail.
        let mut records = batch.records(&body);
        let (mut start, mut index, mut count) = (0, 0, 0);
        loop {
            let at = (records.position(), records.index());
            let Some(record) = records.next().transpose()? else { break };
            if record.offset >= from {
                if count == 0 {
                    (start, index) = at;
                }
                count += 1;
            }
        }
        let (next_offset, end) = (batch.next_offset(), body.len());
        let partition = partition.clone();
        Ok((count > 0).then_some(FetchedBatch { partition, batch: bytes, body, start, index, count, end, next_offset }))
    }

    /// The partition.
    pub fn partition(&self) -> &Arc<TopicPartition> {
        &self.partition
    }

    /// How many records there are; never 0.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The offset to go on from behind these records.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The epoch of the leader that appended the batch.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.header().partition_leader_epoch()
    }

    /// The batch's header, and its bytes as they lie in the log. The batch may hold more records than this run.
    pub fn header(&self) -> Batch<'_> {
        // It was parsed when it was fetched, and the bytes have not changed.
        Batch::parse(&self.batch).unwrap_or_else(|error| unreachable!("{error}"))
    }

    /// The decompressed records of the whole batch; [`FetchedBatch::range`] are those of this run.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Which bytes of the body these records are.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The records.
    pub fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        // Each was looked at when the batch was fetched.
        self.header().records_from(&self.body, self.start, self.index).take(self.count).flatten()
    }

    /// Takes the first `count` records out, if there are more.
    fn split_to(&mut self, count: usize) -> FetchedBatch {
        let mut first = self.clone();
        if count >= self.count {
            self.count = 0;
            return first;
        }
        let (position, index, last) = {
            let mut records = self.header().records_from(&self.body, self.start, self.index);
            let last = records.by_ref().take(count).flatten().last().map(|record| record.offset);
            (records.position(), records.index(), last)
        };
        (first.count, first.end) = (count, position);
        first.next_offset = last.map_or(first.next_offset, |last| last + 1);
        (self.start, self.index, self.count) = (position, index, self.count - count);
        first
    }
}

impl fmt::Debug for FetchedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedBatch")
            .field("partition", &format_args!("{}", self.partition))
            .field("records", &self.count)
            .field("next_offset", &self.next_offset)
            .finish()
    }
}

/// What one fetch brought for one partition.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    batches: VecDeque<FetchedBatch>,
    /// The offset to fetch from next.
    next_offset: Offset,
}

/// What a fetch asked for, and how its answer is to be read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) partition: Arc<TopicPartition>,
    pub(super) from: Offset,
    pub(super) check_crcs: bool,
    /// Under `read_committed`, what was aborted: producer and first offset.
    pub(super) aborted: Option<Vec<(ProducerId, Offset)>>,
}

impl Fetched {
    /// Reads the batches of a response. Control batches, and under `read_committed` aborted ones, are left out.
    pub(super) fn read(reading: Reading, bytes: &Bytes) -> Result<Fetched> {
        let Reading { partition, from, check_crcs, aborted } = reading;
        let wrong = |cause| ClientError::Batch { partition: TopicPartition::clone(&partition), cause };
        let mut fetched = Fetched { batches: VecDeque::new(), next_offset: from };
        let mut aborted = aborted.map(Aborted::new);
        let mut at = 0;
        for batch in batches(bytes) {
            let batch = match batch {
                Ok(batch) => batch,
                // The last batch may be cut where the response was full; it is fetched again.
                Err(BatchError::Incomplete { .. }) if at > 0 => break,
                Err(error) => return Err(wrong(error)),
            };
            let slice = bytes.slice(at..at + batch.size_in_bytes());
            at += batch.size_in_bytes();
            if batch.last_offset() < from {
                continue;
            }
            if check_crcs {
                batch.verify_crc().map_err(wrong)?;
            }
            fetched.next_offset = batch.next_offset();
            let dropped = match &mut aborted {
                Some(aborted) => aborted.drops(&batch).map_err(wrong)?,
                None => false,
            };
            if !dropped && !batch.is_control() {
                fetched.batches.extend(FetchedBatch::new(&partition, slice, from).map_err(wrong)?);
            }
        }
        Ok(fetched)
    }

    /// The offset to fetch from next.
    pub(super) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Whether all records were taken out.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Takes out up to `count` records, of one batch.
    pub(super) fn take(&mut self, count: usize) -> Option<FetchedBatch> {
        let mut batch = self.batches.pop_front()?;
        let mut taken = batch.split_to(count);
        if !batch.is_empty() {
            self.batches.push_front(batch);
        } else if self.batches.is_empty() {
            // Behind the last record there may be control batches.
            taken.next_offset = self.next_offset;
        }
        Some(taken)
    }
}

/// Which producers' transactions are known to have been aborted, at a point in the log.
pub(crate) struct Aborted {
    /// By first offset, the last first.
    coming: Vec<(ProducerId, Offset)>,
    now: HashSet<ProducerId>,
}

impl Aborted {
    /// From the list that a fetch brings: each producer with the first offset of its transaction.
    pub(crate) fn new(mut coming: Vec<(ProducerId, Offset)>) -> Aborted {
        coming.sort_by_key(|(_, first)| std::cmp::Reverse(*first));
        Aborted { coming, now: HashSet::new() }
    }

    /// Whether a batch belongs to a transaction that was aborted; asked of each batch in its order.
    pub(crate) fn drops(&mut self, batch: &Batch<'_>) -> std::result::Result<bool, BatchError> {
        while let Some((producer, _)) = self.coming.pop_if(|(_, first)| *first <= batch.last_offset()) {
            self.now.insert(producer);
        }
        if batch.is_control() {
            if EndTxnMarker::read(batch)?.is_some_and(|marker| !marker.committed) {
                self.now.remove(&batch.producer_id());
            }
            return Ok(false);
        }
        Ok(batch.is_transactional() && self.now.contains(&batch.producer_id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchOptions, Codec, Compression, ProducerState};

    fn batch(base_offset: Offset, values: usize, producer: Option<ProducerId>, codec: Codec) -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset,
            compression: Compression::new(codec),
            transactional: producer.is_some(),
            producer: ProducerState { id: producer.unwrap_or(-1), epoch: 0, base_sequence: 0 },
            ..BatchOptions::default()
        });
        for index in 0..values {
            builder.append(0, None, Some(&[index as u8]), std::iter::empty());
        }
        builder.build().unwrap()
    }

    fn marker(offset: Offset, producer: ProducerId, committed: bool) -> Bytes {
        let built = EndTxnMarker { committed, coordinator_epoch: 0 }.build(0, producer, 0).unwrap();
        let prefix = Batch::parse(&built).unwrap().stamped_prefix(offset, 0);
        [&prefix[..], &built[16..]].concat().into()
    }

    fn reading(from: Offset, aborted: Option<Vec<(ProducerId, Offset)>>) -> Reading {
        Reading { partition: Arc::new(TopicPartition::new("t", 0)), from, check_crcs: true, aborted }
    }

    fn offsets(fetched: &mut Fetched, at_once: usize) -> Vec<Vec<Offset>> {
        std::iter::from_fn(|| fetched.take(at_once))
            .map(|batch| {
                let offsets: Vec<_> = batch.records().map(|record| record.offset).collect();
                assert_eq!(offsets.len(), batch.len());
                offsets
            })
            .collect()
    }

    #[test]
    fn records_before_the_position_are_dropped_and_a_cut_batch_is_left() {
        for codec in Codec::ALL {
            let bytes =
                [&batch(10, 4, None, codec)[..], &batch(14, 2, None, codec)[..], &batch(16, 2, None, codec)[..70]]
                    .concat();
            let mut fetched = Fetched::read(reading(12, None), &bytes.into()).unwrap();
            assert_eq!(fetched.next_offset(), 16);
            assert_eq!(offsets(&mut fetched, 100), [vec![12, 13], vec![14, 15]]);
        }
    }

    #[test]
    fn runs_are_cut_to_the_number_that_was_asked_for() {
        let mut fetched = Fetched::read(reading(0, None), &batch(0, 5, None, Codec::None)).unwrap();
        let first = fetched.take(2).unwrap();
        assert_eq!((first.len(), first.next_offset(), first.range().start), (2, 2, 0));
        let second = fetched.take(2).unwrap();
        assert_eq!(second.range().start, first.range().end);
        assert_eq!(offsets(&mut fetched, 2), [vec![4]]);
        assert!(fetched.is_empty());
    }

    #[test]
    fn aborted_records_and_markers_are_left_out() {
        let none = Codec::None;
        let log: Bytes = [
            batch(0, 1, Some(1), none),
            batch(1, 1, Some(2), none),
            marker(2, 1, false),
            batch(3, 1, Some(1), none),
            marker(4, 1, true),
            marker(5, 2, true),
        ]
        .concat()
        .into();
        let mut fetched = Fetched::read(reading(0, Some(vec![(1, 0)])), &log).unwrap();
        assert_eq!(fetched.next_offset(), 6);
        let last = |fetched: &mut Fetched| std::iter::from_fn(|| fetched.take(9)).last().unwrap().next_offset();
        assert_eq!(offsets(&mut fetched, 9), [vec![1], vec![3]]);
        let mut fetched = Fetched::read(reading(0, None), &log).unwrap();
        assert_eq!(last(&mut fetched), 6);
    }

    #[test]
    fn a_damaged_batch_is_an_error() {
        let mut bytes = batch(0, 2, None, Codec::None).to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let error = Fetched::read(reading(0, None), &bytes.into()).unwrap_err();
        assert!(error.to_string().starts_with("t-0: the batch at offset 0 carries CRC"), "{error}");
    }
}
