//! A partition's folder after a crash, or after worse: whatever lies in it, opening mends it or says why not, and what
//! is open then can be read, appended to, cut, closed and opened again.
//!
//! ```text
//! flags | recovery point | log start offset | file | file | ...        one byte each; flags: 1 the last close was clean
//! file: which u8 (see `name`) | length u16 | bytes                     the last may be cut
//! ```
//! The disk is in memory, and panics where a map is read behind its file's end.
#![no_main]

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use strandline::common::ids::TopicPartition;
use strandline::log::fs::memory::MemoryFs;
use strandline::log::fs::{FileSystem, OpenMode};
use strandline::log::{Handles, Log, LogConfig, LogOptions, LogReader};
use strandline::record::{BatchBuilder, BatchOptions, batches};
use strandline_fuzz::{seal_snapshot, within};

const DIR: &str = "/t-0";
const NOW: i64 = 1_700_000_000_000;

fuzz_target!(|bytes: &[u8]| {
    let [flags, recovery_point, log_start, files @ ..] = bytes else { return };
    within((4 << 20) + 256 * bytes.len(), || {
        let fs = MemoryFs::new();
        fs.create_dir_all(Path::new(DIR)).expect("memory does not fail");
        lay(&fs, files);
        let open = |clean, recovery_point, log_start_offset| {
            Log::open(LogOptions {
                partition: TopicPartition::new("t", 0),
                dir: DIR.into(),
                config: LogConfig { segment_bytes: 4096, index_interval_bytes: 64, ..LogConfig::default() },
                handles: Handles::new(Arc::new(fs.clone()), 16),
                recovery_point,
                log_start_offset,
                cleaned_to: 0,
                clean,
                now: NOW,
            })
        };
        let Ok((mut log, report)) = open(flags & 1 != 0, i64::from(*recovery_point), i64::from(*log_start)) else {
            return;
        };
        for note in report.notes {
            assert!(note.len() < 2000);
        }
        read(&log);
        live(&mut log);
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        if log.close(NOW).is_ok() {
            drop(log);
            let (log, report) = open(true, end, start).expect("what was closed can be opened");
            // A damaged transaction index is told each time: it is not made anew yet.
            let new = report.notes.iter().filter(|note| !note.contains(".txnindex")).count();
            assert!(report.truncated_at.is_none() && new == 0, "{report:?}");
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (start, end));
            read(&log);
        }
    });
});

/// Writes the files that `bytes` tell of.
fn lay(fs: &MemoryFs, mut bytes: &[u8]) {
    while let [which, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (content, behind) = rest.split_at(length);
        bytes = behind;
        let name = name(*which);
        let content = match name.rsplit('.').next() {
            Some("log" | "swap") if which & 128 == 0 => sealed(content),
            Some("snapshot") => seal_snapshot(content),
            _ => content.to_vec(),
        };
        let path = Path::new(DIR).join(name);
        let file = fs.open(&path, OpenMode::Fresh).expect("memory does not fail");
        file.write_at(0, &mut [IoSlice::new(&content)]).expect("memory does not fail");
    }
}

fn name(which: u8) -> &'static str {
    const NAMES: [&str; 20] = [
        "00000000000000000000.log",
        "00000000000000000000.index",
        "00000000000000000000.timeindex",
        "00000000000000000000.txnindex",
        "00000000000000000000.snapshot",
        "00000000000000000005.log",
        "00000000000000000005.index",
        "00000000000000000005.timeindex",
        "00000000000000000005.txnindex",
        "00000000000000000005.snapshot",
        "00000000000000000009.log",
        "00000000000000000009.index",
        "00000000000000000009.timeindex",
        "00000000000000000009.snapshot",
        "leader-epoch-checkpoint",
        "partition.metadata",
        "00000000000000000005.log.swap",
        "00000000000000000005.log.cleaned",
        "00000000000000000000.log.deleted",
        "09223372036854775000.log",
    ];
    NAMES[usize::from(which & 127) % NAMES.len()]
}

/// The batches with the CRC that fits, so that what they say is believed.
fn sealed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    for batch in batches(content).flatten() {
        out.extend_from_slice(&batch.with_producer(batch.producer_id(), batch.producer_epoch(), batch.base_sequence()));
    }
    out.extend_from_slice(&content[out.len()..]);
    out
}

fn read(log: &Log) {
    let reader = log.reader();
    let (start, end) = (reader.log_start_offset(), reader.log_end_offset());
    assert!(0 <= start && start <= end && reader.last_stable_offset() <= end);
    assert!(log.topic_id().is_ok());
    walk(&reader, start, end);
    for offset in [start, start + (end - start) / 2, end - 1, end, end.saturating_add(1), -1] {
        let _ = reader.read(offset, 100, i64::MAX, true);
        let _ = reader.read(offset, 0, end, false);
    }
    for timestamp in [i64::MIN, 0, NOW, i64::MAX] {
        if let Ok(Some(found)) = reader.offset_for_timestamp(timestamp) {
            assert!(found.timestamp >= timestamp && found.offset < end);
        }
    }
    let _ = reader.max_timestamp_offset();
    reader.aborted_transactions(start, end);
}

/// Reads all, as a consumer does: each answer ends behind where it began.
fn walk(reader: &LogReader, start: i64, end: i64) {
    let mut offset = start;
    for _ in 0..10_000 {
        let Ok(read) = reader.read(offset, 300, end, true) else { return };
        let Some(last) = batches(&read.records).flatten().last() else { return };
        assert!(last.next_offset() > offset, "a consumer would read offset {offset} for ever");
        offset = last.next_offset();
    }
}

fn live(log: &mut Log) {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for value in ["ebb", "flow"] {
        builder.append(NOW, Some(b"k"), Some(value.as_bytes()), std::iter::empty());
    }
    let batch = builder.build().expect("a good batch");
    let end = log.log_end_offset();
    if let Ok(done) = log.append_as_leader(batch.clone(), 3, NOW) {
        assert_eq!((done.first_offset, done.last_offset, log.log_end_offset()), (end, end + 1, end + 2));
        let read = log.reader().read(end, 1 << 20, i64::MAX, true).expect("what was appended can be read");
        let bytes = Bytes::copy_from_slice(&read.records);
        assert!(batches(&bytes).flatten().any(|found| found.body_bytes() == &batch[61..]));
        let _ = log.roll(NOW);
        let _ = log.append_as_leader(batch, 3, NOW);
    }
    let _ = log.truncate_to(log.log_start_offset() + (log.log_end_offset() - log.log_start_offset()) / 2, NOW);
    log.delete_records(log.log_start_offset() + 1);
    let _ = log.enforce_retention(NOW, log.log_end_offset());
    assert!(log.log_start_offset() <= log.log_end_offset());
}
