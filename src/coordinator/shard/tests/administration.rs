//! Groups are described, listed and deleted.

use super::*;

#[test]
fn a_group_is_described_with_its_members_once_it_is_stable() {
    let mut world = World::new();
    let ids = world.stable("g", 2);
    let described = world.shard.describe("g");
    assert_eq!((described.state, described.protocol_type.as_str()), (State::Stable, "consumer"));
    assert_eq!((described.protocol_name.as_str(), described.members.len()), ("range", 2));
    assert!(described.members.iter().all(|member| !member.metadata.is_empty() && member.client_host == "/127.0.0.1"));
    world.rejoin("g", &ids[0]);
    let described = world.shard.describe("g");
    assert_eq!((described.state.name(), described.protocol_name.as_str()), ("PreparingRebalance", ""));
    assert!(described.members.iter().all(|member| member.metadata.is_empty()));
    let none = world.shard.describe("none");
    assert_eq!((none.error, none.state), (ErrorCode::GROUP_ID_NOT_FOUND, State::Dead));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut world = World::new();
    world.stable("busy", 1);
    world.commit("simple", "", -1, "t", 1);
    let list = |states: &[&str], types: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let listed = world.shard.list(&words(states), &words(types));
        listed.into_iter().map(|group| group.group_id).collect::<Vec<_>>()
    };
    assert_eq!(list(&[], &[]), ["busy", "simple"]);
    assert_eq!(list(&["stable"], &["Classic"]), ["busy"]);
    assert_eq!(list(&[" Empty "], &[]), ["simple"]);
    assert!(list(&[], &["consumer"]).is_empty() && list(&["Assigning"], &[]).is_empty());
}

#[test]
fn an_empty_group_is_deleted_with_its_offsets() {
    let mut world = World::new();
    world.stable("busy", 1);
    world.commit("simple", "", -1, "t", 1);
    let token = world.token();
    let step = world.shard.delete_groups(token, &["busy".to_owned(), "simple".to_owned(), "none".to_owned()]);
    world.take(step);
    let Reply::DeleteGroups(reply) = &world.replies[&token] else { panic!("another reply") };
    let errors: Vec<_> = reply.iter().map(|group| group.error).collect();
    assert_eq!(errors, [ErrorCode::NON_EMPTY_GROUP, ErrorCode::NONE, ErrorCode::GROUP_ID_NOT_FOUND]);
    assert!(world.shard.group("simple").is_none() && world.offset("simple", "t").is_none());
    assert_eq!(world.restarted().size(), (1, 0));
}

#[test]
fn a_deletion_that_could_not_be_written_leaves_the_group() {
    let mut world = World::new();
    world.commit("g", "", -1, "t", 1);
    world.write_error = Some(ErrorCode::KAFKA_STORAGE_ERROR);
    let token = world.token();
    let step = world.shard.delete_groups(token, &["g".to_owned()]);
    world.take(step);
    let Reply::DeleteGroups(reply) = &world.replies[&token] else { panic!("another reply") };
    assert_eq!(reply[0].error, ErrorCode::NOT_COORDINATOR);
    assert_eq!(world.offset("g", "t"), Some(1));
}
