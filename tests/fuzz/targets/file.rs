//! The small files of a log dir: one byte that says which, then its bytes.
//!
//! What is read is written again and read again: it must be the same. A producer snapshot gets the CRC that fits, or
//! nothing would come behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline::log::leader_epoch::LeaderEpochs;
use strandline::log::meta_properties::MetaProperties;
use strandline::log::{checkpoint, partition_metadata, producer_snapshot, transaction_index};
use strandline_fuzz::{seal_snapshot, within};

fuzz_target!(|bytes: &[u8]| {
    let [which, file @ ..] = bytes else { return };
    within((64 << 10) + 64 * file.len(), || digest(*which, file));
});

fn digest(which: u8, file: &[u8]) {
    match which {
        b'c' => {
            let Ok(offsets) = checkpoint::decode(file) else { return };
            assert_eq!(checkpoint::decode(checkpoint::encode(&offsets).as_bytes()), Ok(offsets));
        }
        b'e' => {
            let Ok(mut epochs) = LeaderEpochs::decode(file) else { return };
            assert_eq!(LeaderEpochs::decode(epochs.encode().as_bytes()).as_ref(), Ok(&epochs));
            assert!(epochs.entries().is_sorted_by(|a, b| a.epoch < b.epoch && a.start_offset <= b.start_offset));
            let (first, last) = (epochs.entries().first().copied(), epochs.latest());
            for epoch in [-1, 0, last.unwrap_or(0), i32::MAX] {
                epochs.end_offset_for(epoch, i64::MAX);
            }
            epochs.assign(last.unwrap_or(0).saturating_add(1), 5);
            epochs.truncate_from_start(first.map_or(0, |entry| entry.start_offset) / 2 + 3);
            epochs.truncate_from_end(4);
        }
        b'p' => {
            let Ok(id) = partition_metadata::decode(file) else { return };
            assert_eq!(partition_metadata::decode(partition_metadata::encode(id).as_bytes()), Ok(id));
        }
        b'm' => {
            let Ok(meta) = MetaProperties::decode(file) else { return };
            assert_eq!(MetaProperties::decode(meta.encode().as_bytes()), Ok(meta));
        }
        b't' => {
            let Ok(aborted) = transaction_index::decode(file) else { return };
            let again: Vec<u8> = aborted.iter().flat_map(|entry| entry.encode()).collect();
            assert_eq!(transaction_index::decode(&again), Ok(aborted));
        }
        _ => {
            let Ok(mut states) = producer_snapshot::decode(&seal_snapshot(file)) else { return };
            assert_eq!(producer_snapshot::decode(&producer_snapshot::encode(&states)).as_ref(), Ok(&states));
            for (_, entry) in states.describe() {
                for batch in &entry.batches {
                    let _ = (batch.first_sequence(), batch.first_offset());
                }
            }
            states.first_open_txn();
            states.expire(1_700_000_000_000, 1000);
        }
    }
}
