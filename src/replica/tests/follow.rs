//! What followers come to: the leader's log, whatever happened to it.

use std::io::ErrorKind;

use super::*;
use crate::log::checkpoint;
use crate::log::fs::memory::Fault;
use crate::replica::{FollowError, Given, ThrottleRates};

#[tokio::test]
async fn followers_have_what_the_leader_has_and_an_append_to_all_is_done_then() {
    let trio = Trio::start();
    let append = trio.append("a").expect("the others have it not yet");
    trio.append("b");
    trio.leader().replication(append).await.unwrap();
    trio.all_until_safe(2).await;
    trio.assert_same();
    assert_eq!(values(&trio.partition(3)), ["a", "b"]);
    assert_eq!(trio.partition(2).leader_hint().leader_id, 1);
}

#[tokio::test]
async fn a_follower_takes_producers_and_epochs_along() {
    let mut trio = Trio::start();
    trio.append("a");
    trio.elect(1, &[1, 2, 3]);
    trio.tell_all();
    trio.append("b");
    trio.all_until_safe(2).await;
    for node in 1..=3 {
        let epochs: Vec<_> = trio.partition(node).with_log(|log| {
            log.leader_epochs().entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect()
        });
        assert_eq!(epochs, [(0, 0), (1, 1)]);
    }
}

#[tokio::test]
async fn what_a_lagging_follower_has_not_is_not_safe_until_it_is_put_out_and_comes_back() {
    let mut trio = Trio::start();
    trio.append("a");
    trio.all_until_safe(1).await;
    trio.net.cut.lock().insert(3);
    let append = trio.append("b").unwrap();
    trio.append("c");
    let leader = trio.leader();
    until(|| trio.partition(2).log_end_offset() == 3, || "2 does not follow".to_owned()).await;
    assert_eq!((leader.high_watermark(), leader.replicated(append)), (1, None));

    // After replica.lag.time.max.ms the leader wishes it out.
    trio.clock.advance(Duration::from_secs(31));
    trio.brokers[&1].manager.shrink_isrs(trio.clock.monotonic());
    assert_eq!(trio.grant().await, [1, 2]);
    leader.replication(append).await.unwrap();
    trio.until_safe(2, 3).await;

    // Once it has caught up the leader wishes it in.
    trio.net.cut.lock().clear();
    trio.rested().await;
    assert_eq!(trio.grant().await, [1, 2, 3]);
    trio.all_until_safe(3).await;
    trio.assert_same();
}

#[tokio::test]
async fn a_follower_knows_whom_it_has_just_lost() {
    let trio = Trio::start();
    trio.append("a");
    trio.all_until_safe(1).await;
    let has_lost = |node| trio.brokers[&node].manager.has_lost(1, trio.clock.monotonic());
    trio.net.cut.lock().insert(2);
    trio.append("b");
    until(|| has_lost(2), || "2 lost 1 and does not know".to_owned()).await;
    assert!(!has_lost(3));
    trio.net.cut.lock().clear();
    trio.rested().await;
    until(|| !has_lost(2), || "2 has found 1 and does not know".to_owned()).await;
}

#[tokio::test]
async fn with_too_few_in_sync_nothing_is_taken_for_all() {
    let mut trio = Trio::with(LogConfig::default(), 2);
    trio.elect(1, &[1]);
    for node in [2, 3] {
        trio.net.cut.lock().insert(node);
    }
    trio.tell(1);
    let refused = trio.leader().append_for_all(batch("a"), NOW).unwrap_err();
    assert!(matches!(refused, crate::replica::WriteError::NotEnoughReplicas { in_sync: 1, needed: 2 }));
    // Without asking for all it is taken, and safe once enough have it.
    trio.leader().append(batch("b"), NOW).unwrap();
    assert_eq!(trio.leader().high_watermark(), 0);
    trio.net.cut.lock().remove(&2);
    trio.tell(2);
    trio.rested().await;
    assert_eq!(trio.grant().await, [1, 2]);
    trio.until_safe(1, 1).await;
}

#[tokio::test]
async fn an_append_that_loses_its_leader_is_told_so() {
    let mut trio = Trio::start();
    trio.net.cut.lock().extend([2, 3]);
    let append = trio.append("a").unwrap();
    let leader = trio.leader();
    let waiting = tokio::spawn({
        let leader = leader.clone();
        async move { leader.replication(append).await }
    });
    tokio::task::yield_now().await;
    trio.elect(2, &[2, 3]);
    trio.tell(1);
    assert_eq!(waiting.await.unwrap(), Err(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    // Also where this broker leads again: its log may have been cut in between.
    trio.elect(1, &[1]);
    trio.tell(1);
    assert_eq!(leader.replicated(append), Some(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)));
    let refused = trio.partition(1).append(batch("b"), NOW);
    assert!(refused.is_ok());
}

#[tokio::test]
async fn a_former_leader_cuts_off_what_nobody_followed() {
    let mut trio = Trio::start();
    trio.append("a");
    trio.all_until_safe(1).await;
    // The old leader goes on by itself, and nobody hears.
    trio.net.cut.lock().insert(1);
    trio.append("lost");
    trio.append("lost too");
    trio.elect(2, &[2, 3]);
    trio.tell(2);
    trio.tell(3);
    trio.append("b");
    trio.until_safe(3, 2).await;
    // It comes back, and has more records than the new leader.
    trio.net.cut.lock().clear();
    trio.tell(1);
    trio.until_safe(1, 2).await;
    assert_eq!(values(&trio.partition(1)), ["a", "b"]);
    trio.assert_same();
}

#[tokio::test]
async fn a_leader_that_wrote_nothing_is_no_obstacle() {
    let mut trio = Trio::start();
    trio.append("a");
    trio.all_until_safe(1).await;
    // 2 leads, and writes down its epoch and nothing else; then 3 does, and knows nothing of that.
    trio.net.cut.lock().insert(2);
    trio.elect(2, &[2]);
    trio.tell(2);
    trio.elect(3, &[3, 1]);
    trio.tell(3);
    trio.tell(1);
    trio.append("b");
    trio.until_safe(1, 2).await;
    trio.net.cut.lock().clear();
    trio.tell(2);
    trio.until_safe(2, 2).await;
    trio.assert_same();
}

#[tokio::test]
async fn readers_of_a_new_leader_never_see_the_high_watermark_go_back() {
    let mut trio = Trio::start();
    for value in ["a", "b", "c"] {
        trio.append(value);
    }
    trio.all_until_safe(3).await;
    let before = trio.partition(2).high_watermark();
    trio.elect(2, &[1, 2, 3]);
    trio.tell(2);
    let leader = trio.leader();
    assert!(leader.is_leader() && leader.high_watermark() >= before && !leader.is_catching_up());
}

#[tokio::test]
async fn a_follower_behind_the_leaders_log_start_begins_anew_there() {
    let mut trio = Trio::start();
    trio.append("a");
    trio.all_until_safe(1).await;
    trio.net.cut.lock().insert(3);
    trio.append("b");
    trio.append("c");
    trio.put_out().await;
    trio.until_safe(1, 3).await;
    trio.leader().delete_records(2).unwrap();
    trio.net.cut.lock().clear();
    trio.rested().await;
    trio.until_safe(3, 3).await;
    assert_eq!((trio.partition(3).log_start_offset(), values(&trio.partition(3))), (2, vec!["c".to_owned()]));
}

#[tokio::test]
async fn a_follower_that_begins_anew_knows_no_epoch_of_what_it_had() {
    let mut trio = Trio::start();
    trio.append("a");
    trio.all_until_safe(1).await;
    trio.net.cut.lock().insert(3);
    trio.append("b");
    trio.put_out().await;
    trio.until_safe(2, 2).await;
    trio.elect(1, &[1, 2]);
    trio.tell_all();
    trio.append("c");
    trio.rested().await;
    trio.until_safe(1, 3).await;
    // Its leader knows where the first epoch ended, and has nothing of it any more.
    assert_eq!(trio.leader().delete_records(3), Ok(3));
    trio.net.cut.lock().clear();
    trio.rested().await;
    trio.until_safe(3, 3).await;
    trio.append("d");
    trio.until_safe(3, 4).await;
    assert_eq!(values(&trio.partition(3)), ["d"]);
}

#[tokio::test]
async fn records_deleted_by_the_leader_go_at_its_followers_too() {
    let mut trio = Trio::start();
    trio.append("a");
    trio.append("b");
    trio.all_until_safe(2).await;
    let leader = trio.leader();
    assert_eq!(leader.delete_records(-1), Ok(2));
    until(|| leader.low_watermark() == Ok(2), || format!("{:?}", leader.low_watermark())).await;
    assert_eq!(trio.partition(2).log_start_offset(), 2);
    trio.elect(1, &[1, 2, 3]);
    trio.tell_all();
    trio.append("c");
    trio.rested().await;
    trio.all_until_safe(3).await;
    assert_eq!(leader.delete_records(-1), Ok(3));
    // Nobody is told where the epoch ended that is deleted.
    assert_eq!(leader.end_offset_for(0), (0, 3));
}

#[tokio::test]
async fn an_unclean_leader_has_its_followers_cut_below_what_was_safe() {
    let mut trio = Trio::start();
    trio.append("a");
    trio.all_until_safe(1).await;
    trio.net.cut.lock().insert(3);
    trio.append("b");
    trio.put_out().await;
    trio.until_safe(2, 2).await;
    // 3 lacks "b", and leads all the same.
    trio.net.cut.lock().clear();
    trio.elect(3, &[3]);
    trio.tell_all();
    trio.append("other");
    trio.rested().await;
    until(|| values(&trio.partition(2)) == ["a", "other"], || format!("{:?}", values(&trio.partition(2)))).await;
    assert_eq!(trio.grant().await.len(), 2);
}

#[tokio::test]
async fn a_restarted_follower_knows_what_was_safe_and_goes_on() {
    let mut trio = Trio::start();
    trio.append("a");
    trio.all_until_safe(1).await;
    let fs = trio.stop(3).await;
    trio.elect(1, &[1, 2]);
    trio.tell_all();
    trio.append("b");
    trio.until_safe(1, 2).await;
    trio.boot(3, fs);
    trio.net.cut.lock().insert(3);
    trio.tell(3);
    assert_eq!((trio.partition(3).log_end_offset(), trio.partition(3).high_watermark()), (1, 1));
    trio.net.cut.lock().clear();
    trio.rested().await;
    assert_eq!(trio.grant().await, [1, 2, 3]);
    trio.all_until_safe(2).await;
    trio.assert_same();
}

#[tokio::test]
async fn a_disk_that_fails_stops_only_its_own_replica() {
    let mut trio = Trio::start();
    trio.append("a");
    trio.all_until_safe(1).await;
    let fs = trio.brokers[&3].fs.clone();
    fs.fail_at(Some(Fault { at: fs.operations(), kind: ErrorKind::StorageFull, stays: true, written: 0 }));
    trio.append("b");
    until(|| trio.partition(2).log_end_offset() == 2, || "2 does not follow".to_owned()).await;
    trio.clock.advance(Duration::from_secs(31));
    trio.brokers[&1].manager.shrink_isrs(trio.clock.monotonic());
    assert_eq!(trio.grant().await, [1, 2]);
    trio.until_safe(2, 2).await;
    assert_eq!(trio.partition(3).log_end_offset(), 1);
}

#[tokio::test]
async fn a_follower_serves_readers_nearby_up_to_what_it_knows_to_be_safe() {
    let trio = Trio::start();
    trio.append("a");
    trio.all_until_safe(1).await;
    let from = FetchFrom {
        offset: 0,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        max_bytes: 1 << 20,
        min_one: true,
        read_committed: false,
    };
    let follower = trio.partition(2);
    let nearby = follower.fetch_nearby(from).unwrap();
    assert_eq!((nearby.high_watermark, batches(&nearby.records).count()), (1, 1));
    assert_eq!(follower.fetch(from).unwrap_err().code(), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    // Only the leader knows which replica is near.
    assert_eq!(trio.leader().nearest(0, |node| node != 2), Some(3));
    assert_eq!((trio.leader().nearest(0, |_| false), follower.nearest(0, |_| true)), (None, None));
    let fenced = FetchFrom { current_leader_epoch: 1, ..from };
    assert_eq!(follower.fetch_nearby(fenced).unwrap_err().code(), ErrorCode::UNKNOWN_LEADER_EPOCH);
}

#[tokio::test]
async fn a_stranger_may_not_fetch_as_a_replica() {
    let trio = Trio::start();
    let from = FetchFrom {
        offset: 0,
        current_leader_epoch: 0,
        last_fetched_epoch: -1,
        max_bytes: 1,
        min_one: true,
        read_committed: false,
    };
    let replica = ReplicaFetch { node: 9, broker_epoch: -1, log_start_offset: 0 };
    let refused = trio.leader().fetch_as_replica(replica, from, Duration::ZERO).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::UNKNOWN_LEADER_EPOCH);
    let blind = FetchFrom { current_leader_epoch: -1, ..from };
    let refused = trio.leader().fetch_as_replica(replica, blind, Duration::ZERO).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NOT_LEADER_OR_FOLLOWER);
}

/// A follower that has one record, and a leader that gives it whatever it likes.
fn follower() -> (Trio, Arc<Partition>) {
    let trio = Trio::start();
    trio.net.cut.lock().extend([1, 2, 3]);
    let follower = trio.partition(2);
    let at = follower.begin_following(NOW).unwrap();
    let records = stamped(batch("first"), 0, 0);
    follower.append_given(&at, given(records), NOW).unwrap();
    (trio, follower)
}

fn given(records: Bytes) -> Given {
    Given { records, high_watermark: 1, log_start_offset: 0 }
}

/// A batch as a leader gives it.
fn stamped(batch: Bytes, offset: Offset, leader_epoch: i32) -> Bytes {
    let prefix = crate::record::Batch::parse(&batch).unwrap().stamped_prefix(offset, leader_epoch);
    [&prefix[..], &batch[prefix.len()..]].concat().into()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_of_a_leader_harm_a_follower(
        flips in proptest::collection::vec((0usize..200, proptest::prelude::any::<u8>()), 0..6),
        cut in 0usize..200,
        offset in -2i64..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _in = runtime.enter();
        let (_trio, follower) = follower();
        let at = follower.begin_following(NOW).unwrap();
        let mut bytes = [&stamped(batch("a"), offset, 0)[..], &stamped(batch("b"), offset + 1, 0)[..]].concat();
        for (place, value) in flips {
            let place = place % bytes.len();
            bytes[place] ^= value;
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        let before = stored(&follower);
        let taken = follower.append_given(&at, given(bytes.into()), NOW);
        let after = stored(&follower);
        proptest::prop_assert!(after.starts_with(&before) && follower.high_watermark() == 1);
        match taken {
            Ok(position) => proptest::prop_assert_eq!(position.offset, follower.log_end_offset()),
            Err(error) => proptest::prop_assert!(after == before, "{}", error),
        }
        // Whatever that was, what is right goes on behind it.
        let at = follower.begin_following(NOW).unwrap();
        let next = follower.append_given(&at, given(stamped(batch("next"), at.offset, 0)), NOW).unwrap();
        proptest::prop_assert_eq!(next.offset, at.offset + 1);
    }
}

#[tokio::test]
async fn an_answer_that_comes_late_does_nothing() {
    let (_trio, follower) = follower();
    let old = follower.begin_following(NOW).unwrap();
    follower.append_given(&old, given(stamped(batch("a"), 1, 0)), NOW).unwrap();
    let late = follower.append_given(&old, given(stamped(batch("a"), 1, 0)), NOW);
    assert!(matches!(late, Err(FollowError::Overtaken)));
    assert!(matches!(follower.truncate_diverging(&old, (0, 0), NOW), Err(FollowError::Overtaken)));
    assert!(matches!(follower.follow_within(&old, 0..0, NOW), Err(FollowError::Overtaken)));
    assert_eq!(values(&follower), ["first", "a"]);
}

#[tokio::test]
async fn a_cut_batch_at_the_end_is_left_for_the_next_fetch_and_pieces_fit_segments() {
    let config = LogConfig { segment_bytes: 200, ..LogConfig::default() };
    let trio = Trio::with(config, 1);
    trio.net.cut.lock().extend([1, 2, 3]);
    let follower = trio.partition(2);
    let at = follower.begin_following(NOW).unwrap();
    let whole: Vec<u8> = (0..10).flat_map(|n| stamped(batch(&n.to_string()), n, 0).to_vec()).collect();
    let cut = Bytes::copy_from_slice(&whole[..whole.len() - 3]);
    let position = follower.append_given(&at, given(cut), NOW).unwrap();
    assert_eq!((position.offset, values(&follower).len()), (9, 9));
    assert!(follower.log_reader().segment_count() > 2);
}

#[tokio::test]
async fn records_are_withheld_from_a_follower_that_is_not_in_sync_and_from_no_other() {
    let mut trio = Trio::start();
    trio.elect(1, &[1, 2]);
    trio.tell_all();
    let (leader, second) = (trio.leader(), Duration::from_secs(1));
    let manager = trio.brokers[&1].manager.clone();
    manager.set_throttle_rates(ThrottleRates { leader: 1_000, follower: u64::MAX });
    manager.gave_throttled(3_000, Duration::ZERO);
    assert_eq!(leader.withheld_from(3, second), None, "the partition is not throttled");
    trio.throttled = Throttled { as_leader: true, as_follower: false };
    trio.tell(1);
    assert_eq!(leader.withheld_from(3, second), Some(3 * second));
    assert_eq!((leader.withheld_from(2, second), leader.withheld_from(3, 3 * second)), (None, None));
    manager.set_throttle_rates(ThrottleRates { leader: 3_000, follower: u64::MAX });
    assert_eq!(leader.withheld_from(3, second), None);
}

#[tokio::test]
async fn a_log_that_is_cut_is_not_written_down_as_safe_any_more() {
    let (trio, partition) = follower();
    let mut position = partition.begin_following(NOW).unwrap();
    for offset in 1..10 {
        position = partition.append_given(&position, given(stamped(batch("a"), offset, 0)), NOW).unwrap();
    }
    partition.with_log(|log| log.flush(NOW)).unwrap();
    assert_eq!(partition.log_end_offset(), 10);
    let broker = &trio.brokers[&2];
    broker.manager.checkpoint().unwrap();
    let written = || {
        let points = checkpoint::read(broker.fs.as_ref(), broker.manager.root(), checkpoint::RECOVERY_POINT).unwrap();
        points[partition.id()]
    };
    assert_eq!(written(), 10);
    // What its new leader had before is gone there too, and what comes instead is not synced.
    let position = partition.truncate_diverging(&position, (0, 4), NOW).unwrap();
    assert_eq!((position.offset, written()), (4, 4));
    partition.append_given(&position, given(stamped(batch("b"), 4, 0)), NOW).unwrap();
    broker.manager.checkpoint().unwrap();
    assert_eq!(written(), 4);
}

#[tokio::test]
async fn closed_segments_are_synced() {
    let (trio, partition) = follower();
    let mut position = partition.begin_following(NOW).unwrap();
    for offset in 1..10 {
        position = partition.append_given(&position, given(stamped(batch("a"), offset, 0)), NOW).unwrap();
        if offset == 6 {
            partition.with_log(|log| log.roll(NOW)).unwrap();
        }
    }
    let manager = &trio.brokers[&2].manager;
    manager.flush_closed(NOW);
    assert_eq!(partition.with_log(|log| log.recovery_point()), 7);
}

#[tokio::test]
async fn what_lies_before_the_log_of_a_leader_that_cannot_tell_of_it_does_not_come_back_after_a_kill() {
    let (mut trio, partition) = follower();
    trio.elect(3, &[3]);
    trio.tell(2);
    let position = partition.begin_following(NOW).unwrap();
    assert_eq!((position.offset, position.last_fetched_epoch), (1, 0));
    // It had another record at offset 0, and deleted it; its epochs begin behind that.
    let given = Given { records: stamped(batch("second"), 1, 1), high_watermark: 2, log_start_offset: 1 };
    partition.append_given(&position, given, NOW).unwrap();
    assert_eq!((partition.log_start_offset(), values(&partition)), (1, vec!["second".to_owned()]));
    drop(partition);
    let killed = trio.brokers.remove(&2).unwrap();
    trio.net.brokers.lock().remove(&2);
    killed.shutdown.finish().await;
    let fs = killed.fs.clone();
    drop(killed);
    trio.boot(2, fs);
    let partition = trio.brokers[&2].manager.open_blocking(trio.spec(2)).unwrap();
    assert_eq!((partition.log_start_offset(), values(&partition)), (1, vec!["second".to_owned()]));
}
