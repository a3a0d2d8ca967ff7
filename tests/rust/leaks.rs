//! Close means closed: a broker that was stopped has left nothing behind in its process.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use strandline::cluster::{BrokerSettings, RunningBroker};
use strandline::log::fs::memory::MemoryFs;

use crate::alone::{Held, alone};
use crate::wire::{Wire, batch};

/// How many brokers, and how many of them come before the first count: pools and arenas are filled by then.
const BROKERS: usize = 1000;
const WARM_UP: usize = 100;

fn runtime() -> Runtime {
    // A bound on the threads that may wait: tokio would keep as many as there ever were, and the count would waver.
    Builder::new_multi_thread().worker_threads(2).max_blocking_threads(4).enable_all().build().unwrap()
}

fn settings(dir: &str) -> BrokerSettings {
    let mut settings = BrokerSettings::new().without_sync();
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0");
    settings.set("log.dirs", dir);
    settings
}

/// Starts a broker, has it make a topic, take a record and give it back, and stops it; a client is still connected then.
fn live_and_end(runtime: &Runtime, settings: BrokerSettings) {
    let broker = runtime.block_on(RunningBroker::start(settings)).unwrap();
    let mut wire = Wire::connect(broker.address());
    assert_eq!(wire.create("tide").code(), 0);
    assert_eq!(wire.produce("tide", batch(&["ebb"])).error_code.code(), 0);
    assert_eq!(wire.fetch("tide", 0).1, ["ebb"]);
    let broker_itself = Arc::downgrade(broker.broker());
    runtime.block_on(broker.stop()).unwrap();
    assert!(wire.read_to_end().is_empty());
    assert_eq!(broker_itself.strong_count(), 0, "somebody still holds the broker");
}

/// Runs many brokers, and holds the process after the last to what it was after the first ones.
fn many(mut settings: impl FnMut() -> (BrokerSettings, Option<tempfile::TempDir>)) {
    let runtime = runtime();
    let mut before = None;
    for count in 0..BROKERS {
        if count == WARM_UP {
            before = Some(Held::now());
        }
        let (settings, dir) = settings();
        live_and_end(&runtime, settings);
        drop(dir);
    }
    let (before, after) = (before.unwrap(), Held::now());
    println!("after {WARM_UP}: {before:?}\nafter {BROKERS}: {after:?}");
    // The pool of threads that may wait breathes by a few; 900 brokers that leak one each do not pass.
    assert!(after.threads <= before.threads + 8, "threads: {before:?}, {after:?}");
    assert!(after.files <= before.files, "files: {before:?}, {after:?}");
    // The allocator's arenas come and go; 900 brokers that leak a map or ten KiB each do not pass.
    assert!(after.maps <= before.maps + 50, "maps: {before:?}, {after:?}");
    assert!(after.resident_kib <= before.resident_kib + 8 * 1024, "memory: {before:?}, {after:?}");
}

#[test]
fn a_thousand_brokers_on_disk_leave_nothing_behind() {
    alone("leaks::a_thousand_brokers_on_disk_leave_nothing_behind", || {
        many(|| {
            let dir = tempfile::tempdir().unwrap();
            (settings(dir.path().to_str().unwrap()), Some(dir))
        });
    });
}

#[test]
fn a_thousand_brokers_in_memory_leave_nothing_behind() {
    alone("leaks::a_thousand_brokers_in_memory_leave_nothing_behind", || {
        many(|| (settings("/data").with_file_system(Arc::new(MemoryFs::new())), None));
    });
}
