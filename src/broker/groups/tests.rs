//! Shards over a partition of `__consumer_offsets` on a disk in memory; who follows it is a call.

use std::path::Path;

use super::*;
use crate::common::clock::ManualClock;
use crate::common::ids::{Offset, TopicPartition, Uuid};
use crate::coordinator::groups::offsets::{CommitPartition, CommitRequest, CommitTopic, FetchTopics};
use crate::log::fs::memory::MemoryFs;
use crate::log::{Handles, LogConfig, LogDir};
use crate::replica::{PartitionSpec, ReplicaManager, Throttled};

const NOW: Timestamp = 1_700_000_000_000;

/// The partition on broker 1, of which broker 2 has a replica too.
fn spec(leader: i32, epoch: LeaderEpoch) -> PartitionSpec {
    PartitionSpec {
        id: TopicPartition::new(OFFSETS_TOPIC, 0),
        topic_id: Uuid([7; 16]),
        local: 1,
        leader,
        leader_epoch: epoch,
        partition_epoch: epoch,
        replicas: vec![1, 2],
        isr: vec![1, 2],
        config: LogConfig::default(),
        min_in_sync_replicas: 1,
        throttled: Throttled::default(),
    }
}

fn partition() -> Arc<Partition> {
    let dir = LogDir::open(Handles::new(Arc::new(MemoryFs::new()), 8), Path::new("/data"), "test").unwrap();
    let manager = ReplicaManager::new(dir, ManualClock::new(NOW)).unwrap();
    manager.open_blocking(spec(1, 0)).unwrap()
}

fn groups() -> GroupShard {
    let none: [(&str, &str); 0] = [];
    GroupShard::new(GroupConfig::new(&crate::config::Values::broker(none).unwrap().0))
}

fn commit(offset: Offset) -> CommitRequest {
    let partition = CommitPartition { partition: 0, offset, leader_epoch: -1, metadata: None };
    CommitRequest {
        group_id: "pilots".into(),
        generation_id: -1,
        member_id: String::new(),
        group_instance_id: None,
        retention_time_ms: -1,
        topics: vec![CommitTopic { name: "flights".into(), topic_id: Uuid::ZERO, partitions: vec![partition] }],
    }
}

/// What the group has committed.
fn committed(groups: &GroupShard) -> Option<Offset> {
    let fetched = groups.fetch_offsets("pilots", &FetchTopics::All);
    fetched.first().and_then(|(_, partitions)| partitions[0].1.as_ref()).map(|committed| committed.offset)
}

fn shard(partition: &Arc<Partition>) -> Arc<Shard> {
    let state = State { groups: groups(), waiting: HashMap::new(), unreplicated: 0, turn: None };
    Arc::new(Shard {
        state: Mutex::new(state),
        partition: partition.clone(),
        epoch: 0,
        resigned: Shutdown::new(),
        written: mpsc::unbounded_channel().0,
        clock: ManualClock::new(NOW),
        deadline: Notify::new(),
    })
}

#[test]
fn what_was_committed_last_is_loaded_though_the_high_watermark_is_not_known_yet() {
    let partition = partition();
    shard(&partition).step(NOW, |groups, now| groups.commit(ReplyToken(1), commit(42), now));
    assert_eq!((partition.high_watermark(), partition.log_end_offset()), (0, 1));
    let mut next = groups();
    load(&partition, 0, &mut next).unwrap();
    assert_eq!(committed(&next), Some(42));
}

#[test]
fn nothing_is_loaded_of_a_partition_that_is_not_led_in_that_epoch_yet() {
    let partition = partition();
    let load = |epoch| load(&partition, epoch, &mut groups());
    assert!(matches!(load(1), Err(LoadError::NotLed(1))));
    partition.apply(&spec(2, 1), Duration::ZERO);
    assert!(matches!(load(1), Err(LoadError::NotLed(1))));
    partition.apply(&spec(1, 2), Duration::ZERO);
    assert!(matches!(load(1), Err(LoadError::NotLed(1))));
    load(2).unwrap();
}

#[test]
fn a_shard_that_was_let_go_writes_nothing_behind_the_one_that_is_loaded_next() {
    let partition = partition();
    let shard = shard(&partition);
    shard.resign();
    let (sender, mut reply) = oneshot::channel();
    shard.run(NOW, |state, now| {
        state.waiting.insert(ReplyToken(1), sender);
        state.groups.commit(ReplyToken(1), commit(42), now)
    });
    let Reply::Commit(reply) = reply.try_recv().unwrap() else { panic!("another reply") };
    assert_eq!(reply.topics[0].1, [(0, ErrorCode::NOT_COORDINATOR)]);
    assert_eq!(partition.log_end_offset(), 0);
}
