//! Appending: check, number, stamp, write once.
//!
//! All batches of an append are checked before a byte is written, and go out with one vectored write: of each batch 16
//! stamped bytes (base offset, length, leader epoch) and the rest of the producer's frame as it came. So an append is
//! there as a whole or not at all, and costs a CRC, a walk over the records and one call to the disk.

use std::io::IoSlice;

use bytes::Bytes;

use super::error::{AppendError, RecordError, StorageError, timestamp_text};
use super::fs::Durability;
use super::log::Log;
use super::producer_state::{ProducerBatch, Verdict};
use super::segment::BatchInfo;
use super::transaction_index::{self, AbortedTxn};
use crate::common::ids::{LeaderEpoch, Offset, Timestamp};
use crate::record::{Batch, BatchError, EndTxnMarker, TimestampType};

/// The most bytes that a compressed batch may come to.
pub(crate) const DECOMPRESSED_LIMIT: usize = 256 << 20;

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendInfo {
    /// The offset of the first record; of a repeated batch the one it got then.
    pub first_offset: Offset,
    /// The offset of the last record.
    pub last_offset: Offset,
    /// The timestamp that all records got, or -1 where they kept their own; of a repeated batch its largest, as Kafka says.
    pub log_append_time: Timestamp,
    /// Where the log begins.
    pub log_start_offset: Offset,
    /// Whether nothing was appended because the batch had been before.
    pub duplicate: bool,
    /// How many bytes were appended.
    pub size: usize,
}

/// Who appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A producer: all is checked.
    Client,
    /// The broker itself, which may write control batches.
    Coordinator,
}

/// A batch that is ready to be written.
struct Planned {
    prefix: [u8; 16],
    frame: Bytes,
    base_offset: Offset,
    last_offset: Offset,
    leader_epoch: LeaderEpoch,
    max_timestamp: Timestamp,
    producer: Option<ProducerBatch>,
    marker: Option<EndTxnMarker>,
}

impl Log {
    /// Appends a client's batches: gives them offsets and `leader_epoch`.
    ///
    /// # Errors
    /// Nothing was appended then; the error says which Kafka error it is.
    pub fn append_as_leader(
        &mut self,
        batches: Bytes,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<AppendInfo, AppendError> {
        self.append(batches, leader_epoch, Origin::Client, now)
    }

    /// Appends batches under `origin`'s rules: gives them offsets and `leader_epoch`.
    ///
    /// # Errors
    /// As [`Log::append_as_leader`].
    pub fn append(
        &mut self,
        batches: Bytes,
        leader_epoch: LeaderEpoch,
        origin: Origin,
        now: Timestamp,
    ) -> Result<AppendInfo, AppendError> {
        self.mend()?;
        let append_time = match self.config.timestamp_type {
            TimestampType::LogAppendTime => now,
            TimestampType::CreateTime => -1,
        };
        let mut next = self.log_end;
        let mut planned: Vec<Planned> = Vec::new();
        let mut producers: Vec<ProducerBatch> = Vec::new();
        let mut scratch = Vec::new();
        for frame in frames(&batches) {
            let frame = self.admit(frame?, origin, now, &mut scratch)?;
            let batch = parse(&frame)?;
            let last_offset = next + i64::from(batch.last_offset_delta());
            let producer = producer_batch(&batch, next);
            if let (Some(producer), Origin::Client) = (&producer, origin)
                && let Verdict::Duplicate(known) = self.producers.check(producer, &producers)?
            {
                return Ok(AppendInfo {
                    first_offset: known.first_offset(),
                    last_offset: known.last_offset,
                    log_append_time: known.timestamp,
                    log_start_offset: self.log_start,
                    duplicate: true,
                    size: 0,
                });
            }
            producers.extend(producer);
            planned.push(Planned {
                prefix: batch.stamped_prefix(next, leader_epoch),
                base_offset: next,
                last_offset,
                leader_epoch,
                max_timestamp: batch.max_timestamp(),
                producer,
                marker: marker(&batch)?,
                frame,
            });
            next = last_offset + 1;
        }
        let first_offset = self.log_end;
        let size = self.write(planned, now)?;
        Ok(AppendInfo {
            first_offset,
            last_offset: next - 1,
            log_append_time: append_time,
            log_start_offset: self.log_start,
            duplicate: false,
            size,
        })
    }

    /// Appends batches that a leader has numbered and stamped; offsets may leap, but not go back.
    ///
    /// # Errors
    /// Nothing was appended then.
    pub fn append_as_follower(&mut self, batches: Bytes, now: Timestamp) -> Result<AppendInfo, AppendError> {
        self.mend()?;
        let mut planned: Vec<Planned> = Vec::new();
        let mut next = self.log_end;
        for frame in frames(&batches) {
            let frame = frame?;
            let batch = parse(&frame)?;
            batch.verify_crc().map_err(corrupt)?;
            let (base_offset, last_offset) = (batch.base_offset(), batch.last_offset());
            if base_offset < next || last_offset < base_offset {
                return Err(AppendError::UnexpectedOffset { offset: base_offset, expected: next });
            }
            let leader_epoch = batch.partition_leader_epoch();
            planned.push(Planned {
                prefix: batch.stamped_prefix(base_offset, leader_epoch),
                base_offset,
                last_offset,
                leader_epoch,
                max_timestamp: batch.max_timestamp(),
                producer: producer_batch(&batch, base_offset),
                marker: marker(&batch)?,
                frame,
            });
            next = last_offset + 1;
        }
        let first_offset = planned.first().map_or(self.log_end, |batch| batch.base_offset);
        let size = self.write(planned, now)?;
        let log_start_offset = self.log_start;
        let last_offset = self.log_end - 1;
        Ok(AppendInfo { first_offset, last_offset, log_append_time: -1, log_start_offset, duplicate: false, size })
    }

    /// Checks a batch as the topic's configuration wants, and gives the frame to write: the one that came, unless the
    /// topic asks for another compression or for its own timestamps.
    fn admit(&self, frame: Bytes, origin: Origin, now: Timestamp, scratch: &mut Vec<u8>) -> Result<Bytes, AppendError> {
        let batch = parse(&frame)?;
        let limit = self.config.max_message_bytes;
        let too_large = |size| AppendError::MessageTooLarge { size, limit };
        if batch.size_in_bytes() > limit {
            return Err(too_large(batch.size_in_bytes()));
        }
        batch.verify_crc().map_err(corrupt)?;
        if origin == Origin::Client {
            check_client(&batch)?;
        }
        let codec = match batch.codec() {
            Err(BatchError::UnknownCodec { codec, .. }) => return Err(AppendError::UnsupportedCompression(codec)),
            codec => codec.map_err(refused)?,
        };
        let survey = batch.validate(DECOMPRESSED_LIMIT, scratch).map_err(refused)?;
        if let (Some(batch_index), true, false) = (survey.first_null_key, self.config.compact, batch.is_control()) {
            let message =
                format!("Compacted topic cannot accept message without key in topic partition {}.", self.partition);
            let record_errors = vec![RecordError { batch_index, message: message.clone() }];
            return Err(AppendError::InvalidRecord { record_errors, message });
        }
        let mut written = frame.clone();
        if let Some(compression) = self.config.compression.filter(|wanted| wanted.codec() != codec)
            && !batch.is_control()
        {
            written = batch.recompressed(compression, DECOMPRESSED_LIMIT).map_err(refused)?;
            if written.len() > limit {
                return Err(too_large(written.len()));
            }
        }
        let batch = parse(&written)?;
        match self.config.timestamp_type {
            TimestampType::LogAppendTime => Ok(batch.with_timestamps(TimestampType::LogAppendTime, now)),
            TimestampType::CreateTime => {
                self.check_timestamps(&batch, survey.min_timestamp, survey.max_timestamp, now)?;
                if batch.max_timestamp() != survey.max_timestamp {
                    return Ok(batch.with_timestamps(TimestampType::CreateTime, survey.max_timestamp));
                }
                Ok(written)
            }
        }
    }

    fn check_timestamps(
        &self,
        batch: &Batch<'_>,
        min: Timestamp,
        max: Timestamp,
        now: Timestamp,
    ) -> Result<(), AppendError> {
        let from = now.saturating_sub(self.config.timestamp_before_max_ms);
        let to = now.saturating_add(self.config.timestamp_after_max_ms);
        let message = if batch.timestamp_type() == TimestampType::LogAppendTime {
            "a producer must not set the timestamp type LogAppendTime".to_owned()
        } else if min < from && min != -1 {
            timestamp_text(min, from, to)
        } else if max > to {
            timestamp_text(max, from, to)
        } else {
            return Ok(());
        };
        Err(AppendError::InvalidTimestamp { record_errors: self.out_of_range(batch, from, to), message })
    }

    /// The records whose timestamps are to blame; only looked for when there are some.
    fn out_of_range(&self, batch: &Batch<'_>, from: Timestamp, to: Timestamp) -> Vec<RecordError> {
        let Ok(body) = batch.body(DECOMPRESSED_LIMIT) else { return Vec::new() };
        let records = body.iter().filter_map(Result::ok).enumerate();
        let blamed = records.filter(|(_, record)| record.timestamp != -1 && !(from..=to).contains(&record.timestamp));
        let error = |(index, message)| RecordError { batch_index: index as i32, message };
        blamed.map(|(index, record)| error((index, timestamp_text(record.timestamp, from, to)))).collect()
    }

    /// Writes what was checked, then takes note of it everywhere, then shows it. All or nothing.
    fn write(&mut self, planned: Vec<Planned>, now: Timestamp) -> Result<usize, AppendError> {
        let Some(last) = planned.last() else { return Ok(0) };
        let size: usize = planned.iter().map(|batch| batch.frame.len()).sum();
        if size as u64 > self.config.segment_bytes {
            return Err(AppendError::RecordListTooLarge { size, limit: self.config.segment_bytes });
        }
        let newest = planned.iter().map(|batch| batch.max_timestamp).max().unwrap_or(-1);
        self.roll_if_due(size as u64, newest, last.last_offset, now)?;

        let segment = self.active_segment().clone();
        let mut parts = Vec::with_capacity(planned.len() * 2);
        for batch in &planned {
            parts.push(IoSlice::new(&batch.prefix));
            parts.push(IoSlice::new(&batch.frame[batch.prefix.len()..]));
        }
        segment.write(&mut parts).map_err(|failure| {
            self.torn = failure.broken;
            self.unsynced_removal = true;
            StorageError::io("appending to", &segment.path())(failure.source)
        })?;

        let mut position = segment.size();
        if position == 0 {
            self.active.first_timestamp = Some(planned[0].max_timestamp);
        }
        for batch in &planned {
            let size = batch.frame.len();
            let indexed = self.active.since_index > self.config.index_interval_bytes;
            let info = BatchInfo {
                position: position as u32,
                size,
                base_offset: batch.base_offset,
                last_offset: batch.last_offset,
                max_timestamp: batch.max_timestamp,
            };
            segment.note(&info, indexed);
            self.active.since_index = if indexed { size } else { self.active.since_index + size };
            position += size as u64;
            self.epochs.assign(batch.leader_epoch, batch.base_offset);
            // The batch is there, but what must go with it is not: nothing may follow until the log is opened anew.
            self.note_producer(batch).inspect_err(|_| self.failed = true)?;
        }
        self.log_end = self.segments_end(&planned);
        segment.publish(position);
        self.publish();
        // A new epoch is written down with its first batch. Where that fails it is still due with the next one; it is not
        // synced, for recovery finds it in the batches too.
        let _ = self.epochs.flush(self.handles.fs().as_ref(), &self.dir, Durability::Lazy);
        if self.log_end - self.recovery_point >= self.config.flush_messages {
            self.flush(now)?;
        }
        Ok(size)
    }

    fn segments_end(&self, planned: &[Planned]) -> Offset {
        planned.last().map_or(self.log_end, |batch| batch.last_offset + 1)
    }

    fn note_producer(&mut self, batch: &Planned) -> Result<(), StorageError> {
        match (&batch.producer, batch.marker) {
            (Some(producer), None) => self.producers.update(producer),
            (Some(producer), Some(marker)) => {
                let done = self.producers.end_txn(
                    producer.producer_id,
                    producer.epoch,
                    marker.coordinator_epoch,
                    batch.last_offset,
                    producer.timestamp,
                    !marker.committed,
                );
                if let Some(done) = done.filter(|done| done.aborted) {
                    let last_stable_offset = self.producers.first_open_txn().unwrap_or(batch.last_offset + 1);
                    let aborted = AbortedTxn::new(done, last_stable_offset);
                    transaction_index::append(&self.handles, &self.dir, self.active_segment().base_offset(), &aborted)?;
                    self.active_segment().note_aborted();
                    self.shared.aborted.write().push(aborted);
                }
            }
            (None, _) => {}
        }
        Ok(())
    }
}

/// The whole frames in `bytes`, each a slice of it.
fn frames(bytes: &Bytes) -> impl Iterator<Item = Result<Bytes, AppendError>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let batch = parse(&bytes[at..]).map(|batch| batch.size_in_bytes());
        let start = at;
        // What is behind a bad frame has no begin.
        at = batch.as_ref().map_or(bytes.len(), |size| start + size);
        Some(batch.map(|size| bytes.slice(start..start + size)))
    })
}

fn parse(bytes: &[u8]) -> Result<Batch<'_>, AppendError> {
    Batch::parse(bytes).map_err(|error| match error {
        BatchError::Magic { magic, .. } => AppendError::UnsupportedMagic(magic),
        error => corrupt(error),
    })
}

fn corrupt(error: BatchError) -> AppendError {
    AppendError::CorruptMessage(error.to_string())
}

/// Whole bytes that say something wrong are an invalid record.
fn refused(error: BatchError) -> AppendError {
    if error.is_corrupt() {
        return corrupt(error);
    }
    let message = error.to_string();
    let record_errors = match error {
        BatchError::Record { index, .. } => vec![RecordError { batch_index: index, message: message.clone() }],
        _ => Vec::new(),
    };
    AppendError::InvalidRecord { record_errors, message }
}

/// What a producer may not do, whatever the topic.
fn check_client(batch: &Batch<'_>) -> Result<(), AppendError> {
    let message = if batch.base_offset() != 0 {
        format!("the base offset of a produced batch must be 0, and is {}", batch.base_offset())
    } else if batch.is_control() {
        "clients may not write control records".to_owned()
    } else if batch.has_producer_id() && batch.base_sequence() < 0 {
        format!("sequence {} of producer {} must be at least 0", batch.base_sequence(), batch.producer_id())
    } else {
        return Ok(());
    };
    Err(AppendError::InvalidRecord { record_errors: Vec::new(), message })
}

/// What of a batch concerns its producer, once it lies at `base_offset`.
pub(super) fn producer_batch(batch: &Batch<'_>, base_offset: Offset) -> Option<ProducerBatch> {
    batch.has_producer_id().then(|| ProducerBatch {
        producer_id: batch.producer_id(),
        epoch: batch.producer_epoch(),
        first_sequence: batch.base_sequence(),
        last_sequence: batch.last_sequence(),
        first_offset: base_offset,
        last_offset: base_offset + i64::from(batch.last_offset_delta()),
        timestamp: batch.max_timestamp(),
        transactional: batch.is_transactional(),
    })
}

/// The end of a transaction that a control batch stands for.
fn marker(batch: &Batch<'_>) -> Result<Option<EndTxnMarker>, AppendError> {
    if batch.is_control() { EndTxnMarker::read(batch).map_err(refused) } else { Ok(None) }
}
