//! What the log promises, held against it: by example, against a model, and by a crash at each write.

mod basics;
mod compaction;
mod crash;
mod ends;
mod found;
mod model;
mod read_only;

use bytes::Bytes;

use super::fs::SharedFs;
use super::fs::handles::Handles;
use super::{Log, LogConfig, LogOptions, RecoveryReport};
use crate::common::ids::{Offset, Timestamp, TopicPartition};
use crate::record::{BatchBuilder, BatchOptions, Compression, ProducerState, batches};

/// The time of most tests.
pub(super) const NOW: Timestamp = 1_700_000_000_000;

/// A small log's configuration.
pub(super) fn small() -> LogConfig {
    LogConfig { segment_bytes: 4096, index_interval_bytes: 256, ..LogConfig::default() }
}

/// Options for a log in `dir` of `fs`.
pub(super) fn options(fs: &SharedFs, dir: &str, config: LogConfig) -> LogOptions {
    LogOptions {
        partition: TopicPartition::new("flights", 0),
        dir: dir.into(),
        config,
        handles: Handles::new(fs.clone(), 64),
        recovery_point: 0,
        log_start_offset: 0,
        cleaned_to: 0,
        clean: false,
        now: NOW,
    }
}

/// Opens a log in `/flights-0` of `fs`.
pub(super) fn open(fs: &SharedFs, config: LogConfig) -> (Log, RecoveryReport) {
    Log::open(options(fs, "/flights-0", config)).unwrap()
}

/// A batch with one record for each value, at `timestamp` and the milliseconds behind it.
pub(super) fn batch_at(timestamp: Timestamp, values: &[&str]) -> Bytes {
    build(timestamp, values, Compression::NONE, ProducerState::NONE)
}

/// A batch with one record for each value.
pub(super) fn batch(values: &[&str]) -> Bytes {
    batch_at(NOW, values)
}

/// A batch of whatever kind.
pub(super) fn build(timestamp: Timestamp, values: &[&str], compression: Compression, producer: ProducerState) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions { compression, producer, ..BatchOptions::default() });
    for (index, value) in values.iter().enumerate() {
        builder.append(timestamp + index as i64, Some(b"key"), Some(value.as_bytes()), std::iter::empty());
    }
    builder.build().unwrap()
}

/// The records in `bytes`: offset and value.
pub(super) fn records(bytes: &[u8]) -> Vec<(Offset, String)> {
    let mut all = Vec::new();
    for batch in batches(bytes) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        for record in batch.body(1 << 20).unwrap().iter() {
            let record = record.unwrap();
            all.push((record.offset, String::from_utf8_lossy(record.value.unwrap_or(b"-")).into_owned()));
        }
    }
    all
}

/// All records of a log, from its start to its end.
pub(super) fn all(log: &Log) -> Vec<(Offset, String)> {
    let reader = log.reader();
    let mut offset = log.log_start_offset();
    let mut all = Vec::new();
    loop {
        let read = reader.read(offset, 700, Offset::MAX, true).unwrap();
        let found = records(&read.records);
        let Some((last, _)) = found.last().cloned() else { return all };
        all.extend(found.into_iter().filter(|(found, _)| *found >= offset));
        offset = last + 1;
    }
}
