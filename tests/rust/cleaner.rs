//! The log cleaner at work in a whole broker: on a disk in memory, by a clock that the test moves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;

use strandline::cluster::{BrokerSettings, RunningBroker};
use strandline::common::clock::{Clock, ManualClock};
use strandline::log::checkpoint;
use strandline::log::fs::memory::{MemoryFs, choices};
use strandline::log::fs::{FileSystem, read_file};
use strandline::protocol::ErrorCode;
use strandline::protocol::messages::delete_topics::DeleteTopicsRequest;
use strandline::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use strandline::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use strandline::protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use strandline::record::{BatchBuilder, BatchOptions, batches};

use crate::wire::Wire;

const NOW: i64 = 1_700_000_000_000;
/// A compacted topic whose segments end after a second.
const COMPACT: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.ms", "1000"), ("min.cleanable.dirty.ratio", "0.01")];

/// Key, value ("" for none) and offset.
type Rows = Vec<(String, String, i64)>;

/// A broker, its disk and its clock.
struct Shore {
    runtime: Runtime,
    fs: MemoryFs,
    clock: Arc<ManualClock>,
    extra: Vec<(&'static str, &'static str)>,
    broker: Option<RunningBroker>,
}

impl Shore {
    fn new(extra: &[(&'static str, &'static str)]) -> Shore {
        Shore::on(MemoryFs::new(), NOW, extra)
    }

    fn on(fs: MemoryFs, now: i64, extra: &[(&'static str, &'static str)]) -> Shore {
        let (runtime, clock) = (Runtime::new().unwrap(), ManualClock::new(now));
        let mut shore = Shore { runtime, fs, clock, extra: extra.to_vec(), broker: None };
        shore.start();
        shore
    }

    fn start(&mut self) {
        let mut settings = BrokerSettings::new().with_file_system(Arc::new(self.fs.clone()));
        settings = settings.with_clock(self.clock.clone());
        settings.set("listeners", "PLAINTEXT://127.0.0.1:0");
        settings.set("log.dirs", "/data");
        self.extra.iter().for_each(|(key, value)| settings.set(key, value));
        self.broker = Some(self.runtime.block_on(RunningBroker::start(settings)).unwrap());
    }

    fn stop(&mut self) {
        let broker = self.broker.take().unwrap();
        self.runtime.block_on(broker.stop()).unwrap();
    }

    fn wire(&self) -> Wire {
        Wire::connect(self.broker.as_ref().unwrap().address())
    }

    /// Moves the clock on and waits until all that this woke is done and waits again.
    fn advance(&self, ms: u64) {
        self.fs.set_now(self.clock.now() + ms as i64);
        self.runtime.block_on(self.clock.pass(Duration::from_millis(ms)));
    }

    /// Up to where a partition is compacted, as it is written down.
    fn cleaned_to(&self, topic: &str) -> Option<i64> {
        let offsets = checkpoint::read(&self.fs, Path::new("/data"), checkpoint::CLEANER).unwrap();
        offsets.iter().find(|(id, _)| id.topic == topic).map(|(_, offset)| *offset)
    }

    /// Lets the cleaner begin its round and waits until it has written down `offset`.
    fn clean(&self, topic: &str, offset: i64) {
        self.advance(15_000);
        until(&format!("{topic} is compacted up to {offset}"), || self.cleaned_to(topic) == Some(offset));
    }

    fn files(&self, folder: &str, suffix: &str) -> Vec<String> {
        let entries = self.fs.list(Path::new(folder)).unwrap();
        let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        names.retain(|name| name.ends_with(suffix));
        names.sort_unstable();
        names
    }

    fn send(&self, wire: &mut Wire, topic: &str, pairs: &[(&str, &str)]) {
        let produced = wire.produce(topic, keyed(self.clock.now(), pairs));
        assert_eq!(produced.error_code, ErrorCode::NONE, "{:?}", produced.error_message);
    }

    /// Three closed segments of two records each, and one that grows.
    fn fill(&self, wire: &mut Wire, topic: &str) {
        for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
            self.send(wire, topic, &[(key, value), ("d", value)]);
            self.advance(2_000);
        }
    }
}

/// Waits for an event that other threads bring about.
fn until(what: &str, happened: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(Instant::now() < patience, "it never came that {what}");
        std::thread::yield_now();
    }
}

fn keyed(now: i64, pairs: &[(&str, &str)]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for (key, value) in pairs {
        let value = Some(value.as_bytes()).filter(|value| !value.is_empty());
        builder.append(now, Some(key.as_bytes()), value, std::iter::empty());
    }
    builder.build().unwrap()
}

/// All records of partition 0.
fn rows(wire: &mut Wire, topic: &str) -> Rows {
    rows_from(wire, topic, 0)
}

fn rows_from(wire: &mut Wire, topic: &str, mut offset: i64) -> Rows {
    let mut rows = Rows::new();
    loop {
        let partitions =
            vec![FetchPartition { fetch_offset: offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() }];
        let topics = vec![FetchTopic { topic: topic.into(), partitions, ..FetchTopic::default() }];
        let request = FetchRequest { max_wait_ms: 0, topics, ..FetchRequest::default() };
        let read = wire.call(&request, 12).unwrap().responses.remove(0).partitions.remove(0);
        assert_eq!(read.error_code, ErrorCode::NONE);
        let records = read.records.unwrap_or_default();
        if records.is_empty() {
            return rows;
        }
        for batch in batches(&records) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            for record in batch.body(1 << 20).unwrap().iter() {
                let record = record.unwrap();
                let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or(b"").to_vec()).unwrap();
                rows.push((text(record.key), text(record.value), record.offset));
            }
            offset = batch.next_offset();
        }
    }
}

fn row(key: &str, value: &str, offset: i64) -> (String, String, i64) {
    (key.to_owned(), value.to_owned(), offset)
}

/// The last value of each key.
fn latest(rows: &Rows) -> BTreeMap<String, String> {
    rows.iter().map(|(key, value, _)| (key.clone(), value.clone())).collect()
}

#[test]
fn the_last_record_of_each_key_stays_also_after_a_restart() {
    let mut shore = Shore::new(&[]);
    let mut wire = shore.wire();
    wire.create_with("tide", &COMPACT);
    shore.fill(&mut wire, "tide");
    assert_eq!(rows(&mut wire, "tide").len(), 8);
    shore.clean("tide", 6);
    // The segment that grows is not touched, and its records do not count.
    let kept = vec![row("b", "1", 2), row("a", "2", 4), row("d", "2", 5), row("c", "1", 6), row("d", "1", 7)];
    assert_eq!(rows(&mut wire, "tide"), kept);
    assert_eq!(shore.files("/data/tide-0", ".log"), ["00000000000000000000.log", "00000000000000000006.log"]);

    // The files that were replaced go after their delay, what belonged to them too.
    assert!(!shore.files("/data/tide-0", ".deleted").is_empty());
    shore.advance(61_000);
    until("removed files are unlinked", || shore.files("/data/tide-0", ".deleted").is_empty());
    until("their snapshots too", || shore.files("/data/tide-0", ".snapshot").len() == 1);

    shore.stop();
    assert_eq!(shore.cleaned_to("tide"), Some(6));
    shore.start();
    let mut wire = shore.wire();
    assert_eq!(rows(&mut wire, "tide"), kept);
    // What is compacted is known: only what came since is dirty.
    shore.send(&mut wire, "tide", &[("b", "3")]);
    shore.advance(2_000);
    shore.send(&mut wire, "tide", &[("e", "1")]);
    shore.clean("tide", 9);
    let kept = vec![row("a", "2", 4), row("c", "1", 6), row("d", "1", 7), row("b", "3", 8), row("e", "1", 9)];
    assert_eq!(rows(&mut wire, "tide"), kept);
    shore.stop();
}

#[test]
fn a_log_that_nobody_has_asked_for_is_compacted_too() {
    let mut shore = Shore::new(&[("log.cleaner.enable", "false")]);
    let mut wire = shore.wire();
    wire.create_with("tide", &COMPACT);
    wire.create_with("still", &COMPACT);
    shore.send(&mut wire, "still", &[("a", "1")]);
    shore.fill(&mut wire, "tide");
    shore.advance(15_000);
    shore.advance(15_000);
    assert_eq!((shore.cleaned_to("tide"), rows(&mut wire, "tide").len()), (None, 8), "log.cleaner.enable is false");
    shore.stop();
    shore.extra.clear();
    shore.start();
    shore.clean("tide", 6);
    assert_eq!(rows(&mut shore.wire(), "tide").len(), 5);
    assert_eq!(shore.cleaned_to("still"), None);
    shore.stop();
}

#[test]
fn a_tombstone_goes_after_delete_retention_ms() {
    let mut shore = Shore::new(&[]);
    let mut wire = shore.wire();
    wire.create_with("tide", &[&COMPACT[..], &[("delete.retention.ms", "60000")]].concat());
    for pairs in [[("gone", "1"), ("stays", "1")], [("gone", ""), ("other", "1")], [("x", "1"), ("y", "1")]] {
        shore.send(&mut wire, "tide", &pairs);
        shore.advance(2_000);
    }
    shore.clean("tide", 4);
    let is_there = |wire: &mut Wire| rows(wire, "tide").contains(&row("gone", "", 2));
    assert!(is_there(&mut wire), "who reads must have time to see it");
    shore.advance(30_000);
    shore.send(&mut wire, "tide", &[("x", "2"), ("y", "2")]);
    shore.clean("tide", 6);
    assert!(is_there(&mut wire));
    shore.advance(60_000);
    shore.send(&mut wire, "tide", &[("x", "3"), ("y", "3")]);
    shore.clean("tide", 8);
    let kept = [row("stays", "1", 1), row("other", "1", 3), row("x", "3", 8), row("y", "3", 9)];
    // What is behind offset 8 was not compacted.
    assert_eq!(rows(&mut wire, "tide").into_iter().filter(|row| !(6..8).contains(&row.2)).collect::<Rows>(), kept);
    shore.stop();
}

#[test]
fn the_lags_hold_records_back_and_hurry_them_on() {
    let mut shore = Shore::new(&[]);
    let mut wire = shore.wire();
    wire.create_with("young", &[&COMPACT[..], &[("min.compaction.lag.ms", "60000")]].concat());
    // Neither a segment's age nor the dirty part alone would ever do.
    let old = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "1.0"), ("max.compaction.lag.ms", "20000")];
    wire.create_with("old", &old);
    shore.fill(&mut wire, "young");
    shore.send(&mut wire, "old", &[("a", "1"), ("a", "2")]);
    shore.advance(15_000);
    shore.advance(15_000);
    assert_eq!((shore.cleaned_to("young"), shore.cleaned_to("old")), (None, None));
    // The segment is too old to grow on, and once it is closed it is too old to wait.
    shore.send(&mut wire, "old", &[("a", "3")]);
    shore.clean("old", 2);
    assert_eq!(rows(&mut wire, "old"), [row("a", "2", 1), row("a", "3", 2)]);
    assert_eq!(shore.cleaned_to("young"), None);
    shore.advance(30_000);
    shore.clean("young", 6);
    shore.stop();
}

#[test]
fn a_log_that_is_compacted_and_deleted_is_both() {
    let mut shore = Shore::new(&[("log.retention.check.interval.ms", "100000")]);
    let mut wire = shore.wire();
    let both = [
        ("cleanup.policy", "compact,delete"),
        ("segment.ms", "1000"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("retention.ms", "90000"),
    ];
    wire.create_with("tide", &both);
    shore.fill(&mut wire, "tide");
    shore.clean("tide", 6);
    assert_eq!(rows(&mut wire, "tide").len(), 5);
    shore.advance(70_000);
    shore.send(&mut wire, "tide", &[("late", "1")]);
    shore.advance(30_000);
    until("what is old is deleted", || shore.wire().fetch("tide", 7).0 == ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(rows_from(&mut wire, "tide", 8), [row("late", "1", 8)]);
    shore.stop();
}

#[test]
fn offsets_that_groups_commit_again_and_again_do_not_pile_up() {
    let extra = [("offsets.topic.num.partitions", "1"), ("offsets.topic.segment.bytes", "1048576")];
    let mut shore = Shore::new(&extra);
    let mut wire = shore.wire();
    wire.create("tide");
    let note = "n".repeat(4_000);
    for offset in 0..800 {
        let partitions = vec![OffsetCommitRequestPartition {
            committed_offset: offset,
            committed_metadata: Some(note.as_str().into()),
            ..OffsetCommitRequestPartition::default()
        }];
        let topics = vec![OffsetCommitRequestTopic { name: "tide".into(), partitions, ..Default::default() }];
        let request = OffsetCommitRequest { group_id: "gulls".into(), topics, ..OffsetCommitRequest::default() };
        let told = wire.call(&request, 8).unwrap();
        assert_eq!(told.topics[0].partitions[0].error_code, ErrorCode::NONE);
    }
    let folder = "/data/__consumer_offsets-0";
    let size = || -> u64 {
        let of = |name: &String| shore.fs.stat(&Path::new(folder).join(name)).unwrap().map_or(0, |stat| stat.len);
        shore.files(folder, ".log").iter().map(of).sum()
    };
    let before = size();
    assert!(before > 3 << 20, "{before}");
    shore.advance(15_000);
    until("the offsets are compacted", || shore.cleaned_to("__consumer_offsets").is_some());
    assert!(size() < before / 2, "{} of {before} bytes are left", size());
    shore.stop();
    shore.start();
    let topics = Some(vec![OffsetFetchRequestTopic { name: "tide".into(), partition_indexes: vec![0] }]);
    let request = OffsetFetchRequest { group_id: "gulls".into(), topics, ..OffsetFetchRequest::default() };
    let told = shore.wire().call(&request, 7).unwrap();
    assert_eq!(told.topics[0].partitions[0].committed_offset, 799);
    shore.stop();
}

#[test]
fn a_topic_that_is_made_again_is_not_taken_for_compacted() {
    let mut shore = Shore::new(&[]);
    let mut wire = shore.wire();
    wire.create_with("tide", &COMPACT);
    shore.fill(&mut wire, "tide");
    shore.clean("tide", 6);
    let request = DeleteTopicsRequest { topic_names: vec!["tide".into()], ..DeleteTopicsRequest::default() };
    assert_eq!(wire.call(&request, 5).unwrap().responses[0].error_code, ErrorCode::NONE);
    let text = read_file(&shore.fs, &Path::new("/data").join(checkpoint::CLEANER), 100).unwrap().unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "0\n0\n");
    assert_eq!(wire.create_with("tide", &COMPACT), ErrorCode::NONE);
    shore.fill(&mut wire, "tide");
    shore.clean("tide", 6);
    assert_eq!(rows(&mut wire, "tide").len(), 5);
    shore.stop();
}

#[test]
fn a_damaged_log_is_set_aside_and_the_others_are_compacted() {
    let mut shore = Shore::new(&[]);
    let mut wire = shore.wire();
    wire.create_with("ebb", &COMPACT);
    wire.create_with("flow", &COMPACT);
    shore.fill(&mut wire, "ebb");
    // Before the first round, which is due while the other is filled.
    shore.fs.damage(Path::new("/data/ebb-0/00000000000000000002.log"), 70);
    shore.fill(&mut wire, "flow");
    shore.clean("flow", 6);
    assert_eq!(shore.cleaned_to("ebb"), None);
    assert!(shore.files("/data/ebb-0", ".cleaned").is_empty());
    // What is whole of it is still served, and it takes new records.
    shore.send(&mut wire, "ebb", &[("a", "9")]);
    assert_eq!(wire.fetch("ebb", 8), (ErrorCode::NONE, vec!["9".to_owned()]));
    shore.stop();
}

#[test]
fn power_lost_while_the_cleaner_works_loses_no_key() {
    let mut shore = Shore::new(&[]);
    let mut wire = shore.wire();
    wire.create_with("tide", &COMPACT);
    shore.fill(&mut wire, "tide");
    let all = rows(&mut wire, "tide");
    let begin = shore.fs.operations();
    shore.clean("tide", 6);
    let end = shore.fs.operations();
    assert!(end > begin + 10);
    let now = shore.clock.now();
    let (mut early, mut late) = (0, 0);
    for at in begin..=end {
        let image = shore.fs.crash(at, &mut choices(at as u64));
        let mut after = Shore::on(image, now, &[]);
        let found = rows(&mut after.wire(), "tide");
        // The segment that grew was never synced: it may be gone, and of the others nothing.
        let whole: Rows = all[..if found.last().is_some_and(|row| row.2 == 7) { 8 } else { 6 }].to_vec();
        assert_eq!(latest(&found), latest(&whole), "at {at}: {found:?}");
        assert!(found.iter().all(|row| all.contains(row)), "at {at}: {found:?}");
        let compacted = !found.contains(&row("a", "1", 0));
        (early, late) = (early + usize::from(!compacted), late + usize::from(compacted));
        // And it is compacted after all.
        let mut wire = after.wire();
        after.send(&mut wire, "tide", &[("a", "last")]);
        after.advance(2_000);
        after.send(&mut wire, "tide", &[("z", "last")]);
        after.advance(15_000);
        until("the rest is compacted", || after.cleaned_to("tide").is_some_and(|offset| offset > 6));
        let found = rows(&mut wire, "tide");
        assert_eq!(found.iter().filter(|row| row.0 == "a").count(), 1, "at {at}: {found:?}");
        after.stop();
    }
    assert!(early > 3 && late > 0, "{early} before the swap, {late} after it");
    shore.stop();
}
