//! The small files: transaction indexes, producer snapshots, checkpoints, and a partition's topic id.

use std::fs;
use std::path::Path;

use crate::log::{checkpoint, leader_epoch::LeaderEpochs, partition_metadata, producer_snapshot, transaction_index};

use super::super::Failure;
use super::super::output::counted;
use super::Findings;
use super::fields::{Fields, Value};

/// Shows the aborted transactions of a segment.
pub(super) fn dump_transactions(path: &Path, fields: &mut Fields<'_>, findings: &mut Findings) -> Result<(), Failure> {
    let aborted = transaction_index::decode(&fs::read(path)?)?;
    for txn in &aborted {
        fields.begin("entry", "")?;
        fields.add("version", Value::Int(0))?;
        fields.add("producerId", Value::Int(txn.producer_id))?;
        fields.add("firstOffset", Value::Int(txn.first_offset))?;
        fields.add("lastOffset", Value::Int(txn.last_offset))?;
        fields.add("lastStableOffset", Value::Int(txn.last_stable_offset))?;
        fields.end()?;
    }
    findings.summary = format!(", {}", counted(aborted.len() as u64, "aborted transaction", "aborted transactions"));
    Ok(())
}

/// Shows the producers of a partition as they were at an offset.
pub(super) fn dump_producers(path: &Path, fields: &mut Fields<'_>, findings: &mut Findings) -> Result<(), Failure> {
    let states = producer_snapshot::decode(&fs::read(path)?)?;
    let producers = states.describe();
    for (producer_id, entry) in &producers {
        fields.begin("producer", "")?;
        fields.add("producerId", Value::Int(*producer_id))?;
        fields.add("producerEpoch", Value::Int(entry.epoch.into()))?;
        fields.add("coordinatorEpoch", Value::Int(entry.coordinator_epoch.into()))?;
        fields.add("currentTxnFirstOffset", Value::Optional(entry.current_txn_first_offset))?;
        fields.add("lastTimestamp", Value::Int(entry.last_timestamp))?;
        if let Some(batch) = entry.batches.front() {
            fields.add("firstSequence", Value::Int(batch.first_sequence().into()))?;
            fields.add("lastSequence", Value::Int(batch.last_sequence.into()))?;
            fields.add("lastOffset", Value::Int(batch.last_offset))?;
            fields.add("offsetDelta", Value::Int(batch.offset_delta.into()))?;
            fields.add("timestamp", Value::Int(batch.timestamp))?;
        }
        fields.end()?;
    }
    findings.summary = format!(", {}", counted(producers.len() as u64, "producer", "producers"));
    Ok(())
}

/// Shows which leader epoch began at which offset.
pub(super) fn dump_epochs(path: &Path, fields: &mut Fields<'_>, findings: &mut Findings) -> Result<(), Failure> {
    let epochs = LeaderEpochs::decode(&fs::read(path)?)?;
    for entry in epochs.entries() {
        fields.begin("epoch", "")?;
        fields.add("epoch", Value::Int(entry.epoch.into()))?;
        fields.add("startOffset", Value::Int(entry.start_offset))?;
        fields.end()?;
    }
    findings.summary = format!(", {}", counted(epochs.entries().len() as u64, "epoch", "epochs"));
    Ok(())
}

/// Shows the offsets that a checkpoint at a data dir's root keeps.
pub(super) fn dump_offsets(path: &Path, fields: &mut Fields<'_>, findings: &mut Findings) -> Result<(), Failure> {
    // Kafka makes these files empty, and writes them when it has something to say.
    let offsets = match fs::read(path)? {
        bytes if bytes.is_empty() => checkpoint::Offsets::new(),
        bytes => checkpoint::decode(&bytes)?,
    };
    for (partition, offset) in &offsets {
        fields.begin("offset", "")?;
        fields.add("topic", Value::Word(&partition.topic))?;
        fields.add("partition", Value::Int(partition.partition.into()))?;
        fields.add("offset", Value::Int(*offset))?;
        fields.end()?;
    }
    findings.summary = format!(", {}", counted(offsets.len() as u64, "partition", "partitions"));
    Ok(())
}

/// Shows the id of the topic that the folder belongs to.
pub(super) fn dump_topic_id(path: &Path, fields: &mut Fields<'_>, findings: &mut Findings) -> Result<(), Failure> {
    let topic_id = partition_metadata::decode(&fs::read(path)?)?.to_string();
    fields.begin("metadata", "")?;
    fields.add("version", Value::Int(0))?;
    fields.add("topicId", Value::Word(&topic_id))?;
    fields.end()?;
    findings.summary = format!(", topic id {topic_id}");
    Ok(())
}
