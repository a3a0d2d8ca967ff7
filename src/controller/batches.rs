//! Entries as batches of the metadata log, and back.
//!
//! A wish's records are one batch; it is there whole or not at all. What Raft writes for itself are control batches
//! (`control`). A wish that was decided in another term than that of its entry becomes Kafka's "nothing" here, on its way
//! into the log of the leader, so that what it had decided is nowhere to be read.

use std::sync::Arc;

use bytes::Bytes;

use super::control;
use super::error::ControllerError;
use super::types::{Content, Entry, LogId, Membership, log_id};
use crate::common::ids::{NodeId, Offset, Timestamp};
use crate::metadata::MetadataRecord;
use crate::record::{Batch, BatchBuilder, BatchOptions, ControlType};

/// The largest batch of metadata, and what a batch may decompress to.
pub(super) const MAX_BATCH: usize = 64 << 20;
/// How many bytes of a batch are stamped: base offset, length, leader epoch.
const STAMP: usize = 16;
/// Kafka's NoOpRecord in its frame.
const NO_OP: [u8; 4] = [1, 20, 0, 0];

/// Records as the bytes of one batch, which is to be stamped yet.
pub(super) fn records_batch(records: &[MetadataRecord], now: Timestamp) -> Result<Bytes, ControllerError> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for (offset, record) in (0..).zip(records) {
        let value = record.encode().map_err(|error| ControllerError::Encode { offset, problem: error.to_string() })?;
        builder.append(now, None, Some(&value), std::iter::empty());
    }
    let batch = builder.build().map_err(|source| ControllerError::Batch { offset: -1, source })?;
    if batch.len() > MAX_BATCH {
        return Err(ControllerError::TooLarge { size: batch.len(), limit: MAX_BATCH });
    }
    Ok(batch)
}

/// The entry as it goes into the log at `offset`: its batch made and stamped. One that a leader sent is as it came.
pub(super) fn stamped(
    mut entry: Entry,
    offset: Offset,
    leader: (NodeId, &[NodeId]),
    now: Timestamp,
) -> Result<Entry, ControllerError> {
    let made = match &entry.content {
        _ if !entry.batch.is_empty() => return Ok(entry),
        Content::Blank => control::leader_change(leader.0, leader.1.iter().copied(), now)?,
        // The first entry of all is the same on every voter, as each writes it for itself.
        Content::Membership(membership) => {
            control::membership_batch(membership, if entry.log_id.index == 0 { 0 } else { now })?
        }
        Content::Wish(wish) if wish.term == entry.log_id.leader_id.term => wish.batch.clone(),
        Content::Wish(_) | Content::Records(_) => no_op(now)?,
    };
    entry.batch = stamp(&made, offset, entry.epoch())?;
    entry.content = match entry.content {
        Content::Wish(wish) if wish.term == entry.log_id.leader_id.term => Content::Records(Some(wish.records)),
        Content::Wish(_) => Content::Records(None),
        content => content,
    };
    Ok(entry)
}

fn no_op(now: Timestamp) -> Result<Bytes, ControllerError> {
    let mut builder = BatchBuilder::new(BatchOptions { capacity: 128, ..BatchOptions::default() });
    builder.append(now, None, Some(&NO_OP), std::iter::empty());
    builder.build().map_err(|source| ControllerError::Batch { offset: -1, source })
}

fn stamp(batch: &Bytes, offset: Offset, epoch: i32) -> Result<Bytes, ControllerError> {
    let prefix = parse(batch, offset)?.stamped_prefix(offset, epoch);
    Ok(Bytes::from([&prefix[..], &batch[STAMP..]].concat()))
}

/// The batch that `bytes` begin with.
pub(super) fn parse(bytes: &[u8], offset: Offset) -> Result<Batch<'_>, ControllerError> {
    Batch::parse(bytes).map_err(|source| ControllerError::Batch { offset, source })
}

/// The entry that a batch of the log is. Its records are not looked at yet.
pub(super) fn entry(bytes: Bytes, index: u64) -> Result<Entry, ControllerError> {
    let batch = parse(&bytes, -1)?;
    let at = batch.base_offset();
    let id: LogId = log_id(batch.partition_leader_epoch(), index);
    let content = match batch.is_control() {
        false => Content::Records(None),
        true => control_content(&batch, at)?,
    };
    Ok(Entry { log_id: id, content, batch: bytes })
}

fn control_content(batch: &Batch<'_>, offset: Offset) -> Result<Content, ControllerError> {
    let mut content = Content::Records(Some(Arc::from([])));
    for record in batch.records(batch.body_bytes()) {
        let record = record.map_err(|source| ControllerError::Batch { offset, source })?;
        match record.key.and_then(ControlType::from_key) {
            Some(ControlType::LeaderChange) => content = Content::Blank,
            Some(ControlType::KRaftVoters) => {
                if let Some(membership) = control::read_membership(record.value.unwrap_or_default(), offset)? {
                    content = Content::Membership(membership);
                }
            }
            // Others tell of Kafka's quorum, and change nothing here.
            _ => {}
        }
    }
    Ok(content)
}

/// The membership that a batch holds, where it holds one of ours.
pub(super) fn membership_of(bytes: &[u8]) -> Result<Option<Membership>, ControllerError> {
    let batch = parse(bytes, -1)?;
    if !batch.is_control() {
        return Ok(None);
    }
    match control_content(&batch, batch.base_offset())? {
        Content::Membership(membership) => Ok(Some(membership)),
        _ => Ok(None),
    }
}

/// The metadata records of a batch; none of a control batch.
pub(super) fn records(bytes: &[u8]) -> Result<Vec<MetadataRecord>, ControllerError> {
    let batch = parse(bytes, -1)?;
    let at = |source| ControllerError::Batch { offset: batch.base_offset(), source };
    batch.verify_crc().map_err(at)?;
    if batch.is_control() {
        return Ok(Vec::new());
    }
    let body = batch.body(MAX_BATCH).map_err(at)?;
    let mut records = Vec::new();
    for record in body.iter() {
        let record = record.map_err(at)?;
        let Some(value) = record.value else { continue };
        let decoded = MetadataRecord::decode(Bytes::copy_from_slice(value))
            .map_err(|source| ControllerError::Record { offset: record.offset, source })?;
        records.push(decoded);
    }
    Ok(records)
}
