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

/// Changes a file of the folder `/flights-0`.
fn edit(fs: &MemoryFs, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = Path::new("/flights-0").join(name);
    let file = fs.open(&path, OpenMode::Create).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    change(&mut bytes);
    drop(file);
    fs.open(&path, OpenMode::Fresh).unwrap().write_at(0, &mut [IoSlice::new(&bytes)]).unwrap();
}

fn reseal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

#[test]
fn a_batch_that_ends_before_it_begins_is_cut_off() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    let (mut log, _) = open(&shared, small());
    log.append_as_leader(batch(&["ebb"]), 0, NOW).unwrap();
    drop(log);
    edit(&fs, "00000000000000000000.log", |bytes| {
        bytes[23..27].copy_from_slice(&(-1i32).to_be_bytes());
        reseal(bytes);
    });
    let (log, report) = open(&shared, small());
    assert_eq!((log.log_end_offset(), log.size(), report.truncated_at), (0, 0, Some(0)), "{report:?}");
}

#[test]
fn what_is_appended_behind_half_an_index_entry_is_found() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    let (mut log, _) = open(&shared, small());
    log.close(NOW).unwrap();
    drop(log);
    for name in ["00000000000000000000.log", "00000000000000000000.index", "00000000000000000000.timeindex"] {
        edit(&fs, name, |bytes| bytes.extend(name.ends_with("index").then_some(7)));
    }
    let (mut log, _) = Log::open(LogOptions { clean: true, ..options(&shared, "/flights-0", small()) }).unwrap();
    log.append_as_leader(batch(&["ebb", "flow"]), 0, NOW).unwrap();
    assert_eq!(all(&log), [(0, "ebb".to_owned()), (1, "flow".to_owned())]);
    assert_eq!(log.reader().offset_for_timestamp(NOW + 1).unwrap().unwrap().offset, 1);
}

#[test]
fn a_reader_of_a_trusted_segment_is_never_led_back() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    let (mut log, _) = open(&shared, small());
    for value in ["ebb", "flow", "slack"] {
        log.append_as_leader(batch(&[value]), 0, NOW).unwrap();
    }
    log.roll(NOW).unwrap();
    log.append_as_leader(batch(&["spring"]), 0, NOW).unwrap();
    log.close(NOW).unwrap();
    drop(log);
    // The second batch says that it is of long ago.
    edit(&fs, "00000000000000000000.log", |bytes| {
        let second = 12 + i32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        bytes[second..second + 8].copy_from_slice(&(-5i64).to_be_bytes());
    });
    let (log, _) = Log::open(LogOptions { clean: true, ..options(&shared, "/flights-0", small()) }).unwrap();
    let reader = log.reader();
    let first = reader.read(0, 1 << 20, Offset::MAX, true).unwrap();
    assert_eq!(records(&first.records), [(0, "ebb".to_owned())]);
    let error = reader.read(1, 1 << 20, Offset::MAX, true).unwrap_err().to_string();
    assert!(error.contains("offset -5 does not follow 1"), "{error}");
    assert_eq!(records(&reader.read(3, 1 << 20, Offset::MAX, true).unwrap().records), [(3, "spring".to_owned())]);
}

#[test]
fn a_damaged_file_is_told_of_in_a_line_that_can_be_read() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    let (mut log, _) = open(&shared, small());
    log.append_as_leader(batch(&["ebb"]), 0, NOW).unwrap();
    log.close(NOW).unwrap();
    drop(log);
    edit(&fs, "leader-epoch-checkpoint", |bytes| *bytes = [b"0\n1\n", &[0; 4000][..]].concat());
    let (_, report) = open(&shared, small());
    let [note] = &report.notes[..] else { panic!("{report:?}") };
    assert!(note.contains("is not") || note.ends_with("...; made anew"), "{note}");
    assert!(note.len() < 500, "{note}");
}

#[test]
fn an_epoch_file_that_a_truncation_emptied_is_believed() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    let (mut log, _) = open(&shared, small());
    log.append_as_leader(batch(&["ebb"]), 0, NOW).unwrap();
    log.roll(NOW).unwrap();
    log.close(NOW).unwrap();
    drop(log);
    edit(&fs, "leader-epoch-checkpoint", |bytes| *bytes = b"0\n0\n".to_vec());
    // Nothing needs to look into the old segment, so nothing may stumble over it.
    edit(&fs, "00000000000000000000.log", |bytes| bytes[8..12].copy_from_slice(&9i32.to_be_bytes()));
    let opening = LogOptions { recovery_point: 1, ..options(&shared, "/flights-0", small()) };
    fs.open(Path::new("/flights-0/00000000000000000001.log"), OpenMode::Create).unwrap();
    let (log, report) = Log::open(opening).unwrap();
    assert!(log.leader_epochs().entries().is_empty() && report.is_clean(), "{report:?}");
}
