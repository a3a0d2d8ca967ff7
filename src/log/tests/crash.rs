//! Power is lost at each write; the disk fails at each write.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::log::fs::OpenMode;
use crate::log::fs::memory::{Fault, MemoryFs, choices};
use crate::log::{AppendError, Origin};
use crate::record::EndTxnMarker;

/// What a test did and when it was safe.
struct Story {
    fs: MemoryFs,
    log: Log,
    expected: Vec<(Offset, String)>,
    /// After so many operations of the disk the log is safe up to there.
    safe: Vec<(usize, Offset)>,
}

impl Story {
    fn new() -> Story {
        let fs = MemoryFs::new();
        let shared: SharedFs = Arc::new(fs.clone());
        // As a log dir would have it.
        shared.create_dir_all(Path::new("/")).unwrap();
        let (log, _) = open(&shared, small());
        Story { fs, log, expected: Vec::new(), safe: vec![(0, 0)] }
    }

    fn append(&mut self, n: i64) {
        let (first, second) = (format!("first {n}"), "x".repeat((n * 37 % 300) as usize));
        let sequence = ProducerState { id: 7, epoch: 0, base_sequence: self.log.log_end_offset() as i32 };
        let bytes = build(NOW + n * 10, &[&first, &second], Compression::NONE, sequence);
        let info = self.log.append_as_leader(bytes, (n / 20) as i32, NOW).unwrap();
        self.expected.extend([(info.first_offset, first), (info.last_offset, second)]);
    }

    fn flush(&mut self) {
        self.log.flush(NOW).unwrap();
        self.safe.push((self.fs.operations(), self.log.recovery_point()));
    }

    fn flush_closed(&mut self) {
        if let Some(job) = self.log.flush_closed_job() {
            self.log.flushed(job.run(), NOW).unwrap();
        }
        self.safe.push((self.fs.operations(), self.log.recovery_point()));
    }

    /// Opens what a crash behind `at` operations may leave.
    fn crash(&self, at: usize, seed: u64) -> (Log, RecoveryReport, Offset) {
        let image: SharedFs = Arc::new(self.fs.crash(at, &mut choices(seed)));
        let recovery_point = self.safe.iter().rev().find(|(operations, _)| *operations <= at).map_or(0, |safe| safe.1);
        let options = LogOptions { recovery_point, ..options(&image, "/flights-0", small()) };
        let (log, report) = Log::open(options).unwrap();
        (log, report, recovery_point)
    }
}

/// What holds of any log: indexes find what a scan finds, it can be written, and opens again as it is.
fn check_whole(mut log: Log, context: &str) {
    let found = all(&log);
    let reader = log.reader();
    for (offset, value) in found.iter().step_by(7) {
        let read = reader.read(*offset, 1, Offset::MAX, true).unwrap();
        assert!(records(&read.records).contains(&(*offset, value.clone())), "{context}");
    }
    for timestamp in (NOW..NOW + 800).step_by(95) {
        let slow = found.iter().enumerate().find(|(index, _)| {
            let batch = *index as i64 / 2;
            NOW + batch * 10 + *index as i64 % 2 >= timestamp
        });
        let fast = reader.offset_for_timestamp(timestamp).unwrap();
        assert_eq!(fast.map(|found| found.offset), slow.map(|(_, (offset, _))| *offset), "{context}");
    }
    let next = log.log_end_offset();
    let sequence = ProducerState { id: 7, epoch: 0, base_sequence: next as i32 };
    let again = build(NOW + 10_000, &["again"], Compression::NONE, sequence);
    assert_eq!(log.append_as_leader(again, 9, NOW).unwrap().first_offset, next, "{context}");
}

#[test]
fn power_lost_at_any_write_leaves_a_prefix_that_holds_all_that_was_flushed() {
    let mut story = Story::new();
    for n in 0..80 {
        story.append(n);
        match n % 18 {
            4 => story.flush(),
            13 => story.flush_closed(),
            _ => {}
        }
    }
    assert!(story.log.segment_count() > 4);
    let (mut cut, mut lost) = (0, 0);
    for at in 0..=story.fs.operations() {
        for seed in 0..3 {
            let context = format!("crash behind {at} operations, seed {seed}");
            let (log, report, safe) = story.crash(at, seed * 1000 + at as u64);
            let found = all(&log);
            assert!(log.log_end_offset() >= safe, "{context}: ends at {}, {safe} was safe", log.log_end_offset());
            assert_eq!(found, story.expected[..found.len()], "{context}");
            assert_eq!(log.log_end_offset() as usize, found.len(), "{context}");
            cut += usize::from(report.truncated_at.is_some());
            lost += usize::from(found.len() < story.expected.len());
            check_whole(log, &context);
        }
    }
    assert!(cut > 20 && lost > 100, "the crashes hurt: {cut} cuts, {lost} losses");
}

#[test]
fn of_a_log_whose_closed_segments_were_synced_only_the_last_one_is_scanned() {
    let mut story = Story::new();
    for n in 0..80 {
        story.append(n);
    }
    assert!(story.log.segment_count() > 4 && story.log.recovery_point() == 0);
    story.flush_closed();
    assert!((100..160).contains(&story.log.recovery_point()), "{}", story.log.recovery_point());
    assert!(story.log.flush_closed_job().is_none() && story.log.flush_job().is_some());
    for seed in 0..20 {
        let (log, report, safe) = story.crash(story.fs.operations(), seed);
        assert!(report.segments_scanned <= 1 && log.log_end_offset() >= safe, "seed {seed}: {report:?}");
        assert_eq!(all(&log), story.expected[..log.log_end_offset() as usize], "seed {seed}");
    }
}

#[test]
fn what_was_cut_while_it_was_synced_is_not_taken_for_safe() {
    let mut story = Story::new();
    for n in 0..80 {
        story.append(n);
    }
    let ran = story.log.flush_closed_job().unwrap().run();
    story.log.truncate_to(20, NOW).unwrap();
    for n in 100..170 {
        story.append(n);
    }
    story.log.flushed(ran, NOW).unwrap();
    assert!(story.log.recovery_point() <= 20);
}

#[test]
fn power_lost_while_a_log_is_cut_leaves_the_old_one_or_the_new_one() {
    let mut story = Story::new();
    for n in 0..60 {
        story.append(n);
    }
    story.flush();
    let old = story.expected.clone();
    let begin = story.fs.operations();
    story.log.truncate_to(52, NOW).unwrap();
    story.safe.push((begin, 52));
    story.expected.truncate(52);
    for n in 26..40 {
        story.append(n + 1000);
    }
    story.flush();
    for at in begin..=story.fs.operations() {
        for seed in 0..6 {
            let (log, _, safe) = story.crash(at, seed * 1000 + at as u64);
            let found = all(&log);
            let prefix_of = |whole: &[(Offset, String)]| whole.starts_with(&found);
            assert!(prefix_of(&old) || prefix_of(&story.expected), "at {at}, seed {seed}");
            assert!(found.len() as i64 >= safe.min(52));
        }
    }
}

#[test]
fn a_closed_log_is_whole_without_a_scan_wherever_power_is_lost_later() {
    let mut story = Story::new();
    for n in 0..70 {
        story.append(n);
    }
    story.log.close(NOW).unwrap();
    for seed in 0..50 {
        let image: SharedFs = Arc::new(story.fs.crash(story.fs.operations(), &mut choices(seed)));
        let options = LogOptions { clean: true, ..options(&image, "/flights-0", small()) };
        let (log, report) = Log::open(options).unwrap();
        assert_eq!((all(&log), report.segments_scanned), (story.expected.clone(), 0));
        check_whole(log, &format!("seed {seed}"));
    }
}

#[test]
fn what_grew_too_old_does_not_come_back_torn_behind_a_clean_stop() {
    let config = LogConfig { retention_ms: Some(1_000), ..small() };
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    shared.create_dir_all(Path::new("/")).unwrap();
    let (mut log, _) = open(&shared, config.clone());
    log.append_as_leader(batch(&["never synced"]), 0, NOW).unwrap();
    // Its files go later, and their names with them.
    let _removed = log.enforce_retention(NOW + 10_000, log.log_end_offset()).unwrap();
    assert_eq!(all(&log), []);
    log.close(NOW + 10_000).unwrap();
    for seed in 0..50 {
        let image: SharedFs = Arc::new(fs.crash(fs.operations(), &mut choices(seed)));
        let options = LogOptions { clean: true, ..options(&image, "/flights-0", config.clone()) };
        let log = Log::open(options).unwrap().0;
        assert_eq!((log.log_start_offset(), log.log_end_offset(), all(&log)), (1, 1, Vec::new()), "seed {seed}");
    }
}

#[test]
fn what_was_removed_before_a_kill_does_not_come_back_behind_a_clean_stop() {
    let mut emptied = 0;
    for step in 0..12 {
        let mut story = Story::new();
        story.append(1);
        let at = story.fs.operations() + step;
        story.fs.fail_at(Some(Fault { at, kind: io::ErrorKind::StorageFull, stays: true, written: 0 }));
        let _ = story.log.truncate_fully_and_start_at(0, NOW);
        story.fs.fail_at(None);
        let shared: SharedFs = Arc::new(story.fs.clone());
        let (mut log, _) = open(&shared, small());
        let left = all(&log);
        emptied += usize::from(left.is_empty());
        log.close(NOW).unwrap();
        for seed in 0..50 {
            let image: SharedFs = Arc::new(story.fs.crash(story.fs.operations(), &mut choices(seed)));
            let options = LogOptions { clean: true, ..options(&image, "/flights-0", small()) };
            assert_eq!(all(&Log::open(options).unwrap().0), left, "step {step}, seed {seed}");
        }
    }
    assert!(emptied > 0);
}

#[test]
fn what_was_cut_off_before_a_kill_does_not_come_back_behind_a_clean_stop() {
    let mut cut_before = 0;
    for step in 0..20 {
        let mut story = Story::new();
        for n in 0..70 {
            story.append(n);
        }
        story.flush_closed();
        let base = story.log.recovery_point();
        let shared: SharedFs = Arc::new(story.fs.clone());
        let last = shared.open(Path::new(&format!("/flights-0/{base:020}.log")), OpenMode::Create).unwrap();
        last.write_at(40, &mut [io::IoSlice::new(b"damaged")]).unwrap();
        last.sync().unwrap();
        let opening = || LogOptions { recovery_point: base, ..options(&shared, "/flights-0", small()) };
        let at = story.fs.operations() + step;
        story.fs.fail_at(Some(Fault { at, kind: io::ErrorKind::StorageFull, stays: true, written: 0 }));
        let failed = Log::open(opening()).is_err();
        story.fs.fail_at(None);
        let (mut log, report) = Log::open(opening()).unwrap();
        cut_before += usize::from(failed && report.truncated_at.is_none());
        assert_eq!(log.log_end_offset(), base);
        let left = all(&log);
        log.close(NOW).unwrap();
        for seed in 0..50 {
            let image: SharedFs = Arc::new(story.fs.crash(story.fs.operations(), &mut choices(seed)));
            let log = Log::open(LogOptions { clean: true, ..options(&image, "/flights-0", small()) }).unwrap().0;
            assert_eq!((log.log_end_offset(), all(&log)), (base, left.clone()), "step {step}, seed {seed}");
        }
    }
    assert!(cut_before > 0);
}

#[test]
fn epochs_and_producers_of_a_closed_log_are_safe_wherever_power_is_lost_later() {
    for killed_before in [false, true] {
        let mut story = Story::new();
        for n in 0..70 {
            story.append(n);
        }
        if killed_before {
            // Its broker ends, and the next one finds all that was written, synced or not.
            let fs: SharedFs = Arc::new(story.fs.clone());
            story.log = open(&fs, small()).0;
        }
        story.log.close(NOW).unwrap();
        let told = |log: &Log| {
            let producer = log.producers().get(7).map(|entry| entry.last_sequence());
            (log.leader_epochs().entries().to_vec(), producer)
        };
        let before = told(&story.log);
        assert_eq!((before.0.len(), before.1), (4, Some(139)));
        for seed in 0..50 {
            let image: SharedFs = Arc::new(story.fs.crash(story.fs.operations(), &mut choices(seed)));
            let options = LogOptions { clean: true, ..options(&image, "/flights-0", small()) };
            let (log, _) = Log::open(options).unwrap();
            assert_eq!(told(&log), before, "killed before: {killed_before}, seed {seed}");
        }
    }
}

#[test]
fn aborted_transactions_of_a_closed_log_are_safe_wherever_power_is_lost_later() {
    for killed_before in [false, true] {
        let mut story = Story::new();
        let producer = ProducerState { id: 9, epoch: 0, base_sequence: 0 };
        let mut builder = BatchBuilder::new(BatchOptions { producer, transactional: true, ..BatchOptions::default() });
        builder.append(NOW, None, Some(b"never"), std::iter::empty());
        story.log.append_as_leader(builder.build().unwrap(), 0, NOW).unwrap();
        let marker = EndTxnMarker { committed: false, coordinator_epoch: 0 }.build(NOW, 9, 0).unwrap();
        story.log.append(marker, 0, Origin::Coordinator, NOW).unwrap();
        if killed_before {
            let fs: SharedFs = Arc::new(story.fs.clone());
            story.log = open(&fs, small()).0;
        }
        story.log.close(NOW).unwrap();
        for seed in 0..50 {
            let image: SharedFs = Arc::new(story.fs.crash(story.fs.operations(), &mut choices(seed)));
            let options = LogOptions { clean: true, ..options(&image, "/flights-0", small()) };
            let (log, _) = Log::open(options).unwrap();
            let aborted = log.reader().aborted_transactions(0, Offset::MAX);
            assert_eq!(aborted.len(), 1, "killed before: {killed_before}, seed {seed}");
        }
    }
}

#[test]
fn the_epoch_of_a_leader_whose_records_were_cut_off_is_gone_though_its_file_could_not_be_written() {
    let mut story = Story::new();
    for epoch in [0, 0, 1] {
        story.log.append_as_leader(batch(&["a", "b"]), epoch, NOW).unwrap();
    }
    story.log.truncate_to(4, NOW).unwrap();
    // The disk has room for the batch of the other leader, and for nothing behind it.
    let at = story.fs.operations() + 1;
    story.fs.fail_at(Some(Fault { at, kind: io::ErrorKind::StorageFull, stays: true, written: 0 }));
    story.log.append_as_leader(batch(&["c", "d"]), 0, NOW).unwrap();
    story.fs.fail_at(None);
    let fs: SharedFs = Arc::new(story.fs.clone());
    let (log, _) = open(&fs, small());
    let entries: Vec<_> = log.leader_epochs().entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect();
    assert_eq!((entries, log.log_end_offset()), (vec![(0, 0)], 6));
}

#[test]
fn epochs_of_what_was_flushed_are_safe() {
    let mut story = Story::new();
    for n in 0..70 {
        story.append(n);
    }
    story.flush();
    let entries = story.log.leader_epochs().entries().to_vec();
    for seed in 0..50 {
        let (log, ..) = story.crash(story.fs.operations(), seed);
        assert_eq!(log.leader_epochs().entries(), entries, "seed {seed}");
    }
}

#[test]
fn what_a_failed_write_left_does_not_come_back_behind_a_clean_stop() {
    for written in [1, 30, 60, 90] {
        let mut story = Story::new();
        story.append(0);
        story.flush();
        let kind = io::ErrorKind::StorageFull;
        story.fs.fail_at(Some(Fault { at: story.fs.operations(), kind, stays: false, written }));
        assert!(story.log.append_as_leader(batch(&["a", "b"]), 0, NOW).is_err());
        story.log.close(NOW).unwrap();
        for seed in 0..50 {
            let image: SharedFs = Arc::new(story.fs.crash(story.fs.operations(), &mut choices(seed)));
            let log = Log::open(LogOptions { clean: true, ..options(&image, "/flights-0", small()) }).unwrap().0;
            assert_eq!((log.log_end_offset(), all(&log)), (2, story.expected.clone()), "{written} bytes, seed {seed}");
        }
    }
}

#[test]
fn a_write_that_fails_half_way_is_taken_back_and_the_log_goes_on() {
    for written in [0, 1, 60, 100] {
        let mut story = Story::new();
        story.append(0);
        let kind = io::ErrorKind::StorageFull;
        story.fs.fail_at(Some(Fault { at: story.fs.operations(), kind, stays: false, written }));
        let error = story.log.append_as_leader(batch(&["lost"]), 0, NOW).unwrap_err();
        assert!(matches!(error, AppendError::Storage(_)), "{error}");
        assert_eq!(all(&story.log), story.expected);
        story.append(1);
        assert_eq!(all(&story.log), story.expected);
    }
}

#[test]
fn a_disk_that_stays_broken_stops_writes_and_not_reads() {
    let mut story = Story::new();
    for n in 0..30 {
        story.append(n);
    }
    let kind = io::ErrorKind::ReadOnlyFilesystem;
    story.fs.fail_at(Some(Fault { at: story.fs.operations(), kind, stays: true, written: 0 }));
    for _ in 0..3 {
        assert!(matches!(story.log.append_as_leader(batch(&["lost"]), 0, NOW), Err(AppendError::Storage(_))));
        assert_eq!(all(&story.log), story.expected);
    }
    assert!(story.log.has_failed() && story.log.flush(NOW).is_err() && story.log.close(NOW).is_err());
    story.fs.fail_at(None);
    let shared: SharedFs = Arc::new(story.fs.clone());
    let (log, _) = open(&shared, small());
    assert_eq!(all(&log), story.expected);
}

#[test]
fn after_a_failed_sync_nothing_is_written_and_what_was_not_synced_is_not_vouched_for() {
    let mut story = Story::new();
    story.append(0);
    story.flush();
    story.append(1);
    let kind = io::ErrorKind::Other;
    story.fs.fail_at(Some(Fault { at: story.fs.operations(), kind, stays: false, written: 0 }));
    let error = story.log.flush(NOW).unwrap_err();
    assert!(error.to_string().contains("may be lost"), "{error}");
    assert_eq!((story.log.recovery_point(), story.log.has_failed()), (2, true));
    assert!(story.log.append_as_leader(batch(&["no"]), 0, NOW).is_err() && story.log.close(NOW).is_err());
    // The system would say now that all is well.
    assert!(story.log.flush(NOW).is_err());
    assert_eq!(story.log.recovery_point(), 2);
    assert_eq!(all(&story.log), story.expected);
}

#[test]
fn whichever_operation_fails_what_was_acknowledged_is_there() {
    let count = {
        let mut story = Story::new();
        run(&mut story);
        story.fs.operations()
    };
    for at in 2..count {
        let mut story = Story::new();
        story.fs.fail_at(Some(Fault { at, kind: io::ErrorKind::Other, stays: false, written: at % 50 }));
        run(&mut story);
        assert_eq!(all(&story.log), story.expected, "operation {at} failed");
        story.fs.fail_at(None);
        let shared: SharedFs = Arc::new(story.fs.clone());
        let (log, _) = open(&shared, small());
        assert_eq!(all(&log), story.expected, "operation {at} failed, opened again");
    }
}

/// Appends, rolls and flushes; what fails is not expected to be there.
fn run(story: &mut Story) {
    for n in 0..60 {
        let value = format!("{n} {}", "y".repeat(100));
        if let Ok(info) = story.log.append_as_leader(batch(&[&value]), n / 10, NOW) {
            story.expected.push((info.first_offset, value));
        }
        if n % 13 == 7 {
            let _ = story.log.flush(NOW);
        }
    }
}

#[test]
fn a_damaged_or_missing_index_is_made_anew() {
    let mut story = Story::new();
    for n in 0..80 {
        story.append(n);
    }
    story.log.close(NOW).unwrap();
    let shared: SharedFs = Arc::new(story.fs.clone());
    let dir = std::path::Path::new("/flights-0");
    for (index, entry) in shared.list(dir).unwrap().into_iter().enumerate() {
        let path = dir.join(&entry.name);
        match index % 2 {
            _ if !entry.name.ends_with("index") => {}
            0 => shared.remove_file(&path).unwrap(),
            _ => {
                story.fs.damage(&path, 0);
                story.fs.damage(&path, 4);
            }
        }
    }
    let options = LogOptions { clean: true, ..options(&shared, "/flights-0", small()) };
    let (log, _) = Log::open(options).unwrap();
    assert_eq!(all(&log), story.expected);
    check_whole(log, "indexes gone");
}
