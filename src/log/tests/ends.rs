//! Both ends of a log: retention, delete-records and truncation.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::log::ReadError;
use crate::log::fs::memory::{MemoryFs, choices};
use crate::log::fs::{FileSystem, RealFs};

/// A log of `count` batches of two records, ten milliseconds apart.
fn filled(fs: &SharedFs, count: i64, config: LogConfig) -> Log {
    let (mut log, _) = open(fs, config);
    for n in 0..count {
        let value = n.to_string();
        log.append_as_leader(batch_at(NOW + n * 10, &[&value, "b"]), (n / 50) as i32, NOW).unwrap();
    }
    log
}

#[test]
fn retention_takes_whole_segments_by_size_and_a_late_reader_finishes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flights-0");
    let options = options(&RealFs::shared(), path.to_str().unwrap(), small());
    let (mut log, _) = Log::open(options).unwrap();
    for n in 0..300 {
        log.append_as_leader(batch(&[&n.to_string(), "b"]), 0, NOW).unwrap();
    }
    let held = log.reader().read(0, 5000, i64::MAX, true).unwrap().records;
    let before = records(&held);
    let (size, segments) = (log.size(), log.segment_count());
    log.set_config(LogConfig { retention_bytes: Some(size / 2), ..small() });
    let none = log.enforce_retention(NOW, 0).unwrap();
    assert!(none.is_empty(), "nothing before the high watermark");
    let removed = log.enforce_retention(NOW, log.log_end_offset()).unwrap();
    assert!(log.size() >= size / 2 && log.size() < size / 2 + 4096);
    assert_eq!(removed.len() + log.segment_count(), segments);
    removed.delete().unwrap();
    assert_eq!(records(&held), before);
    let files = std::fs::read_dir(&path).unwrap().filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_str().unwrap().ends_with(".deleted")
    });
    assert_eq!(files.count(), 0);
    assert!(matches!(log.reader().read(0, 9, i64::MAX, true), Err(ReadError::OffsetOutOfRange { .. })));
    assert_eq!(all(&log).len() as i64, log.log_end_offset() - log.log_start_offset());
}

#[test]
fn retention_by_time_may_take_all_and_the_log_goes_on() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let mut log = filled(&fs, 100, LogConfig { retention_ms: Some(1000), ..small() });
    let _ = log.enforce_retention(NOW + 1500, 200).unwrap();
    assert!(log.log_start_offset() > 50 && log.log_start_offset() < 150);
    let _ = log.enforce_retention(NOW + 10_000, 200).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size()), (200, 200, 0));
    assert_eq!(log.append_as_leader(batch(&["a"]), 9, NOW).unwrap().first_offset, 200);
    let (log, _) = open(&fs, small());
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (200, 201));
}

#[test]
fn deleted_records_are_gone_at_once_and_their_segments_later() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let mut log = filled(&fs, 100, small());
    assert!(log.delete_records(121) && !log.delete_records(120));
    assert!(matches!(log.reader().read(120, 9, i64::MAX, true), Err(ReadError::OffsetOutOfRange { .. })));
    assert_eq!(all(&log)[0].0, 121);
    let segments = log.segment_count();
    let _ = log.enforce_retention(NOW, 200).unwrap();
    assert!(log.segment_count() < segments && log.log_start_offset() == 121);
    let first = log.leader_epochs().entries()[0];
    assert!(first.epoch == 0 && (1..100).contains(&first.start_offset), "it begins with the first segment: {first:?}");
    log.close(NOW).unwrap();
    let (log, _) = Log::open(LogOptions { log_start_offset: 121, ..options(&fs, "/flights-0", small()) }).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (121, 200));
}

#[test]
fn the_epochs_of_deleted_records_are_known_while_those_may_come_back() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let mut log = filled(&fs, 100, small());
    assert!(log.delete_records(150));
    log.flush(NOW).unwrap();
    drop(log);
    // Where the log begins was not written down.
    let (log, _) = open(&fs, small());
    assert_eq!(log.log_start_offset(), 0);
    assert_eq!(log.leader_epochs().end_offset_for(0, 200), (0, 100));
}

#[test]
fn a_segment_that_is_closed_behind_a_flush_has_all_its_times_after_a_loss_of_power() {
    let memory = MemoryFs::new();
    let fs: SharedFs = Arc::new(memory.clone());
    let (mut log, _) = open(&fs, LogConfig { segment_bytes: 100, ..small() });
    memory.sync_dir(Path::new("/")).unwrap();
    log.append_as_leader(batch(&["a"]), 0, NOW).unwrap();
    log.flush(NOW).unwrap();
    log.append_as_leader(batch(&["b"]), 0, NOW).unwrap();
    assert_eq!(log.segment_count(), 2);
    log.close(NOW).unwrap();
    let left: SharedFs = Arc::new(memory.crash(memory.operations(), &mut |_| 0));
    let (mut log, _) = Log::open(LogOptions { clean: true, ..options(&left, "/flights-0", small()) }).unwrap();
    // Without them its records are taken for as old as its file, which is of no time at all here.
    assert!(log.enforce_retention(NOW, 2).unwrap().is_empty());
}

#[test]
fn a_segment_that_is_closed_where_the_recovery_point_is_has_good_times_after_a_loss_of_power() {
    let days = || LogConfig { retention_ms: Some(7 * 86_400_000), segment_bytes: 150, ..small() };
    let memory = MemoryFs::new();
    let fs: SharedFs = Arc::new(memory.clone());
    let (mut log, _) = open(&fs, days());
    memory.sync_dir(Path::new("/")).unwrap();
    log.append_as_leader(batch(&["a"]), 0, NOW).unwrap();
    log.append_as_leader(batch(&["b"]), 0, NOW).unwrap();
    log.flush(NOW).unwrap();
    // Its indexes are made anew, and written when it is closed.
    log.truncate_to(1, NOW).unwrap();
    log.append_as_leader(batch(&["a batch that needs a segment of its own"]), 0, NOW).unwrap();
    assert_eq!((log.segment_count(), log.recovery_point()), (2, 1));
    for seed in 0..1000 {
        let left: SharedFs = Arc::new(memory.crash(memory.operations(), &mut choices(seed)));
        let opening = LogOptions { recovery_point: log.recovery_point(), ..options(&left, "/flights-0", days()) };
        let (mut log, _) = Log::open(opening).unwrap();
        // With half an entry they would be of long ago.
        assert!(log.enforce_retention(NOW, 1).unwrap().is_empty(), "seed {seed}");
    }
}

#[test]
fn a_cut_log_is_a_prefix_and_what_was_read_before_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flights-0");
    let options = options(&RealFs::shared(), path.to_str().unwrap(), small());
    let (mut log, _) = Log::open(options.clone()).unwrap();
    let producer = |sequence| ProducerState { id: 7, epoch: 0, base_sequence: sequence };
    for n in 0..100 {
        let value = n.to_string();
        let bytes = build(NOW, &[&value, "b"], Compression::NONE, producer(n * 2));
        log.append_as_leader(bytes, n / 50, NOW).unwrap();
    }
    let whole = all(&log);
    let held = log.reader().read(70, 100_000, i64::MAX, true).unwrap().records;
    assert!(!log.truncate_to(200, NOW).unwrap());
    assert!(log.truncate_to(72, NOW).unwrap());
    assert_eq!(all(&log), whole[..72]);
    assert_eq!(records(&held)[0].0, 70);
    assert_eq!(log.leader_epochs().latest(), Some(0));
    assert_eq!(log.producers().get(7).unwrap().last_sequence(), 71);
    let info = log.append_as_leader(build(NOW, &["x"], Compression::NONE, producer(72)), 4, NOW).unwrap();
    assert_eq!(info.first_offset, 72);
    let (mut log, report) = Log::open(options).unwrap();
    assert_eq!((report.is_clean(), log.log_end_offset()), (true, 73));
    log.truncate_fully_and_start_at(1000, NOW).unwrap();
    assert!(log.leader_epochs().entries().is_empty(), "of what is gone");
    assert_eq!((log.log_start_offset(), log.log_end_offset(), all(&log).len()), (1000, 1000, 0));
    assert_eq!(log.append_as_leader(batch(&["a"]), 5, NOW).unwrap().first_offset, 1000);
}

#[test]
fn an_epoch_in_which_nothing_was_written_goes_with_a_truncation_to_the_end() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let mut log = filled(&fs, 2, small());
    // This broker led, wrote nothing, and now follows one that knows nothing of it.
    log.assign_leader_epoch(7);
    assert!(!log.truncate_to(log.log_end_offset(), NOW).unwrap());
    assert_eq!(log.leader_epochs().latest(), Some(0));
}
