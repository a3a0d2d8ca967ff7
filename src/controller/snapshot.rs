//! Snapshots of the metadata log, in Kafka's own format.
//!
//! ```text
//! __cluster_metadata-0/00000000000000001234-0000000003.checkpoint     all before offset 1234; its last record is of epoch 3
//! +----------------+------------+-----+------------+----------------+
//! | control batch: | records of | ... | records of | control batch: |
//! | header, quorum | the image  |     | the image  | footer         |
//! +----------------+------------+-----+------------+----------------+
//! ```
//! A log's batches, with offsets of their own from 0 on. What Apache Kafka wrote of its quorum (the version of its
//! protocol, the voters) is handed on from snapshot to snapshot.
//!
//! Crash: it is written as `.checkpoint.part`, synced, renamed, and the name synced, and only then do older ones go and the
//! log below it. A part that is left over goes when the log is opened.

use std::io::{self, IoSlice};
use std::path::Path;

use bytes::Bytes;

use super::ControllerError;
use crate::common::ids::{LeaderEpoch, Offset, Timestamp};
use crate::log::fs::{FileSystem, OpenMode, read_file, remove_if_there, with_suffix};
use crate::metadata::MetadataRecord;
use crate::record::{BatchBuilder, BatchOptions};

/// The largest snapshot that is read.
const MAX_LEN: usize = 1 << 30;
/// How large a batch of it gets.
const BATCH: usize = 1 << 20;
const EXTENSION: &str = ".checkpoint";
const PART: &str = ".part";
/// The kinds of the control records that begin and end it.
const HEADER: i16 = 3;
const FOOTER: i16 = 4;

/// Which snapshot it is: the first offset that is not in it, and the epoch of its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SnapshotId {
    pub(super) offset: Offset,
    pub(super) epoch: LeaderEpoch,
}

impl SnapshotId {
    /// Its file's name.
    pub(super) fn name(self) -> String {
        format!("{:020}-{:010}{EXTENSION}", self.offset, self.epoch)
    }

    fn of(name: &str) -> Option<SnapshotId> {
        let (offset, epoch) = name.strip_suffix(EXTENSION)?.split_once('-')?;
        Some(SnapshotId { offset: offset.parse().ok()?, epoch: epoch.parse().ok()? })
    }
}

/// What Apache Kafka's quorum wrote about itself: the key and value of a control record, the last one of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Quorum(Vec<(Bytes, Bytes)>);

impl Quorum {
    /// Takes note of a control record of the quorum; it takes the place of the one of its kind.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.retain(|(known, _)| known != key);
        self.0.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        self.0.sort_unstable();
    }
}

/// The bytes of a snapshot.
pub(super) fn encode(
    id: SnapshotId,
    records: &[MetadataRecord],
    quorum: &Quorum,
    now: Timestamp,
) -> Result<Vec<u8>, ControllerError> {
    let mut out = Writer { id, now, next: 0, bytes: Vec::new() };
    // Version 0, the time of the last record, no tagged fields.
    let header = [&[0, 0][..], &now.to_be_bytes(), &[0]].concat();
    let mut batch = out.control(HEADER, &header);
    for (key, value) in &quorum.0 {
        batch.append(now, Some(key), Some(value), std::iter::empty());
    }
    out.put(batch)?;
    let mut batch = out.begin(false);
    for (offset, record) in (0..).zip(records) {
        let value = record.encode().map_err(|error| ControllerError::Encode { offset, problem: error.to_string() })?;
        if !batch.is_empty() && batch.uncompressed_size() + value.len() > BATCH {
            out.put(batch)?;
            batch = out.begin(false);
        }
        batch.append(now, None, Some(&value), std::iter::empty());
    }
    if !batch.is_empty() {
        out.put(batch)?;
    }
    let footer = out.control(FOOTER, &[0, 0, 0]);
    out.put(footer)?;
    Ok(out.bytes)
}

/// Batches one behind the other.
struct Writer {
    id: SnapshotId,
    now: Timestamp,
    next: Offset,
    bytes: Vec<u8>,
}

impl Writer {
    fn begin(&self, control: bool) -> BatchBuilder {
        let (base_offset, leader_epoch) = (self.next, self.id.epoch);
        BatchBuilder::new(BatchOptions { base_offset, leader_epoch, control, ..BatchOptions::default() })
    }

    fn control(&self, kind: i16, value: &[u8]) -> BatchBuilder {
        let mut batch = self.begin(true);
        let key = [[0, 0], kind.to_be_bytes()].concat();
        batch.append(self.now, Some(&key), Some(value), std::iter::empty());
        batch
    }

    fn put(&mut self, batch: BatchBuilder) -> Result<(), ControllerError> {
        let count = batch.record_count();
        let built = batch.build().map_err(|source| ControllerError::Batch { offset: self.next, source })?;
        self.bytes.extend_from_slice(&built);
        self.next += Offset::from(count);
        Ok(())
    }
}

/// Writes a snapshot; when this returns it is safe, also by its name.
pub(super) fn write(fs: &dyn FileSystem, dir: &Path, id: SnapshotId, bytes: &[u8]) -> Result<(), ControllerError> {
    let path = dir.join(id.name());
    let part = with_suffix(&path, PART);
    let steps = || -> io::Result<()> {
        let file = fs.open(&part, OpenMode::Fresh)?;
        file.write_at(0, &mut [IoSlice::new(bytes)])?;
        file.sync()?;
        fs.rename(&part, &path)?;
        fs.sync_dir(dir)
    };
    steps().map_err(failed(&id.name()))
}

/// The newest snapshot, where there is one; what was left half written is removed.
pub(super) fn newest(fs: &dyn FileSystem, dir: &Path) -> Result<Option<(SnapshotId, Bytes)>, ControllerError> {
    let mut newest = None;
    for entry in fs.list(dir).map_err(failed("in the metadata log's folder"))?.into_iter().filter(|entry| !entry.is_dir)
    {
        if entry.name.ends_with(PART) {
            remove_if_there(fs, &dir.join(&entry.name)).map_err(failed(&entry.name))?;
        }
        newest = newest.max(SnapshotId::of(&entry.name));
    }
    let Some(id) = newest else { return Ok(None) };
    let bytes = read_file(fs, &dir.join(id.name()), MAX_LEN).map_err(failed(&id.name()))?;
    Ok(bytes.map(|bytes| (id, Bytes::from(bytes))))
}

/// Removes the snapshots that are older than `id`.
pub(super) fn remove_older(fs: &dyn FileSystem, dir: &Path, id: SnapshotId) -> Result<(), ControllerError> {
    for entry in fs.list(dir).map_err(failed("in the metadata log's folder"))? {
        if SnapshotId::of(&entry.name).is_some_and(|other| other < id) {
            remove_if_there(fs, &dir.join(&entry.name)).map_err(failed(&entry.name))?;
        }
    }
    Ok(())
}

fn failed(name: &str) -> impl FnOnce(io::Error) -> ControllerError + use<> {
    let name = name.to_owned();
    move |source| ControllerError::Snapshot { name, source }
}
