//! A data dir that is only read gives what a broker would find in it, and stays what it was.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::log::fs::memory::{MemoryFs, choices};
use crate::log::fs::{FileSystem, OpenMode};
use crate::log::{FoundLog, LogDir, LogReader, Origin, ReadOnlyDir, StorageError};
use crate::record::{Codec, EndTxnMarker};

const ROOT: &str = "/";

fn flights() -> TopicPartition {
    TopicPartition::new("flights", 0)
}

/// The log of `flights` on a disk that is only looked at; `None` where it has no folder. The disk must stay as it was.
fn look(fs: &MemoryFs) -> Option<FoundLog> {
    let before = fs.operations();
    let dir = ReadOnlyDir::open(Arc::new(fs.clone()), Path::new(ROOT));
    let found = match dir {
        Err(StorageError::NoDataDir { .. }) => None,
        // The machine's own root was lost, for the crash came before all.
        Err(StorageError::Io { .. }) if fs.list(Path::new(ROOT)).is_err() => None,
        dir => dir.unwrap().open_topic("flights").unwrap().remove(&0),
    };
    if let Some(found) = &found {
        // Indexes are made when they are asked for.
        found.reader.offset_for_timestamp(NOW).unwrap();
        read(&found.reader);
    }
    assert_eq!(fs.operations(), before, "something was changed");
    found
}

/// All records from the start of a log to its end.
fn read(reader: &LogReader) -> Vec<(Offset, String)> {
    let mut offset = reader.log_start_offset();
    let mut all = Vec::new();
    while offset < reader.log_end_offset() {
        let read = reader.read(offset, 700, Offset::MAX, true).unwrap();
        let Some(last) = batches(&read.records).last() else { break };
        all.extend(records(&read.records).into_iter().filter(|(found, _)| *found >= offset));
        offset = last.unwrap().next_offset();
    }
    all
}

/// Holds what is looked at against what recovery makes of the same disk.
fn compare(image: impl Fn() -> MemoryFs, config: LogConfig, context: &str) -> bool {
    let Some(FoundLog { reader, report }) = look(&image()) else { return false };
    let shared: SharedFs = Arc::new(image());
    let (log, recovered) = open(&shared, config);
    let (here, there) = (read(&reader), read(&log.reader()));
    if report.notes.iter().any(|note| note.contains("and the next begins at")) {
        // A hole: a broker drops what is behind it.
        assert!(here.starts_with(&there), "{context}: {report:?}");
        return true;
    }
    assert_eq!(here, there, "{context}: {report:?}");
    let ends = |reader: &LogReader| (reader.log_start_offset(), reader.log_end_offset(), reader.last_stable_offset());
    assert_eq!(ends(&reader), ends(&log.reader()), "{context}");
    let aborted = |reader: &LogReader| reader.aborted_transactions(0, Offset::MAX);
    assert_eq!(aborted(&reader), aborted(&log.reader()), "{context}");
    for timestamp in (NOW..NOW + 400).step_by(45) {
        let at = |reader: &LogReader| reader.offset_for_timestamp(timestamp).unwrap();
        assert_eq!(at(&reader), at(&log.reader()), "{context}: {timestamp}");
    }
    assert_eq!(report.truncated_at, recovered.truncated_at, "{context}");
    true
}

/// Batches of all kinds, aborted transactions among them.
fn fill(log: &mut Log, count: i64) {
    for n in 0..count {
        let (value, time) = (format!("{n} {}", "x".repeat((n * 37 % 200) as usize)), NOW + n * 5);
        let codec = Compression::new(if n % 5 == 0 { Codec::Zstd } else { Codec::None });
        if n % 7 != 3 {
            log.append_as_leader(build(time, &[&value, "second"], codec, ProducerState::NONE), 0, NOW).unwrap();
            continue;
        }
        let sequence = n as i32 / 7;
        let producer = ProducerState { id: 9, epoch: 0, base_sequence: sequence };
        let mut builder = BatchBuilder::new(BatchOptions { producer, transactional: true, ..BatchOptions::default() });
        builder.append(time, None, Some(value.as_bytes()), std::iter::empty());
        log.append_as_leader(builder.build().unwrap(), 0, NOW).unwrap();
        if n + 7 < count {
            let marker = EndTxnMarker { committed: n % 2 == 0, coordinator_epoch: 0 }.build(time, 9, 0).unwrap();
            log.append(marker, 0, Origin::Coordinator, NOW).unwrap();
        }
    }
}

#[test]
fn what_a_crash_left_is_read_as_recovery_would_leave_it() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    shared.create_dir_all(Path::new(ROOT)).unwrap();
    shared.sync_dir(Path::new("")).unwrap();
    let (mut log, _) = open(&shared, small());
    fill(&mut log, 30);
    log.flush(NOW).unwrap();
    fill_more(&mut log);
    assert!(log.segment_count() > 3);
    let mut compared = 0;
    for at in 0..=fs.operations() {
        for seed in 0..3 {
            let image = || fs.crash(at, &mut choices(seed * 1000 + at as u64));
            compared += usize::from(compare(image, small(), &format!("crash behind {at} operations, seed {seed}")));
        }
    }
    assert!(compared > 200, "{compared}");
}

/// More batches without a transaction that is open.
fn fill_more(log: &mut Log) {
    for n in 0..40 {
        log.append_as_leader(batch_at(NOW + n, &["more", &"y".repeat(100)]), 0, NOW).unwrap();
    }
}

#[test]
fn what_a_crash_left_of_a_compaction_is_read_as_recovery_would_leave_it() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    shared.create_dir_all(Path::new(ROOT)).unwrap();
    shared.sync_dir(Path::new("")).unwrap();
    let config = LogConfig { compact: true, delete: false, min_cleanable_dirty_ratio: 0.01, ..small() };
    let (mut log, _) = open(&shared, config.clone());
    fill_keyed(&mut log);
    log.flush(NOW).unwrap();
    let begin = fs.operations();
    let (removed, _) = log.compact(NOW, 1 << 20).unwrap().unwrap();
    removed.iter().for_each(|removed| removed.delete().unwrap());
    let mut swapped = 0;
    for at in begin..=fs.operations() {
        for seed in 0..3 {
            let image = || fs.crash(at, &mut choices(seed * 1000 + at as u64));
            let names = image().list(Path::new("/flights-0")).unwrap();
            swapped += usize::from(names.iter().any(|entry| entry.name.ends_with(".log.swap")));
            let found = look(&image()).unwrap();
            let (recovered, _) = open(&(Arc::new(image()) as SharedFs), config.clone());
            assert_eq!(read(&found.reader), read(&recovered.reader()), "at {at}, seed {seed}");
        }
    }
    assert!(swapped > 2, "no crash fell between the writing and the renaming: {swapped}");
}

fn fill_keyed(log: &mut Log) {
    for n in 0..200 {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let key = format!("key {}", n % 13);
        builder.append(NOW, Some(key.as_bytes()), Some("v".repeat(n % 50).as_bytes()), std::iter::empty());
        log.append_as_leader(builder.build().unwrap(), 0, NOW).unwrap();
    }
}

#[test]
fn a_dir_that_was_closed_is_trusted_and_one_that_is_held_is_refused() {
    let fs = MemoryFs::new();
    let dir = LogDir::open(Handles::new(Arc::new(fs.clone()), 64), Path::new(ROOT), "4711").unwrap();
    dir.claim(None, 3).unwrap();
    let mut log = dir.create_log(flights(), crate::common::ids::Uuid::random(), small(), NOW).unwrap();
    fill(&mut log, 60);
    log.delete_records(11);
    let expected = read(&log.reader());
    let held = ReadOnlyDir::open(Arc::new(fs.clone()), Path::new(ROOT)).unwrap_err();
    assert!(held.to_string().contains("in use by the broker of process 4711"), "{held}");
    let starts = [(flights(), log.log_start_offset())].into_iter().collect();
    log.close(NOW).unwrap();
    dir.write_checkpoint(crate::log::checkpoint::LOG_START, &starts).unwrap();
    dir.mark_clean(1).unwrap();
    drop((log, dir));

    let dir = ReadOnlyDir::open(Arc::new(fs.clone()), Path::new(ROOT)).unwrap();
    assert_eq!((dir.meta().unwrap().node_id, dir.is_clean().unwrap()), (3, true));
    assert_eq!(dir.partitions().unwrap(), [flights()]);
    let found = look(&fs).unwrap();
    assert_eq!((found.report.segments_scanned, found.report.is_clean()), (0, true), "{:?}", found.report);
    assert_eq!((read(&found.reader), found.reader.log_start_offset()), (expected, 11));
    // A broker that starts later is seen when the next topic is opened, and hurts nobody who reads.
    let _later = LogDir::open(Handles::new(Arc::new(fs.clone()), 64), Path::new(ROOT), "4712").unwrap();
    assert!(matches!(dir.open_topic("flights"), Err(StorageError::InUse { .. })));
    assert!(!read(&found.reader).is_empty());
}

#[test]
fn a_copy_that_was_cut_short_is_read_up_to_its_last_whole_batch() {
    let fs = MemoryFs::new();
    let dir = LogDir::open(Handles::new(Arc::new(fs.clone()), 64), Path::new(ROOT), "1").unwrap();
    let mut log = dir.create_log(flights(), crate::common::ids::Uuid::random(), small(), NOW).unwrap();
    fill_more(&mut log);
    log.close(NOW).unwrap();
    let whole = read(&log.reader());
    dir.mark_clean(1).unwrap();
    drop((log, dir));
    let names = fs.list(Path::new("/flights-0")).unwrap();
    let last = names.iter().filter(|entry| entry.name.ends_with(".log")).map(|entry| &entry.name).max().unwrap();
    let file = fs.open(&Path::new("/flights-0").join(last), OpenMode::Create).unwrap();
    file.set_len(file.len().unwrap() - 3).unwrap();
    let found = look(&fs).unwrap();
    assert_eq!(read(&found.reader), whole[..whole.len() - 2]);
    assert!(found.report.notes[0].contains("what follows is left out"), "{:?}", found.report);
    assert_eq!(found.report.truncated_at, Some(found.reader.log_end_offset()));
}

#[test]
fn a_folder_that_is_no_data_dir_is_told() {
    let fs = MemoryFs::new();
    let open = |path: &str| ReadOnlyDir::open(Arc::new(fs.clone()), Path::new(path));
    assert!(matches!(open("/nowhere"), Err(StorageError::Io { .. })));
    fs.create_dir_all(Path::new("/photos")).unwrap();
    assert!(open("/photos").unwrap_err().to_string().contains("neither a meta.properties nor a folder of a partition"));
    fs.create_dir_all(Path::new("/data/flights-0")).unwrap();
    fs.open(Path::new("/data/flights-0/00000000000000000000.log"), OpenMode::Create).unwrap();
    let error = open("/data/flights-0").unwrap_err().to_string();
    assert!(error.contains("it is a partition's folder; give the one that it lies in"), "{error}");
    assert!(open("/data").unwrap().open_topic("flights").unwrap()[&0].report.is_clean());
    assert!(open("/data").unwrap().open_topic("trains").unwrap().is_empty());
}
