//! The records of a batch: views, and the walk that a broker does over a batch it was sent.
//!
//! ```text
//! +--------+----+----------+--------+--------+-----+----------+-------+----------+---------
//! | length | 0  | timestamp| offset | key    | key | value    | value | header   | headers
//! | varint | i8 | delta    | delta  | length |     | length   |       | count    |
//! |        |    | varlong  | varint | varint |     | varint   |       | varint   |
//! +--------+----+----------+--------+--------+-----+----------+-------+----------+---------
//! each header: key length varint, key, value length varint, value
//! ```
//! Deltas count from the batch's base offset and base timestamp; a length of -1 means null (a header's key cannot be).

use std::borrow::Cow;
use std::fmt;

use parking_lot::Mutex;

use crate::common::ids::{Offset, Timestamp};

use super::batch::{Batch, TimestampType};
use super::compression::{CompressionError, decompress};
use super::error::BatchError;
use super::varint::{read_varint, read_varlong};

/// Up to this many bytes a batch is decompressed whatever else is.
const AT_ANY_TIME: usize = 16 << 20;
/// Held by the one that decompresses more.
static LARGE: Mutex<()> = Mutex::new(());

/// A batch and its records, decompressed if they had to be.
#[derive(Debug, Clone)]
pub struct Body<'a> {
    batch: Batch<'a>,
    bytes: Cow<'a, [u8]>,
}

/// One record, as slices of its batch's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Its offset in the partition.
    pub offset: Offset,
    /// Its own timestamp, or the batch's under log append time; -1 where it has none.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its key: UTF-8, if the producer kept to the rule.
    pub key: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, in their order and with their duplicates; read while iterating.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: usize,
}

/// What a walk over a produced batch found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// How many records there are.
    pub record_count: i32,
    /// The index of the first record without a key: one that a compacted topic refuses.
    pub first_null_key: Option<i32>,
    /// The greatest timestamp of the records (CreateTime: as the records say; LogAppendTime: as the header says).
    pub max_timestamp: Timestamp,
    /// The least timestamp of the records.
    pub min_timestamp: Timestamp,
    /// The index of the first record that has [`Survey::max_timestamp`].
    pub index_of_max_timestamp: i32,
}

impl<'a> Batch<'a> {
    /// The batch's records: borrowed when they are not compressed.
    ///
    /// # Errors
    /// [`BatchError::UnknownCodec`], or [`BatchError::Compression`] for a body that cannot be decompressed or comes to
    /// more than `limit` bytes.
    pub fn body(&self, limit: usize) -> Result<Body<'a>, BatchError> {
        let bytes = if self.is_compressed() {
            let mut out = Vec::new();
            self.decompress_into(limit, &mut out)?;
            Cow::Owned(out)
        } else {
            Cow::Borrowed(self.body_bytes())
        };
        Ok(Body { batch: *self, bytes })
    }

    /// Puts the batch's records, decompressed, behind what `out` holds; `limit` caps what is added.
    ///
    /// # Errors
    /// As [`Batch::body`].
    pub fn decompress_into(&self, limit: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let codec = self.codec()?;
        decompress(codec, self.body_bytes(), limit, out).map_err(|cause| BatchError::Compression {
            base_offset: self.base_offset(),
            codec,
            cause,
        })
    }

    /// The records in `body`, which must be what [`Batch::body`] or [`Batch::decompress_into`] gave for this batch.
    pub fn records<'b>(&self, body: &'b [u8]) -> Records<'b> {
        self.records_from(body, 0, 0)
    }

    /// As [`Batch::records`], from the record on that is the `index`th and begins at byte `at` of `body`: where
    /// [`Records::position`] and [`Records::index`] stood.
    pub fn records_from<'b>(&self, body: &'b [u8], at: usize, index: i32) -> Records<'b> {
        Records {
            body,
            at: at.min(body.len()),
            index,
            count: self.record_count(),
            base_offset: self.base_offset(),
            last_delta: self.last_offset_delta(),
            base_timestamp: self.base_timestamp(),
            append_time: (self.timestamp_type() == TimestampType::LogAppendTime).then(|| self.max_timestamp()),
        }
    }

    /// Checks all that a producer must keep to, building nothing: the count and the last delta agree, offset deltas are
    /// dense from 0, each length is exact, every byte is used. The CRC is [`Batch::verify_crc`]'s.
    ///
    /// `scratch` takes the decompressed records, and may be used again; `limit` caps them. Of batches that come to more
    /// than 16 MiB one is walked at a time in the whole process.
    ///
    /// # Errors
    /// Any [`BatchError`] but `Incomplete`, `Length`, `Magic` and `Crc`.
    pub fn validate(&self, limit: usize, scratch: &mut Vec<u8>) -> Result<Survey, BatchError> {
        let count = self.record_count();
        if count <= 0 {
            return Err(self.contradiction("record count", i64::from(count), 1));
        }
        if self.last_offset_delta() != count - 1 {
            return Err(self.contradiction("last offset delta", self.last_offset_delta().into(), i64::from(count) - 1));
        }
        if !self.is_compressed() {
            return self.survey(self.body_bytes());
        }
        scratch.clear();
        match self.decompress_into(limit.min(AT_ANY_TIME), scratch) {
            Err(BatchError::Compression { cause: CompressionError::TooLarge { .. }, .. }) if limit > AT_ANY_TIME => {
                // One at a time, whatever the number of producers: so bombs cannot add up.
                let _turn = LARGE.lock();
                *scratch = Vec::new();
                let survey = self.decompress_into(limit, scratch).and_then(|()| self.survey(scratch));
                *scratch = Vec::new();
                survey
            }
            decompressed => decompressed.and_then(|()| self.survey(scratch)),
        }
    }

    fn survey(&self, body: &[u8]) -> Result<Survey, BatchError> {
        let count = self.record_count();
        let base = self.base_timestamp();
        let (mut at, mut first_null_key) = (0, None);
        let (mut max, mut min, mut index_of_max) = (i64::MIN, i64::MAX, 0);
        for index in 0..count {
            let record = read_record(body, &mut at).map_err(|what| self.malformed(index, what))?;
            if record.offset_delta != index {
                return Err(self.malformed(index, "its offset delta is not its index"));
            }
            if record.key.is_none() && first_null_key.is_none() {
                first_null_key = Some(index);
            }
            if record.timestamp_delta > max {
                (max, index_of_max) = (record.timestamp_delta, index);
            }
            min = min.min(record.timestamp_delta);
        }
        if at != body.len() {
            return Err(self.contradiction("length of the records", body.len() as i64, at as i64));
        }
        let (max, min, index_of_max) = match self.timestamp_type() {
            TimestampType::CreateTime => (base.saturating_add(max), base.saturating_add(min), index_of_max),
            TimestampType::LogAppendTime => (self.max_timestamp(), self.max_timestamp(), 0),
        };
        Ok(Survey {
            record_count: count,
            first_null_key,
            max_timestamp: max,
            min_timestamp: min,
            index_of_max_timestamp: index_of_max,
        })
    }

    fn contradiction(&self, what: &'static str, found: i64, expected: i64) -> BatchError {
        BatchError::Contradiction { base_offset: self.base_offset(), what, found, expected }
    }

    fn malformed(&self, index: i32, what: &'static str) -> BatchError {
        BatchError::Record { base_offset: self.base_offset(), index, what }
    }
}

impl<'a> Body<'a> {
    /// The batch.
    pub fn batch(&self) -> Batch<'a> {
        self.batch
    }

    /// The records' bytes, not compressed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records.
    pub fn iter(&self) -> Records<'_> {
        self.batch.records(&self.bytes)
    }
}

/// The records of a batch, in their order. The first error is the last item.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    body: &'a [u8],
    at: usize,
    index: i32,
    count: i32,
    base_offset: Offset,
    last_delta: i32,
    base_timestamp: Timestamp,
    append_time: Option<Timestamp>,
}

impl Records<'_> {
    /// Where in the body the next record begins.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The index in the batch of the next record.
    pub fn index(&self) -> i32 {
        self.index
    }

    fn fail(&mut self, what: &'static str) -> BatchError {
        let error = BatchError::Record { base_offset: self.base_offset, index: self.index, what };
        self.count = self.index;
        self.at = self.body.len();
        error
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            if self.at < self.body.len() {
                return Some(Err(self.fail("bytes follow the last record")));
            }
            return None;
        }
        let record = match read_record(self.body, &mut self.at) {
            Ok(record) => record,
            Err(what) => return Some(Err(self.fail(what))),
        };
        // Compaction leaves gaps, so deltas need not be dense here; they cannot leave the batch.
        if record.offset_delta < 0 || record.offset_delta > self.last_delta {
            return Some(Err(self.fail("its offset lies outside the batch")));
        }
        self.index += 1;
        Some(Ok(RecordView {
            offset: self.base_offset.saturating_add(i64::from(record.offset_delta)),
            timestamp: match self.append_time {
                Some(timestamp) => timestamp,
                None => self.base_timestamp.saturating_add(record.timestamp_delta),
            },
            key: record.key,
            value: record.value,
            headers: record.headers,
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Seven bytes are the least a record can take, so a lying count cannot make a caller reserve more than that.
        let left = (self.count - self.index).max(0) as usize;
        (0, Some(left.min((self.body.len() - self.at) / 7 + 1)))
    }
}

struct RawRecord<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

/// Reads the record at `*at` and moves `*at` behind it.
#[inline]
fn read_record<'a>(body: &'a [u8], at: &mut usize) -> Result<RawRecord<'a>, &'static str> {
    const LENGTH: &str = "its length does not lie inside the batch";
    let length = read_varint(body, at).ok_or(LENGTH)?;
    let length = usize::try_from(length).map_err(|_| LENGTH)?;
    let end = at.checked_add(length).filter(|end| *end <= body.len()).ok_or(LENGTH)?;
    let record = &body[*at..end];
    *at = end;

    // The attributes of a record have no meaning yet.
    let mut at = 1;
    let timestamp_delta = read_varlong(record, &mut at).ok_or("its timestamp is cut")?;
    let offset_delta = read_varint(record, &mut at).ok_or("its offset is cut")?;
    let key = read_bytes(record, &mut at).ok_or("its key does not lie inside it")?;
    let value = read_bytes(record, &mut at).ok_or("its value does not lie inside it")?;
    let count = read_varint(record, &mut at).ok_or("its header count is cut")?;
    let count = usize::try_from(count).map_err(|_| "its header count is negative")?;
    let headers = Headers { bytes: &record[at..], count };
    for _ in 0..count {
        read_header(record, &mut at).ok_or("a header does not lie inside it")?;
    }
    if at != record.len() {
        return Err("it is longer than what it holds");
    }
    Ok(RawRecord { timestamp_delta, offset_delta, key, value, headers })
}

/// Reads bytes with their length; the outer `None` means that they are malformed, the inner one that they are null.
#[inline]
fn read_bytes<'a>(record: &'a [u8], at: &mut usize) -> Option<Option<&'a [u8]>> {
    let length = read_varint(record, at)?;
    if length == -1 {
        return Some(None);
    }
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    let bytes = record.get(*at..end)?;
    *at = end;
    Some(Some(bytes))
}

fn read_header<'a>(record: &'a [u8], at: &mut usize) -> Option<Header<'a>> {
    let key = read_bytes(record, at)??;
    let value = read_bytes(record, at)?;
    Some(Header { key, value })
}

impl<'a> Headers<'a> {
    /// How many headers are left.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no header is left.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers as they lie in the record, without their count.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.count == 0 {
            return None;
        }
        let mut at = 0;
        // They were walked once when the record was read, so they are well-formed.
        let header = read_header(self.bytes, &mut at)?;
        self.bytes = &self.bytes[at..];
        self.count -= 1;
        Some(header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Headers<'_> {}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}
