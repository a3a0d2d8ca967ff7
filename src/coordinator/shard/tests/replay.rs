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

/// What Apache Kafka 4.3.1 wrote for two groups of its console consumer: `h`, which joined, committed and left, and `g`,
/// with a static member that is still there. Key and value of each record, in hexadecimal.
const WRITTEN_BY_KAFKA: &[(&str, &str)] = &[
    ("0002000168", "0003000000000000ffffffff000001a20a54e79400000000"),
    (
        "0002000168",
        "00030008636f6e73756d657200000001000572616e67650035636f6e736f6c652d636f6e73756d65722d36333461666466652d32\
         3764372d343238362d623333312d366462383430393065383262000001a20a54e7b7000000010035636f6e736f6c652d636f6e73\
         756d65722d36333461666466652d323764372d343238362d623333312d366462383430393065383262ffff0010636f6e736f6c65\
         2d636f6e73756d6572000a2f3132372e302e302e31000493e00000afc800000017000300000001000174ffffffff00000000ffff\
         ffffffff000000150003000000010001740000000100000000ffffffff",
    ),
    (
        "000100016800017400000000",
        "00040000000000000005ffffffff01000001a20a54e9d001001068a3d581e0b84908a1c04441a29dabf0",
    ),
    ("0002000168", "00030008636f6e73756d657200000002ffffffff000001a20a54e9de00000000"),
    ("0002000167", "0003000000000000ffffffff000001a20a54d25f00000000"),
    (
        "0002000167",
        "00030008636f6e73756d657200000001000572616e676500286f6e652d61666335623963322d333239612d343739332d38646465\
         2d303133333436393562643734000001a20a54d2db0000000100286f6e652d61666335623963322d333239612d343739332d3864\
         64652d30313333343639356264373400036f6e650010636f6e736f6c652d636f6e73756d6572000a2f3132372e302e302e310004\
         93e00000afc800000017000300000001000174ffffffff00000000ffffffffffff00000015000300000001000174000000010000\
         0000ffffffff",
    ),
    (
        "000100016700017400000000",
        "0004000000000000000affffffff01000001a20a54d5ed01001068a3d581e0b84908a1c04441a29dabf0",
    ),
];

fn bytes_of(hex: &str) -> Bytes {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn groups_that_kafka_wrote_are_read_and_written_again_byte_for_byte() {
    let mut shard = GroupShard::new(config());
    for (key, value) in WRITTEN_BY_KAFKA {
        let (key, value) = (bytes_of(key), Some(bytes_of(value)));
        let record = Record::decode(key.clone(), value.clone()).unwrap().unwrap();
        assert_eq!(record.encode().unwrap(), (key.clone(), value.clone()));
        shard.replay(key, value).unwrap();
    }
    let (left, there) = (shard.group("h").unwrap(), shard.group("g").unwrap());
    assert_eq!((left.state(), left.generation_id(), left.protocol_type()), (State::Empty, 2, Some("consumer")));
    assert_eq!((there.state(), there.generation_id(), there.protocol_name()), (State::Stable, 1, Some("range")));
    let member = there.members().values().next().unwrap();
    assert_eq!((member.group_instance_id.as_deref(), member.session_timeout_ms), (Some("one"), 45_000));
    assert!(there.is_subscribed_to("t") && !there.is_subscribed_to("u"));
    let topics = FetchTopics::Named(vec![("t".to_owned(), Uuid::ZERO, vec![0])]);
    let offset = |group: &str| shard.fetch_offsets(group, &topics)[0].1[0].1.clone().map(|committed| committed.offset);
    assert_eq!((offset("h"), offset("g")), (Some(5), Some(10)));
}
