//! The builder: records appended to one buffer that becomes the batch.
//!
//! The first 61 bytes of the buffer are kept free and filled in at the end, so an uncompressed batch is never copied. A
//! compressed one is packed once, when it is built, into a second buffer.

use bytes::Bytes;

use crate::common::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::batch::{
    ATTRIBUTES_AT, BASE_SEQUENCE_AT, BASE_TIMESTAMP_AT, CONTROL_BIT, COUNT_AT, HEADER_LEN, LAST_DELTA_AT,
    LEADER_EPOCH_AT, LENGTH_AT, LOG_APPEND_TIME_BIT, LOG_OVERHEAD, MAGIC, MAGIC_AT, MAX_TIMESTAMP_AT,
    PRODUCER_EPOCH_AT, PRODUCER_ID_AT, TRANSACTIONAL_BIT, TimestampType, put, seal,
};
use super::compression::{Codec, Compression};
use super::error::BatchError;
use super::records::Header;
use super::varint::{MAX_VARINT, MAX_VARLONG, varint_len, varlong_len, write_varint, write_varlong};

/// Who produces, and where in the producer's sequence a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer's id.
    pub id: ProducerId,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// The sequence number of the batch's first record.
    pub base_sequence: i32,
}

impl ProducerState {
    /// No idempotence.
    pub const NONE: ProducerState = ProducerState { id: -1, epoch: -1, base_sequence: -1 };
}

/// What a batch says of itself, besides its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// How the records are compressed; not at all by default.
    pub compression: Compression,
    /// The offset of the first record; 0 by default, for the leader stamps its own.
    pub base_offset: Offset,
    /// The leader's epoch; -1 by default.
    pub leader_epoch: LeaderEpoch,
    /// Who produces; nobody by default.
    pub producer: ProducerState,
    /// Whether the batch belongs to a transaction.
    pub transactional: bool,
    /// Whether the batch holds control records.
    pub control: bool,
    /// Who gave the timestamps; the producer by default.
    pub timestamp_type: TimestampType,
    /// How many bytes to reserve for the batch; 16 KiB by default, as Kafka's `batch.size`.
    pub capacity: usize,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions {
            compression: Compression::NONE,
            base_offset: 0,
            leader_epoch: -1,
            producer: ProducerState::NONE,
            transactional: false,
            control: false,
            timestamp_type: TimestampType::CreateTime,
            capacity: 16 * 1024,
        }
    }
}

/// Builds one batch, record by record.
#[derive(Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    buffer: Vec<u8>,
    count: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    /// What compression is expected to leave of a byte.
    ratio: f32,
}

impl BatchBuilder {
    /// A batch without records.
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder::with_buffer(options, Vec::with_capacity(options.capacity.max(HEADER_LEN)))
    }

    /// A batch without records, in a buffer that was used before; what it holds is thrown away.
    pub fn with_buffer(options: BatchOptions, mut buffer: Vec<u8>) -> BatchBuilder {
        buffer.clear();
        buffer.resize(HEADER_LEN, 0);
        BatchBuilder { options, buffer, count: 0, base_timestamp: -1, max_timestamp: -1, ratio: 1.0 }
    }

    /// Appends a record and returns its index in the batch.
    ///
    /// A batch takes up to `i32::MAX` records and bytes; callers close it long before that ([`BatchBuilder::is_full`]).
    #[inline]
    pub fn append<'h>(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = Header<'h>> + Clone,
    ) -> i32 {
        let index = self.count;
        if index == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        } else if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
        }
        let delta = timestamp.wrapping_sub(self.base_timestamp);
        let (mut header_count, mut headers_len) = (0, 0);
        for header in headers.clone() {
            header_count += 1;
            headers_len += bytes_len(Some(header.key)) + bytes_len(header.value);
        }
        let length = 1
            + varlong_len(delta)
            + varint_len(index)
            + bytes_len(key)
            + bytes_len(value)
            + varint_len(header_count)
            + headers_len;

        self.buffer.reserve(length + MAX_VARINT);
        // All numbers before the key go in one piece.
        let mut head = [0; 3 * MAX_VARINT + MAX_VARLONG + 1];
        let mut at = write_varint(&mut head, length as i32);
        at += 1; // the attributes, 0
        at += write_varlong(&mut head[at..], delta);
        at += write_varint(&mut head[at..], index);
        at += write_varint(&mut head[at..], key.map_or(-1, |key| key.len() as i32));
        self.buffer.extend_from_slice(&head[..at]);
        if let Some(key) = key {
            self.buffer.extend_from_slice(key);
        }
        push_bytes(&mut self.buffer, value);
        push_varint(&mut self.buffer, header_count);
        for header in headers {
            push_bytes(&mut self.buffer, Some(header.key));
            push_bytes(&mut self.buffer, header.value);
        }
        self.count += 1;
        index
    }

    /// How many bytes a record of these sizes takes at most, its own numbers included.
    pub fn record_size_bound(key: usize, value: usize, headers: usize) -> usize {
        1 + MAX_VARLONG + 5 * MAX_VARINT + key + value + headers
    }

    /// How many records there are.
    #[inline]
    pub fn record_count(&self) -> i32 {
        self.count
    }

    /// Whether there are no records.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The greatest timestamp so far; -1 without records.
    pub fn max_timestamp(&self) -> Timestamp {
        self.max_timestamp
    }

    /// The length so far without compression, header included.
    #[inline]
    pub fn uncompressed_size(&self) -> usize {
        self.buffer.len()
    }

    /// What compression is expected to leave of each byte (1.0 by default): callers learn it from earlier batches.
    pub fn set_expected_ratio(&mut self, ratio: f32) {
        self.ratio = ratio;
    }

    /// How long the batch is expected to be once it is built: exact without compression.
    #[inline]
    pub fn estimated_size(&self) -> usize {
        if self.options.compression.codec() == Codec::None {
            self.buffer.len()
        } else {
            HEADER_LEN + ((self.buffer.len() - HEADER_LEN) as f32 * self.ratio) as usize
        }
    }

    /// Whether the batch has reached `limit` bytes.
    #[inline]
    pub fn is_full(&self, limit: usize) -> bool {
        self.estimated_size() >= limit
    }

    /// Whether a record of at most `bound` bytes ([`BatchBuilder::record_size_bound`]) still fits into `limit`; the
    /// first one always does.
    #[inline]
    pub fn has_room(&self, bound: usize, limit: usize) -> bool {
        self.count == 0 || self.estimated_size() + bound <= limit
    }

    /// Says who produces, once that is known.
    pub fn set_producer(&mut self, producer: ProducerState) {
        self.options.producer = producer;
    }

    /// Ends the batch.
    ///
    /// # Errors
    /// [`BatchError::Compression`], if the codec fails; [`BatchError::Contradiction`] for a batch over `i32::MAX` bytes.
    pub fn build(self) -> Result<Bytes, BatchError> {
        self.build_vec().map(Bytes::from)
    }

    /// As [`BatchBuilder::build`], for a caller that goes on writing.
    ///
    /// # Errors
    /// As [`BatchBuilder::build`].
    pub fn build_vec(self) -> Result<Vec<u8>, BatchError> {
        let BatchBuilder { options, mut buffer, count, base_timestamp, max_timestamp, .. } = self;
        let codec = options.compression.codec();
        if codec != Codec::None {
            let mut packed = Vec::with_capacity(buffer.len() / 2 + 128);
            packed.resize(HEADER_LEN, 0);
            options
                .compression
                .compress(&buffer[HEADER_LEN..], &mut packed)
                .map_err(|cause| BatchError::Compression { base_offset: options.base_offset, codec, cause })?;
            buffer = packed;
        }
        let length = i32::try_from(buffer.len() - LOG_OVERHEAD).map_err(|_| BatchError::Contradiction {
            base_offset: options.base_offset,
            what: "length of the batch",
            found: buffer.len() as i64,
            expected: i64::from(i32::MAX),
        })?;
        let mut attributes = i16::from(codec.id());
        for (set, bit) in [
            (options.timestamp_type == TimestampType::LogAppendTime, LOG_APPEND_TIME_BIT),
            (options.transactional, TRANSACTIONAL_BIT),
            (options.control, CONTROL_BIT),
        ] {
            attributes |= if set { bit } else { 0 };
        }
        let header = &mut buffer[..HEADER_LEN];
        put(header, 0, &options.base_offset.to_be_bytes());
        put(header, LENGTH_AT, &length.to_be_bytes());
        put(header, LEADER_EPOCH_AT, &options.leader_epoch.to_be_bytes());
        put(header, MAGIC_AT, &MAGIC.to_be_bytes());
        put(header, ATTRIBUTES_AT, &attributes.to_be_bytes());
        put(header, LAST_DELTA_AT, &(count - 1).to_be_bytes());
        put(header, BASE_TIMESTAMP_AT, &base_timestamp.to_be_bytes());
        put(header, MAX_TIMESTAMP_AT, &max_timestamp.to_be_bytes());
        put(header, PRODUCER_ID_AT, &options.producer.id.to_be_bytes());
        put(header, PRODUCER_EPOCH_AT, &options.producer.epoch.to_be_bytes());
        put(header, BASE_SEQUENCE_AT, &options.producer.base_sequence.to_be_bytes());
        put(header, COUNT_AT, &count.to_be_bytes());
        seal(&mut buffer);
        Ok(buffer)
    }
}

#[inline]
fn bytes_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_len(bytes.len() as i32) + bytes.len())
}

#[inline]
fn push_bytes(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    push_varint(buffer, bytes.map_or(-1, |bytes| bytes.len() as i32));
    if let Some(bytes) = bytes {
        buffer.extend_from_slice(bytes);
    }
}

#[inline]
fn push_varint(buffer: &mut Vec<u8>, value: i32) {
    // -64 to 63 take one byte, and nearly all lengths of headers and counts are there.
    if (-64..64).contains(&value) {
        buffer.push(((value << 1) ^ (value >> 31)) as u8);
    } else {
        let mut number = [0; MAX_VARINT];
        let len = write_varint(&mut number, value);
        buffer.extend_from_slice(&number[..len]);
    }
}
