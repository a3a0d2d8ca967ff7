//! Members with a name of their own come back, are replaced, and fenced.

use super::*;

impl World {
    fn static_request(&mut self, group: &str, instance: &str) -> JoinRequest {
        JoinRequest { group_instance_id: Some(instance.to_owned()), ..self.request(group, "") }
    }

    fn static_join(&mut self, group: &str, instance: &str) -> ReplyToken {
        let request = self.static_request(group, instance);
        self.send_join(request)
    }

    /// A stable group of static members of these names; their ids.
    fn stable_static(&mut self, group: &str, instances: &[&str]) -> Vec<String> {
        let tokens: Vec<_> = instances.iter().map(|instance| self.static_join(group, instance)).collect();
        self.wait(DELAY * 2);
        let ids: Vec<String> = tokens.iter().map(|token| self.joined(*token).member_id).collect();
        let leader = self.joined(tokens[0]).leader;
        for id in &ids {
            let all: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "part")).collect();
            self.send_sync(group, id, 1, if *id == leader { &all } else { &[] });
        }
        assert_eq!(self.state(group), State::Stable);
        ids
    }
}

#[test]
fn a_static_member_that_restarts_gets_its_place_back_without_a_rebalance() {
    let mut world = World::new();
    let ids = world.stable_static("g", &["a", "b"]);
    let written = world.log.len();
    let token = world.static_join("g", "b");
    let reply = world.joined(token);
    assert_eq!((reply.error, reply.generation_id, world.state("g")), (ErrorCode::NONE, 1, State::Stable));
    assert!(reply.member_id.starts_with("b-") && reply.member_id != ids[1]);
    assert_eq!(world.log.len(), written + 1);
    let sync = world.send_sync("g", &reply.member_id, 1, &[]);
    assert_eq!(world.synced(sync).assignment, "part");
    assert_eq!(world.heartbeat("g", &ids[1], 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_leader_that_restarts_is_told_to_skip_the_assignment_or_that_another_leads() {
    for supports_skipping_assignment in [true, false] {
        let mut world = World::new();
        let ids = world.stable_static("g", &["a", "b"]);
        let leader = world.shard.group("g").unwrap().leader().to_owned();
        let instance = if leader == ids[0] { "a" } else { "b" };
        let request = JoinRequest { supports_skipping_assignment, ..world.static_request("g", instance) };
        let token = world.send_join(request);
        let reply = world.joined(token);
        if supports_skipping_assignment {
            assert_eq!((&reply.leader, reply.skip_assignment, reply.members.len()), (&reply.member_id, true, 2));
        } else {
            assert_eq!((reply.leader, reply.skip_assignment, reply.members.len()), (leader, false, 0));
        }
    }
}

#[test]
fn a_twin_is_fenced() {
    let mut world = World::new();
    let ids = world.stable_static("g", &["a"]);
    let token = world.static_join("g", "a");
    assert_eq!(world.joined(token).error, ErrorCode::NONE);
    let request = JoinRequest { group_instance_id: Some("a".to_owned()), ..world.request("g", &ids[0]) };
    let twin = world.send_join(request);
    assert_eq!(world.joined(twin).error, ErrorCode::FENCED_INSTANCE_ID);
    let token = world.token();
    let request = HeartbeatRequest {
        group_id: "g".to_owned(),
        generation_id: 1,
        member_id: ids[0].clone(),
        group_instance_id: Some("a".to_owned()),
    };
    let step = world.shard.heartbeat(token, &request, world.now);
    world.take(step);
    assert_eq!(world.replies[&token], Reply::Heartbeat(ErrorCode::FENCED_INSTANCE_ID));
}

#[test]
fn a_twin_that_waits_to_join_is_fenced_at_once() {
    let mut world = World::new();
    let first = world.static_join("g", "a");
    let second = world.static_join("g", "a");
    assert_eq!(world.joined(first).error, ErrorCode::FENCED_INSTANCE_ID);
    world.wait(DELAY * 2);
    assert_eq!((world.joined(second).error, world.joined(second).members.len()), (ErrorCode::NONE, 1));
}

#[test]
fn a_replacement_that_could_not_be_written_is_taken_back() {
    let mut world = World::new();
    let ids = world.stable_static("g", &["a"]);
    world.write_error = Some(ErrorCode::REQUEST_TIMED_OUT);
    let token = world.static_join("g", "a");
    assert_eq!(world.joined(token).error, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(world.heartbeat("g", &ids[0], 1), ErrorCode::NONE);
    assert_eq!(world.shard.group("g").unwrap().leader(), ids[0]);
}

#[test]
fn a_restart_with_other_protocols_rebalances() {
    let mut world = World::new();
    world.stable_static("g", &["a"]);
    let request = JoinRequest { protocols: vec![protocol("roundrobin", "t")], ..world.static_request("g", "a") };
    let token = world.send_join(request);
    let reply = world.joined(token);
    assert_eq!((reply.generation_id, reply.protocol_name.as_deref()), (2, Some("roundrobin")));
}

#[test]
fn a_restart_while_the_assignment_is_awaited_rebalances() {
    let mut world = World::new();
    world.static_join("g", "a");
    world.wait(DELAY * 2);
    assert_eq!(world.state("g"), State::CompletingRebalance);
    let token = world.static_join("g", "a");
    assert_eq!(world.joined(token).generation_id, 2);
}

#[test]
fn a_static_member_that_is_late_keeps_its_place_until_its_session_ends() {
    let mut world = World::new();
    let ids = world.stable_static("g", &["a", "b"]);
    let leader = world.shard.group("g").unwrap().leader().to_owned();
    let (instance, id) = if leader == ids[0] { ("a", &ids[0]) } else { ("b", &ids[1]) };
    let request = JoinRequest { group_instance_id: Some(instance.to_owned()), ..world.request("g", id) };
    let token = world.send_join(request);
    assert!(world.waits(token));
    world.wait(i64::from(SESSION));
    assert_eq!(world.joined(token).members.len(), 1);
}

#[test]
fn an_administrator_removes_static_members_by_name() {
    let mut world = World::new();
    world.stable_static("g", &["a", "b"]);
    let errors = world.leave("g", &[("", Some("a")), ("", Some("b")), ("", Some("c")), ("", None)]);
    let unknown = ErrorCode::UNKNOWN_MEMBER_ID;
    assert_eq!(errors, [ErrorCode::NONE, ErrorCode::NONE, unknown, unknown]);
    assert_eq!(world.state("g"), State::Empty);
}
