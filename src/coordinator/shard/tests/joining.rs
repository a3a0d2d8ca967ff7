//! Members join, sync, beat, leave and fail.

use super::*;

#[test]
fn a_new_member_is_told_its_id_and_joins_with_it() {
    let mut world = World::new();
    let (id, token) = world.join("g");
    assert_eq!(id, "client-00000000-0000-0000-0000-000000000001");
    world.wait(DELAY - 1);
    assert!(world.waits(token));
    world.wait(1);
    let reply = world.joined(token);
    assert_eq!((reply.generation_id, reply.leader, reply.members.len()), (1, id, 1));
    assert_eq!(reply.protocol_name.as_deref(), Some("range"));
}

#[test]
fn an_old_client_joins_at_once() {
    let mut world = World::new();
    let request = JoinRequest { requires_known_member_id: false, ..world.request("g", "") };
    let token = world.send_join(request);
    world.wait(DELAY);
    assert_eq!(world.joined(token).error, ErrorCode::NONE);
}

#[test]
fn the_first_rebalance_waits_again_for_each_that_comes_but_not_for_ever() {
    let mut world = World::new();
    let (_, first) = world.join("g");
    for _ in 0..3 {
        world.wait(DELAY - 1);
        world.join("g");
    }
    assert!(world.waits(first));
    let mut waited = 3 * (DELAY - 1);
    while world.waits(first) {
        world.join("g");
        world.wait(1_000);
        waited += 1_000;
    }
    assert!((waited - i64::from(REBALANCE)).abs() <= DELAY, "{waited}");
}

#[test]
fn the_leader_gets_all_members_and_the_others_none() {
    let mut world = World::new();
    let joining = [world.join("g"), world.join("g"), world.join("g")];
    world.wait(DELAY * 2);
    let leader = world.joined(joining[0].1).leader;
    for (id, token) in joining {
        let expected = if id == leader { 3 } else { 0 };
        assert_eq!(world.joined(token).members.len(), expected);
    }
}

#[test]
fn the_leaders_assignment_reaches_everybody_once_it_is_in_the_log() {
    let mut world = World::new();
    let joining = [world.join("g"), world.join("g")];
    world.wait(DELAY * 2);
    let leader = world.joined(joining[0].1).leader;
    let (leads, follows): (Vec<_>, Vec<_>) = joining.iter().map(|(id, _)| id.as_str()).partition(|id| *id == leader);
    let follower = world.send_sync("g", follows[0], 1, &[]);
    assert!(world.waits(follower));
    let written = world.log.len();
    let leading = world.send_sync("g", leads[0], 1, &[(leads[0], "mine"), (follows[0], "yours")]);
    assert_eq!(world.log.len(), written + 1);
    assert_eq!(world.synced(leading).assignment, "mine");
    assert_eq!(world.synced(follower).assignment, "yours");
    assert_eq!(world.state("g"), State::Stable);
    // Asked again, it is told again.
    let again = world.send_sync("g", follows[0], 1, &[]);
    assert_eq!(world.synced(again).assignment, "yours");
}

#[test]
fn an_assignment_that_could_not_be_written_is_taken_back_and_the_group_rebalances() {
    let mut world = World::new();
    let (id, _) = world.join("g");
    world.wait(DELAY * 2);
    world.write_error = Some(ErrorCode::NOT_ENOUGH_REPLICAS);
    let token = world.send_sync("g", &id, 1, &[(&id, "mine")]);
    assert_eq!(world.synced(token).error, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(world.state("g"), State::PreparingRebalance);
    assert!(world.shard.group("g").unwrap().members()[&id].assignment.is_empty());
}

#[test]
fn a_group_that_could_not_be_written_is_forgotten() {
    let mut world = World::new();
    for requires_known_member_id in [true, false] {
        world.write_error = Some(ErrorCode::KAFKA_STORAGE_ERROR);
        let request = JoinRequest { requires_known_member_id, ..world.request("g", "") };
        let token = world.send_join(request);
        assert_eq!(world.joined(token).error, ErrorCode::NOT_COORDINATOR);
        assert!(world.shard.group("g").is_none());
    }
}

#[test]
fn a_member_that_misses_its_session_is_removed_and_the_rest_rebalance() {
    let mut world = World::new();
    let ids = world.stable("g", 2);
    world.wait(i64::from(SESSION) - 1);
    assert_eq!(world.heartbeat("g", &ids[0], 1), ErrorCode::NONE);
    world.wait(1);
    assert_eq!(world.state("g"), State::PreparingRebalance);
    assert_eq!(world.heartbeat("g", &ids[0], 1), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(world.heartbeat("g", &ids[1], 1), ErrorCode::UNKNOWN_MEMBER_ID);
    let token = world.rejoin("g", &ids[0]);
    assert_eq!((world.joined(token).generation_id, world.joined(token).members.len()), (2, 1));
}

#[test]
fn a_member_that_does_not_rejoin_in_time_is_left_out() {
    let mut world = World::new();
    let ids = world.stable("g", 2);
    let leader = world.rejoin("g", &ids[0]);
    let mut waited = 0;
    while world.waits(leader) {
        world.heartbeat("g", &ids[1], 1);
        world.wait(1_000);
        waited += 1_000;
    }
    assert_eq!(waited, i64::from(REBALANCE));
    assert_eq!(world.joined(leader).members.len(), 1);
    assert_eq!(world.heartbeat("g", &ids[1], 2), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_follower_whose_protocols_are_the_same_is_told_what_it_was() {
    let mut world = World::new();
    let ids = world.stable("g", 2);
    let follower = world.rejoin("g", &ids[1]);
    assert_eq!((world.joined(follower).error, world.joined(follower).generation_id), (ErrorCode::NONE, 1));
    assert_eq!(world.state("g"), State::Stable);
    let request = JoinRequest { protocols: vec![protocol("range", "other")], ..world.request("g", &ids[1]) };
    let changed = world.send_join(request);
    assert!(world.waits(changed));
    assert_eq!(world.state("g"), State::PreparingRebalance);
}

#[test]
fn a_member_that_lost_its_join_reply_is_told_again() {
    let mut world = World::new();
    let (id, _) = world.join("g");
    world.wait(DELAY * 2);
    assert_eq!(world.state("g"), State::CompletingRebalance);
    let again = world.rejoin("g", &id);
    assert_eq!((world.joined(again).generation_id, world.joined(again).members.len()), (1, 1));
}

#[test]
fn members_that_never_sync_are_removed() {
    let mut world = World::new();
    let joining = [world.join("g"), world.join("g")];
    world.wait(DELAY * 2);
    let leader = world.joined(joining[0].1).leader;
    world.send_sync("g", &leader, 1, &[]);
    assert_eq!(world.state("g"), State::Stable);
    while world.state("g") == State::Stable {
        for (id, _) in &joining {
            world.heartbeat("g", id, 1);
        }
        world.wait(1_000);
    }
    let members = world.shard.group("g").unwrap().members();
    assert_eq!(members.keys().collect::<Vec<_>>(), [&leader]);
}

#[test]
fn the_protocol_that_all_speak_and_most_like_is_chosen() {
    let mut world = World::new();
    let mut tokens = Vec::new();
    for likes in [["a", "b"], ["b", "a"], ["b", "a"]] {
        let protocols = likes.map(|name| protocol(name, "t")).to_vec();
        let request = JoinRequest { protocols, requires_known_member_id: false, ..world.request("g", "") };
        tokens.push(world.send_join(request));
    }
    world.wait(DELAY * 2);
    assert_eq!(world.joined(tokens[0]).protocol_name.as_deref(), Some("b"));
}

#[test]
fn a_member_that_shares_no_protocol_is_refused() {
    let mut world = World::new();
    world.stable("g", 1);
    let other_name = JoinRequest { protocols: vec![protocol("sticky", "t")], ..world.request("g", "") };
    let other_type = JoinRequest { protocol_type: "connect".to_owned(), ..world.request("g", "") };
    let none = JoinRequest { protocols: Vec::new(), ..world.request("h", "") };
    for request in [other_name, other_type, none] {
        let token = world.send_join(request);
        assert_eq!(world.joined(token).error, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
}

#[test]
fn a_request_that_cannot_be_right_is_refused() {
    let mut world = World::new();
    let request = world.request("", "");
    let token = world.send_join(request);
    assert_eq!(world.joined(token).error, ErrorCode::INVALID_GROUP_ID);
    for session_timeout_ms in [5_999, 1_800_001, -1] {
        let request = JoinRequest { session_timeout_ms, ..world.request("g", "") };
        let token = world.send_join(request);
        assert_eq!(world.joined(token).error, ErrorCode::INVALID_SESSION_TIMEOUT);
    }
    let token = world.rejoin("g", "stranger");
    assert_eq!(world.joined(token).error, ErrorCode::UNKNOWN_MEMBER_ID);
    assert!(world.shard.group("g").is_none());
    assert_eq!(world.heartbeat("g", "stranger", 1), ErrorCode::UNKNOWN_MEMBER_ID);
    let token = world.send_sync("g", "stranger", 1, &[]);
    assert_eq!(world.synced(token).error, ErrorCode::UNKNOWN_MEMBER_ID);
    let ids = world.stable("g", 1);
    assert_eq!(world.heartbeat("g", &ids[0], 7), ErrorCode::ILLEGAL_GENERATION);
    let token = world.send_sync("g", &ids[0], 7, &[]);
    assert_eq!(world.synced(token).error, ErrorCode::ILLEGAL_GENERATION);
}

#[test]
fn a_sync_that_takes_the_group_for_another_is_refused() {
    let mut world = World::new();
    let ids = world.stable("g", 1);
    let request = SyncRequest {
        group_id: "g".to_owned(),
        generation_id: 1,
        member_id: ids[0].clone(),
        group_instance_id: None,
        protocol_type: Some("connect".to_owned()),
        protocol_name: None,
        assignments: Vec::new(),
    };
    let token = world.token();
    let step = world.shard.sync(token, request, world.now);
    world.take(step);
    assert_eq!(world.synced(token).error, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
}

#[test]
fn a_sync_during_the_join_phase_is_sent_to_join() {
    let mut world = World::new();
    let ids = world.stable("g", 2);
    world.rejoin("g", &ids[0]);
    let token = world.send_sync("g", &ids[1], 1, &[]);
    assert_eq!(world.synced(token).error, ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_rebalance_during_the_sync_phase_sends_those_who_wait_to_join() {
    let mut world = World::new();
    let joining = [world.join("g"), world.join("g")];
    world.wait(DELAY * 2);
    let leader = world.joined(joining[0].1).leader;
    let follower = joining.iter().map(|(id, _)| id.clone()).find(|id| *id != leader).unwrap();
    let token = world.send_sync("g", &follower, 1, &[]);
    world.join("g");
    assert_eq!(world.synced(token).error, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(world.state("g"), State::PreparingRebalance);
}

#[test]
fn a_full_group_takes_no_more() {
    let mut world = World::with(GroupConfig { max_size: 2, ..config() });
    let ids = world.stable("g", 2);
    let request = world.request("g", "");
    let token = world.send_join(request);
    assert_eq!(world.joined(token).error, ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!(world.state("g"), State::Stable);
    let token = world.rejoin("g", &ids[1]);
    assert_eq!(world.joined(token).error, ErrorCode::NONE);
}

#[test]
fn an_id_that_is_not_used_in_time_is_forgotten() {
    let mut world = World::new();
    let request = world.request("g", "");
    let token = world.send_join(request);
    let id = world.joined(token).member_id;
    world.wait(i64::from(SESSION));
    let token = world.rejoin("g", &id);
    assert_eq!(world.joined(token).error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_rebalance_waits_for_an_id_that_was_handed_out() {
    let mut world = World::new();
    let ids = world.stable("g", 1);
    let request = world.request("g", "");
    let asked = world.send_join(request);
    let pending = world.joined(asked).member_id;
    let leader = world.rejoin("g", &ids[0]);
    assert!(world.waits(leader));
    let joined = world.rejoin("g", &pending);
    assert!(!world.waits(joined));
    assert_eq!(world.joined(leader).members.len(), 2);
}

#[test]
fn a_new_member_whose_client_is_gone_is_dropped_after_five_minutes() {
    let mut world = World::new();
    let ids = world.stable("g", 1);
    let mut request = world.request("g", "");
    request.rebalance_timeout_ms = i32::MAX;
    request.requires_known_member_id = false;
    let token = world.send_join(request);
    for _ in 0..299 {
        world.heartbeat("g", &ids[0], 1);
        world.wait(1_000);
    }
    assert!(world.waits(token));
    world.wait(1_000);
    assert_eq!(world.joined(token).error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_second_join_of_a_waiting_member_ends_the_first() {
    let mut world = World::new();
    let (id, first) = world.join("g");
    let second = world.rejoin("g", &id);
    assert_eq!(world.joined(first).error, ErrorCode::REBALANCE_IN_PROGRESS);
    world.wait(DELAY * 2);
    assert_eq!(world.joined(second).error, ErrorCode::NONE);
}

#[test]
fn the_last_to_leave_empties_the_group() {
    let mut world = World::new();
    let ids = world.stable("g", 2);
    let left = world.leave("g", &[(&ids[0], None), ("stranger", None)]);
    assert_eq!(left, [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID]);
    assert_eq!(world.state("g"), State::PreparingRebalance);
    assert_eq!(world.leave("g", &[(&ids[1], None)]), [ErrorCode::NONE]);
    assert_eq!(world.state("g"), State::Empty);
    let group = world.shard.group("g").unwrap();
    assert_eq!((group.generation_id(), group.protocol_type()), (2, Some("consumer")));
    assert_eq!(world.leave("none", &[("a", None)]), [ErrorCode::UNKNOWN_MEMBER_ID]);
}

#[test]
fn a_pending_member_may_leave() {
    let mut world = World::new();
    let request = world.request("g", "");
    let token = world.send_join(request);
    let id = world.joined(token).member_id;
    assert_eq!(world.leave("g", &[(&id, None)]), [ErrorCode::NONE]);
    let token = world.rejoin("g", &id);
    assert_eq!(world.joined(token).error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn all_who_wait_are_sent_away_when_the_partition_goes_elsewhere() {
    let mut world = World::new();
    let (_, joining) = world.join("g");
    let step = world.shard.unload(world.now);
    world.take(step);
    assert_eq!(world.joined(joining).error, ErrorCode::NOT_COORDINATOR);
    assert_eq!((world.shard.size(), world.shard.next_deadline()), ((0, 0), None));
}
