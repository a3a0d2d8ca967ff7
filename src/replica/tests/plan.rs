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
    keys.iter().for_each(|key| plan.follow(*key, at(0), false));
    plan
}

fn ask(plan: &mut FetchPlan, now: Duration) -> Option<FetchRequest> {
    plan.request((2, 9), now).map(|(_, request)| request)
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
    plan.follow(C, at(3), false);
    let next = ask(&mut plan, START).unwrap();
    assert_eq!((left(&next), named(&next)), (vec![A], vec![(C, 3)]));
}

#[test]
fn a_partition_that_failed_rests_outside_the_session() {
    let mut plan = plan(&[A, B]);
    let _ = ask(&mut plan, START);
    plan.answered(ErrorCode::NONE, 77).unwrap();
    plan.rest(A, START);
    assert_eq!(plan.was_asked(A, 9), None);
    let next = ask(&mut plan, START).unwrap();
    assert_eq!((left(&next), named(&next)), (vec![A], vec![]));
    plan.answered(ErrorCode::NONE, 77).unwrap();
    assert_eq!(plan.next_rested(), Some(START + Duration::from_millis(5)));
    let back = ask(&mut plan, START + Duration::from_secs(1)).unwrap();
    assert_eq!((left(&back), named(&back)), (vec![], vec![(A, 0)]));
}

#[test]
fn what_is_asked_for_again_is_not_forgotten_in_the_same_request() {
    let mut plan = plan(&[A]);
    ask(&mut plan, START).unwrap();
    plan.answered(ErrorCode::NONE, 77).unwrap();
    // Alone, it rests without a request that could leave it out.
    plan.rest(A, START);
    assert!(ask(&mut plan, START).is_none());
    let again = ask(&mut plan, START + Duration::from_secs(1)).unwrap();
    assert_eq!((named(&again), left(&again)), (vec![(A, 0)], vec![]));
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
    assert_eq!(plan.was_asked(A, 1), None);
    let (number, _) = plan.request((2, 9), START).unwrap();
    assert_eq!(plan.was_asked(A, number), Some(at(0)));
    // Followed anew: also where all is as it was, the answer may be from before.
    plan.follow(A, at(0), false);
    assert_eq!(plan.was_asked(A, number), None);
    let (next, _) = plan.request((2, 9), START).unwrap();
    assert_eq!((plan.was_asked(A, number), plan.was_asked(A, next)), (None, Some(at(0))));
    assert_eq!(plan.was_asked(B, next), None);
}

#[test]
fn a_new_partition_is_asked_for_behind_a_request_that_waits() {
    let mut plan = plan(&[A]);
    // The leader is not to wait with the first: nothing can go out before its answer.
    assert_eq!(ask(&mut plan, START).unwrap().max_wait_ms, 0);
    plan.follow(B, at(0), false);
    assert!(!plan.has_more(START));
    plan.answered(ErrorCode::NONE, 77).unwrap();
    let waits = ask(&mut plan, START).unwrap();
    assert_eq!((waits.max_wait_ms, named(&waits)), (500, vec![(B, 0)]));
    assert!(!plan.has_more(START));
    plan.follow(C, at(0), false);
    assert!(plan.has_more(START));
    let behind = ask(&mut plan, START).unwrap();
    assert_eq!((behind.session_epoch, named(&behind)), (2, vec![(C, 0)]));
    // The answer to the first has records of A. Those in the answer to the second are the same: it went out before.
    plan.answered(ErrorCode::NONE, 77).unwrap();
    assert_eq!(plan.was_asked(A, 2), Some(at(0)));
    plan.moved(A, at(5));
    assert_eq!(plan.was_asked(A, 3), None);
    let third = ask(&mut plan, START).unwrap();
    assert_eq!((third.session_epoch, named(&third)), (3, vec![(A, 5)]));
    plan.answered(ErrorCode::NONE, 77).unwrap();
    assert_eq!((plan.was_asked(A, 3), plan.was_asked(A, 4)), (None, Some(at(5))));
}

#[test]
fn a_leader_without_room_for_a_session_may_wait_from_the_second_request_on() {
    let mut plan = plan(&[A]);
    assert_eq!(ask(&mut plan, START).unwrap().max_wait_ms, 0);
    plan.answered(ErrorCode::NONE, 0).unwrap();
    assert_eq!(ask(&mut plan, START).unwrap().max_wait_ms, 500);
}

fn ask_under_quota(plan: &mut FetchPlan, is_exceeded: bool) -> Option<FetchRequest> {
    plan.hold_back(|| is_exceeded);
    ask(plan, START)
}

/// Of a plan with a session that knows all, as a leader answers who has nothing new.
fn in_session(plan: &mut FetchPlan) {
    ask(plan, START).unwrap();
    plan.answered(ErrorCode::NONE, 77).unwrap();
}

#[test]
fn what_is_throttled_and_lags_is_left_out_while_the_quota_is_exceeded() {
    let mut plan = plan(&[B]);
    plan.follow(A, at(0), true);
    plan.follow(C, at(0), true);
    in_session(&mut plan);
    plan.lags(A, 0, 1);
    plan.lags(C, 9, 1);
    plan.moved(C, at(5));
    let without = ask_under_quota(&mut plan, true).unwrap();
    assert_eq!((named(&without), left(&without)), (vec![], vec![C]));
    assert!(plan.holds_back());
    // Nothing is new of it while it is held back.
    plan.moved(C, at(6));
    assert!(!plan.has_more(START));
    let again = ask_under_quota(&mut plan, true).unwrap();
    assert_eq!((named(&again), left(&again)), (vec![], vec![]));
    let with = ask_under_quota(&mut plan, false).unwrap();
    assert_eq!((named(&with), left(&with), plan.holds_back()), (vec![(C, 6)], vec![], false));
}

#[test]
fn nothing_is_asked_where_all_is_held_back() {
    let mut plan = plan(&[]);
    plan.follow(A, at(0), true);
    assert!(ask_under_quota(&mut plan, true).is_none() && plan.holds_back());
    assert_eq!(plan.next_rested(), None);
    // Another leader epoch does not free it.
    plan.follow(A, at(1), true);
    assert!(ask_under_quota(&mut plan, true).is_none() && plan.holds_back());
    assert_eq!(named(&ask_under_quota(&mut plan, false).unwrap()), [(A, 1)]);
}

#[test]
fn an_answer_on_its_way_is_still_for_what_is_held_back_since() {
    let mut plan = plan(&[]);
    plan.follow(A, at(0), true);
    let (number, _) = plan.request((2, 9), START).unwrap();
    plan.hold_back(|| true);
    assert_eq!(plan.was_asked(A, number), Some(at(0)));
    // It has brought it up to what is safe.
    plan.lags(A, -1, 1);
    plan.moved(A, at(4));
    plan.hold_back(|| true);
    assert!(!plan.holds_back());
    assert_eq!(named(&ask(&mut plan, START).unwrap()), [(A, 4)]);
}

#[test]
fn only_records_tell_whether_a_replica_lags() {
    let mut plan = plan(&[]);
    plan.follow(A, at(0), true);
    plan.lags(A, 0, 0);
    // A leader that withholds records tells a high watermark all the same; who was in sync is to have its records.
    plan.lags(A, 7, 0);
    plan.hold_back(|| true);
    assert!(!plan.holds_back());
    plan.lags(A, 7, 1);
    plan.hold_back(|| true);
    assert!(plan.holds_back());
}

#[test]
fn what_is_throttled_no_more_goes_on() {
    let mut plan = plan(&[]);
    plan.follow(A, at(0), true);
    plan.follow(B, at(0), true);
    assert!(ask_under_quota(&mut plan, true).is_none());
    plan.set_throttled([B].into());
    assert_eq!(named(&ask_under_quota(&mut plan, true).unwrap()), [(A, 0)]);
    plan.leave(B);
    assert!(!plan.holds_back());
}

#[test]
fn what_lags_rests_while_others_are_fetched_on() {
    let mut plan = plan(&[A, B]);
    in_session(&mut plan);
    assert!(!plan.catches_up());
    plan.lags(A, 90, 10);
    plan.lags(B, 0, 10);
    plan.moved(A, at(10));
    plan.moved(B, at(10));
    assert!(plan.catches_up());

    let rested = START + Duration::from_millis(4);
    plan.rest_from_catching_up(rested);
    let without = ask(&mut plan, START).unwrap();
    assert_eq!((named(&without), left(&without), plan.catches_up()), (vec![(B, 10)], vec![A], false));
    plan.answered(ErrorCode::NONE, 77).unwrap();
    // Its rest ends while the leader waits for records of the other one.
    assert_eq!((plan.has_more(START), plan.next_rested()), (false, Some(rested)));
    assert!(plan.has_more(rested) && !plan.catches_up());
    let with = ask(&mut plan, rested).unwrap();
    assert_eq!((named(&with), left(&with), plan.catches_up()), (vec![(A, 10)], vec![], true));
    // Where it could not be fetched it rests as anybody, and nobody waits for an answer with it.
    plan.rest(A, rested);
    assert!(!plan.catches_up());
    // It has all that is safe, and there is nothing to rest from.
    plan.lags(A, 0, 90);
    assert!(!plan.catches_up());
}

#[test]
fn what_would_never_be_there_does_not_rest() {
    let mut plan = plan(&[A]);
    in_session(&mut plan);
    // How much was written meanwhile is not known yet.
    assert!(!plan.lags(A, 100, 10));
    assert!(plan.lags(A, 90, 10) && plan.lags(A, 84, 10));
    // Five were written and ten came; then twelve.
    assert!(!plan.lags(A, 79, 10) && !plan.lags(A, 81, 10));
    assert!(plan.lags(A, 71, 10));
    // A leader that withholds records tells nothing of that.
    assert!(!plan.lags(A, 50, 0));
}

#[test]
fn who_is_followed_no_more_or_anew_does_not_lag() {
    let mut plan = plan(&[A, B, C]);
    for key in [A, B, C] {
        plan.lags(key, 9, 1);
    }
    plan.leave(A);
    plan.follow(B, at(0), false);
    assert_eq!(plan.lagging(), 1);
}
