//! Whatever happens, the records replayed in order give the state that lasts, and nobody waits for ever.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Event {
    Ask { group: u8, instance: Option<u8> },
    Join { pick: usize, other_protocols: bool },
    Sync { pick: usize },
    Heartbeat { pick: usize },
    Leave { pick: usize },
    Commit { pick: usize, topic: u8, offset: i64 },
    SimpleCommit { group: u8, topic: u8, offset: i64 },
    DeleteGroup { group: u8 },
    DeleteOffsets { group: u8, topic: u8 },
    Wait { ms: i64 },
    FailNextWrite,
}

fn event() -> impl Strategy<Value = Event> {
    let (group, topic, pick) = (0u8..2, 0u8..3, 0usize..8);
    let moments = prop_oneof![Just(1i64), Just(DELAY), Just(9_999), Just(61_000), Just(8 * 24 * 3_600_000)];
    prop_oneof![
        3 => (group.clone(), proptest::option::of(0u8..2)).prop_map(|(group, instance)| Event::Ask { group, instance }),
        6 => (pick.clone(), any::<bool>()).prop_map(|(pick, other_protocols)| Event::Join { pick, other_protocols }),
        6 => pick.clone().prop_map(|pick| Event::Sync { pick }),
        2 => pick.clone().prop_map(|pick| Event::Heartbeat { pick }),
        1 => pick.clone().prop_map(|pick| Event::Leave { pick }),
        2 => (pick, topic.clone(), 0i64..9).prop_map(|(pick, topic, offset)| Event::Commit { pick, topic, offset }),
        1 => (group.clone(), topic.clone(), 0i64..9)
            .prop_map(|(group, topic, offset)| Event::SimpleCommit { group, topic, offset }),
        1 => group.clone().prop_map(|group| Event::DeleteGroup { group }),
        1 => (group, topic).prop_map(|(group, topic)| Event::DeleteOffsets { group, topic }),
        4 => moments.prop_map(|ms| Event::Wait { ms }),
        1 => Just(Event::FailNextWrite),
    ]
}

/// One who got an id: its group, its id, its name.
type Known = (String, String, Option<String>);

fn happen(world: &mut World, known: &mut Vec<Known>, event: Event) {
    let generation = |world: &World, group: &str| world.shard.group(group).map_or(0, ClassicGroup::generation_id);
    let chosen = |known: &[Known], pick: usize| known.get(pick % known.len().max(1)).cloned();
    match event {
        Event::Ask { group, instance } => {
            let group = format!("g{group}");
            let instance = instance.map(|instance| format!("i{instance}"));
            let request = JoinRequest { group_instance_id: instance.clone(), ..world.request(&group, "") };
            let id = groups::classic::join::member_id(instance.as_deref().unwrap_or("client"), request.fresh_id);
            world.send_join(request);
            known.push((group, id, instance));
        }
        Event::Join { pick, other_protocols } => {
            let Some((group, id, instance)) = chosen(known, pick) else { return };
            let mut request = JoinRequest { group_instance_id: instance, ..world.request(&group, &id) };
            if other_protocols {
                request.protocols.reverse();
            }
            world.send_join(request);
        }
        Event::Sync { pick } => {
            let Some((group_id, member_id, _)) = chosen(known, pick) else { return };
            let token = world.token();
            let request = SyncRequest {
                generation_id: generation(world, &group_id),
                group_id,
                member_id,
                group_instance_id: None,
                protocol_type: None,
                protocol_name: None,
                assignments: known.iter().map(|(_, id, _)| (id.clone(), Bytes::from(id.clone()))).collect(),
            };
            let step = world.shard.sync(token, request, world.now);
            world.take(step);
        }
        Event::Heartbeat { pick } => {
            let Some((group, id, _)) = chosen(known, pick) else { return };
            let generation = generation(world, &group);
            world.heartbeat(&group, &id, generation);
        }
        Event::Leave { pick } => {
            let Some((group, id, _)) = chosen(known, pick) else { return };
            world.leave(&group, &[(&id, None)]);
        }
        Event::Commit { pick, topic, offset } => {
            let Some((group, id, _)) = chosen(known, pick) else { return };
            let generation = generation(world, &group);
            world.commit(&group, &id, generation, &format!("t{topic}"), offset);
        }
        Event::SimpleCommit { group, topic, offset } => {
            world.commit(&format!("g{group}"), "", -1, &format!("t{topic}"), offset);
        }
        Event::DeleteGroup { group } => {
            let token = world.token();
            let step = world.shard.delete_groups(token, &[format!("g{group}")]);
            world.take(step);
        }
        Event::DeleteOffsets { group, topic } => {
            let token = world.token();
            let step = world.shard.delete_offsets(token, &format!("g{group}"), &[(format!("t{topic}"), vec![0])]);
            world.take(step);
        }
        Event::Wait { ms } => world.wait(ms),
        Event::FailNextWrite => world.write_error = Some(ErrorCode::NOT_ENOUGH_REPLICAS),
    }
}

/// What lasts of a group that is not in the midst of a rebalance.
fn lasting(group: &ClassicGroup) -> impl PartialEq + std::fmt::Debug + use<> {
    let member = |m: &groups::classic::member::Member| {
        (m.member_id.clone(), m.group_instance_id.clone(), m.assignment.clone(), m.session_timeout_ms)
    };
    let members: Vec<_> = group.members().values().map(member).collect();
    let (protocol_type, protocol) =
        (group.protocol_type().map(str::to_owned), group.protocol_name().map(str::to_owned));
    (group.state(), group.generation_id(), protocol_type, protocol, group.leader().to_owned(), members)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_at_any_moment_gives_the_offsets_and_the_settled_groups(
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let mut world = World::new();
        let mut known = Vec::new();
        // A write that fails while a group empties leaves the log a generation behind, as in Kafka: not compared then.
        let mut failed = false;
        for event in events {
            failed |= matches!(event, Event::FailNextWrite);
            happen(&mut world, &mut known, event);
            let restarted = world.restarted();
            prop_assert_eq!(&restarted.offsets, &world.shard.offsets);
            if failed {
                continue;
            }
            let ids = |shard: &GroupShard| shard.groups.keys().cloned().collect::<Vec<_>>();
            prop_assert_eq!(ids(&restarted), ids(&world.shard));
            for (id, group) in &world.shard.groups {
                // Before its first generation a group has nothing that lasts.
                if matches!(group.state(), State::Empty | State::Stable) && group.generation_id() > 0 {
                    prop_assert_eq!(Some(lasting(group)), restarted.group(id).map(lasting), "{}", id);
                }
            }
        }
        world.write_error = None;
        world.wait(10 * 60_000);
        for (id, group) in &world.shard.groups {
            prop_assert_eq!(group.members().len(), 0, "{} still has members", id);
        }
        for token in 1..=world.next_token {
            prop_assert!(world.replies.contains_key(&ReplyToken(token)), "request {} was never answered", token);
        }
    }
}
