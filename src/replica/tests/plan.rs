//! What a follower asks its leader for, request by request.

use std::time::Duration;

use super::super::following::Position;
use super::super::session::{FetchLimits, FetchPlan, Key};
use crate::common::ids::{Offset, Uuid};
use crate::protocol::ErrorCode;
use crate::protocol::messages::fetch::FetchRequest;

const A: Key = (Uuid([1; 16]), 0);
const B: Key = (Uuid([1; 16]), 1);
const C: Key = (Uuid([2; 16]), 0);
const START: Duration = Duration::from_secs(100);

fn at(offset: Offset) -> Position {
    Position { leader_epoch: 3, offset, last_fetched_epoch: 2, log_start_offset: 0, high_watermark: offset }
}

fn plan(keys: &[Key]) -> FetchPlan {
    let mut plan = FetchPlan::new(FetchLimits::default());
    keys.iter().for_each(|key| plan.follow(*key, at(0)));
    plan
}

fn ask(plan: &mut FetchPlan, now: Duration) -> Option<FetchRequest> {
    plan.request((2, 9), now)
}

/// What a request names, and from which offset.
fn named(request: &FetchRequest) -> Vec<(Key, Offset)> {
    let topics = request.topics.iter();
    topics
        .flat_map(|topic| topic.partitions.iter().map(|asked| ((topic.topic_id, asked.partition), asked.fetch_offset)))
        .collect()
}

fn left(request: &FetchRequest) -> Vec<Key> {
    let topics = request.forgotten_topics_data.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index))).collect()
}

#[test]
fn a_session_is_told_all_once_and_then_what_changes() {
    let mut plan = plan(&[A, B, C]);
    let first = ask(&mut plan, START).unwrap();
    assert_eq!((first.session_id, first.session_epoch), (0, 0));
    assert_eq!((first.replica_state.replica_id, first.replica_state.replica_epoch), (2, 9));
    assert_eq!(named(&first), [(A, 0), (B, 0), (C, 0)]);
    // Two topics, not three.
    assert_eq!(first.topics.len(), 2);

    plan.answered(ErrorCode::NONE, 77).unwrap();
    plan.moved(B, at(5));
    // A high watermark alone is no news to a leader that has told it.
    plan.moved(A, Position { high_watermark: 9, ..at(0) });
    let second = ask(&mut plan, START).unwrap();
    assert_eq!((second.session_id, second.session_epoch, named(&second)), (77, 1, vec![(B, 5)]));

    plan.answered(ErrorCode::NONE, 77).unwrap();
    let third = ask(&mut plan, START).unwrap();
    assert_eq!((third.session_epoch, named(&third)), (2, vec![]));
}

#[test]
fn without_a_session_all_is_told_each_time() {
    let mut plan = plan(&[A, B]);
    for _ in 0..3 {
        assert_eq!(named(&ask(&mut plan, START).unwrap()).len(), 2);
        plan.answered(ErrorCode::NONE, 0).unwrap();
    }
}

#[test]
fn a_session_that_the_leader_lost_is_begun_anew() {
    let mut plan = plan(&[A, B]);
    let _ = ask(&mut plan, START);
    plan.answered(ErrorCode::NONE, 77).unwrap();
    let _ = ask(&mut plan, START);
    plan.answered(ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0).unwrap();
    let again = ask(&mut plan, START).unwrap();
    assert_eq!((again.session_id, again.session_epoch, named(&again).len()), (0, 0, 2));
    assert_eq!(plan.answered(ErrorCode::UNKNOWN_SERVER_ERROR, 0), Err(ErrorCode::UNKNOWN_SERVER_ERROR));
}

#[test]
fn who_leaves_is_forgotten_and_who_comes_back_is_not() {
    let mut plan = plan(&[A, B, C]);
    let _ = ask(&mut plan, START);
    plan.answered(ErrorCode::NONE, 77).unwrap();
    plan.leave(A);
    plan.leave(C);
    plan.follow(C, at(3));
    let next = ask(&mut plan, START).unwrap();
    assert_eq!((left(&next), named(&next)), (vec![A], vec![(C, 3)]));
}

#[test]
fn a_partition_that_failed_rests_outside_the_session() {
    let mut plan = plan(&[A, B]);
    let _ = ask(&mut plan, START);
    plan.answered(ErrorCode::NONE, 77).unwrap();
    plan.rest(A, START);
    assert_eq!(plan.was_asked(A), None);
    let next = ask(&mut plan, START).unwrap();
    assert_eq!((left(&next), named(&next)), (vec![A], vec![]));
    plan.answered(ErrorCode::NONE, 77).unwrap();
    assert_eq!(plan.next_rested(), Some(START + Duration::from_secs(1)));
    let back = ask(&mut plan, START + Duration::from_secs(1)).unwrap();
    assert_eq!((left(&back), named(&back)), (vec![], vec![(A, 0)]));
}

#[test]
fn nothing_is_asked_while_all_rest() {
    let mut plan = plan(&[A, B]);
    let _ = ask(&mut plan, START);
    plan.rest_all(START);
    assert!(ask(&mut plan, START).is_none());
    let later = START + Duration::from_secs(1);
    let again = ask(&mut plan, later).unwrap();
    assert_eq!((again.session_id, named(&again).len()), (0, 2));
    assert_eq!(plan.next_rested(), None);
}

#[test]
fn an_answer_is_only_for_the_position_that_was_asked_for() {
    let mut plan = plan(&[A]);
    assert_eq!(plan.was_asked(A), None);
    let _ = ask(&mut plan, START);
    assert_eq!(plan.was_asked(A), Some(at(0)));
    plan.follow(A, Position { leader_epoch: 4, ..at(0) });
    assert_eq!(plan.was_asked(A), None);
    assert_eq!(plan.was_asked(B), None);
}
