//! A quorum of one: the metadata log and its snapshots; what was changed is there again, wherever power is lost.

use super::*;
use crate::common::ids::TopicPartition;
use crate::log::fs::memory::{Fault, choices};
use crate::log::fs::read_file;
use crate::log::{LogConfig, Origin};
use crate::metadata::records::RemoveTopicRecord;
use crate::record::{BatchBuilder, BatchOptions, ControlType, batches as batches_in};

async fn open(fs: &MemoryFs, clock: &Arc<ManualClock>, limits: SnapshotLimits) -> Arc<Controller> {
    start(fs, clock, limits, (&Arc::default(), 1, &[1])).await.unwrap()
}

async fn remove(controller: &Controller, name: &str) {
    let name = name.to_owned();
    let gone = move |image: &Image| RemoveTopicRecord { topic_id: image.topic(&name).unwrap().id };
    controller.propose(move |image| Ok(((), vec![MetadataRecord::RemoveTopic(gone(image))]))).await.unwrap();
}

/// What is due of snapshots is written: all tasks have had their turn.
async fn settled() {
    SystemClock::shared().sleep(Duration::from_millis(1)).await;
}

/// Whatever was done and undone, what is on the disk stays small.
#[tokio::test(start_paused = true)]
async fn the_log_does_not_grow_for_ever() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let controller = open(&fs, &clock, OFTEN).await;
    make(&controller, "stays").await.unwrap();
    for _ in 0..100 {
        make(&controller, "comes").await.unwrap();
        remove(&controller, "comes").await;
    }
    settled().await;
    assert_eq!(files(&fs, ".checkpoint").len(), 1, "{:?}", files(&fs, ""));
    assert!(files(&fs, ".log").len() <= 2 && files(&fs, ".deleted").is_empty(), "{:?}", files(&fs, ""));
    let before = image(&controller);
    controller.close().await.unwrap();
    drop(controller);
    let mut controller = open(&fs, &clock, OFTEN).await;
    assert_eq!(image(&controller), before);
    // And it goes on where it ended, also once all of the log is in the snapshot.
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        make(&controller, name).await.unwrap();
        let before = image(&controller);
        controller.kill().await;
        let crashed = fs.crash(fs.operations(), &mut |_| 0);
        let found = open(&crashed, &clock, OFTEN).await;
        assert_eq!(image(&found), before, "{name}");
        make(&found, "more").await.unwrap();
        assert!(has(&found, "more"));
        found.kill().await;
        controller = open(&fs, &clock, OFTEN).await;
    }
}

/// What a wish waits for may never come: whoever waits for it is told, and nothing holds up the end.
#[tokio::test(start_paused = true)]
async fn a_wish_that_waits_does_not_hold_up_the_end() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let controller = open(&fs, &clock, NEVER).await;
    let turn = controller.core.turn.clone().lock_owned().await;
    let (made, closed) = tokio::join!(
        make(&controller, "late"),
        soon(async {
            settled().await;
            controller.close().await
        })
    );
    assert_eq!(made.unwrap_err().code, ErrorCode::NOT_CONTROLLER);
    closed.unwrap();
    drop((turn, controller));
    let controller = open(&fs, &clock, NEVER).await;
    assert!(!has(&controller, "late"));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_written_when_the_last_one_is_old() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let limits = SnapshotLimits { bytes: u64::MAX, interval_ms: 1000 };
    let controller = open(&fs, &clock, limits).await;
    make(&controller, "tide").await.unwrap();
    controller.snapshot_if_due();
    settled().await;
    assert_eq!(files(&fs, ".checkpoint").len(), 0);
    clock.advance(Duration::from_secs(1));
    controller.snapshot_if_due();
    settled().await;
    let first = files(&fs, ".checkpoint");
    // Voters are two records; then come the blank, the features, the topic.
    assert_eq!(first, ["00000000000000000005-0000000001.checkpoint"]);
    clock.advance(Duration::from_secs(10));
    controller.snapshot_if_due();
    settled().await;
    assert_eq!(files(&fs, ".checkpoint"), first, "nothing came since");
    make(&controller, "ebb").await.unwrap();
    settled().await;
    assert_eq!(files(&fs, ".checkpoint"), ["00000000000000000006-0000000001.checkpoint"]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_has_kafkas_frame_and_says_who_votes() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let controller = open(&fs, &clock, OFTEN).await;
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        make(&controller, name).await.unwrap();
    }
    settled().await;
    let names = files(&fs, ".checkpoint");
    assert_eq!(names.len(), 1, "{names:?}");
    let bytes = read_file(&fs, &Path::new(FOLDER).join(&names[0]), 1 << 20).unwrap().unwrap();
    let (mut kinds, mut next) = (Vec::new(), 0);
    for batch in batches_in(&bytes) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        assert_eq!((batch.base_offset(), batch.partition_leader_epoch()), (next, 1));
        next = batch.next_offset();
        for record in batch.body(1 << 20).unwrap().iter().filter(|_| batch.is_control()) {
            kinds.push(ControlType::from_key(record.unwrap().key.unwrap()).unwrap());
        }
    }
    let (begin, end) = (ControlType::SnapshotHeader, ControlType::SnapshotFooter);
    assert_eq!(kinds, [begin, ControlType::KRaftVersion, ControlType::KRaftVoters, end]);
    let (_, members) = snapshot::decode(&bytes).unwrap().position.unwrap();
    assert_eq!(members.nodes().collect::<Vec<_>>(), [(&1, &voter(1))]);
}

#[tokio::test(start_paused = true)]
async fn power_lost_at_any_write_loses_no_change_that_was_answered() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let controller = open(&fs, &clock, OFTEN).await;
    // How far the disk was when a change was answered, and what there was then.
    let mut story = vec![(fs.operations(), image(&controller))];
    let begin = fs.operations();
    for n in 0..12 {
        match n % 3 {
            2 => remove(&controller, &format!("tide {}", n - 1)).await,
            _ => make(&controller, &format!("tide {n}")).await.unwrap(),
        }
        story.push((fs.operations(), image(&controller)));
    }
    controller.kill().await;
    let mut snapshots = HashSet::new();
    for at in begin..=fs.operations() {
        for seed in 0..2 {
            let crashed = fs.crash(at, &mut choices(seed * 7919 + at as u64));
            let found = open(&crashed, &clock, OFTEN).await;
            let answered = story.iter().rposition(|(operations, _)| *operations <= at).unwrap();
            let now = image(&found);
            let reached = story[answered..].iter().any(|(_, image)| *image == now);
            assert!(reached, "at {at}, seed {seed}: what was answered last is not there");
            snapshots.extend(files(&crashed, ".checkpoint"));
            assert!(files(&crashed, ".part").is_empty());
            // It goes on, and what it says next is there as well.
            make(&found, "last").await.unwrap();
            let after = image(&found);
            found.kill().await;
            let again = open(&crashed, &clock, OFTEN).await;
            assert_eq!(image(&again), after, "at {at}, seed {seed}");
            again.kill().await;
        }
    }
    assert!(snapshots.len() > 3, "{snapshots:?}");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_written_stops_no_change() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let controller = open(&fs, &clock, OFTEN).await;
    // Folders have the names of what would be written.
    for offset in 1..60 {
        let name = snapshot::SnapshotId { offset, epoch: 1 }.name();
        fs.create_dir_all(&Path::new(FOLDER).join(format!("{name}.part"))).unwrap();
    }
    for n in 0..20 {
        make(&controller, &format!("tide {n}")).await.unwrap();
    }
    settled().await;
    let before = image(&controller);
    assert_eq!((before.topics().len(), files(&fs, ".checkpoint").len()), (20, 0));
    controller.kill().await;
    let found = open(&fs.crash(fs.operations(), &mut |_| 0), &clock, OFTEN).await;
    assert_eq!(image(&found), before);
}

/// What an earlier version of ours, or a single Apache Kafka node, left: batches without numbers.
#[tokio::test(start_paused = true)]
async fn a_log_that_knows_no_entries_is_taken_over() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    {
        let dir = LogDir::open(Handles::new(Arc::new(fs.clone()), 64), Path::new("/data"), "1").unwrap();
        let id = TopicPartition::new("__cluster_metadata", 0);
        let mut log = dir.create_log(id, Uuid::METADATA_TOPIC, LogConfig::default(), NOW).unwrap();
        let mut leader = BatchBuilder::new(BatchOptions { control: true, ..BatchOptions::default() });
        control::put(&mut leader, ControlType::LeaderChange, &[0; 9], NOW);
        log.append(leader.build().unwrap(), 4, Origin::Coordinator, NOW).unwrap();
        for name in ["old", "older"] {
            let batch = batches::records_batch(&topic(name), NOW).unwrap();
            log.append(batch, 5, Origin::Coordinator, NOW).unwrap();
        }
        log.close(NOW).unwrap();
    }
    let controller = open(&fs, &clock, NEVER).await;
    assert!(has(&controller, "old") && has(&controller, "older"));
    assert_eq!(files(&fs, ".checkpoint"), ["00000000000000000003-0000000005.checkpoint"]);
    assert_eq!(controller.leader().borrow().epoch, 6, "its terms go on");
    make(&controller, "new").await.unwrap();
    let before = image(&controller);
    controller.kill().await;
    let found = open(&fs.crash(fs.operations(), &mut |_| 0), &clock, NEVER).await;
    assert_eq!(image(&found), before);
    assert_eq!(found.leader().borrow().epoch, 7);
}

#[tokio::test(start_paused = true)]
async fn a_wish_of_another_term_is_nothing() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let controller = open(&fs, &clock, NEVER).await;
    let before = image(&controller);
    let records = topic("late");
    let batch = batches::records_batch(&records, NOW).unwrap();
    let term = controller.core.deciding_term().unwrap();
    let wish = Wish { term: term - 1, records: records.into(), batch };
    let written = controller.core.raft().client_write(wish).await.unwrap();
    assert_eq!(written.data, Outcome::Nothing);
    assert_eq!(image(&controller), before);
    controller.kill().await;
    let found = open(&fs, &clock, NEVER).await;
    assert_eq!(image(&found), before, "neither when it is read again");
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_nobody_waits_for_is_carried_out_whole() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let controller = open(&fs, &clock, NEVER).await;
    for name in ["a", "b"] {
        let wish = make(&controller, name);
        tokio::pin!(wish);
        assert!(futures_util::poll!(wish.as_mut()).is_pending());
    }
    make(&controller, "c").await.unwrap();
    assert!(has(&controller, "a") && has(&controller, "b"));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_no_writes_refuses_wishes_until_it_does() {
    let (fs, clock) = (MemoryFs::new(), ManualClock::new(NOW));
    let controller = open(&fs, &clock, NEVER).await;
    make(&controller, "before").await.unwrap();
    let kind = std::io::ErrorKind::StorageFull;
    fs.fail_at(Some(Fault { at: fs.operations(), kind, stays: true, written: 20 }));
    for _ in 0..3 {
        assert_eq!(make(&controller, "lost").await.unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR);
    }
    fs.fail_at(None);
    make(&controller, "after").await.unwrap();
    let before = image(&controller);
    assert!(before.topic("lost").is_none());
    controller.close().await.unwrap();
    let found = open(&fs, &clock, NEVER).await;
    assert_eq!(image(&found), before);
}
