//! How the metadata lies on disk: `__cluster_metadata-0`, a log like any other, and a snapshot beside it.
//!
//! ```text
//! __cluster_metadata-0/
//!   00000000000000000000.log                   the records, in batches that belong together
//!   00000000000000001234-0000000003.checkpoint a snapshot: the records that make the image as of offset 1234, epoch 3
//! ```
//!
//! Opening takes the newest snapshot and then the log from its offset on. Once enough was written, or the last snapshot is
//! old, a new one is written; then the log below it goes, and the older ones.
//!
//! Crash: the log recovers as every log does, by cutting at the first batch that is not whole; a batch is one wish, so
//! what is lost was not answered yet. A snapshot is written when the log up to it is safe, and what it stands for goes when
//! it is safe itself; where power was lost before that, the log still holds it.

use bytes::Bytes;

use super::snapshot::{self, Quorum, SnapshotId};
use super::{ControllerError, SnapshotLimits};
use crate::common::ids::{LeaderEpoch, Offset, Timestamp, TopicPartition, Uuid};
use crate::log::fs::SharedFs;
use crate::log::{Log, LogConfig, LogDir};
use crate::metadata::topic_name::METADATA_TOPIC;
use crate::metadata::{Image, MetadataRecord};
use crate::record::{BatchBuilder, BatchOptions, ControlType, batches};

/// The largest batch of metadata, and what a batch may decompress to.
const MAX_BATCH: usize = 64 << 20;
/// How much of the log is read at a time.
const READ: usize = 8 << 20;

/// The metadata log.
#[derive(Debug)]
pub(super) struct Journal {
    log: Log,
    fs: SharedFs,
    epoch: LeaderEpoch,
    durable: bool,
    limits: SnapshotLimits,
    /// What the last snapshot does not hold begins here.
    snapshot_at: Offset,
    /// When it was written, or since when none was.
    snapshot_time: Timestamp,
    /// Bytes of records since then.
    since_snapshot: u64,
    quorum: Quorum,
}

impl Journal {
    /// Opens the log and reads the image out of it.
    pub(super) fn open(
        dir: &LogDir,
        now: Timestamp,
        durable: bool,
        limits: SnapshotLimits,
    ) -> Result<(Journal, Image), ControllerError> {
        let id = TopicPartition::new(METADATA_TOPIC, 0);
        let config = LogConfig {
            delete: false,
            retention_ms: None,
            max_message_bytes: MAX_BATCH,
            segment_ms: i64::MAX,
            ..LogConfig::default()
        };
        let (mut log, report) = dir.open_log(id.clone(), config, now)?;
        for note in &report.notes {
            tracing::warn!(partition = %id, "{note}");
        }
        log.set_topic_id(Uuid::METADATA_TOPIC)?;
        let fs = dir.handles().fs().clone();
        let (mut image, mut quorum) = (Image::default(), Quorum::default());
        let mut at = SnapshotId { offset: 0, epoch: 0 };
        if let Some((id, bytes)) = snapshot::newest(fs.as_ref(), log.dir())? {
            replay(&bytes, 0, &mut image, &mut quorum)?;
            at = id;
            if log.log_end_offset() < at.offset {
                // All of the log was in the snapshot, and went.
                log.truncate_fully_and_start_at(at.offset, now)?;
            }
        }
        let mut offset = at.offset.max(log.log_start_offset());
        let reader = log.reader();
        while offset < reader.log_end_offset() {
            let read = reader.read(offset, READ, reader.log_end_offset(), true)?;
            match replay(&read.records, offset, &mut image, &mut quorum)? {
                next if next > offset => offset = next,
                _ => break,
            }
        }
        // The epoch only tells our writing from that of whoever wrote before.
        let epoch = log.leader_epochs().latest().unwrap_or(0).max(at.epoch) + 1;
        let journal = Journal {
            since_snapshot: log.size(),
            log,
            fs,
            epoch,
            durable,
            limits,
            snapshot_at: at.offset,
            snapshot_time: now,
            quorum,
        };
        Ok((journal, image))
    }

    /// Whether nothing was ever written.
    pub(super) fn is_empty(&self) -> bool {
        self.log.log_end_offset() == 0
    }

    /// Appends records as one batch and returns the offset of the first.
    pub(super) fn append(&mut self, records: &[MetadataRecord], now: Timestamp) -> Result<Offset, ControllerError> {
        let batch = batch(records, now)?;
        let appended = self.log.append_as_leader(batch, self.epoch, now)?;
        self.since_snapshot += appended.size as u64;
        if self.durable {
            self.log.flush(now)?;
        }
        Ok(appended.first_offset)
    }

    /// Writes a snapshot if it is time: `image` is what all records make.
    ///
    /// # Errors
    /// The log holds all of it still, and the next snapshot is as far away as after one that was written.
    pub(super) fn snapshot_if_due(&mut self, image: &Image, now: Timestamp) -> Result<(), ControllerError> {
        let interval = self.limits.interval_ms;
        let old = interval > 0 && now.saturating_sub(self.snapshot_time) >= interval;
        if self.log.log_end_offset() == self.snapshot_at || !(old || self.since_snapshot >= self.limits.bytes) {
            return Ok(());
        }
        (self.snapshot_time, self.since_snapshot) = (now, 0);
        self.log.flush(now)?;
        let offset = self.log.log_end_offset();
        let epoch = self.log.leader_epochs().epoch_for(offset - 1).unwrap_or(self.epoch);
        let id = SnapshotId { offset, epoch };
        let bytes = snapshot::encode(id, &image.records(), &self.quorum, now)?;
        snapshot::write(self.fs.as_ref(), self.log.dir(), id, &bytes)?;
        self.snapshot_at = offset;
        tracing::info!(name = id.name(), bytes = bytes.len(), "a snapshot of the metadata is written");
        self.log.roll(now)?;
        self.log.delete_records(offset);
        self.log.enforce_retention(now, offset)?.delete()?;
        snapshot::remove_older(self.fs.as_ref(), self.log.dir(), id)
    }

    /// Syncs and closes.
    pub(super) fn close(&mut self, now: Timestamp) -> Result<(), ControllerError> {
        Ok(self.log.close(now)?)
    }
}

/// Records as the bytes of one batch.
fn batch(records: &[MetadataRecord], now: Timestamp) -> Result<Bytes, ControllerError> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for (offset, record) in (0..).zip(records) {
        let value = record.encode().map_err(|error| ControllerError::Encode { offset, problem: error.to_string() })?;
        builder.append(now, None, Some(&value), std::iter::empty());
    }
    builder.build().map_err(|source| ControllerError::Batch { offset: -1, source })
}

/// Applies all records in `bytes`, the first of which lies at or before `offset`, and returns the offset after the last.
fn replay(bytes: &Bytes, offset: Offset, image: &mut Image, quorum: &mut Quorum) -> Result<Offset, ControllerError> {
    let mut next = offset;
    for batch in batches(bytes) {
        let at = |source| ControllerError::Batch { offset: next, source };
        let batch = batch.map_err(at)?;
        batch.verify_crc().map_err(at)?;
        let body = batch.body(MAX_BATCH).map_err(at)?;
        for record in body.iter() {
            let record = record.map_err(at)?;
            let Some(value) = record.value.filter(|_| record.offset >= offset) else { continue };
            if batch.is_control() {
                // Others tell of Kafka's leaders, or that a snapshot begins and ends.
                let key = record.key.unwrap_or_default();
                if let Some(ControlType::KRaftVersion | ControlType::KRaftVoters) = ControlType::from_key(key) {
                    quorum.put(key, value);
                }
                continue;
            }
            let at = record.offset;
            let record = MetadataRecord::decode(Bytes::copy_from_slice(value))
                .map_err(|source| ControllerError::Record { offset: at, source })?;
            image.apply(&record).map_err(|source| ControllerError::Image { offset: at, source })?;
        }
        next = batch.next_offset();
    }
    Ok(next)
}
