//! The metadata log and its snapshots: what was changed is there again, wherever power is lost.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::common::clock::ManualClock;
use crate::common::ids::Uuid;
use crate::log::Handles;
use crate::log::fs::memory::{MemoryFs, choices};
use crate::log::fs::{FileSystem, read_file};
use crate::metadata::plan;
use crate::metadata::records::{RemoveTopicRecord, TopicRecord};
use crate::protocol::Str;
use crate::record::{ControlType, batches};

const NOW: i64 = 1_700_000_000_000;
const FOLDER: &str = "/data/__cluster_metadata-0";
const OFTEN: SnapshotLimits = SnapshotLimits { bytes: 400, interval_ms: 0 };

/// A controller; its log dir is let go, as nobody else wants it here.
fn open(fs: &MemoryFs, clock: &Arc<ManualClock>, limits: SnapshotLimits) -> Controller {
    let dir = LogDir::open(Handles::new(Arc::new(fs.clone()), 64), Path::new("/data"), "1").unwrap();
    Controller::open(&dir, clock.clone(), true, limits, plan::bootstrap).unwrap()
}

fn make(controller: &Controller, name: &str) {
    let record = TopicRecord { name: Str::from(name), topic_id: Uuid::random() };
    futures_util::FutureExt::now_or_never(controller.propose(|_| Ok(((), vec![MetadataRecord::Topic(record)])))).unwrap().unwrap();
}

fn remove(controller: &Controller, name: &str) {
    let gone = |image: &Image| RemoveTopicRecord { topic_id: image.topic(name).unwrap().id };
    futures_util::FutureExt::now_or_never(controller.propose(|image| Ok(((), vec![MetadataRecord::RemoveTopic(gone(image))])))).unwrap().unwrap();
}

fn image(controller: &Controller) -> Image {
    controller.read(Image::clone)
}

fn files(fs: &MemoryFs, suffix: &str) -> Vec<String> {
    let names = fs.list(Path::new(FOLDER)).unwrap().into_iter().map(|entry| entry.name);
    let mut names: Vec<String> = names.filter(|name| name.ends_with(suffix)).collect();
    names.sort_unstable();
    names
}

/// Whatever was done and undone, what is on the disk stays small.
#[test]
fn the_log_does_not_grow_for_ever() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let controller = open(&fs, &clock, OFTEN);
    make(&controller, "stays");
    for _ in 0..100 {
        make(&controller, "comes");
        remove(&controller, "comes");
    }
    assert_eq!(files(&fs, ".checkpoint").len(), 1, "{:?}", files(&fs, ""));
    assert!(files(&fs, ".log").len() <= 1 && files(&fs, ".deleted").is_empty());
    let before = image(&controller);
    controller.close().unwrap();
    drop(controller);
    let controller = open(&fs, &clock, OFTEN);
    assert_eq!(image(&controller), before);
    // And it goes on where it ended, also once all of the log is in the snapshot.
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        make(&controller, name);
        let (before, controller) = (image(&controller), open(&fs.crash(fs.operations(), &mut |_| 0), &clock, OFTEN));
        assert_eq!(image(&controller), before, "{name}");
        make(&controller, "more");
        assert!(image(&controller).topic("more").is_some());
    }
}

#[test]
fn a_snapshot_is_written_when_the_last_one_is_old() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let limits = SnapshotLimits { bytes: u64::MAX, interval_ms: 1000 };
    let controller = open(&fs, &clock, limits);
    make(&controller, "tide");
    controller.snapshot_if_due();
    assert_eq!(files(&fs, ".checkpoint").len(), 0);
    clock.advance(std::time::Duration::from_secs(1));
    controller.snapshot_if_due();
    let first = files(&fs, ".checkpoint");
    assert_eq!(first, ["00000000000000000002-0000000001.checkpoint"]);
    clock.advance(std::time::Duration::from_secs(10));
    controller.snapshot_if_due();
    assert_eq!(files(&fs, ".checkpoint"), first, "nothing came since");
    make(&controller, "ebb");
    assert_eq!(files(&fs, ".checkpoint"), ["00000000000000000003-0000000001.checkpoint"]);
}

#[test]
fn a_snapshot_has_kafkas_frame_and_hands_its_quorum_on() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    fs.create_dir_all(Path::new(FOLDER)).unwrap();
    let voters: (&[u8], &[u8]) = (&[0, 0, 0, 6], b"the voters");
    let id = snapshot::SnapshotId { offset: 0, epoch: 0 };
    let mut quorum = snapshot::Quorum::default();
    quorum.put(voters.0, b"the voters of before");
    quorum.put(voters.0, voters.1);
    let bytes = snapshot::encode(id, &plan::bootstrap(), &quorum, NOW).unwrap();
    snapshot::write(&fs, Path::new(FOLDER), id, &bytes).unwrap();

    let controller = open(&fs, &clock, OFTEN);
    assert_eq!(image(&controller).features().len(), 1);
    ["a", "b", "c", "d", "e", "f", "g"].iter().for_each(|name| make(&controller, name));
    let names = files(&fs, ".checkpoint");
    assert!(names.len() == 1 && names[0] != id.name(), "{names:?}");
    let bytes = read_file(&fs, &Path::new(FOLDER).join(&names[0]), 1 << 20).unwrap().unwrap();
    let (mut kinds, mut next, mut handed_on) = (Vec::new(), 0, Vec::new());
    for batch in batches(&bytes) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        assert_eq!((batch.base_offset(), batch.partition_leader_epoch()), (next, 1));
        next = batch.next_offset();
        for record in batch.body(1 << 20).unwrap().iter() {
            let record = record.unwrap();
            if batch.is_control() {
                kinds.push(ControlType::from_key(record.key.unwrap()).unwrap());
                handed_on.push(record.value.unwrap().to_vec());
            }
        }
    }
    assert_eq!(kinds, [ControlType::SnapshotHeader, ControlType::KRaftVoters, ControlType::SnapshotFooter]);
    assert_eq!(handed_on[1], voters.1);
}

#[test]
fn power_lost_at_any_write_loses_no_change_that_was_answered() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let controller = open(&fs, &clock, OFTEN);
    // How far the disk was when a change was answered, and what there was then.
    let mut story = vec![(fs.operations(), image(&controller))];
    let begin = fs.operations();
    for n in 0..24 {
        match n % 3 {
            2 => remove(&controller, &format!("tide {}", n - 1)),
            _ => make(&controller, &format!("tide {n}")),
        }
        story.push((fs.operations(), image(&controller)));
    }
    let mut snapshots = std::collections::BTreeSet::new();
    for at in begin..=fs.operations() {
        for seed in 0..3 {
            let crashed = fs.crash(at, &mut choices(seed * 7919 + at as u64));
            let found = open(&crashed, &clock, OFTEN);
            let answered = story.iter().rposition(|(operations, _)| *operations <= at).unwrap();
            let now = image(&found);
            let reached = story[answered..].iter().any(|(_, image)| *image == now);
            assert!(reached, "at {at}, seed {seed}: what was answered last is not there");
            snapshots.extend(files(&crashed, ".checkpoint"));
            assert!(files(&crashed, ".part").is_empty());
            // It goes on, and what it says next is there as well.
            make(&found, "last");
            let after = image(&found);
            drop(found);
            assert_eq!(image(&open(&crashed, &clock, OFTEN)), after, "at {at}, seed {seed}");
        }
    }
    assert!(snapshots.len() > 4, "{snapshots:?}");
}

#[test]
fn a_snapshot_that_cannot_be_written_stops_no_change() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let controller = open(&fs, &clock, OFTEN);
    // Folders have the names of what would be written.
    for offset in 1..40 {
        let name = snapshot::SnapshotId { offset, epoch: 1 }.name();
        fs.create_dir_all(&Path::new(FOLDER).join(format!("{name}.part"))).unwrap();
    }
    for n in 0..20 {
        make(&controller, &format!("tide {n}"));
    }
    let before = image(&controller);
    assert_eq!((before.topics().len(), files(&fs, ".checkpoint").len()), (20, 0));
    assert_eq!(image(&open(&fs.crash(fs.operations(), &mut |_| 0), &clock, OFTEN)), before);
}
