//! A restart gives the state that was in the log.

use super::*;

#[test]
fn members_live_on_after_a_restart() {
    let mut world = World::new();
    let ids = world.stable("g", 2);
    world.commit("g", &ids[0], 1, "t", 5);
    world.restart();
    assert_eq!((world.state("g"), world.offset("g", "t")), (State::Stable, Some(5)));
    assert_eq!(world.heartbeat("g", &ids[0], 1), ErrorCode::NONE);
    let token = world.send_sync("g", &ids[1], 1, &[]);
    assert_eq!(world.synced(token).assignment, ids[1].as_bytes());
    assert!(world.shard.group("g").unwrap().is_subscribed_to("t"));
    world.wait(i64::from(SESSION) - 1);
    world.heartbeat("g", &ids[0], 1);
    world.wait(1);
    assert_eq!(world.heartbeat("g", &ids[1], 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_group_that_is_too_large_after_a_restart_sheds_members() {
    let mut world = World::new();
    let ids = world.stable("g", 3);
    world.shard.config.max_size = 2;
    world.restart();
    assert_eq!(world.state("g"), State::PreparingRebalance);
    let tokens: Vec<_> = ids.iter().map(|id| world.rejoin("g", id)).collect();
    let errors: Vec<_> = tokens.iter().map(|token| world.joined(*token).error).collect();
    assert_eq!(errors, [ErrorCode::NONE, ErrorCode::NONE, ErrorCode::GROUP_MAX_SIZE_REACHED]);
}

#[test]
fn records_of_other_kinds_are_skipped_and_damaged_ones_told() {
    let mut shard = GroupShard::new(config());
    // A consumer group's metadata, as Apache Kafka writes it.
    shard.replay(Bytes::from_static(b"\0\x03\0\x01g"), Some(Bytes::from_static(b"\0\0\0\0\0\x01"))).unwrap();
    let short = shard.replay(Bytes::from_static(b"\0"), None).unwrap_err();
    assert_eq!(short.to_string(), "a record's key has 1 bytes: it must begin with a type of two");
    assert!(shard.replay(Bytes::from_static(b"\0\x02\0\x09g"), None).is_err());
    assert!(shard.replay(Bytes::from_static(b"\0\x02\0\x01g"), Some(Bytes::from_static(b"\0\x63"))).is_err());
    assert_eq!(shard.replay_count(), ReplayCount { applied: 0, skipped: 1, damaged: 3 });
}

#[test]
fn records_have_the_bytes_that_kafka_writes() {
    let value = CommittedOffset {
        offset: 7,
        leader_epoch: 2,
        metadata: "m".to_owned(),
        commit_timestamp: 9,
        expire_timestamp: None,
        topic_id: Uuid::ZERO,
    };
    let (key, bytes) = Record::offset("g", "t", 1, Some(value.clone())).encode().unwrap();
    assert_eq!(key, &b"\0\x01\0\x01g\0\x01t\0\0\0\x01"[..]);
    assert_eq!(bytes.unwrap(), &b"\0\x04\0\0\0\0\0\0\0\x07\0\0\0\x02\x02m\0\0\0\0\0\0\0\x09\0"[..]);
    let expiring = CommittedOffset { expire_timestamp: Some(11), leader_epoch: -1, ..value };
    let (_, bytes) = Record::offset("g", "t", 1, Some(expiring)).encode().unwrap();
    assert_eq!(bytes.unwrap(), &b"\0\x01\0\0\0\0\0\0\0\x07\0\x01m\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x0b"[..]);
    let mut world = World::new();
    let request = world.request("g", "");
    world.send_join(request);
    let (key, value) = world.log[0].clone();
    assert_eq!(key, &b"\0\x02\0\x01g"[..]);
    assert_eq!(value.unwrap(), &b"\0\x03\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\x03\xe8\0\0\0\0"[..]);
}

#[test]
fn records_of_old_versions_are_read() {
    let mut shard = GroupShard::new(config());
    // An offset of version 0 under the legacy key, and a group of version 0 whose member has one timeout.
    let key = Bytes::from_static(b"\0\0\0\x01g\0\x01t\0\0\0\0");
    shard.replay(key, Some(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\0\0\x01"))).unwrap();
    let group =
        b"\0\0\0\x08consumer\0\0\0\x04\0\x05range\0\x01m\0\0\0\x01\0\x01m\0\x01c\0\x01h\0\0\x27\x10\0\0\0\0\0\0\0\0";
    shard.replay(Bytes::from_static(b"\0\x02\0\x01g"), Some(Bytes::from_static(group))).unwrap();
    let group = shard.group("g").unwrap();
    assert_eq!((group.generation_id(), group.state(), group.state_since()), (4, State::Stable, None));
    assert_eq!(group.members()["m"].rebalance_timeout_ms, 10_000);
    assert_eq!(shard.size(), (1, 1));
}
