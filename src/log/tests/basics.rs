//! Open, append, read, roll, reopen: by example, on the machine's own files.

use std::sync::Arc;

use super::*;
use crate::log::fs::RealFs;
use crate::log::fs::memory::MemoryFs;
use crate::log::{AppendError, ReadError};
use crate::record::{Codec, TimestampType};

fn memory() -> SharedFs {
    Arc::new(MemoryFs::new())
}

#[test]
fn what_is_appended_is_read_across_segments_and_after_a_clean_close() {
    let dir = tempfile::tempdir().unwrap();
    let fs = RealFs::shared();
    let path = dir.path().join("flights-0");
    let options = options(&fs, path.to_str().unwrap(), small());
    let (mut log, report) = Log::open(options.clone()).unwrap();
    assert!(report.is_clean());
    let mut expected = Vec::new();
    for n in 0..300 {
        let value = format!("value {n}");
        let info = log.append_as_leader(batch(&[&value, "second"]), 3, NOW).unwrap();
        assert_eq!((info.first_offset, info.last_offset), (2 * n, 2 * n + 1));
        expected.push((2 * n, value));
        expected.push((2 * n + 1, "second".to_owned()));
    }
    assert!(log.segment_count() > 5);
    assert_eq!(all(&log), expected);
    log.close(NOW).unwrap();

    let (log, report) = Log::open(LogOptions { clean: true, ..options.clone() }).unwrap();
    assert_eq!((report, log.log_end_offset()), (RecoveryReport::default(), 600));
    assert_eq!(all(&log), expected);
    assert_eq!(log.leader_epochs().end_offset_for(3, log.log_end_offset()), (3, 600));

    let (log, report) = Log::open(options).unwrap();
    assert_eq!((report.is_clean(), report.segments_scanned), (true, log.segment_count()));
    assert_eq!(all(&log), expected);
}

#[test]
fn a_read_gives_whole_batches_from_the_one_that_holds_the_offset() {
    let (mut log, _) = open(&memory(), LogConfig::default());
    let size = batch(&["a", "b", "c"]).len();
    for _ in 0..4 {
        log.append_as_leader(batch(&["a", "b", "c"]), 0, NOW).unwrap();
    }
    let reader = log.reader();
    let offsets = |offset, max, upper, min_one| {
        let read = reader.read(offset, max, upper, min_one).unwrap();
        let found = records(&read.records);
        (found.first().map(|first| first.0), found.len())
    };
    assert_eq!(offsets(4, usize::MAX, i64::MAX, true), (Some(3), 9));
    assert_eq!(offsets(4, size * 2 + 5, i64::MAX, true), (Some(3), 6));
    assert_eq!(offsets(4, 1, i64::MAX, true), (Some(3), 3));
    assert_eq!(offsets(4, 1, i64::MAX, false), (None, 0));
    assert_eq!(offsets(4, usize::MAX, 9, true), (Some(3), 6), "nothing that reaches the bound");
    assert_eq!(offsets(12, usize::MAX, i64::MAX, true), (None, 0));
    assert!(matches!(reader.read(13, 9, i64::MAX, true), Err(ReadError::OffsetOutOfRange { log_end_offset: 12, .. })));
    assert!(matches!(reader.read(-1, 9, i64::MAX, true), Err(ReadError::OffsetOutOfRange { .. })));
}

#[test]
fn an_append_of_several_batches_is_there_as_a_whole_or_not_at_all() {
    let (mut log, _) = open(&memory(), LogConfig::default());
    let good = batch(&["a"]);
    let mut bad = batch(&["b"]).to_vec();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let both: Vec<u8> = [&good[..], &bad[..]].concat();
    assert!(matches!(log.append_as_leader(both.into(), 0, NOW), Err(AppendError::CorruptMessage(_))));
    assert_eq!((log.log_end_offset(), log.size()), (0, 0));
    let both: Vec<u8> = [&good[..], &good[..]].concat();
    let info = log.append_as_leader(both.into(), 0, NOW).unwrap();
    assert_eq!((info.first_offset, info.last_offset, log.log_end_offset()), (0, 1, 2));
}

#[test]
fn batches_that_the_topic_does_not_take_are_refused_by_name() {
    let config = LogConfig { compact: true, max_message_bytes: 200, timestamp_before_max_ms: 1000, ..small() };
    let (mut log, _) = open(&memory(), config);
    let mut append = |bytes: Bytes| log.append_as_leader(bytes, 0, NOW).unwrap_err();
    assert!(matches!(append(batch(&["x".repeat(200).as_str()])), AppendError::MessageTooLarge { limit: 200, .. }));
    assert!(matches!(append(batch(&["a"]).slice(..70)), AppendError::CorruptMessage(_)));
    let mut old = batch(&["a"]).to_vec();
    old[16] = 1;
    assert!(matches!(append(old.into()), AppendError::UnsupportedMagic(1)));
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(NOW, None, Some(b"v"), std::iter::empty());
    let error = append(builder.build().unwrap());
    assert!(matches!(error, AppendError::InvalidRecord { record_errors, .. } if record_errors[0].batch_index == 0));
    let late = append(batch_at(NOW + 3_600_000, &["a", "b"]));
    assert!(matches!(late, AppendError::InvalidTimestamp { record_errors, .. } if record_errors[0].batch_index == 1));
    assert!(matches!(append(batch_at(NOW - 1001, &["a"])), AppendError::InvalidTimestamp { .. }));
    let control = BatchOptions { control: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(control);
    builder.append(NOW, Some(b"\0\0\0\0"), Some(b"v"), std::iter::empty());
    assert!(matches!(append(builder.build().unwrap()), AppendError::InvalidRecord { .. }));
}

#[test]
fn a_topic_may_ask_for_its_own_timestamps_and_compression() {
    let compression = Some(Compression::new(Codec::Zstd));
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, compression, ..LogConfig::default() };
    let (mut log, _) = open(&memory(), config);
    let info = log.append_as_leader(batch_at(5, &["a", "b"]), 0, NOW).unwrap();
    assert_eq!(info.log_append_time, NOW);
    let read = log.reader().read(0, 1000, i64::MAX, true).unwrap();
    let found = crate::record::Batch::parse(&read.records).unwrap();
    assert_eq!((found.codec().unwrap(), found.max_timestamp()), (Codec::Zstd, NOW));
    assert_eq!(records(&read.records), [(0, "a".to_owned()), (1, "b".to_owned())]);
}

#[test]
fn a_producers_repeat_is_answered_with_its_first_offset_also_after_a_restart() {
    let fs = memory();
    let (mut log, _) = open(&fs, small());
    let from =
        |base_sequence| build(NOW, &["a", "b"], Compression::NONE, ProducerState { id: 7, epoch: 0, base_sequence });
    log.append_as_leader(from(0), 0, NOW).unwrap();
    log.append_as_leader(from(2), 0, NOW).unwrap();
    for _ in 0..2 {
        let info = log.append_as_leader(from(2), 0, NOW).unwrap();
        assert_eq!((info.first_offset, info.duplicate, log.log_end_offset()), (2, true, 4));
        let gap = log.append_as_leader(from(5), 0, NOW);
        assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { expected: 4, .. })));
        log.close(NOW).unwrap();
        log = Log::open(LogOptions { clean: true, ..options(&fs, "/flights-0", small()) }).unwrap().0;
    }
    let (mut log, _) = open(&fs, small());
    assert!(log.append_as_leader(from(2), 0, NOW).unwrap().duplicate);
    assert_eq!(log.append_as_leader(from(4), 0, NOW).unwrap().first_offset, 4);
}

#[test]
fn a_record_is_found_by_its_timestamp() {
    let (mut log, _) = open(&memory(), small());
    for n in 0..200 {
        log.append_as_leader(batch_at(NOW + n * 10, &["a", "b"]), 5, NOW).unwrap();
    }
    let reader = log.reader();
    let offset =
        |timestamp| reader.offset_for_timestamp(timestamp).unwrap().map(|found| (found.offset, found.timestamp));
    assert_eq!(offset(0), Some((0, NOW)));
    assert_eq!(offset(NOW + 1), Some((1, NOW + 1)));
    assert_eq!(offset(NOW + 1002), Some((202, NOW + 1010)));
    assert_eq!(offset(NOW + 1992), None);
    let max = reader.max_timestamp_offset().unwrap().unwrap();
    assert_eq!((max.offset, max.timestamp, max.leader_epoch), (399, NOW + 1991, 5));
}

#[test]
fn a_segment_ends_by_time_and_by_the_reach_of_its_offsets() {
    let (mut log, _) = open(&memory(), LogConfig { segment_ms: 1000, ..LogConfig::default() });
    for age in [0, 1000, 1001, 1500] {
        log.append_as_leader(batch_at(NOW + age, &["a"]), 0, NOW).unwrap();
    }
    assert_eq!(log.segment_count(), 2);
    let leap = |offset| {
        let options = BatchOptions { base_offset: offset, leader_epoch: 1, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        builder.append(NOW + 1500, Some(b"k"), None, std::iter::empty());
        builder.build().unwrap()
    };
    log.append_as_follower(leap(5_000_000_000), NOW).unwrap();
    assert_eq!((log.segment_count(), log.log_end_offset()), (3, 5_000_000_001));
    let back = log.append_as_follower(leap(7), NOW);
    assert!(matches!(back, Err(AppendError::UnexpectedOffset { offset: 7, .. })));
    assert_eq!(all(&log).last().unwrap().0, 5_000_000_000);
}
