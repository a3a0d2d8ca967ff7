//! Loading: all records of a partition of `__consumer_offsets`, handed to its shard in their order.
//!
//! A shard is loaded with all that its leader *has*, also above the high watermark. A leader that is new knows of how far its
//! records are safe only what the one before had told it, and that comes with the next fetch: what was acknowledged last may
//! lie behind it. Whatever lies there stays: a leader's log is not cut while it leads.
//!
//! It is loaded for one reign. Until the partition is led here in that very epoch its log may still be cut, or grow.

use bytes::Bytes;

use crate::common::ids::{LeaderEpoch, Offset};
use crate::coordinator::GroupShard;
use crate::record::{BatchError, batches};
use crate::replica::{FetchError, Partition};

/// How much of a partition is read at a time.
const LOAD: usize = 4 << 20;
/// What a batch of records may decompress to.
const MAX_BATCH: usize = 64 << 20;

/// Why a shard cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(in crate::broker) enum LoadError {
    /// It is led elsewhere, or in another epoch.
    #[error("it is not led here in epoch {0}")]
    NotLed(LeaderEpoch),
    /// Its log cannot be read.
    #[error("{0}")]
    Read(#[from] FetchError),
    /// Its log holds what is no batch.
    #[error("{0}")]
    Batch(#[from] BatchError),
    /// Nobody needs it any more.
    #[error("the broker stops")]
    Ended,
}

/// Hands all records of a partition, which is led here in `epoch`, to its shard.
pub(in crate::broker) fn load(
    partition: &Partition,
    epoch: LeaderEpoch,
    groups: &mut GroupShard,
) -> Result<(), LoadError> {
    if !partition.is_leader() || partition.leader_epoch() != epoch {
        return Err(LoadError::NotLed(epoch));
    }
    replay(partition, partition.log_end_offset(), groups)
}

/// Hands the records before `end` to a shard.
pub(in crate::broker) fn replay(partition: &Partition, end: Offset, groups: &mut GroupShard) -> Result<(), LoadError> {
    let reader = partition.log_reader();
    let mut offset = partition.log_start_offset();
    while offset < end {
        let records = reader.read(offset, LOAD, end, true).map_err(FetchError::from)?.records;
        if records.is_empty() {
            break;
        }
        for batch in batches(&records) {
            let batch = batch?;
            offset = batch.next_offset();
            if batch.is_control() {
                continue;
            }
            for record in batch.body(MAX_BATCH)?.iter() {
                let record = record?;
                let Some(key) = record.key else { continue };
                let value = record.value.map(Bytes::copy_from_slice);
                // A damaged record is counted, and what it said is lost; the others still hold.
                if let Err(error) = groups.replay(Bytes::copy_from_slice(key), value) {
                    tracing::warn!(partition = %partition.id(), offset = record.offset, %error, "a record was passed over");
                }
            }
        }
    }
    Ok(())
}
