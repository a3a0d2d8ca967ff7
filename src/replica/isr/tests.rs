//! The rules of who is in sync, as stories, and held against a controller that grants, refuses, and answers late.

use proptest::prelude::*;

use super::*;

const LAG: Duration = Duration::from_secs(30);
const ANY: Eligible<'static> = &|_, _| true;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn reign(isr: &[NodeId]) -> Reign {
    Reign { leader_epoch: 5, partition_epoch: 10, replicas: vec![1, 2, 3], isr: isr.to_vec(), min_in_sync_replicas: 1 }
}

/// Broker 1 leads from offset 100 on, where all before 90 is known to be safe.
fn leading(isr: &[NodeId]) -> Leadership {
    Leadership::new(1, &reign(isr), (90, 100), LAG, at(0), ANY).0
}

fn fetch(leadership: &mut Leadership, node: NodeId, offset: Offset, seconds: u64) -> Effects {
    let fetch = FollowerFetch { node, broker_epoch: 7, offset, log_start: 0 };
    leadership.fetched(fetch, at(seconds), ANY).unwrap()
}

fn nodes(wish: &Option<Wish>) -> Vec<NodeId> {
    wish.iter().flat_map(|wish| &wish.isr).map(|(node, _)| *node).collect()
}

#[test]
fn the_only_replica_is_all_that_is_waited_for() {
    let alone = Reign { replicas: vec![1], isr: vec![1], min_in_sync_replicas: 2, ..reign(&[]) };
    let (mut leadership, effects) = Leadership::new(1, &alone, (0, 100), LAG, at(0), ANY);
    assert!(effects.moved && leadership.high_watermark() == 100);
    assert!(leadership.appended(101, at(0), ANY).moved && leadership.high_watermark() == 101);
    // No topic can ask for more replicas than it has.
    assert_eq!(leadership.needed(), 1);
}

#[test]
fn the_high_watermark_is_where_the_slowest_in_sync_is() {
    let mut leadership = leading(&[1, 2, 3]);
    assert_eq!(leadership.high_watermark(), 90);
    assert!(!fetch(&mut leadership, 2, 100, 1).moved);
    assert!(fetch(&mut leadership, 3, 95, 1).moved);
    assert_eq!(leadership.high_watermark(), 95);
    assert!(!leadership.appended(110, at(0), ANY).moved);
    assert!(fetch(&mut leadership, 3, 110, 2).moved);
    assert_eq!(leadership.high_watermark(), 100);
}

#[test]
fn the_high_watermark_never_goes_back() {
    let mut leadership = leading(&[1, 2]);
    let _ = fetch(&mut leadership, 2, 100, 1);
    // A follower that lost its end comes again.
    assert!(!fetch(&mut leadership, 2, 40, 2).moved);
    assert_eq!(leadership.high_watermark(), 100);
}

#[test]
fn below_min_insync_replicas_nothing_becomes_safe() {
    let few = Reign { min_in_sync_replicas: 2, ..reign(&[1]) };
    let (mut leadership, effects) = Leadership::new(1, &few, (90, 100), LAG, at(0), ANY);
    assert!(!effects.moved && !leadership.appended(120, at(0), ANY).moved);
    assert_eq!(leadership.high_watermark(), 90);
    let enough = Reign { partition_epoch: 11, isr: vec![1, 2], ..few };
    let _ = leadership.update(&enough, at(1), ANY);
    assert!(fetch(&mut leadership, 2, 120, 2).moved);
}

#[test]
fn a_follower_that_lags_is_wished_out_and_one_at_the_end_is_not() {
    let mut leadership = leading(&[1, 2, 3]);
    let _ = fetch(&mut leadership, 2, 100, 1);
    let _ = fetch(&mut leadership, 3, 100, 1);
    let _ = leadership.appended(101, at(0), ANY);
    let _ = fetch(&mut leadership, 2, 101, 2);
    assert_eq!(leadership.shrink(at(31), LAG, ANY).wish, None);
    let wish = leadership.shrink(at(33), LAG, ANY).wish.unwrap();
    assert_eq!((wish.leader_epoch, wish.partition_epoch, wish.isr), (5, 10, vec![(1, -1), (2, 7)]));
    // Until the controller has said so, it is waited for; and nothing else is wished.
    assert_eq!(leadership.high_watermark(), 100);
    assert_eq!(leadership.shrink(at(99), LAG, ANY).wish, None);
    let state = IsrState { leader_epoch: 5, partition_epoch: 11, isr: vec![1, 2] };
    assert!(leadership.answered(Ok(&state), at(99), ANY).moved);
    assert_eq!((leadership.high_watermark(), leadership.isr()), (101, &[1, 2][..]));
}

#[test]
fn a_follower_that_reaches_what_was_the_end_at_its_last_fetch_was_caught_up_then() {
    let mut leadership = leading(&[1, 2]);
    for second in 1..100 {
        // It is always one append behind.
        let _ = fetch(&mut leadership, 2, 99 + second as Offset, second);
        let _ = leadership.appended(100 + second as Offset, at(second), ANY);
        assert_eq!(leadership.shrink(at(second), LAG, ANY).wish, None);
    }
}

#[test]
fn a_follower_at_the_end_is_in_sync_however_long_nothing_was_heard_of_it() {
    let mut leadership = leading(&[1, 2]);
    let _ = fetch(&mut leadership, 2, 100, 1);
    let third = FollowerFetch { node: 3, broker_epoch: 7, offset: 100, log_start: 0 };
    let _ = leadership.fetched(third, at(1), &|node, _| node != 3);
    assert_eq!(leadership.shrink(at(1_000), LAG, ANY).wish, None);
    // From here on it lags. One that is not in sync and is not heard of is not waited for, though it is at the end.
    let _ = leadership.appended(101, at(1_000), ANY);
    assert!(fetch(&mut leadership, 2, 101, 1_000).moved);
    let _ = leadership.appended(102, at(1_000), ANY);
    assert_eq!(leadership.shrink(at(1_030), LAG, ANY).wish, None);
    assert_eq!(nodes(&leadership.shrink(at(1_031), LAG, ANY).wish), [1]);
}

#[test]
fn a_follower_that_has_all_that_is_safe_is_wished_in_and_waited_for_from_then_on() {
    let mut leadership = leading(&[1]);
    assert_eq!(leadership.high_watermark(), 100);
    assert_eq!(fetch(&mut leadership, 2, 99, 1).wish, None);
    let wish = fetch(&mut leadership, 2, 100, 2).wish;
    assert_eq!(nodes(&wish), [1, 2]);
    // One at a time.
    assert_eq!(fetch(&mut leadership, 3, 100, 2).wish, None);
    // It may be in sync by now, for all we know.
    assert!(!leadership.appended(105, at(0), ANY).moved);
    assert_eq!((leadership.in_sync(), leadership.most_in_sync()), (1, 2));
    let state = IsrState { leader_epoch: 5, partition_epoch: 11, isr: vec![1, 2] };
    let _ = leadership.answered(Ok(&state), at(3), ANY);
    // 3 was at the end a moment ago, and is about to join: a busy leader waits for it.
    assert!(!fetch(&mut leadership, 2, 105, 3).moved);
    let at_end = fetch(&mut leadership, 3, 105, 3);
    assert!(at_end.moved);
    assert_eq!(nodes(&at_end.wish), [1, 2, 3]);
}

#[test]
fn nobody_joins_before_the_reign_began() {
    // What was written before is not known to be safe yet; a follower without it could not be followed.
    let (mut leadership, _) = Leadership::new(1, &reign(&[1, 2]), (50, 100), LAG, at(0), ANY);
    assert_eq!(fetch(&mut leadership, 3, 60, 1).wish, None);
    assert_eq!(nodes(&fetch(&mut leadership, 3, 100, 1).wish), [1, 2, 3]);
}

#[test]
fn a_fenced_broker_is_neither_wished_in_nor_waited_for() {
    let mut leadership = leading(&[1]);
    let fenced: Eligible<'_> = &|node, _| node != 2;
    let fetched = FollowerFetch { node: 2, broker_epoch: 7, offset: 100, log_start: 0 };
    assert_eq!(leadership.fetched(fetched, at(1), fenced).unwrap().wish, None);
    assert!(leadership.appended(101, at(0), fenced).moved);
}

#[test]
fn a_refusal_is_asked_again_after_a_rest() {
    let mut leadership = leading(&[1]);
    let first = fetch(&mut leadership, 2, 100, 10).wish;
    assert!(first.is_some());
    let _ = leadership.answered(Err(ErrorCode::INELIGIBLE_REPLICA), at(10), ANY);
    assert_eq!(fetch(&mut leadership, 2, 100, 10).wish, None);
    assert_eq!(fetch(&mut leadership, 2, 100, 11).wish, first);
    // Nobody was there to answer.
    let _ = leadership.answered(Err(ErrorCode::NOT_CONTROLLER), at(11), ANY);
    assert_eq!(fetch(&mut leadership, 2, 100, 11).wish, None);
    assert_eq!(leadership.shrink(at(12), LAG, ANY).wish, first);
    assert_eq!(leadership.shrink(at(12), LAG, ANY).wish, None);
}

#[test]
fn a_wish_that_may_have_been_granted_stands_until_the_image_tells() {
    let mut leadership = leading(&[1]);
    let _ = fetch(&mut leadership, 2, 100, 1);
    let _ = leadership.answered(Err(ErrorCode::INVALID_UPDATE_VERSION), at(2), ANY);
    let _ = leadership.appended(105, at(0), ANY);
    assert_eq!((leadership.high_watermark(), leadership.most_in_sync()), (100, 2));
    let image = Reign { partition_epoch: 11, isr: vec![1], ..reign(&[]) };
    // 2 is not in it; but it is about to be at the end, and is waited for while it may be.
    let _ = leadership.update(&image, at(3), ANY);
    assert_eq!(leadership.most_in_sync(), 1);
    assert_eq!(nodes(&fetch(&mut leadership, 2, 105, 4).wish), [1, 2]);
}

#[test]
fn whom_the_controller_puts_out_is_not_waited_for() {
    let mut leadership = leading(&[1, 2, 3]);
    let _ = fetch(&mut leadership, 2, 100, 1);
    let _ = fetch(&mut leadership, 3, 100, 1);
    let _ = leadership.appended(105, at(0), ANY);
    let _ = fetch(&mut leadership, 2, 105, 1);
    // Broker 3 died; the lag alone would have it waited for.
    let image = Reign { partition_epoch: 11, isr: vec![1, 2], ..reign(&[]) };
    assert!(leadership.update(&image, at(2), ANY).moved);
    assert_eq!(leadership.high_watermark(), 105);
}

#[test]
fn what_a_follower_had_in_another_reign_is_not_known_to_be_there() {
    let mut leadership = leading(&[1, 2, 3]);
    assert!(!fetch(&mut leadership, 2, 100, 1).moved);
    // Broker 3 led in epoch 6, without the ten records behind 90, and nobody told us.
    let reign = Reign { leader_epoch: 7, partition_epoch: 12, ..reign(&[1, 2]) };
    assert!(!leadership.update(&reign, at(2), ANY).moved);
    assert_eq!(leadership.high_watermark(), 90);
    assert!(!fetch(&mut leadership, 2, 90, 3).moved);
    assert!(fetch(&mut leadership, 2, 100, 4).moved);
}

#[test]
fn what_the_image_said_before_changes_nothing() {
    let mut leadership = leading(&[1, 2]);
    let old = Reign { partition_epoch: 9, isr: vec![1], ..reign(&[]) };
    let _ = leadership.update(&old, at(1), ANY);
    let stale = IsrState { leader_epoch: 4, partition_epoch: 99, isr: vec![1] };
    let _ = leadership.answered(Ok(&stale), at(1), ANY);
    assert_eq!((leadership.isr(), leadership.partition_epoch()), (&[1, 2][..], 10));
}

#[test]
fn a_fetch_of_a_stranger_or_of_a_former_life_is_refused() {
    let mut leadership = leading(&[1, 2]);
    let of = |node, broker_epoch| FollowerFetch { node, broker_epoch, offset: 100, log_start: 0 };
    assert!(leadership.fetched(of(9, 7), at(1), ANY).is_none());
    assert!(leadership.fetched(of(2, 7), at(1), ANY).is_some());
    assert!(leadership.fetched(of(2, 6), at(1), ANY).is_none());
}

#[test]
fn the_low_watermark_is_where_the_last_replica_begins() {
    let mut leadership = leading(&[1, 2, 3]);
    let of = |node, log_start| FollowerFetch { node, broker_epoch: 7, offset: 100, log_start };
    assert!(leadership.fetched(of(2, 20), at(1), ANY).unwrap().low_watermark);
    assert_eq!(leadership.low_watermark(50, |_| true), -1);
    let _ = leadership.fetched(of(3, 60), at(1), ANY).unwrap();
    assert_eq!(leadership.low_watermark(50, |_| true), 20);
    assert_eq!(leadership.low_watermark(50, |node| node == 3), 50);
}

#[test]
fn a_reader_is_sent_to_followers_in_sync_that_have_what_it_wants() {
    let mut leadership = leading(&[1, 2, 3]);
    let of = |node, offset, log_start| FollowerFetch { node, broker_epoch: 7, offset, log_start };
    let _ = leadership.fetched(of(2, 100, 20), at(1), ANY);
    let _ = leadership.fetched(of(3, 95, 0), at(1), ANY);
    let at = |offset| leadership.holders(offset).map(|(node, ..)| node).collect::<Vec<_>>();
    assert_eq!((at(10), at(95), at(98), at(101)), (vec![3], vec![2, 3], vec![2], vec![]));
}

/// What may happen.
#[derive(Debug, Clone)]
enum Event {
    Append(Offset),
    /// A follower fetches what is this far behind the end, at most what it has come to.
    Fetch(NodeId, Offset),
    Pass(u64),
    Shrink,
    /// The controller decides on the wish that waits, if it can be granted.
    Decide(bool),
    /// Its answer arrives, or that nobody answered.
    Answer(bool),
    /// The image arrives.
    Image,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1..5i64).prop_map(Event::Append),
        6 => (2..4i32, 0..4i64).prop_map(|(node, behind)| Event::Fetch(node, behind)),
        2 => (1..40u64).prop_map(Event::Pass),
        1 => Just(Event::Shrink),
        2 => any::<bool>().prop_map(Event::Decide),
        2 => any::<bool>().prop_map(Event::Answer),
        1 => Just(Event::Image),
    ]
}

/// A controller, its wishes and answers, and how far each follower really is.
struct World {
    leadership: Leadership,
    truth: Reign,
    asked: Option<Wish>,
    answer: Option<Result<IsrState, ErrorCode>>,
    ends: [Offset; 4],
    now: Duration,
}

impl World {
    fn take(&mut self, effects: Effects) {
        if let Some(wish) = effects.wish {
            assert!(self.asked.is_none() && self.answer.is_none(), "one wish at a time");
            let mut isr = nodes(&Some(wish.clone()));
            assert!(isr.contains(&1) && isr.iter().all(|node| self.truth.replicas.contains(node)));
            for node in isr.iter().filter(|node| !self.leadership.isr().contains(node)) {
                assert!(self.ends[*node as usize] >= self.leadership.high_watermark(), "{node} is not in sync");
            }
            isr.dedup();
            assert_eq!(isr.len(), wish.isr.len());
            self.asked = Some(wish);
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Append(count) => {
                self.ends[1] += count;
                let effects = self.leadership.appended(self.ends[1], self.now, ANY);
                self.take(effects);
            }
            Event::Fetch(node, behind) => {
                let end = (self.ends[1] - behind).max(self.ends[node as usize]);
                self.ends[node as usize] = end;
                let fetch = FollowerFetch { node, broker_epoch: 7, offset: end, log_start: 0 };
                let effects = self.leadership.fetched(fetch, self.now, ANY).unwrap();
                self.take(effects);
            }
            Event::Pass(seconds) => self.now += at(seconds),
            Event::Shrink => {
                let effects = self.leadership.shrink(self.now, LAG, ANY);
                self.take(effects);
            }
            Event::Decide(grant) => {
                let Some(wish) = self.asked.take() else { return };
                self.answer = Some(if wish.partition_epoch != self.truth.partition_epoch {
                    Err(ErrorCode::INVALID_UPDATE_VERSION)
                } else if grant {
                    self.truth.isr = nodes(&Some(wish));
                    self.truth.partition_epoch += 1;
                    let Reign { leader_epoch, partition_epoch, isr, .. } = self.truth.clone();
                    Ok(IsrState { leader_epoch, partition_epoch, isr })
                } else {
                    Err(ErrorCode::INELIGIBLE_REPLICA)
                });
            }
            Event::Answer(heard) => {
                let Some(answer) = self.answer.take() else { return };
                let answer = if heard { answer } else { Err(ErrorCode::REQUEST_TIMED_OUT) };
                let effects = self.leadership.answered(answer.as_ref().map_err(|code| *code), self.now, ANY);
                self.take(effects);
            }
            Event::Image => {
                let effects = self.leadership.update(&self.truth, self.now, ANY);
                self.take(effects);
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_safe_is_with_all_who_are_in_sync_and_never_goes_back(events in prop::collection::vec(event(), 1..200)) {
        let mut world = World {
            leadership: leading(&[1, 2, 3]),
            truth: reign(&[1, 2, 3]),
            asked: None,
            answer: None,
            ends: [0, 100, 0, 0],
            now: at(0),
        };
        for event in events {
            let before = world.leadership.high_watermark();
            world.step(event);
            let high_watermark = world.leadership.high_watermark();
            prop_assert!(high_watermark >= before && high_watermark <= world.ends[1]);
            if high_watermark > 90 {
                for node in &world.truth.isr {
                    prop_assert!(world.ends[*node as usize] >= high_watermark, "{node} has not what is safe");
                }
            }
        }
    }
}
