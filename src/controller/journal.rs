//! How the metadata lies on disk: `__cluster_metadata-0`, a log like any other, and snapshots beside it.
//!
//! ```text
//! __cluster_metadata-0/
//!   00000000000000000000.log                   the records, in batches that belong together
//!   00000000000000001234-0000000003.checkpoint a snapshot: all records that make the image as of offset 1234, epoch 3
//! ```
//!
//! Snapshots are only read here: a log written by Apache Kafka has them. Opening takes the newest and then the log from
//! its offset on. Ours begins at 0 and holds every change.
//!
//! Crash: the log recovers as every log does, by cutting at the first batch that is not whole; a batch is one wish, so
//! what is lost was not answered yet.

use bytes::Bytes;

use super::ControllerError;
use crate::common::ids::{LeaderEpoch, Offset, Timestamp, TopicPartition, Uuid};
use crate::log::fs::read_file;
use crate::log::{Log, LogConfig, LogDir};
use crate::metadata::topic_name::METADATA_TOPIC;
use crate::metadata::{Image, MetadataRecord};
use crate::record::{BatchBuilder, BatchOptions, batches};

/// The largest batch of metadata, and what a batch may decompress to.
const MAX_BATCH: usize = 64 << 20;
/// How much of the log is read at a time.
const READ: usize = 8 << 20;

/// The metadata log.
#[derive(Debug)]
pub(super) struct Journal {
    log: Log,
    epoch: LeaderEpoch,
    durable: bool,
}

impl Journal {
    /// Opens the log and reads the image out of it.
    pub(super) fn open(dir: &LogDir, now: Timestamp, durable: bool) -> Result<(Journal, Image), ControllerError> {
        let id = TopicPartition::new(METADATA_TOPIC, 0);
        let config = LogConfig {
            delete: false,
            retention_ms: None,
            max_message_bytes: MAX_BATCH,
            segment_ms: i64::MAX,
            ..LogConfig::default()
        };
        let (log, report) = dir.open_log(id.clone(), config, now)?;
        for note in &report.notes {
            tracing::warn!(partition = %id, "{note}");
        }
        log.set_topic_id(Uuid::METADATA_TOPIC)?;
        let mut image = Image::default();
        let mut offset = log.log_start_offset();
        if let Some(snapshot) = newest_snapshot(dir, &id)? {
            replay(&snapshot.bytes, 0, &mut image)?;
            offset = offset.max(snapshot.offset);
        }
        let reader = log.reader();
        while offset < reader.log_end_offset() {
            let read = reader.read(offset, READ, reader.log_end_offset(), true)?;
            match replay(&read.records, offset, &mut image)? {
                next if next > offset => offset = next,
                _ => break,
            }
        }
        // The epoch only tells our writing from that of whoever wrote before.
        let epoch = log.leader_epochs().latest().unwrap_or(0) + 1;
        Ok((Journal { log, epoch, durable }, image))
    }

    /// Whether nothing was ever written.
    pub(super) fn is_empty(&self) -> bool {
        self.log.log_end_offset() == 0
    }

    /// Appends records as one batch and returns the offset of the first.
    pub(super) fn append(&mut self, records: &[MetadataRecord], now: Timestamp) -> Result<Offset, ControllerError> {
        let batch = batch(records, now)?;
        let appended = self.log.append_as_leader(batch, self.epoch, now)?;
        if self.durable {
            self.log.flush(now)?;
        }
        Ok(appended.first_offset)
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
        builder.append(now, None, value.as_deref(), std::iter::empty());
    }
    builder.build().map_err(|source| ControllerError::Batch { offset: -1, source })
}

/// Applies all records in `bytes`, the first of which lies at or before `offset`, and returns the offset after the last.
fn replay(bytes: &Bytes, offset: Offset, image: &mut Image) -> Result<Offset, ControllerError> {
    let mut next = offset;
    for batch in batches(bytes) {
        let at = |source| ControllerError::Batch { offset: next, source };
        let batch = batch.map_err(at)?;
        batch.verify_crc().map_err(at)?;
        // Control batches tell of Kafka's voters and leaders, or that a snapshot begins and ends.
        if !batch.is_control() {
            let body = batch.body(MAX_BATCH).map_err(at)?;
            for record in body.iter() {
                let record = record.map_err(at)?;
                let Some(value) = record.value.filter(|_| record.offset >= offset) else { continue };
                let at = record.offset;
                let record = MetadataRecord::decode(Bytes::copy_from_slice(value))
                    .map_err(|source| ControllerError::Record { offset: at, source })?;
                image.apply(&record).map_err(|source| ControllerError::Image { offset: at, source })?;
            }
        }
        next = batch.next_offset();
    }
    Ok(next)
}

struct Snapshot {
    bytes: Bytes,
    /// The first offset that is not in it.
    offset: Offset,
}

/// The snapshot of the highest offset, where there is one.
fn newest_snapshot(dir: &LogDir, id: &TopicPartition) -> Result<Option<Snapshot>, ControllerError> {
    let folder = dir.path_of(id);
    let fs = dir.handles().fs();
    let fail = |name: &str| {
        let name = name.to_owned();
        move |source| ControllerError::Snapshot { name, source }
    };
    let mut newest: Option<(Offset, LeaderEpoch, String)> = None;
    for entry in fs.list(&folder).map_err(fail(METADATA_TOPIC))? {
        if let Some((offset, epoch)) = snapshot_name(&entry.name) {
            newest = newest.max(Some((offset, epoch, entry.name)));
        }
    }
    let Some((offset, _, name)) = newest else { return Ok(None) };
    let bytes = read_file(fs.as_ref(), &folder.join(&name), MAX_BATCH).map_err(fail(&name))?;
    Ok(bytes.map(|bytes| Snapshot { bytes: Bytes::from(bytes), offset }))
}

/// The offset and epoch in a snapshot's name.
fn snapshot_name(name: &str) -> Option<(Offset, LeaderEpoch)> {
    let (offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    Some((offset.parse().ok()?, epoch.parse().ok()?))
}
