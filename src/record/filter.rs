//! A batch with some of its records left out: what compaction writes.
//!
//! Records keep their offsets and timestamps, so the deltas get gaps; base offset, last offset and producer stay as they
//! were, for they say what the batch once held. A delete horizon, where one is given, takes the place of the base
//! timestamp, and the timestamps count from it.

use bytes::Bytes;

use crate::common::ids::Timestamp;

use super::batch::{
    ATTRIBUTES_AT, BASE_TIMESTAMP_AT, Batch, COUNT_AT, DELETE_HORIZON_BIT, HEADER_LEN, LENGTH_AT, LOG_OVERHEAD,
    MAX_TIMESTAMP_AT, TimestampType, put, seal,
};
use super::compression::Compression;
use super::error::BatchError;
use super::records::RecordView;
use super::varint::{MAX_VARINT, MAX_VARLONG, varint_len, varlong_len, write_varint, write_varlong};

impl Batch<'_> {
    /// A copy that holds only the records that `keep` says, compressed as before; `None` where it says none. With a
    /// `delete_horizon` the batch tells from when on its tombstones may go. `limit` caps the decompressed records.
    ///
    /// # Errors
    /// Any [`BatchError`] that reading the records may give.
    pub fn retaining(
        &self,
        limit: usize,
        delete_horizon: Option<Timestamp>,
        mut keep: impl FnMut(&RecordView<'_>) -> bool,
    ) -> Result<Option<Bytes>, BatchError> {
        let body = self.body(limit)?;
        let base_timestamp = delete_horizon.unwrap_or(self.base_timestamp());
        let mut kept = Vec::with_capacity(body.as_bytes().len());
        let (mut count, mut max_timestamp) = (0i32, -1);
        for record in body.iter() {
            let record = record?;
            if keep(&record) {
                count += 1;
                max_timestamp = record.timestamp.max(max_timestamp);
                write_record(&mut kept, &record, self.base_offset(), base_timestamp);
            }
        }
        if count == 0 {
            return Ok(None);
        }
        let codec = self.codec()?;
        let mut copy = Vec::with_capacity(HEADER_LEN + kept.len());
        copy.extend_from_slice(&self.as_bytes()[..HEADER_LEN]);
        Compression::new(codec).compress(&kept, &mut copy).map_err(|cause| BatchError::Compression {
            base_offset: self.base_offset(),
            codec,
            cause,
        })?;
        let length = (copy.len() - LOG_OVERHEAD) as i32;
        put(&mut copy, LENGTH_AT, &length.to_be_bytes());
        put(&mut copy, COUNT_AT, &count.to_be_bytes());
        put(&mut copy, BASE_TIMESTAMP_AT, &base_timestamp.to_be_bytes());
        if self.timestamp_type() == TimestampType::CreateTime {
            put(&mut copy, MAX_TIMESTAMP_AT, &max_timestamp.to_be_bytes());
        }
        if delete_horizon.is_some() {
            let attributes = self.attributes() | DELETE_HORIZON_BIT;
            put(&mut copy, ATTRIBUTES_AT, &attributes.to_be_bytes());
        }
        seal(&mut copy);
        Ok(Some(Bytes::from(copy)))
    }
}

fn write_record(out: &mut Vec<u8>, record: &RecordView<'_>, base_offset: i64, base_timestamp: Timestamp) {
    let offset = (record.offset - base_offset) as i32;
    let timestamp = record.timestamp.wrapping_sub(base_timestamp);
    let headers = record.headers.as_bytes();
    let count = record.headers.len() as i32;
    let bytes_len = |bytes: Option<&[u8]>| bytes.map_or(1, |bytes| varint_len(bytes.len() as i32) + bytes.len());
    let length = 1
        + varlong_len(timestamp)
        + varint_len(offset)
        + bytes_len(record.key)
        + bytes_len(record.value)
        + varint_len(count)
        + headers.len();
    let mut head = [0; 2 * MAX_VARINT + MAX_VARLONG + 1];
    let mut at = write_varint(&mut head, length as i32);
    at += 1; // the attributes, 0
    at += write_varlong(&mut head[at..], timestamp);
    at += write_varint(&mut head[at..], offset);
    out.extend_from_slice(&head[..at]);
    for bytes in [record.key, record.value] {
        put_varint(out, bytes.map_or(-1, |bytes| bytes.len() as i32));
        out.extend_from_slice(bytes.unwrap_or(&[]));
    }
    put_varint(out, count);
    out.extend_from_slice(headers);
}

fn put_varint(out: &mut Vec<u8>, value: i32) {
    let mut bytes = [0; MAX_VARINT];
    let len = write_varint(&mut bytes, value);
    out.extend_from_slice(&bytes[..len]);
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, BatchOptions, Codec, Header};
    use super::*;

    #[test]
    fn what_is_kept_stays_where_and_as_it_was() {
        for codec in Codec::ALL {
            let options =
                BatchOptions { compression: Compression::new(codec), base_offset: 40, ..BatchOptions::default() };
            let mut builder = BatchBuilder::new(options);
            for n in 0..5i64 {
                let key = n.to_string();
                let headers = [Header { key: b"h", value: None }, Header { key: b"h", value: Some(b"2") }];
                builder.append(1000 + n * 7, Some(key.as_bytes()), (n != 3).then_some(b"value"), headers.into_iter());
            }
            let whole = builder.build().unwrap();
            let batch = Batch::parse(&whole).unwrap();
            let all: Vec<_> = batch.body(1000).unwrap().iter().map(|r| format!("{:?}", r.unwrap())).collect();
            for horizon in [None, Some(5000)] {
                let some = batch.retaining(1000, horizon, |record| record.offset % 2 == 1).unwrap().unwrap();
                let some = Batch::parse(&some).unwrap();
                some.verify_crc().unwrap();
                let kept: Vec<_> = some.body(1000).unwrap().iter().map(|r| format!("{:?}", r.unwrap())).collect();
                assert_eq!(kept, [all[1].clone(), all[3].clone()]);
                assert_eq!((some.base_offset(), some.last_offset(), some.record_count()), (40, 44, 2));
                assert_eq!((some.max_timestamp(), some.delete_horizon()), (1021, horizon));
            }
            assert_eq!(batch.retaining(1000, None, |_| false).unwrap(), None);
        }
    }
}
