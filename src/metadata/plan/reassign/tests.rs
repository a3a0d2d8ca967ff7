//! Partitions that move: by name, and whatever happens meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::failover::tests::{BROKERS, apply, cluster, fence, unfence, wish};
use super::super::{Election, NO_LEADER, alter_isr, delete_topic, elect_leader, prefer_leaders};
use super::*;

fn move_to(target: &[NodeId]) -> Reassign {
    Reassign { topic: "t".into(), partition: 0, target: Some(target.to_vec()), may_change_factor: true }
}

fn cancel() -> Reassign {
    Reassign { target: None, ..move_to(&[]) }
}

fn play(image: &mut Image, wish: &Reassign) {
    let records = reassign(image, wish).unwrap();
    apply(image, records);
}

/// What the leader grants: an ISR of its wish.
fn in_sync(image: &mut Image, isr: &[NodeId]) {
    let records = alter_isr(image, &wish(image, isr)).unwrap();
    apply(image, records);
}

fn partition(image: &Image) -> &PartitionImage {
    image.partition("t", 0).unwrap()
}

/// Replicas, ISR, those that come, those that go, leader.
fn told(image: &Image) -> (&[NodeId], &[NodeId], &[NodeId], &[NodeId], NodeId) {
    let now = partition(image);
    (&now.replicas, &now.isr, &now.adding, &now.removing, now.leader)
}

const NONE: &[NodeId] = &[];

#[test]
fn replicas_come_before_others_go() {
    let mut image = cluster(&[&[1, 2, 3]]);
    play(&mut image, &move_to(&[1, 4, 5]));
    assert_eq!(told(&image), (&[1, 4, 5, 2, 3][..], &[1, 2, 3][..], &[4, 5][..], &[2, 3][..], 1));
    assert_eq!(partition(&image).leader_epoch, 0, "the leader goes on in its epoch, with followers more");
    assert!(reassign(&image, &move_to(&[1, 4, 5])).unwrap().is_empty(), "asked twice");
    in_sync(&mut image, &[1, 2, 3, 4]);
    assert!(partition(&image).is_reassigning());
    in_sync(&mut image, &[1, 2, 3, 4, 5]);
    assert_eq!(told(&image), (&[1, 4, 5][..], &[1, 4, 5][..], NONE, NONE, 1));
    assert_eq!(partition(&image).leader_epoch, 1, "those that went can no longer fetch in the leader's epoch");
    assert_eq!(partition(&image).directories.len(), 3);
}

#[test]
fn a_leader_that_goes_leaves_a_leader_behind() {
    let mut image = cluster(&[&[1, 2]]);
    play(&mut image, &move_to(&[4, 3]));
    in_sync(&mut image, &[1, 2, 3]);
    in_sync(&mut image, &[1, 2, 3, 4]);
    assert_eq!(told(&image), (&[4, 3][..], &[3, 4][..], NONE, NONE, 4));
}

#[test]
fn what_is_in_sync_already_is_done_at_once() {
    let mut image = cluster(&[&[1, 2, 3]]);
    play(&mut image, &move_to(&[3, 1, 2]));
    assert_eq!(told(&image), (&[3, 1, 2][..], &[1, 2, 3][..], NONE, NONE, 1), "another order: the leader stays");
    play(&mut image, &move_to(&[2]));
    assert_eq!(told(&image), (&[2][..], &[2][..], NONE, NONE, 2), "fewer");
    assert!(reassign(&image, &move_to(&[2])).unwrap().is_empty());
    play(&mut image, &move_to(&[2, 4]));
    in_sync(&mut image, &[2, 4]);
    assert_eq!(told(&image), (&[2, 4][..], &[2, 4][..], NONE, NONE, 2), "more");
}

#[test]
fn one_that_lags_is_waited_for() {
    let mut image = cluster(&[&[1, 2, 3]]);
    in_sync(&mut image, &[1, 2]);
    play(&mut image, &move_to(&[1, 3]));
    assert_eq!(told(&image), (&[1, 3, 2][..], &[1, 2][..], NONE, &[2][..], 1));
    in_sync(&mut image, &[1, 2, 3]);
    assert_eq!(told(&image).0, [1, 3]);
}

#[test]
fn a_move_is_taken_back() {
    let mut image = cluster(&[&[1, 2, 3]]);
    play(&mut image, &move_to(&[4, 5]));
    in_sync(&mut image, &[1, 2, 3, 4]);
    play(&mut image, &cancel());
    assert_eq!(told(&image), (&[1, 2, 3][..], &[1, 2, 3][..], NONE, NONE, 1));
    assert_eq!(reassign(&image, &cancel()).unwrap_err().code, ErrorCode::NO_REASSIGNMENT_IN_PROGRESS);

    // A replica that was brought leads: it hands over.
    play(&mut image, &move_to(&[4, 5]));
    in_sync(&mut image, &[1, 2, 3, 4]);
    [1, 2, 3].into_iter().for_each(|id| fence(&mut image, id));
    assert_eq!((told(&image).1, told(&image).4), (&[4][..], 4));
    assert_eq!(
        reassign(&image, &cancel()).unwrap_err().code,
        ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        "only 4 has it all"
    );
    unfence(&mut image, 2);
    in_sync(&mut image, &[4, 2]);
    play(&mut image, &cancel());
    assert_eq!((told(&image).0, told(&image).1, told(&image).4), (&[1, 2, 3][..], &[2][..], 2));
}

#[test]
fn a_second_target_takes_the_place_of_the_first() {
    let mut image = cluster(&[&[1, 2, 3]]);
    play(&mut image, &move_to(&[1, 2, 4]));
    play(&mut image, &move_to(&[1, 2, 5]));
    assert_eq!(told(&image), (&[1, 2, 5, 3, 4][..], &[1, 2, 3][..], &[5][..], &[3, 4][..], 1));
    in_sync(&mut image, &[1, 2, 3, 5]);
    assert_eq!(told(&image), (&[1, 2, 5][..], &[1, 2, 5][..], NONE, NONE, 1));
    // Back to where it was.
    play(&mut image, &move_to(&[1, 2, 4]));
    play(&mut image, &move_to(&[1, 2, 5]));
    assert_eq!(told(&image), (&[1, 2, 5][..], &[1, 2, 5][..], NONE, NONE, 1));
    // One that was to go stays after all, where Kafka's controller would still let it go.
    in_sync(&mut image, &[1]);
    play(&mut image, &move_to(&[1, 2]));
    assert_eq!(told(&image).3, [5]);
    play(&mut image, &move_to(&[1, 2, 5]));
    assert_eq!(told(&image), (&[1, 2, 5][..], &[1][..], NONE, NONE, 1));
}

#[test]
fn a_broker_that_is_fenced_while_it_comes_is_waited_for() {
    let mut image = cluster(&[&[1, 2]]);
    fence(&mut image, 4);
    play(&mut image, &move_to(&[1, 4]));
    let refused = alter_isr(&image, &wish(&image, &[1, 2, 4])).unwrap_err();
    assert_eq!(refused.code, ErrorCode::INELIGIBLE_REPLICA);
    unfence(&mut image, 4);
    assert!(partition(&image).is_reassigning());
    in_sync(&mut image, &[1, 2, 4]);
    assert_eq!(told(&image).0, [1, 4]);
}

#[test]
fn a_topic_may_go_while_it_moves() {
    let mut image = cluster(&[&[1, 2]]);
    play(&mut image, &move_to(&[3, 4]));
    let late = wish(&image, &[1, 2, 3]);
    let gone = delete_topic(image.topic("t").unwrap());
    apply(&mut image, gone);
    assert_eq!(alter_isr(&image, &late).unwrap_err().code, ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(reassign(&image, &cancel()).unwrap_err().code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn targets_that_make_no_sense_are_refused() {
    let mut image = cluster(&[&[1, 2]]);
    let code = |image: &Image, wish: &Reassign| reassign(image, wish).unwrap_err().code;
    for target in [&[][..], &[1, 1], &[1, 9], &[-1]] {
        assert_eq!(code(&image, &move_to(target)), ErrorCode::INVALID_REPLICA_ASSIGNMENT, "{target:?}");
    }
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(code(&image, &Reassign { topic: "u".into(), ..move_to(&[1]) }), unknown);
    assert_eq!(code(&image, &Reassign { partition: 1, ..move_to(&[1]) }), unknown);
    assert_eq!(code(&image, &Reassign { partition: -1, ..cancel() }), unknown);
    let same_factor = |target| Reassign { may_change_factor: false, ..move_to(target) };
    assert_eq!(code(&image, &same_factor(&[1])), ErrorCode::INVALID_REPLICATION_FACTOR);
    play(&mut image, &same_factor(&[3, 4]));
    assert_eq!(partition(&image).replicas, [3, 4, 1, 2]);
    assert_eq!(
        code(&image, &same_factor(&[3, 4, 5])),
        ErrorCode::INVALID_REPLICATION_FACTOR,
        "two are to stay, not four"
    );
    play(&mut image, &same_factor(&[3, 5]));
}

#[test]
fn preferred_leaders_lead_again_some_at_a_time() {
    let mut image = cluster(&[&[1, 2], &[1, 3], &[2, 1], &[1]]);
    fence(&mut image, 1);
    unfence(&mut image, 1);
    assert!(prefer_leaders(&image, 10).is_empty(), "it is in sync nowhere");
    in_sync(&mut image, &[2, 1]);
    let records = prefer_leaders(&image, 10);
    assert_eq!(records.len(), 1);
    apply(&mut image, records);
    assert_eq!(told(&image).4, 1);

    let mut image = cluster(&[&[1, 2], &[1, 3], &[1, 4], &[2, 1]]);
    for partition in 0..3 {
        let target = partition + 2;
        play(&mut image, &Reassign { partition, ..move_to(&[target, 1]) });
    }
    let (records, all) = (prefer_leaders(&image, 2), prefer_leaders(&image, 9));
    assert_eq!((records.len(), all.len()), (2, 3));
    apply(&mut image, records);
    let rest = prefer_leaders(&image, 2);
    assert_eq!(rest.len(), 1);
    apply(&mut image, rest);
    assert!(image.topic("t").unwrap().partitions.iter().all(|partition| partition.leader == partition.replicas[0]));
}

#[derive(Debug, Clone)]
enum Event {
    Fence(NodeId),
    Unfence(NodeId),
    Alter(Vec<NodeId>),
    Elect(bool),
    Move(Vec<NodeId>),
    Cancel,
    Prefer,
}

fn any_event() -> impl Strategy<Value = Event> {
    let nodes = || prop::collection::btree_set(1..=BROKERS, 1..5).prop_map(|nodes| nodes.into_iter().collect());
    prop_oneof![
        2 => (1..=BROKERS).prop_map(Event::Fence),
        3 => (1..=BROKERS).prop_map(Event::Unfence),
        4 => nodes().prop_map(Event::Alter),
        1 => any::<bool>().prop_map(Event::Elect),
        3 => nodes().prop_shuffle().prop_map(Event::Move),
        1 => Just(Event::Cancel),
        1 => Just(Event::Prefer),
    ]
}

/// Plays an event, and tells whether it was granted.
fn happens(image: &mut Image, event: &Event) -> bool {
    let plan = match event {
        Event::Fence(id) => {
            fence(image, *id);
            return true;
        }
        Event::Unfence(id) => {
            unfence(image, *id);
            return true;
        }
        Event::Alter(isr) => alter_isr(image, &wish(image, isr)),
        Event::Elect(true) => elect_leader(image, "t", 0, Election::Unclean),
        Event::Elect(false) => elect_leader(image, "t", 0, Election::Preferred),
        Event::Move(target) => reassign(image, &move_to(target)),
        Event::Cancel => reassign(image, &cancel()),
        Event::Prefer => Ok(prefer_leaders(image, 10)),
    };
    let granted = plan.is_ok();
    apply(image, plan.unwrap_or_default());
    granted
}

proptest! {
    #[test]
    fn whatever_happens_a_move_loses_nothing_and_ends(events in prop::collection::vec(any_event(), 0..60)) {
        let mut image = cluster(&[&[1, 2, 3], &[4, 5, 1]]);
        let mut led: BTreeMap<i32, NodeId> = BTreeMap::new();
        let mut target: BTreeSet<NodeId> = [1, 2, 3].into();
        for event in events {
            let then = partition(&image).clone();
            let granted = happens(&mut image, &event);
            let now = partition(&image);
            match &event {
                Event::Move(to) if granted => target = to.iter().copied().collect(),
                Event::Cancel if granted => target = now.replicas.iter().copied().collect(),
                _ => {}
            }
            prop_assert!(!now.isr.is_empty() && now.isr.iter().all(|node| now.replicas.contains(node)));
            prop_assert!(now.leader == NO_LEADER || now.isr.contains(&now.leader), "{:?}", now);
            // Only its leader says who is in sync, and only by hand it may be one who is not.
            let by_hand = matches!(event, Event::Elect(true)) && now.recovering;
            let have_it_all = if let Event::Alter(isr) = &event { isr } else { &then.isr };
            prop_assert!(by_hand || now.isr.iter().all(|node| have_it_all.contains(node) || then.isr == now.isr), "{then:?} {now:?}");
            let could = |node: &NodeId| image.broker(*node).unwrap().is_active();
            prop_assert!(now.leader != NO_LEADER || !now.isr.iter().any(could), "{now:?}");
            if *now != then {
                prop_assert_eq!(now.partition_epoch, then.partition_epoch + 1);
            }
            if then.replicas.iter().any(|node| !now.replicas.contains(node)) {
                prop_assert!(now.leader_epoch > then.leader_epoch, "one that went may fetch on");
            }
            if now.leader != NO_LEADER {
                let leader = *led.entry(now.leader_epoch).or_insert(now.leader);
                prop_assert_eq!(leader, now.leader, "two leaders in one epoch");
            }
            // What is not being moved is where it is to be.
            let at: BTreeSet<NodeId> = now.replicas.iter().copied().collect();
            prop_assert!(now.is_reassigning() || at == target, "{now:?} is not at {target:?}");
            prop_assert!(target.is_subset(&at));
        }
        (1..=BROKERS).for_each(|id| unfence(&mut image, id));
        let all = partition(&image).replicas.clone();
        if all.iter().any(|node| !partition(&image).isr.contains(node)) {
            in_sync(&mut image, &all);
        }
        let now = partition(&image);
        prop_assert!(!now.is_reassigning(), "{now:?}");
        prop_assert_eq!(now.replicas.iter().copied().collect::<BTreeSet<_>>(), target);
    }
}
