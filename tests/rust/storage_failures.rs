//! A disk that is full, read-only or broken: writes are refused, reads go on, and when there is room again, so do writes. Or reads
//! are.
//! And a stop that power cuts short: it is marked as clean only where nothing can be lost any more.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;

use strandline::cluster::{BrokerSettings, RunningBroker};
use strandline::log::fs::FileSystem;
use strandline::log::fs::faulty::{Breakage, DiskFault, Faults};
use strandline::log::fs::memory::{Fault, MemoryFs, choices};
use strandline::protocol::ErrorCode;

use crate::wire::{Wire, batch};

fn start(runtime: &Runtime, fs: &MemoryFs) -> RunningBroker {
    let mut settings = BrokerSettings::new().with_file_system(Arc::new(fs.clone()));
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0");
    settings.set("log.dirs", "/data");
    runtime.block_on(RunningBroker::start(settings)).unwrap()
}

/// A disk that fails from now on; of the write that fails first, `written` bytes are there all the same.
fn fail(fs: &MemoryFs, kind: io::ErrorKind, written: usize) {
    fs.fail_at(Some(Fault { at: fs.operations(), kind, stays: true, written }));
}

fn a_disk_that_fails(kind: io::ErrorKind, written: usize) {
    let runtime = Runtime::new().unwrap();
    let fs = MemoryFs::new();
    let broker = start(&runtime, &fs);
    let mut wire = Wire::connect(broker.address());
    assert_eq!(wire.create("tide"), ErrorCode::NONE);
    assert_eq!(wire.produce("tide", batch(&["ebb"])).error_code, ErrorCode::NONE);

    fail(&fs, kind, written);
    for _ in 0..3 {
        let answer = wire.produce("tide", batch(&["lost"]));
        assert_eq!(answer.error_code, ErrorCode::KAFKA_STORAGE_ERROR, "{:?}", answer.error_message);
        assert_eq!(wire.fetch("tide", 0), (ErrorCode::NONE, vec!["ebb".to_owned()]));
    }
    assert_eq!(wire.create("another"), ErrorCode::KAFKA_STORAGE_ERROR);

    fs.fail_at(None);
    let answer = wire.produce("tide", batch(&["flow"]));
    assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, 1), "{:?}", answer.error_message);
    assert_eq!(wire.fetch("tide", 0), (ErrorCode::NONE, vec!["ebb".to_owned(), "flow".to_owned()]));
    assert_eq!(wire.create("another"), ErrorCode::NONE);
    runtime.block_on(broker.stop()).unwrap();

    // What was refused does not come back with the next broker.
    let broker = start(&runtime, &fs);
    let mut wire = Wire::connect(broker.address());
    assert_eq!(wire.fetch("tide", 0), (ErrorCode::NONE, vec!["ebb".to_owned(), "flow".to_owned()]));
    runtime.block_on(broker.stop()).unwrap();
}

#[test]
fn a_disk_that_cannot_be_read_refuses_reads_and_takes_writes() {
    let runtime = Runtime::new().unwrap();
    let faults = Faults::default();
    let mut settings = BrokerSettings::new().with_file_system(faults.of(Arc::new(MemoryFs::new())));
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0");
    settings.set("log.dirs", "/data");
    let broker = runtime.block_on(RunningBroker::start(settings)).unwrap();
    let mut wire = Wire::connect(broker.address());
    assert_eq!(wire.create("tide"), ErrorCode::NONE);
    assert_eq!(wire.produce("tide", batch(&["ebb"])).error_code, ErrorCode::NONE);
    faults.set(vec![DiskFault { breakage: Breakage::Reads, names: Some("tide-0/*".to_owned()), times: None }]);
    for _ in 0..3 {
        assert_eq!(wire.fetch("tide", 0), (ErrorCode::KAFKA_STORAGE_ERROR, Vec::new()));
    }
    assert_eq!(wire.produce("tide", batch(&["flow"])).error_code, ErrorCode::NONE);
    assert_eq!(broker.death(), None, "there is nobody else");
    faults.set(Vec::new());
    assert_eq!(wire.fetch("tide", 0), (ErrorCode::NONE, vec!["ebb".to_owned(), "flow".to_owned()]));
    runtime.block_on(broker.stop()).unwrap();
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    a_disk_that_fails(io::ErrorKind::StorageFull, 0);
}

#[test]
fn a_disk_that_fills_up_within_a_batch_keeps_no_part_of_it() {
    a_disk_that_fails(io::ErrorKind::StorageFull, 20);
}

#[test]
fn a_disk_that_is_read_only_refuses_writes_until_it_is_not() {
    a_disk_that_fails(io::ErrorKind::ReadOnlyFilesystem, 0);
}

#[test]
fn a_stop_with_many_logs_is_marked_as_clean_only_when_all_are_safe() {
    let runtime = Runtime::new().unwrap();
    let fs = MemoryFs::new();
    let broker = start(&runtime, &fs);
    let mut wire = Wire::connect(broker.address());
    // More than are synced one by one.
    let topics: Vec<String> = (0..40).map(|n| format!("tide-{n}")).collect();
    for topic in &topics {
        assert_eq!(wire.create(topic), ErrorCode::NONE);
        assert_eq!(wire.produce(topic, batch(&["ebb", "flow"])).error_code, ErrorCode::NONE);
    }
    let begin = fs.operations();
    runtime.block_on(broker.stop()).unwrap();
    let end = fs.operations();
    let mut clean = 0;
    for at in (begin..end - 20).step_by(97).chain(end - 20..=end) {
        let image = fs.crash(at, &mut choices(at as u64));
        let marked = image.stat(Path::new("/data/.kafka_cleanshutdown")).unwrap().is_some();
        let broker = start(&runtime, &image);
        let mut wire = Wire::connect(broker.address());
        for topic in topics.iter().filter(|_| marked) {
            let whole = (ErrorCode::NONE, vec!["ebb".to_owned(), "flow".to_owned()]);
            assert_eq!(wire.fetch(topic, 0), whole, "{topic} at {at} of {begin}..{end}");
        }
        clean += usize::from(marked);
        runtime.block_on(broker.stop()).unwrap();
    }
    assert!(clean > 0);
}
