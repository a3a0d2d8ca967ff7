//! Offsets are committed, fetched, deleted, and expire.

use super::*;

const RETENTION: i64 = 7 * 24 * 3_600_000;
const CHECK: i64 = 600_000;

#[test]
fn a_commit_without_a_group_makes_a_simple_one() {
    let mut world = World::new();
    assert_eq!(world.commit("g", "", -1, "t", 5), ErrorCode::NONE);
    assert_eq!((world.offset("g", "t"), world.offset("g", "u"), world.offset("h", "t")), (Some(5), None, None));
    assert_eq!((world.state("g"), world.shard.group("g").unwrap().protocol_type()), (State::Empty, None));
    assert_eq!(world.commit("h", "m", 3, "t", 5), ErrorCode::GROUP_ID_NOT_FOUND);
}

#[test]
fn an_offset_holds_once_it_is_in_the_log() {
    let mut world = World::new();
    world.write_error = Some(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(world.commit("g", "", -1, "t", 5), ErrorCode::NOT_COORDINATOR);
    assert_eq!((world.offset("g", "t"), world.shard.size()), (None, (0, 0)));
    let request = world.commit_of("g", "", -1, "t", 6);
    let step = world.shard.commit(ReplyToken(99), request, world.now);
    assert_eq!((step.replies.len(), step.writes.len(), world.offset("g", "t")), (0, 1, None));
    world.take(step);
    assert_eq!(world.offset("g", "t"), Some(6));
}

#[test]
fn a_member_commits_in_its_own_generation_only() {
    let mut world = World::new();
    let ids = world.stable("g", 2);
    assert_eq!(world.commit("g", &ids[0], 1, "t", 5), ErrorCode::NONE);
    assert_eq!(world.commit("g", &ids[0], 2, "t", 6), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(world.commit("g", "stranger", 1, "t", 6), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.commit("g", "", -1, "t", 6), ErrorCode::UNKNOWN_MEMBER_ID);
    world.rejoin("g", &ids[0]);
    assert_eq!(world.commit("g", &ids[1], 1, "t", 7), ErrorCode::NONE);
    world.rejoin("g", &ids[1]);
    assert_eq!(world.state("g"), State::CompletingRebalance);
    assert_eq!(world.commit("g", &ids[1], 2, "t", 8), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(world.offset("g", "t"), Some(7));
}

#[test]
fn a_commit_keeps_the_session_alive() {
    let mut world = World::new();
    let ids = world.stable("g", 1);
    world.wait(i64::from(SESSION) - 1);
    assert_eq!(world.commit("g", &ids[0], 1, "t", 5), ErrorCode::NONE);
    world.wait(i64::from(SESSION) - 1);
    assert_eq!(world.heartbeat("g", &ids[0], 1), ErrorCode::NONE);
}

#[test]
fn a_metadata_text_that_is_too_long_is_refused_alone() {
    let mut world = World::new();
    let mut request = world.commit_of("g", "", -1, "t", 5);
    let fits = "\u{20ac}".repeat(4_096);
    let partition =
        |partition, text: String| CommitPartition { partition, offset: 1, leader_epoch: 3, metadata: Some(text) };
    request.topics[0].partitions = vec![partition(0, "x".repeat(4_097)), partition(1, fits.clone())];
    let token = world.token();
    let step = world.shard.commit(token, request, world.now);
    world.take(step);
    let Reply::Commit(reply) = &world.replies[&token] else { panic!("another reply") };
    assert_eq!(reply.topics[0].1, [(0, ErrorCode::OFFSET_METADATA_TOO_LARGE), (1, ErrorCode::NONE)]);
    let all = world.shard.fetch_offsets("g", &FetchTopics::All);
    let committed = all[0].1[0].1.clone().unwrap();
    assert_eq!((all.len(), all[0].1.len(), committed.metadata, committed.leader_epoch), (1, 1, fits, 3));
}

#[test]
fn the_offsets_of_a_topic_that_was_made_anew_are_not_its_own() {
    let mut world = World::new();
    let mut request = world.commit_of("g", "", -1, "t", 5);
    request.topics[0].topic_id = Uuid([1; 16]);
    world.send_commit(request);
    let fetch = |id| {
        let topics = FetchTopics::Named(vec![("t".to_owned(), id, vec![0])]);
        world.shard.fetch_offsets("g", &topics)[0].1[0].1.is_some()
    };
    assert!(fetch(Uuid::ZERO) && fetch(Uuid([1; 16])) && !fetch(Uuid([2; 16])));
    assert_eq!(
        world.restarted().fetch_offsets("g", &FetchTopics::All),
        world.shard.fetch_offsets("g", &FetchTopics::All)
    );
}

#[test]
fn the_offsets_of_an_empty_group_expire_after_it_emptied() {
    let mut world = World::new();
    let ids = world.stable("g", 1);
    world.commit("g", &ids[0], 1, "t", 5);
    for _ in 0..200 {
        world.wait(5_000);
        world.heartbeat("g", &ids[0], 1);
    }
    world.leave("g", &[(&ids[0], None)]);
    world.wait(RETENTION - CHECK);
    assert_eq!(world.offset("g", "t"), Some(5));
    world.wait(2 * CHECK);
    assert_eq!(world.offset("g", "t"), None);
    assert!(world.shard.group("g").is_none());
    assert_eq!(world.restarted().size(), (0, 0));
}

#[test]
fn the_offsets_of_a_simple_group_expire_after_their_commit() {
    let mut world = World::new();
    world.commit("g", "", -1, "old", 5);
    world.wait(RETENTION / 2);
    world.commit("g", "", -1, "new", 6);
    world.wait(RETENTION / 2 + CHECK);
    assert_eq!((world.offset("g", "old"), world.offset("g", "new")), (None, Some(6)));
    assert!(world.shard.group("g").is_some());
    world.wait(RETENTION);
    assert!(world.shard.group("g").is_none());
}

#[test]
fn a_consumer_keeps_the_offsets_of_what_it_subscribes_to() {
    let quick = GroupConfig { offsets_retention_ms: 60_000, offsets_retention_check_interval_ms: 10_000, ..config() };
    let mut world = World::with(quick);
    let ids = world.stable("g", 1);
    world.commit("g", &ids[0], 1, "t", 5);
    world.commit("g", &ids[0], 1, "unloved", 5);
    for _ in 0..20 {
        world.wait(5_000);
        assert_eq!(world.heartbeat("g", &ids[0], 1), ErrorCode::NONE);
    }
    assert_eq!((world.offset("g", "t"), world.offset("g", "unloved")), (Some(5), None));
    assert_eq!(world.state("g"), State::Stable);
}

#[test]
fn a_commit_that_names_its_own_expiry_has_it() {
    let mut world = World::new();
    let request = CommitRequest { retention_time_ms: 1_000, ..world.commit_of("g", "", -1, "t", 5) };
    assert_eq!(world.send_commit(request), ErrorCode::NONE);
    assert_eq!(
        world.restarted().fetch_offsets("g", &FetchTopics::All),
        world.shard.fetch_offsets("g", &FetchTopics::All)
    );
    world.wait(CHECK + 1_000);
    assert_eq!(world.offset("g", "t"), None);
}

impl World {
    fn delete_offsets(&mut self, group: &str, topics: &[(&str, Vec<i32>)]) -> DeleteOffsetsReply {
        let token = self.token();
        let topics: Vec<_> = topics.iter().map(|(name, partitions)| ((*name).to_owned(), partitions.clone())).collect();
        let step = self.shard.delete_offsets(token, group, &topics);
        self.take(step);
        match &self.replies[&token] {
            Reply::DeleteOffsets(reply) => reply.clone(),
            other => panic!("{other:?} is no answer to OffsetDelete"),
        }
    }
}

#[test]
fn offsets_are_deleted_unless_a_consumer_subscribes_to_the_topic() {
    let mut world = World::new();
    let ids = world.stable("g", 1);
    world.commit("g", &ids[0], 1, "t", 5);
    world.commit("g", &ids[0], 1, "u", 6);
    let reply = world.delete_offsets("g", &[("t", vec![0]), ("u", vec![0, 1])]);
    assert_eq!(reply.error, ErrorCode::NONE);
    assert_eq!(reply.topics[0].1, [(0, ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC)]);
    assert_eq!(reply.topics[1].1, [(0, ErrorCode::NONE), (1, ErrorCode::NONE)]);
    assert_eq!((world.offset("g", "t"), world.offset("g", "u")), (Some(5), None));
    assert_eq!(world.delete_offsets("none", &[]).error, ErrorCode::GROUP_ID_NOT_FOUND);
}

#[test]
fn the_offsets_of_a_busy_group_of_another_type_are_not_deleted() {
    let mut world = World::new();
    let protocol_type = "connect".to_owned();
    let request = JoinRequest { protocol_type, requires_known_member_id: false, ..world.request("g", "") };
    world.send_join(request);
    assert_eq!(world.delete_offsets("g", &[]).error, ErrorCode::NON_EMPTY_GROUP);
}

#[test]
fn a_topic_that_is_deleted_takes_its_offsets_along() {
    let mut world = World::new();
    world.commit("g", "", -1, "t", 5);
    world.commit("h", "", -1, "t", 5);
    world.commit("h", "", -1, "u", 5);
    let step = world.shard.on_topics_deleted(&["t".to_owned()]);
    world.take(step);
    assert_eq!((world.offset("g", "t"), world.offset("h", "t"), world.offset("h", "u")), (None, None, Some(5)));
}
