//! Snapshots of the metadata log, in Kafka's own format.
//!
//! ```text
//! __cluster_metadata-0/00000000000000001234-0000000003.checkpoint     all before offset 1234; its last record is of epoch 3
//! +----------------+------------+-----+------------+----------------+
//! | control batch: | records of | ... | records of | control batch: |
//! | header, voters | the image  |     | the image  | footer         |
//! +----------------+------------+-----+------------+----------------+
//! ```
//! A log's batches, with offsets of their own from 0 on. The header says, in a tag of ours, which entry was the last one
//! in it (its term and its number), and which one the voters come from; `control` draws both. One without the tag was
//! written by Apache Kafka or by an earlier version of ours, for a quorum of one. One at offset 0 has no records: `format` wrote
//! it, and its voters are to found the cluster (`founding`).
//!
//! Crash: it is written as `.checkpoint.part`, synced, renamed, and the name synced, and only then do older ones go and the
//! log below it. A part that is left over goes when the log is opened.

use std::io::{self, IoSlice};
use std::path::Path;

use bytes::Bytes;

use super::batches::MAX_BATCH;
use super::control;
use super::error::ControllerError;
use super::types::{LogId, Membership, StoredMembership, Voter};
use crate::common::ids::{LeaderEpoch, Offset, Timestamp};
use crate::log::fs::{FileSystem, OpenMode, read_file, remove_if_there, with_suffix};
use crate::metadata::{Image, MetadataRecord};
use crate::record::{BatchBuilder, BatchOptions, ControlType, batches};

/// The largest snapshot that is read.
pub(super) const MAX_LEN: usize = 1 << 30;
/// How large a batch of it gets.
const BATCH: usize = 1 << 20;
const EXTENSION: &str = ".checkpoint";
const PART: &str = ".part";

/// Which snapshot it is: the first offset that is not in it, and the epoch of its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SnapshotId {
    pub(super) offset: Offset,
    pub(super) epoch: LeaderEpoch,
}

impl SnapshotId {
    /// Its file's name, and what controllers call it among themselves.
    pub(super) fn name(self) -> String {
        format!("{:020}-{:010}{EXTENSION}", self.offset, self.epoch)
    }

    pub(super) fn of(name: &str) -> Option<SnapshotId> {
        let (offset, epoch) = name.strip_suffix(EXTENSION)?.split_once('-')?;
        Some(SnapshotId { offset: offset.parse().ok()?, epoch: epoch.parse().ok()? })
    }
}

/// The snapshot that stands for an empty log.
pub(super) const FOUNDING: SnapshotId = SnapshotId { offset: 0, epoch: 0 };

/// What a snapshot says.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) image: Image,
    /// Its last entry and its voters; `None` for one that knows no entries.
    pub(super) position: Option<(LogId, StoredMembership)>,
    /// The voters of one that was written by Apache Kafka, or by whoever formatted the log dir.
    pub(super) founders: Vec<Voter>,
}

/// The bytes of a snapshot.
pub(super) fn encode(
    id: SnapshotId,
    records: &[MetadataRecord],
    last: LogId,
    membership: &StoredMembership,
    now: Timestamp,
) -> Result<Vec<u8>, ControllerError> {
    let mut out = Writer { id, next: 0, bytes: Vec::new() };
    let mut batch = out.begin(true);
    control::put(&mut batch, ControlType::SnapshotHeader, &control::snapshot_header(last, membership, now)?, now);
    control::put_membership(&mut batch, membership.membership(), now)?;
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
    let mut footer = out.begin(true);
    control::put(&mut footer, ControlType::SnapshotFooter, &[0, 0, 0], now);
    out.put(footer)?;
    Ok(out.bytes)
}

/// The bytes of the snapshot that stands for an empty log, and names the first voters.
pub(super) fn encode_founders(voters: &[Voter], now: Timestamp) -> Result<Vec<u8>, ControllerError> {
    let mut out = Writer { id: FOUNDING, next: 0, bytes: Vec::new() };
    let mut batch = out.begin(true);
    control::put(&mut batch, ControlType::SnapshotHeader, &control::founding_header(now)?, now);
    control::put_founders(&mut batch, voters, now)?;
    out.put(batch)?;
    let mut footer = out.begin(true);
    control::put(&mut footer, ControlType::SnapshotFooter, &[0, 0, 0], now);
    out.put(footer)?;
    Ok(out.bytes)
}

/// Batches one behind the other.
struct Writer {
    id: SnapshotId,
    next: Offset,
    bytes: Vec<u8>,
}

impl Writer {
    fn begin(&self, control: bool) -> BatchBuilder {
        let (base_offset, leader_epoch) = (self.next, self.id.epoch);
        BatchBuilder::new(BatchOptions { base_offset, leader_epoch, control, ..BatchOptions::default() })
    }

    fn put(&mut self, batch: BatchBuilder) -> Result<(), ControllerError> {
        let count = batch.record_count();
        let built = batch.build().map_err(|source| ControllerError::Batch { offset: self.next, source })?;
        self.bytes.extend_from_slice(&built);
        self.next += Offset::from(count);
        Ok(())
    }
}

/// Reads a snapshot.
pub(super) fn decode(bytes: &[u8]) -> Result<Content, ControllerError> {
    let mut image = Image::default();
    let (mut header, mut voters): (_, Option<Membership>) = (None, None);
    let mut founders = Vec::new();
    let mut at = 0;
    for batch in batches(bytes) {
        let fail = |source| ControllerError::Batch { offset: at, source };
        let batch = batch.map_err(fail)?;
        batch.verify_crc().map_err(fail)?;
        let body = batch.body(MAX_BATCH).map_err(fail)?;
        for record in body.iter() {
            let record = record.map_err(fail)?;
            let Some(value) = record.value else { continue };
            if !batch.is_control() {
                apply(&mut image, value, record.offset)?;
                continue;
            }
            match record.key.and_then(ControlType::from_key) {
                Some(ControlType::SnapshotHeader) => header = control::read_snapshot_header(value)?,
                Some(ControlType::KRaftVoters) => {
                    voters = control::read_membership(value, record.offset)?;
                    founders = control::read_founders(value, record.offset)?;
                }
                _ => {}
            }
        }
        at = batch.next_offset();
    }
    let position = match (header, voters) {
        (Some((last, of)), Some(voters)) => Some((last, StoredMembership::new(of, voters))),
        _ => None,
    };
    Ok(Content { image, position, founders })
}

/// Applies one record.
pub(super) fn apply(image: &mut Image, value: &[u8], offset: Offset) -> Result<(), ControllerError> {
    let record = MetadataRecord::decode(Bytes::copy_from_slice(value))
        .map_err(|source| ControllerError::Record { offset, source })?;
    image.apply(&record).map_err(|source| ControllerError::Image { offset, source })
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
    Ok(read(fs, dir, id)?.map(|bytes| (id, bytes)))
}

/// The bytes of a snapshot that lies in `dir`.
pub(super) fn read(fs: &dyn FileSystem, dir: &Path, id: SnapshotId) -> Result<Option<Bytes>, ControllerError> {
    let bytes = read_file(fs, &dir.join(id.name()), MAX_LEN).map_err(failed(&id.name()))?;
    Ok(bytes.map(Bytes::from))
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
