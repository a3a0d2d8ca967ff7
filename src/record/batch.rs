//! The batch: its header, drawn, and a view that reads it in place.
//!
//! ```text
//!  0               8       12      16 17      21  23      27
//! +---------------+-------+-------+--+-------+---+-------+
//! | base offset   | length| leader|ma| crc   |att| last  |
//! | i64           | i32   | epoch |2 | u32   |i16| delta |
//! +---------------+-------+-------+--+-------+---+-------+
//!  27              35              43              51  53      57      61
//! +---------------+---------------+---------------+---+-------+-------+---------------
//! | base timestamp| max timestamp | producer id   |ep.| base  | record| records,
//! | i64           | i64           | i64           |i16| seq.  | count | perhaps compressed
//! +---------------+---------------+---------------+---+-------+-------+---------------
//!
//! attributes: bits 0-2 codec, 3 timestamps are log append time, 4 transactional, 5 control, 6 delete horizon
//! ```
//!
//! All numbers are big-endian. `length` counts what follows it, so a batch is `length + 12` bytes. The CRC-32C covers
//! everything from `attributes` on: base offset, length, leader epoch and magic lie before it, which is what lets a
//! leader stamp a batch without touching the rest.

use std::fmt;

use bytes::Bytes;

use crate::common::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::compression::{Codec, Compression};
use super::error::BatchError;

/// The length of the header; the records begin behind it.
pub const HEADER_LEN: usize = 61;
/// The base offset and the length field: what must be read to know where a batch ends.
pub const LOG_OVERHEAD: usize = 12;
/// The bytes that a leader stamps: base offset, length, leader epoch.
pub const STAMP_LEN: usize = 16;
/// The only format there is.
pub const MAGIC: i8 = 2;

pub(super) const LENGTH_AT: usize = 8;
pub(super) const LEADER_EPOCH_AT: usize = 12;
pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const LAST_DELTA_AT: usize = 23;
pub(super) const BASE_TIMESTAMP_AT: usize = 27;
pub(super) const MAX_TIMESTAMP_AT: usize = 35;
pub(super) const PRODUCER_ID_AT: usize = 43;
pub(super) const PRODUCER_EPOCH_AT: usize = 51;
pub(super) const BASE_SEQUENCE_AT: usize = 53;
pub(super) const COUNT_AT: usize = 57;

pub(super) const CODEC_BITS: i16 = 0x07;
pub(super) const LOG_APPEND_TIME_BIT: i16 = 0x08;
pub(super) const TRANSACTIONAL_BIT: i16 = 0x10;
pub(super) const CONTROL_BIT: i16 = 0x20;
pub(super) const DELETE_HORIZON_BIT: i16 = 0x40;

/// Who gave a batch's records their timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer: each record has its own.
    #[default]
    CreateTime,
    /// The broker, when it appended the batch: all records have the batch's max timestamp.
    LogAppendTime,
}

/// A view over the bytes of exactly one batch.
///
/// Making one checks the length and the magic byte, nothing else: see [`Batch::verify_crc`] and [`Batch::validate`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Batch<'a> {
    header: &'a [u8; HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch that `bytes` begin with; what lies behind it is left alone.
    ///
    /// # Errors
    /// [`BatchError::Incomplete`] when the bytes end before the batch does, [`BatchError::Length`] and
    /// [`BatchError::Magic`] when they can never become one.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Batch<'a>, BatchError> {
        let Some(overhead) = bytes.first_chunk::<LOG_OVERHEAD>() else {
            return Err(BatchError::Incomplete { needed: LOG_OVERHEAD, available: bytes.len() });
        };
        let length = i32::from_be_bytes(field(overhead, LENGTH_AT));
        // The magic byte lies at the same place in all formats, and an old one may be shorter than our header.
        if let Some(&magic) = bytes.get(MAGIC_AT)
            && magic as i8 != MAGIC
            && length > (MAGIC_AT - LOG_OVERHEAD) as i32
        {
            return Err(BatchError::Magic { base_offset: base_offset_of(overhead), magic: magic as i8 });
        }
        if length < (HEADER_LEN - LOG_OVERHEAD) as i32 {
            return Err(BatchError::Length { base_offset: base_offset_of(overhead), length });
        }
        let needed = LOG_OVERHEAD + length as usize;
        match (bytes.get(..needed), bytes.first_chunk()) {
            (Some(bytes), Some(header)) => Ok(Batch { header, bytes }),
            _ => Err(BatchError::Incomplete { needed, available: bytes.len() }),
        }
    }

    /// All bytes of the batch, header and records.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes behind the header, as they lie: perhaps compressed.
    #[inline]
    pub fn body_bytes(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// The length of the batch in bytes, header included.
    #[inline]
    pub fn size_in_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The length field: [`Batch::size_in_bytes`] without [`LOG_OVERHEAD`].
    #[inline]
    pub fn batch_length(&self) -> i32 {
        i32::from_be_bytes(field(self.header, LENGTH_AT))
    }

    /// The offset of the first record (that the batch was built with: compaction may have taken it out).
    #[inline]
    pub fn base_offset(&self) -> Offset {
        i64::from_be_bytes(field(self.header, 0))
    }

    /// The epoch of the leader that appended the batch; -1 before that.
    #[inline]
    pub fn partition_leader_epoch(&self) -> LeaderEpoch {
        i32::from_be_bytes(field(self.header, LEADER_EPOCH_AT))
    }

    /// The format; always 2.
    #[inline]
    pub fn magic(&self) -> i8 {
        self.header[MAGIC_AT] as i8
    }

    /// The CRC-32C that the header carries.
    #[inline]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(field(self.header, CRC_AT))
    }

    /// The attributes, as drawn above.
    #[inline]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(field(self.header, ATTRIBUTES_AT))
    }

    /// The codec of the records.
    ///
    /// # Errors
    /// [`BatchError::UnknownCodec`] for a number that Kafka has not given out.
    #[inline]
    pub fn codec(&self) -> Result<Codec, BatchError> {
        let codec = (self.attributes() & CODEC_BITS) as u8;
        Codec::from_id(codec).ok_or(BatchError::UnknownCodec { base_offset: self.base_offset(), codec })
    }

    /// Whether the records are compressed, with whatever codec.
    #[inline]
    pub fn is_compressed(&self) -> bool {
        self.attributes() & CODEC_BITS != 0
    }

    /// Who gave the records their timestamps.
    #[inline]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes() & LOG_APPEND_TIME_BIT != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Whether the batch belongs to a transaction.
    #[inline]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds control records, which no consumer sees.
    #[inline]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    /// When compaction may drop the tombstones of this batch, if it was told: the base timestamp stands for it then.
    #[inline]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        (self.attributes() & DELETE_HORIZON_BIT != 0).then(|| self.base_timestamp())
    }

    /// The distance from the base offset to the last offset.
    #[inline]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(field(self.header, LAST_DELTA_AT))
    }

    /// The last offset that the batch takes up.
    #[inline]
    pub fn last_offset(&self) -> Offset {
        self.base_offset().saturating_add(i64::from(self.last_offset_delta()))
    }

    /// The offset behind the batch.
    #[inline]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().saturating_add(1)
    }

    /// What the timestamps of the records count from.
    #[inline]
    pub fn base_timestamp(&self) -> Timestamp {
        i64::from_be_bytes(field(self.header, BASE_TIMESTAMP_AT))
    }

    /// The greatest timestamp in the batch, as the header has it.
    #[inline]
    pub fn max_timestamp(&self) -> Timestamp {
        i64::from_be_bytes(field(self.header, MAX_TIMESTAMP_AT))
    }

    /// The producer's id; -1 without idempotence.
    #[inline]
    pub fn producer_id(&self) -> ProducerId {
        i64::from_be_bytes(field(self.header, PRODUCER_ID_AT))
    }

    /// Whether the batch carries a producer id.
    #[inline]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id() >= 0
    }

    /// The producer's epoch; -1 without idempotence.
    #[inline]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        i16::from_be_bytes(field(self.header, PRODUCER_EPOCH_AT))
    }

    /// The sequence number of the first record; -1 without idempotence.
    #[inline]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(field(self.header, BASE_SEQUENCE_AT))
    }

    /// The sequence number of the last record; -1 without idempotence.
    #[inline]
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence() {
            none if none < 0 => none,
            base => increment_sequence(base, self.last_offset_delta()),
        }
    }

    /// How many records the header says there are.
    #[inline]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(field(self.header, COUNT_AT))
    }

    /// The CRC-32C of the bytes.
    #[inline]
    pub fn compute_crc(&self) -> u32 {
        crc32c::crc32c(&self.bytes[ATTRIBUTES_AT..])
    }

    /// Checks the CRC.
    ///
    /// # Errors
    /// [`BatchError::Crc`].
    #[inline]
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.crc(), self.compute_crc());
        if stored == computed {
            Ok(())
        } else {
            Err(BatchError::Crc { base_offset: self.base_offset(), stored, computed })
        }
    }

    /// The first 16 bytes of this batch once it lies at `base_offset` under `leader_epoch`.
    ///
    /// A writer puts these first and then `as_bytes()[16..]`: the CRC stays good, for it leaves them out.
    #[inline]
    pub fn stamped_prefix(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> [u8; STAMP_LEN] {
        let mut prefix = [0; STAMP_LEN];
        prefix[..8].copy_from_slice(&base_offset.to_be_bytes());
        prefix[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&self.header[LENGTH_AT..LENGTH_AT + 4]);
        prefix[LEADER_EPOCH_AT..].copy_from_slice(&leader_epoch.to_be_bytes());
        prefix
    }

    /// A copy with another timestamp type and max timestamp, and the CRC that fits. The records are not touched: under
    /// [`TimestampType::LogAppendTime`] a reader takes the max timestamp for all of them.
    pub fn with_timestamps(&self, kind: TimestampType, max_timestamp: Timestamp) -> Bytes {
        let mut copy = self.bytes.to_vec();
        let attributes = match kind {
            TimestampType::CreateTime => self.attributes() & !LOG_APPEND_TIME_BIT,
            TimestampType::LogAppendTime => self.attributes() | LOG_APPEND_TIME_BIT,
        };
        put(&mut copy, ATTRIBUTES_AT, &attributes.to_be_bytes());
        put(&mut copy, MAX_TIMESTAMP_AT, &max_timestamp.to_be_bytes());
        seal(&mut copy);
        Bytes::from(copy)
    }

    /// A copy that speaks for another producer, epoch or sequence, and the CRC that fits: what a producer sends again
    /// after its epoch was bumped.
    pub fn with_producer(&self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Bytes {
        let mut copy = self.bytes.to_vec();
        put(&mut copy, PRODUCER_ID_AT, &id.to_be_bytes());
        put(&mut copy, PRODUCER_EPOCH_AT, &epoch.to_be_bytes());
        put(&mut copy, BASE_SEQUENCE_AT, &base_sequence.to_be_bytes());
        seal(&mut copy);
        Bytes::from(copy)
    }

    /// A copy whose records are compressed in another way: what a topic's `compression.type` asks for. The records
    /// themselves stay as they are, byte for byte.
    ///
    /// # Errors
    /// [`BatchError::UnknownCodec`] and [`BatchError::Compression`], which also stands for more than `limit` bytes.
    pub fn recompressed(&self, compression: Compression, limit: usize) -> Result<Bytes, BatchError> {
        let body = self.body(limit)?;
        let mut copy = Vec::with_capacity(HEADER_LEN + body.as_bytes().len() / 2);
        copy.extend_from_slice(self.header);
        compression.compress(body.as_bytes(), &mut copy).map_err(|cause| BatchError::Compression {
            base_offset: self.base_offset(),
            codec: compression.codec(),
            cause,
        })?;
        let attributes = (self.attributes() & !CODEC_BITS) | i16::from(compression.codec().id());
        put(&mut copy, ATTRIBUTES_AT, &attributes.to_be_bytes());
        let length = (copy.len() - LOG_OVERHEAD) as i32;
        put(&mut copy, LENGTH_AT, &length.to_be_bytes());
        seal(&mut copy);
        Ok(Bytes::from(copy))
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("offsets", &(self.base_offset()..=self.last_offset()))
            .field("size_in_bytes", &self.size_in_bytes())
            .field("leader_epoch", &self.partition_leader_epoch())
            .field("attributes", &format_args!("{:#x}", self.attributes()))
            .field("max_timestamp", &self.max_timestamp())
            .field("producer", &(self.producer_id(), self.producer_epoch(), self.base_sequence()))
            .field("record_count", &self.record_count())
            .finish()
    }
}

/// The sequence number `by` after `sequence`: after `i32::MAX` comes 0.
#[inline]
pub fn increment_sequence(sequence: i32, by: i32) -> i32 {
    match sequence.checked_add(by) {
        Some(sum) => sum,
        // Wraps over the numbers 0 to i32::MAX, of which there are 2^31.
        None => by - (i32::MAX - sequence) - 1,
    }
}

/// The sequence number `by` before `sequence`: before 0 comes `i32::MAX`.
#[inline]
pub fn decrement_sequence(sequence: i32, by: i32) -> i32 {
    if sequence >= by { sequence - by } else { i32::MAX - (by - sequence) + 1 }
}

/// The batches in `bytes`, one behind the other.
///
/// Ends cleanly where the bytes do. Where they are wrong, or end within a batch, the last item is the error.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { bytes, position: 0 }
}

/// See [`batches`].
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Batches<'_> {
    /// Where the next batch begins: behind the last good one.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.position..];
        if rest.is_empty() {
            return None;
        }
        let batch = Batch::parse(rest);
        match &batch {
            Ok(batch) => self.position += batch.size_in_bytes(),
            // Nothing can be found behind an error; the position stays where it lies.
            Err(_) => self.bytes = &self.bytes[..self.position],
        }
        Some(batch)
    }
}

#[inline]
fn field<const N: usize, const M: usize>(header: &[u8; M], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

fn base_offset_of(overhead: &[u8; LOG_OVERHEAD]) -> Offset {
    i64::from_be_bytes(field(overhead, 0))
}

#[inline]
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Puts the CRC that fits into the header.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    put(batch, CRC_AT, &crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchOptions};

    fn batch(values: &[&str]) -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for value in values {
            builder.append(7, None, Some(value.as_bytes()), std::iter::empty());
        }
        builder.build().unwrap()
    }

    #[test]
    fn a_cut_batch_is_incomplete_and_not_wrong() {
        let whole = batch(&["a", "b"]);
        assert_eq!(Batch::parse(&whole).unwrap().size_in_bytes(), whole.len());
        for end in 0..whole.len() {
            let error = Batch::parse(&whole[..end]).unwrap_err();
            let needed = if end < LOG_OVERHEAD { LOG_OVERHEAD } else { whole.len() };
            assert_eq!(error, BatchError::Incomplete { needed, available: end });
        }
    }

    #[test]
    fn a_wrong_length_or_magic_is_refused() {
        let mut bytes = batch(&["a"]).to_vec();
        bytes[MAGIC_AT] = 1;
        assert!(matches!(Batch::parse(&bytes), Err(BatchError::Magic { magic: 1, .. })));
        bytes[MAGIC_AT] = 2;
        put(&mut bytes, LENGTH_AT, &(-1i32).to_be_bytes());
        assert!(matches!(Batch::parse(&bytes), Err(BatchError::Length { length: -1, .. })));
        put(&mut bytes, LENGTH_AT, &i32::MAX.to_be_bytes());
        assert!(matches!(Batch::parse(&bytes), Err(BatchError::Incomplete { .. })));
    }

    #[test]
    fn a_flipped_bit_behind_the_magic_byte_fails_the_crc() {
        let good = batch(&["a"]);
        Batch::parse(&good).unwrap().verify_crc().unwrap();
        for at in CRC_AT..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 1;
            assert!(matches!(Batch::parse(&bad).unwrap().verify_crc(), Err(BatchError::Crc { .. })), "byte {at}");
        }
    }

    #[test]
    fn a_stamp_changes_offset_and_epoch_and_keeps_the_crc() {
        let built = batch(&["a", "b", "c"]);
        let prefix = Batch::parse(&built).unwrap().stamped_prefix(1_000, 5);
        let stamped = [&prefix[..], &built[STAMP_LEN..]].concat();
        let stamped = Batch::parse(&stamped).unwrap();
        stamped.verify_crc().unwrap();
        assert_eq!((stamped.base_offset(), stamped.last_offset(), stamped.next_offset()), (1_000, 1_002, 1_003));
        assert_eq!(stamped.partition_leader_epoch(), 5);
    }

    #[test]
    fn log_append_time_stands_for_all_records() {
        let built = batch(&["a", "b"]);
        let copy = Batch::parse(&built).unwrap().with_timestamps(TimestampType::LogAppendTime, 99);
        let copy = Batch::parse(&copy).unwrap();
        copy.verify_crc().unwrap();
        assert_eq!((copy.timestamp_type(), copy.max_timestamp()), (TimestampType::LogAppendTime, 99));
        let body = copy.body(1 << 20).unwrap();
        assert!(body.iter().all(|record| record.unwrap().timestamp == 99));
    }

    #[test]
    fn another_producer_takes_a_batch_over() {
        let built = batch(&["a", "b"]);
        let copy = Batch::parse(&built).unwrap().with_producer(9, 3, i32::MAX);
        let copy = Batch::parse(&copy).unwrap();
        copy.verify_crc().unwrap();
        assert_eq!((copy.producer_id(), copy.producer_epoch(), copy.base_sequence()), (9, 3, i32::MAX));
        assert_eq!(copy.last_sequence(), 0);
    }

    #[test]
    fn sequences_wrap_after_the_greatest() {
        assert_eq!(increment_sequence(i32::MAX, 1), 0);
        assert_eq!(increment_sequence(i32::MAX - 1, 4), 2);
        assert_eq!(decrement_sequence(2, 4), i32::MAX - 1);
        assert_eq!(decrement_sequence(5, 5), 0);
    }

    #[test]
    fn batches_end_at_the_first_error() {
        let one = batch(&["a"]);
        let two = [&one[..], &one[..], &one[..20]].concat();
        let mut all = batches(&two);
        assert!(all.next().unwrap().is_ok() && all.next().unwrap().is_ok());
        assert!(matches!(all.next(), Some(Err(BatchError::Incomplete { .. }))));
        assert!(all.next().is_none());
        assert_eq!(all.position(), 2 * one.len());
    }

    #[test]
    fn recompression_keeps_the_records() {
        let built = batch(&["a", "b", "a long value, a long value, a long value, a long value"]);
        let original = Batch::parse(&built).unwrap();
        for codec in Codec::ALL {
            let copy = original.recompressed(Compression::new(codec), 1 << 20).unwrap();
            let copy = Batch::parse(&copy).unwrap();
            copy.verify_crc().unwrap();
            assert_eq!(copy.codec().unwrap(), codec);
            assert_eq!(copy.body(1 << 20).unwrap().as_bytes(), original.body_bytes());
        }
    }
}
