//! The last record of each key, and nothing else, after compaction and after a crash in the middle of it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use super::*;
use crate::log::fs::memory::{Fault, MemoryFs, choices};
use crate::record::Codec;

/// For all keys there are.
const ROOM: usize = 1 << 20;

type Keyed = BTreeMap<String, (Offset, String)>;

fn config() -> LogConfig {
    LogConfig { compact: true, delete: false, min_cleanable_dirty_ratio: 0.01, delete_retention_ms: 1000, ..small() }
}

/// A batch of keys with values; an empty value is a tombstone.
fn keyed(pairs: &[(&str, &str)], compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for (key, value) in pairs {
        let value = Some(value.as_bytes()).filter(|value| !value.is_empty());
        builder.append(NOW, Some(key.as_bytes()), value, std::iter::empty());
    }
    builder.build().unwrap()
}

/// Each key's last record, and all offsets.
fn latest(log: &Log) -> (Keyed, Vec<Offset>) {
    let (mut keys, mut offsets) = (Keyed::new(), Vec::new());
    let mut offset = log.log_start_offset();
    loop {
        let read = log.reader().read(offset, 1000, Offset::MAX, true).unwrap();
        if read.records.is_empty() {
            return (keys, offsets);
        }
        for batch in batches(&read.records) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            for record in batch.body(1 << 20).unwrap().iter() {
                let record = record.unwrap();
                let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"")).into_owned();
                keys.insert(text(record.key), (record.offset, text(record.value)));
                offsets.push(record.offset);
            }
            offset = batch.next_offset();
        }
    }
}

fn fill(log: &mut Log, count: usize) {
    for n in 0..count {
        let (a, b) = (format!("key {}", n % 13), format!("key {}", n * 7 % 29));
        let value = "v".repeat(n % 50 + 1);
        let compression = Compression::new(if n % 9 == 0 { Codec::Lz4 } else { Codec::None });
        let value = if n % 11 == 3 { "" } else { &value };
        log.append_as_leader(keyed(&[(&a, value), (&b, "b")], compression), 0, NOW).unwrap();
    }
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let (mut log, _) = open(&fs, config());
    fill(&mut log, 400);
    let (before, offsets) = latest(&log);
    let held = log.reader().read(0, 3000, Offset::MAX, true).unwrap().records;
    let (removed, report) = log.compact(NOW, ROOM).unwrap().unwrap();
    assert!(report.bytes_after * 3 < report.bytes_before && !removed.is_empty());
    assert_eq!(records(&held)[0].0, 0, "a reader in the middle goes on");
    removed.iter().for_each(|removed| removed.delete().unwrap());
    let (after, kept) = latest(&log);
    assert_eq!(after, before);
    assert!(kept.len() < offsets.len() / 3 && kept.is_sorted());
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, 800));
    assert!(log.compact(NOW, ROOM).unwrap().is_none(), "nothing is dirty");
    fill(&mut log, 100);
    let (before, _) = latest(&log);
    removed_all(&mut log, NOW);
    assert_eq!(latest(&log).0, before);
    let (log, report) = open(&fs, config());
    assert_eq!((report.is_clean(), latest(&log).0), (true, before));
}

fn removed_all(log: &mut Log, now: Timestamp) {
    let (removed, _) = log.compact(now, ROOM).unwrap().unwrap();
    removed.iter().for_each(|removed| removed.delete().unwrap());
}

#[test]
fn a_tombstone_stays_for_its_time_and_then_goes() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let (mut log, _) = open(&fs, config());
    let more = |log: &mut Log| {
        log.append_as_leader(keyed(&[("other", "x")], Compression::NONE), 0, NOW).unwrap();
        log.roll(NOW).unwrap();
    };
    log.append_as_leader(keyed(&[("gone", "value"), ("stays", "value")], Compression::NONE), 0, NOW).unwrap();
    log.append_as_leader(keyed(&[("gone", "")], Compression::NONE), 0, NOW).unwrap();
    more(&mut log);
    removed_all(&mut log, NOW);
    assert_eq!(latest(&log).0["gone"], (2, String::new()));
    more(&mut log);
    removed_all(&mut log, NOW + 999);
    assert!(latest(&log).0.contains_key("gone"));
    more(&mut log);
    removed_all(&mut log, NOW + 1000);
    let (keys, _) = latest(&log);
    assert!(!keys.contains_key("gone") && keys["stays"] == (1, "value".to_owned()));
}

#[test]
fn a_log_of_which_nothing_is_left_ends_where_it_did() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    let (mut log, _) = open(&shared, config());
    // Of before the topic was compacted: a record without a key does not stay.
    let mut keyless = BatchBuilder::new(BatchOptions::default());
    keyless.append(NOW, None, Some(b"no key"), std::iter::empty());
    log.append_as_follower(keyless.build().unwrap(), NOW).unwrap();
    log.flush(NOW).unwrap();
    // The next segment is begun, and nothing gets into it.
    let big = keyed(&[("big", &"v".repeat(4000))], Compression::NONE);
    for operations in 0..20 {
        if log.segment_count() == 2 {
            break;
        }
        let at = fs.operations() + operations;
        fs.fail_at(Some(Fault { at, kind: ErrorKind::StorageFull, stays: false, written: 0 }));
        assert!(log.append_as_leader(big.clone(), 0, NOW).is_err());
    }
    fs.fail_at(None);
    assert_eq!((log.segment_count(), log.log_end_offset()), (2, 1));
    removed_all(&mut log, NOW);
    assert_eq!((log.size(), log.log_end_offset()), (0, 1));
    assert_eq!(open(&shared, config()).0.log_end_offset(), 1);
}

#[test]
fn young_records_wait_for_the_lag() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let (mut log, _) = open(&fs, LogConfig { min_compaction_lag_ms: 1000, ..config() });
    fill(&mut log, 100);
    assert!(log.compaction(NOW + 500, 400).unwrap().is_none());
    assert!(log.compaction(NOW + 2000, 400).unwrap().is_some());
}

#[test]
fn power_lost_while_compacting_loses_no_key() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    let (mut log, _) = open(&shared, config());
    fill(&mut log, 200);
    log.flush(NOW).unwrap();
    let (before, _) = latest(&log);
    let begin = fs.operations();
    removed_all(&mut log, NOW);
    assert!(fs.operations() > begin + 10);
    for at in begin..=fs.operations() {
        for seed in 0..2 {
            let image: SharedFs = Arc::new(fs.crash(at, &mut choices(seed + at as u64 * 100)));
            let options =
                LogOptions { recovery_point: log.recovery_point(), ..options(&image, "/flights-0", config()) };
            let (mut log, _) = Log::open(options).unwrap();
            assert_eq!((latest(&log).0, log.log_end_offset()), (before.clone(), 400), "at {at}, seed {seed}");
            if at % 8 == 0 {
                fill(&mut log, 30);
                let (before, _) = latest(&log);
                removed_all(&mut log, NOW);
                assert_eq!(latest(&log).0, before);
            }
        }
    }
}

#[test]
fn segments_that_went_meanwhile_stay_gone() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let (mut log, _) = open(&fs, config());
    fill(&mut log, 200);
    let compaction = log.compaction(NOW, 400).unwrap().unwrap();
    let mut rewrite = compaction.read(ROOM, &|| false).unwrap();
    log.delete_records(200);
    let _ = log.enforce_retention(NOW, 400).unwrap();
    let (before, _) = latest(&log);
    let mut replaced = Vec::new();
    while let Some(cleaned) = rewrite.next(&|| false).unwrap() {
        replaced.push(log.install(cleaned).unwrap().is_some());
    }
    assert!(!replaced[0] && replaced[replaced.len() - 1], "{replaced:?}");
    assert_eq!(latest(&log).0, before);
    assert_eq!(log.log_start_offset(), 200);
}

#[test]
fn a_log_that_was_compacted_once_keeps_its_gaps_after_a_crash() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let (mut log, _) = open(&fs, config());
    fill(&mut log, 200);
    removed_all(&mut log, NOW);
    let (before, _) = latest(&log);
    let cleaned_to = log.cleaned_to();
    drop(log);
    // The topic is not compacted any more, and no recovery point was written down.
    let options = LogOptions { cleaned_to, ..options(&fs, "/flights-0", small()) };
    let (log, report) = Log::open(options).unwrap();
    assert_eq!((report.truncated_at, latest(&log).0), (None, before));
}

#[test]
fn a_log_that_was_taken_away_is_not_compacted() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let (mut log, _) = open(&fs, config());
    fill(&mut log, 200);
    let compaction = log.compaction(NOW, 400).unwrap().unwrap();
    let mut rewrite = compaction.read(ROOM, &|| false).unwrap();
    let cleaned = rewrite.next(&|| false).unwrap().unwrap();
    log.close(NOW).unwrap();
    assert!(log.install(cleaned).unwrap().is_none());
    assert!(log.compaction(NOW, 400).unwrap().is_none());
    assert!(!fs.list(std::path::Path::new("/flights-0")).unwrap().iter().any(|entry| entry.name.ends_with(".cleaned")));
}

#[test]
fn a_run_that_is_given_up_leaves_nothing_behind() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let (mut log, _) = open(&fs, config());
    fill(&mut log, 200);
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 250
    };
    let mut rewrite = log.compaction(NOW, 400).unwrap().unwrap().read(ROOM, &stop).unwrap();
    let error = loop {
        match rewrite.next(&stop) {
            Ok(cleaned) => drop(log.install(cleaned.expect("it is stopped before its end")).unwrap()),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("interrupted"), "{error}");
    let left = fs.list(std::path::Path::new("/flights-0")).unwrap();
    assert_eq!(left.iter().filter(|entry| entry.name.ends_with(".cleaned")).count(), 0);
    assert!(log.compaction(NOW, 400).unwrap().is_some(), "it begins anew");
}

#[test]
fn more_keys_than_there_is_room_for_take_several_runs() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let (mut log, _) = open(&fs, config());
    fill(&mut log, 400);
    let (before, _) = latest(&log);
    let mut runs = 0;
    let mut reached = 0;
    while let Some((removed, report)) = log.compact(NOW, 500).unwrap() {
        removed.iter().for_each(|removed| removed.delete().unwrap());
        assert!(report.cleaned_to > reached);
        (runs, reached) = (runs + 1, report.cleaned_to);
    }
    assert!(runs > 2, "{runs}");
    assert_eq!(latest(&log).0, before);
}

#[test]
fn an_old_record_makes_a_clean_log_due() {
    let fs: SharedFs = Arc::new(MemoryFs::new());
    let lag = LogConfig { min_cleanable_dirty_ratio: 1.0, max_compaction_lag_ms: 1000, ..config() };
    let (mut log, _) = open(&fs, lag);
    fill(&mut log, 100);
    assert!(log.compaction(NOW + 1000, 200).unwrap().is_none());
    assert!(log.compaction(NOW + 1001, 200).unwrap().is_some());
}

#[test]
fn a_damaged_batch_is_not_written_anew() {
    let fs = MemoryFs::new();
    let shared: SharedFs = Arc::new(fs.clone());
    let (mut log, _) = open(&shared, config());
    fill(&mut log, 200);
    fs.damage(std::path::Path::new("/flights-0/00000000000000000000.log"), 300);
    let error = log.compact(NOW, ROOM).unwrap_err();
    assert!(error.to_string().contains("CRC"), "{error}");
}
