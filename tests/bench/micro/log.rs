//! The log room, on the real file system: appends, reads, look-ups, and the recovery of what a crash left.

use std::path::Path;
use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use strandline::common::ids::TopicPartition;
use strandline::log::fs::RealFs;
use strandline::log::{Handles, Log, LogConfig, LogOptions, Origin};
use strandline::record::Codec;
use tempfile::TempDir;

use crate::record::batch;
use crate::{LARGE, SMALL};

pub(crate) const NOW: i64 = 1_700_000_000_000;
/// How many batches of 16 KiB a log has that is read.
const BATCHES: usize = 4096;

pub(crate) fn open(dir: &Path) -> Log {
    let options = LogOptions {
        partition: TopicPartition::new("flights", 0),
        dir: dir.join("flights-0"),
        config: LogConfig { max_message_bytes: 2 * LARGE, ..LogConfig::default() },
        handles: Handles::new(Arc::new(RealFs), 64),
        recovery_point: 0,
        log_start_offset: 0,
        cleaned_to: 0,
        clean: false,
        now: NOW,
    };
    Log::open(options).unwrap().0
}

/// A log of 64 MiB in one segment.
fn filled() -> (TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let batch = batch(SMALL, Codec::None);
    for _ in 0..BATCHES {
        log.append(batch.clone(), 0, Origin::Client, NOW).unwrap();
    }
    (dir, log)
}

#[divan::bench(args = [SMALL, LARGE])]
fn append(bencher: Bencher, size: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let batch = batch(size, Codec::None);
    bencher
        .counter(BytesCount::new(batch.len()))
        .bench_local(|| log.append(batch.clone(), 0, Origin::Client, NOW).unwrap());
}

/// From an offset in the middle, 1 MiB as a consumer asks for it: a look-up in the index and a slice of the map.
#[divan::bench]
fn read(bencher: Bencher) {
    let (_dir, log) = filled();
    let reader = log.reader();
    let middle = reader.log_end_offset() / 2;
    bencher.bench(|| reader.read(black_box(middle), LARGE, i64::MAX, true).unwrap());
}

/// Look-ups all over the log: mostly the offset index, for nothing is read but one batch's header.
#[divan::bench]
fn look_up_an_offset(bencher: Bencher) {
    let (_dir, log) = filled();
    let reader = log.reader();
    let end = reader.log_end_offset();
    let offsets: Vec<i64> = (0..1000).map(|at| at * 7919 % end).collect();
    bencher.counter(ItemsCount::new(offsets.len())).bench(|| {
        offsets.iter().map(|offset| reader.read(*offset, 1, i64::MAX, true).unwrap().records.len()).sum::<usize>()
    });
}

#[divan::bench]
fn look_up_a_timestamp(bencher: Bencher) {
    let (_dir, log) = filled();
    let reader = log.reader();
    bencher.bench(|| reader.offset_for_timestamp(black_box(NOW + 50)).unwrap());
}

/// Opening after a crash: each batch of the segment is walked and its CRC checked, and the indexes are made anew.
#[divan::bench(sample_count = 10)]
fn recover_a_segment(bencher: Bencher) {
    let (dir, log) = filled();
    let size = log.size();
    drop(log);
    bencher.counter(BytesCount::new(size)).bench_local(|| open(dir.path()).log_end_offset());
}
