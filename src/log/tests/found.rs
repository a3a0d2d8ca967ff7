//! What the fuzz targets of `tests/fuzz` found once.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::log::fs::memory::MemoryFs;
use crate::log::fs::{FileSystem, OpenMode};
use crate::log::producer_snapshot;
use crate::log::producer_state::{ProducerEntry, ProducerStates};

#[test]
fn a_snapshot_that_speaks_of_offsets_behind_its_own_is_passed_over() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    let (mut log, _) = open(&shared, small());
    log.append_as_leader(batch(&["ebb", "flow"]), 0, NOW).unwrap();
    log.close(NOW).unwrap();
    drop(log);

    let mut states = ProducerStates::new();
    states.restore(1, ProducerEntry { current_txn_first_offset: Some(1000), ..ProducerEntry::default() });
    let path = Path::new("/flights-0/00000000000000000002.snapshot");
    let file = fs.open(path, OpenMode::Fresh).unwrap();
    file.write_at(0, &mut [IoSlice::new(&producer_snapshot::encode(&states))]).unwrap();

    let (log, report) = open(&shared, small());
    assert_eq!((log.last_stable_offset(), log.log_end_offset()), (2, 2));
    assert!(report.notes.iter().any(|note| note.contains("speaks of offset 1000")), "{report:?}");
}

#[test]
fn a_log_that_was_closed_takes_no_writes_and_is_what_it_was_when_it_is_opened() {
    let shared: SharedFs = Arc::new(MemoryFs::new());
    let (mut log, _) = open(&shared, small());
    log.append_as_leader(batch(&["ebb", "flow"]), 0, NOW).unwrap();
    log.close(NOW).unwrap();
    let late = log.append_as_leader(batch(&["late"]), 0, NOW).unwrap_err();
    assert!(late.to_string().contains("is closed"), "{late}");
    assert!(log.truncate_to(1, NOW).is_err() && log.close(NOW).is_err());
    assert_eq!(all(&log).len(), 2);
    drop(log);
    let (log, report) = Log::open(LogOptions { clean: true, ..options(&shared, "/flights-0", small()) }).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(log.log_end_offset(), 2);
}

#[test]
fn a_batch_that_claims_offsets_behind_the_log_tells_nothing_of_its_producer() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    let (mut log, _) = open(&shared, small());
    let producer = ProducerState { id: 7, epoch: 0, base_sequence: 0 };
    log.append_as_leader(build(NOW, &["ebb"], Compression::NONE, producer), 0, NOW).unwrap();
    log.roll(NOW).unwrap();
    log.append_as_leader(batch(&["flow"]), 0, NOW).unwrap();
    drop(log);
    // The last offset delta says a million, and the CRC is right: nothing but a look at the next segment tells.
    let path = Path::new("/flights-0/00000000000000000000.log");
    let file = fs.open(path, OpenMode::Create).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes[23..27].copy_from_slice(&1_000_000i32.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    file.write_at(0, &mut [IoSlice::new(&bytes)]).unwrap();
    fs.remove_file(Path::new("/flights-0/00000000000000000001.snapshot")).unwrap();

    let opening = LogOptions { recovery_point: 1, ..options(&shared, "/flights-0", small()) };
    let (mut log, _) = Log::open(opening).unwrap();
    assert_eq!(log.log_end_offset(), 2);
    log.close(NOW).unwrap();
    drop(log);
    let (_, report) = Log::open(LogOptions { clean: true, ..options(&shared, "/flights-0", small()) }).unwrap();
    assert!(report.notes.is_empty(), "{report:?}");
}
