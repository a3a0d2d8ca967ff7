//! Reading: whole batches as slices of the mapped segment, beside the writer and without waiting for it.
//!
//! A reader copies the view and works on that. The index says where to begin, the batches' headers say
//! where to end; the bytes themselves are not touched.

use std::io;

use bytes::Bytes;

use super::append::DECOMPRESSED_LIMIT;
use super::error::{ReadError, StorageError};
use super::log::{LogReader, View};
use super::segment::Segment;
use super::transaction_index::AbortedTxn;
use crate::common::ids::{LeaderEpoch, Offset, Timestamp};
use crate::record::Batch;

/// What was read.
#[derive(Debug, Clone)]
pub struct LogRead {
    /// Whole batches, the one that holds the asked offset first; empty where there is none yet. A slice of the map.
    pub records: Bytes,
    /// Where the log began when this was read.
    pub log_start_offset: Offset,
    /// The log end offset when this was read.
    pub log_end_offset: Offset,
    /// The last stable offset when this was read.
    pub last_stable_offset: Offset,
}

/// A record found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its offset.
    pub offset: Offset,
    /// The epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
}

impl LogReader {
    fn view(&self) -> View {
        self.shared.view.read().clone()
    }

    /// The first offset that can be read.
    pub fn log_start_offset(&self) -> Offset {
        self.shared.view.read().log_start
    }

    /// The offset of the next record.
    pub fn log_end_offset(&self) -> Offset {
        self.shared.view.read().log_end
    }

    /// Where the first open transaction begins, or the log end offset.
    pub fn last_stable_offset(&self) -> Offset {
        self.shared.view.read().last_stable
    }

    /// How many bytes the log's batches take.
    pub fn size(&self) -> u64 {
        self.view().segments.iter().map(|segment| segment.size()).sum()
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.shared.view.read().segments.len()
    }

    /// The batches from the one that holds `offset` on, at most `max_bytes` of them, of one segment, and none that
    /// reaches `upper_bound`. With `min_one` the first batch is given even if it is larger than `max_bytes`.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] for an offset before the log's start or behind its end.
    pub fn read(
        &self,
        offset: Offset,
        max_bytes: usize,
        upper_bound: Offset,
        min_one: bool,
    ) -> Result<LogRead, ReadError> {
        match self.try_read(offset, max_bytes, upper_bound, min_one) {
            // The segment went away between the look at the view and the opening of its file: look again.
            Err(ReadError::Storage(StorageError::Io { source, .. })) if is_gone(&source) => {
                self.try_read(offset, max_bytes, upper_bound, min_one)
            }
            result => result,
        }
    }

    fn try_read(&self, offset: Offset, max_bytes: usize, upper: Offset, min_one: bool) -> Result<LogRead, ReadError> {
        let view = self.view();
        if offset < view.log_start || offset > view.log_end {
            let (log_start_offset, log_end_offset) = (view.log_start, view.log_end);
            return Err(ReadError::OffsetOutOfRange { offset, log_start_offset, log_end_offset });
        }
        let found = |records| LogRead {
            records,
            log_start_offset: view.log_start,
            log_end_offset: view.log_end,
            last_stable_offset: view.last_stable,
        };
        let upper = upper.min(view.log_end);
        if offset >= upper {
            return Ok(found(Bytes::new()));
        }
        let first = view.segments.partition_point(|segment| segment.base_offset() <= offset).saturating_sub(1);
        for index in first..view.segments.len() {
            let segment = &view.segments[index];
            let end = if index + 1 == view.segments.len() { view.active_size } else { segment.size() };
            let records = read_segment(segment, end, offset, max_bytes, upper, view.log_end, min_one)
                .map_err(|error| failed(segment, offset, error))?;
            // Compaction may have taken all batches from `offset` to the segment's end.
            if let Some(records) = records {
                return Ok(found(records));
            }
        }
        Ok(found(Bytes::new()))
    }

    /// The first record at or after `timestamp`, `None` where there is none.
    ///
    /// # Errors
    /// [`ReadError::Storage`] and [`ReadError::Corrupt`].
    pub fn offset_for_timestamp(&self, timestamp: Timestamp) -> Result<Option<TimestampOffset>, ReadError> {
        let view = self.view();
        for segment in view.segments.iter() {
            let error = |error| failed(segment, segment.base_offset(), error);
            if segment.max_timestamp().map_err(error)?.is_none_or(|max| max.timestamp < timestamp) {
                continue;
            }
            let mut from = view.log_start.max(segment.base_offset());
            while let Some(info) = segment.find_timestamp(timestamp, from).map_err(error)? {
                let bytes = segment.slice(info.position.into(), info.end()).map_err(error)?;
                let wanted = |record: &TimestampOffset| record.timestamp >= timestamp && record.offset >= from;
                let found = first_record(&bytes, wanted).map_err(|text| corrupt(info.base_offset, text))?;
                if let Some(found) = found {
                    return Ok((found.offset < view.log_end).then_some(found));
                }
                from = info.last_offset + 1;
            }
        }
        Ok(None)
    }

    /// The first record that has the greatest timestamp of the log, `None` in an empty log.
    ///
    /// # Errors
    /// As [`LogReader::offset_for_timestamp`].
    pub fn max_timestamp_offset(&self) -> Result<Option<TimestampOffset>, ReadError> {
        let view = self.view();
        let mut greatest: Option<(Timestamp, Offset, &Segment)> = None;
        for segment in view.segments.iter() {
            let max = segment.max_timestamp().map_err(|error| failed(segment, segment.base_offset(), error))?;
            // As in Apache Kafka, also where the record was deleted and its segment is still there.
            if let Some(max) = max
                && greatest.is_none_or(|greatest| max.timestamp > greatest.0)
            {
                greatest = Some((max.timestamp, max.offset, segment));
            }
        }
        let Some((timestamp, offset, segment)) = greatest else { return Ok(None) };
        let error = |error| failed(segment, offset, error);
        let Some(info) = segment.find(offset).map_err(error)? else { return Ok(None) };
        let bytes = segment.slice(info.position.into(), info.end()).map_err(error)?;
        first_record(&bytes, |record| record.timestamp >= timestamp).map_err(|text| corrupt(offset, text))
    }

    /// The aborted transactions that have records in `from..to`: what read_committed must drop.
    pub fn aborted_transactions(&self, from: Offset, to: Offset) -> Vec<AbortedTxn> {
        let aborted = self.shared.aborted.read();
        aborted.iter().filter(|txn| txn.last_offset >= from && txn.first_offset < to).copied().collect()
    }
}

/// The batches of one segment, `None` where it has none at or behind `offset`. `end` is how far it is published.
fn read_segment(
    segment: &Segment,
    end: u64,
    offset: Offset,
    max_bytes: usize,
    upper: Offset,
    log_end: Offset,
    min_one: bool,
) -> io::Result<Option<Bytes>> {
    let Some(first) = segment.find(offset)? else { return Ok(None) };
    if first.last_offset >= upper {
        return Ok(Some(Bytes::new()));
    }
    let start = u64::from(first.position);
    // A segment whose batches all lie below the bound needs no second look-up.
    let end = match upper < log_end {
        true => segment.find(upper)?.map_or(end, |info| end.min(info.position.into())),
        false => end,
    };
    let limit = start.saturating_add(max_bytes as u64);
    let end = if end <= limit { end } else { last_whole_batch(segment, start, limit)? };
    let end = if end <= start && min_one { first.end() } else { end };
    segment.slice_in_order(start, end.max(start)).map(Some)
}

/// Where the last batch ends that ends at or before `limit`; `start` where the first one does not.
fn last_whole_batch(segment: &Segment, start: u64, limit: u64) -> io::Result<u64> {
    let known = u64::from(segment.floor_position(limit.min(u32::MAX.into()) as u32)?);
    let mut end = start.max(known);
    segment.walk(end as u32, |info| {
        let fits = info.end() <= limit;
        if fits {
            end = info.end();
        }
        fits
    })?;
    Ok(end)
}

/// The first record of the batch in `bytes` that is `wanted`.
fn first_record(bytes: &[u8], wanted: impl Fn(&TimestampOffset) -> bool) -> Result<Option<TimestampOffset>, String> {
    let batch = Batch::parse(bytes).map_err(|error| error.to_string())?;
    let body = batch.body(DECOMPRESSED_LIMIT).map_err(|error| error.to_string())?;
    for record in body.iter() {
        let record = record.map_err(|error| error.to_string())?;
        let leader_epoch = batch.partition_leader_epoch();
        let found = TimestampOffset { timestamp: record.timestamp, offset: record.offset, leader_epoch };
        if wanted(&found) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn corrupt(offset: Offset, text: String) -> ReadError {
    ReadError::Corrupt { offset, text }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}

fn failed(segment: &Segment, offset: Offset, error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::InvalidData => corrupt(offset, error.to_string()),
        _ => ReadError::Storage(StorageError::io("reading", &segment.path())(error)),
    }
}
