//! The producer snapshot: the producers of a partition as they were at an offset, in `offset.snapshot`.
//!
//! ```text
//! 0         2             6           10
//! +---------+-------------+-----------+--------
//! | i16 = 1 | u32 CRC-32C | i32 count | entries ...        the CRC covers all behind it
//! +---------+-------------+-----------+--------
//! entry: i64 producer id, i16 epoch, i32 last sequence, i64 last offset, i32 offset delta, i64 timestamp,
//!        i32 coordinator epoch, i64 first offset of the open transaction (-1: none)                    46 bytes
//! ```
//! Only the last batch of each producer is kept, as in Kafka.
//!
//! Crash: a snapshot is written beside and renamed, at each roll and at a clean close. One that is missing or does not
//! match its CRC is passed over: the one before it is taken, and the batches behind it are replayed.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::error::Damage;
use super::producer_state::{BatchMetadata, ProducerEntry, ProducerStates};
use crate::common::ids::{Offset, ProducerId};

const VERSION: i16 = 1;
const HEADER_LEN: usize = 10;
const ENTRY_LEN: usize = 46;
const CRC_FROM: usize = 6;

/// The largest snapshot that is read: above a million producers something else is wrong.
pub(crate) const MAX_LEN: usize = 64 << 20;

/// Where the snapshot at `offset` lies.
pub(crate) fn path(dir: &Path, offset: Offset) -> PathBuf {
    dir.join(format!("{offset:020}.snapshot"))
}

/// The offset of a snapshot, from its name.
pub(crate) fn offset_of(name: &str) -> Option<Offset> {
    name.strip_suffix(".snapshot").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// The bytes of a snapshot of `states`.
pub fn encode(states: &ProducerStates) -> Vec<u8> {
    let all = states.describe();
    let mut bytes = Vec::with_capacity(HEADER_LEN + all.len() * ENTRY_LEN);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(all.len() as i32).to_be_bytes());
    for (producer_id, entry) in all {
        let last = entry.batches.back();
        bytes.extend_from_slice(&producer_id.to_be_bytes());
        bytes.extend_from_slice(&entry.epoch.to_be_bytes());
        bytes.extend_from_slice(&last.map_or(-1, |batch| batch.last_sequence).to_be_bytes());
        bytes.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset).to_be_bytes());
        bytes.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
        bytes.extend_from_slice(&entry.last_timestamp.to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.current_txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[2..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Reads a snapshot; whatever does not add up is an error.
pub fn decode(bytes: &[u8]) -> Result<ProducerStates, Damage> {
    let damage = |what: String| Damage(format!("producer snapshot: {what}"));
    let Some((header, entries)) = bytes.split_at_checked(HEADER_LEN) else {
        return Err(damage(format!("{} bytes, at least {HEADER_LEN} are needed", bytes.len())));
    };
    let version = i16::from_be_bytes([header[0], header[1]]);
    if version != VERSION {
        return Err(damage(format!("version {version}, {VERSION} is known")));
    }
    let (stored, computed) = (u32_at(header, 2), crc32c::crc32c(&bytes[CRC_FROM..]));
    if stored != computed {
        return Err(damage(format!("CRC {stored:#010x} does not match {computed:#010x}")));
    }
    let count = u32_at(header, CRC_FROM) as usize;
    let (entries, rest) = entries.as_chunks::<ENTRY_LEN>();
    if entries.len() != count || !rest.is_empty() {
        return Err(damage(format!("{} entries and {} bytes, {count} entries were told", entries.len(), rest.len())));
    }
    let mut states = ProducerStates::new();
    for entry in entries {
        let (producer_id, entry) = decode_entry(entry);
        if let Some(batch) = entry.batches.back()
            && !(0..=batch.last_offset).contains(&i64::from(batch.offset_delta))
        {
            let (last, delta) = (batch.last_offset, batch.offset_delta);
            return Err(damage(format!(
                "producer {producer_id} has a batch of {delta} + 1 records that ends at {last}"
            )));
        }
        states.restore(producer_id, entry);
    }
    Ok(states)
}

fn decode_entry(bytes: &[u8; ENTRY_LEN]) -> (ProducerId, ProducerEntry) {
    let (last_offset, timestamp) = (i64_at(bytes, 14), i64_at(bytes, 26));
    let batch = BatchMetadata {
        last_sequence: u32_at(bytes, 10) as i32,
        last_offset,
        offset_delta: u32_at(bytes, 22) as i32,
        timestamp,
    };
    let entry = ProducerEntry {
        epoch: i16::from_be_bytes([bytes[8], bytes[9]]),
        batches: if last_offset >= 0 { VecDeque::from([batch]) } else { VecDeque::new() },
        last_timestamp: timestamp,
        coordinator_epoch: u32_at(bytes, 34) as i32,
        current_txn_first_offset: Some(i64_at(bytes, 38)).filter(|offset| *offset >= 0),
    };
    (i64_at(bytes, 0), entry)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from(u32_at(bytes, at) as i32) << 32 | i64::from(u32_at(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::producer_state::ProducerBatch;
    use proptest::prelude::*;

    fn states() -> ProducerStates {
        let mut states = ProducerStates::new();
        let batch = ProducerBatch {
            producer_id: 1,
            epoch: 2,
            first_sequence: 3,
            last_sequence: 5,
            first_offset: 70,
            last_offset: 72,
            timestamp: 1_700_000_000_000,
            transactional: false,
        };
        states.update(&batch);
        states.update(&ProducerBatch { producer_id: -5, transactional: true, ..batch });
        states.end_txn(9, 1, 4, 80, 5, false);
        states
    }

    #[test]
    fn a_snapshot_holds_the_last_batch_of_each_producer() {
        assert_eq!(decode(&encode(&states())).unwrap(), states());
        assert_eq!(decode(&encode(&ProducerStates::new())).unwrap(), ProducerStates::new());
    }

    #[test]
    fn a_name_tells_the_offset() {
        let path = path(Path::new("d"), 42);
        assert_eq!(path, Path::new("d/00000000000000000042.snapshot"));
        assert_eq!(offset_of("00000000000000000042.snapshot"), Some(42));
        assert_eq!([offset_of("42.snapshot"), offset_of("00000000000000000042.log")], [None, None]);
    }

    #[test]
    fn a_batch_that_begins_before_the_log_is_refused() {
        let with = |last_offset, offset_delta| {
            let batch = BatchMetadata { last_sequence: 0, last_offset, offset_delta, timestamp: 0 };
            let mut states = ProducerStates::new();
            states.restore(1, ProducerEntry { batches: [batch].into(), ..ProducerEntry::default() });
            decode(&encode(&states))
        };
        assert!(with(7, 7).is_ok());
        assert!(with(7, 8).unwrap_err().to_string().contains("ends at 7"));
        assert!(with(i64::MAX, -1).is_err());
    }

    proptest! {
        #[test]
        fn a_damaged_snapshot_is_refused(at in 0usize..148, bits in 1u8.., cut in 0usize..148) {
            let whole = encode(&states());
            let mut flipped = whole.clone();
            flipped[at] ^= bits;
            prop_assert!(decode(&flipped).is_err());
            prop_assert!(decode(&whole[..cut]).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
