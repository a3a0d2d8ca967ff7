//! Three voters and five: elected, cut off, brought back.

use super::quorum::Quorum;
use super::*;
use crate::log::fs::memory::Fault;

#[tokio::test(start_paused = true)]
async fn controllers_that_are_far_apart_agree_and_keep_their_leader() {
    let mut quorum = Quorum::start(3, NEVER).await;
    quorum.leader(&[1, 2, 3]).await;
    // As between continents: an answer takes longer than it is between two heartbeats.
    *quorum.net.way.lock() = Duration::from_millis(45);
    let leader = quorum.leader(&[1, 2, 3]).await;
    let epoch = quorum.nodes[&leader].leader().borrow().epoch;
    for number in 0..50 {
        soon(make(&quorum.nodes[&leader], &format!("tide-{number}"))).await.unwrap();
    }
    // With nothing to say, too, it is heard of often enough.
    SystemClock::shared().sleep(Duration::from_secs(60)).await;
    assert_eq!(quorum.nodes[&leader].leader().borrow().epoch, epoch, "nobody else stood for election");
    quorum.arrived("tide-49").await;
    quorum.kill(leader).await;
    let next = quorum.leader(&quorum.others(leader)).await;
    soon(make(&quorum.nodes[&next], "ebb")).await.unwrap();
    quorum.arrived("ebb").await;
    quorum.stop().await;
}

#[tokio::test(start_paused = true)]
async fn three_voters_elect_one_leader_and_have_the_same_image() {
    let quorum = Quorum::start(3, NEVER).await;
    let leader = quorum.leader(&[1, 2, 3]).await;
    let epoch = quorum.nodes[&leader].leader().borrow().epoch;
    for node in quorum.nodes.values() {
        let seen = |known: &Leadership| known.leader.as_ref().is_some_and(|known| known.id == leader);
        let known = soon(async { node.leader().wait_for(seen).await.unwrap().clone() }).await;
        assert_eq!((known.epoch, known.is_us), (epoch, node.core.node.id == leader));
    }
    make(&quorum.nodes[&leader], "tide").await.unwrap();
    assert!(has(&quorum.nodes[&leader], "tide"), "it is applied when it is answered");
    quorum.arrived("tide").await;
    let images: Vec<Image> = quorum.nodes.values().map(|node| image(node)).collect();
    assert!(images.iter().all(|other| *other == images[0]));
    assert_eq!(images[0].features().len(), 1, "what a cluster begins with is there once");
    for id in quorum.others(leader) {
        assert_eq!(make(&quorum.nodes[&id], "ebb").await.unwrap_err().code, ErrorCode::NOT_CONTROLLER);
    }
    quorum.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_voter_need_not_be_there_for_a_cluster_to_begin() {
    let mut quorum = Quorum::start(0, NEVER).await;
    quorum.ids = vec![1, 2, 3];
    for id in [2, 3] {
        quorum.disks.insert(id, MemoryFs::new());
        quorum.run(id).await;
    }
    let leader = quorum.leader(&[2, 3]).await;
    make(&quorum.nodes[&leader], "tide").await.unwrap();
    quorum.disks.insert(1, MemoryFs::new());
    quorum.run(1).await;
    quorum.arrived("tide").await;
    quorum.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_is_replaced_and_what_it_wished_is_nowhere() {
    let quorum = Quorum::start(3, NEVER).await;
    let old = quorum.leader(&[1, 2, 3]).await;
    make(&quorum.nodes[&old], "before").await.unwrap();
    quorum.arrived("before").await;
    let others = quorum.others(old);
    quorum.net.cut(old, &others);
    let (lonely, node) = (topic("lonely"), quorum.nodes[&old].clone());
    let wish = tokio::spawn(async move { node.propose(move |_| Ok(((), lonely))).await });
    let new = within(Duration::from_secs(1), quorum.leader(&others)).await;
    let (heard, silent) = quorum.nodes[&new].take_predecessor().unwrap();
    let given_up = QuorumTiming::default().election.1;
    assert!(heard == old && silent >= given_up, "{heard} {silent:?}");
    assert_eq!(quorum.nodes[&new].take_predecessor(), None);
    let mut known = quorum.nodes[&old].leader();
    soon(known.wait_for(|known| !known.is_us)).await.unwrap();
    make(&quorum.nodes[&new], "after").await.unwrap();
    assert!(!has(&quorum.nodes[&old], "after"));

    quorum.net.heal();
    quorum.arrived("after").await;
    let refused = soon(wish).await.unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::NOT_CONTROLLER, "{refused}");
    make(&quorum.nodes[&new], "last").await.unwrap();
    quorum.arrived("last").await;
    assert!(quorum.nodes.values().all(|node| !has(node, "lonely")));
    quorum.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_no_majority_hears_is_answered_with_a_timeout_and_is_carried_out_later() {
    let quorum = Quorum::start(3, NEVER).await;
    let leader = quorum.leader(&[1, 2, 3]).await;
    for id in quorum.others(leader) {
        // They neither hear nor elect.
        quorum.net.cut(id, &quorum.others(id));
    }
    let refused = make(&quorum.nodes[&leader], "late").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::REQUEST_TIMED_OUT, "{refused}");
    quorum.net.heal();
    // Whoever leads now, it is there or not, and for all the same.
    let leader = quorum.leader(&[1, 2, 3]).await;
    make(&quorum.nodes[&leader], "next").await.unwrap();
    quorum.arrived("next").await;
    let late: Vec<bool> = quorum.nodes.values().map(|node| has(node, "late")).collect();
    assert!(late.iter().all(|has| *has == late[0]), "{late:?}");
    quorum.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_lost_power_catches_up() {
    for limits in [NEVER, OFTEN] {
        let mut quorum = Quorum::start(3, limits).await;
        let leader = quorum.leader(&[1, 2, 3]).await;
        make(&quorum.nodes[&leader], "before").await.unwrap();
        quorum.arrived("before").await;
        let gone = quorum.others(leader)[0];
        let vote = quorum.nodes[&gone].core.store.journal.lock().vote().unwrap().unwrap();
        quorum.kill(gone).await;
        for n in 0..40 {
            make(&quorum.nodes[&leader], &format!("tide {n}")).await.unwrap();
        }
        let disk = &quorum.disks[&gone];
        let image_of_disk = disk.crash(disk.operations(), &mut |_| 0);
        quorum.disks.insert(gone, image_of_disk);
        quorum.run(gone).await;
        let found = quorum.nodes[&gone].core.store.journal.lock().vote().unwrap().unwrap();
        assert!(found.leader_id.term >= vote.leader_id.term, "a vote is not forgotten");
        quorum.arrived("tide 39").await;
        assert_eq!(image(&quorum.nodes[&gone]), image(&quorum.nodes[&leader]));
        quorum.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_far_behind_is_given_the_snapshot() {
    let mut quorum = Quorum::start(3, OFTEN).await;
    let leader = quorum.leader(&[1, 2, 3]).await;
    let gone = quorum.others(leader)[0];
    quorum.kill(gone).await;
    for n in 0..KEPT_FOR_OTHERS + 200 {
        make(&quorum.nodes[&leader], &format!("tide {n}")).await.unwrap();
    }
    assert!(quorum.nodes[&leader].core.store.journal.lock().purged().is_some());
    quorum.run(gone).await;
    let mut heard = quorum.nodes[&gone].subscribe();
    assert!(matches!(heard.recv().await, Some(Applied::Snapshot)), "the first is to look at all");
    // First what it has itself, then the image as a whole.
    while let Applied::Records { offset, .. } = soon(heard.recv()).await.unwrap() {
        assert!(offset < 200, "{offset} came as records");
    }
    make(&quorum.nodes[&leader], "last").await.unwrap();
    quorum.arrived("last").await;
    assert_eq!(image(&quorum.nodes[&gone]), image(&quorum.nodes[&leader]));
    // And so it is when it comes back.
    quorum.kill(gone).await;
    quorum.run(gone).await;
    quorum.arrived("last").await;
    assert_eq!(image(&quorum.nodes[&gone]), image(&quorum.nodes[&leader]));
    quorum.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_the_disk_does_not_take_is_given_again() {
    let mut quorum = Quorum::start(3, OFTEN).await;
    let leader = quorum.leader(&[1, 2, 3]).await;
    let gone = quorum.others(leader)[0];
    quorum.kill(gone).await;
    for n in 0..KEPT_FOR_OTHERS + 100 {
        make(&quorum.nodes[&leader], &format!("tide {n}")).await.unwrap();
    }
    quorum.run(gone).await;
    let (disk, kind) = (quorum.disks[&gone].clone(), std::io::ErrorKind::StorageFull);
    disk.fail_at(Some(Fault { at: disk.operations(), kind, stays: true, written: 0 }));
    SystemClock::shared().sleep(Duration::from_millis(500)).await;
    assert!(quorum.nodes[&gone].core.store.failure.lock().is_some(), "the disk failed");
    disk.fail_at(None);
    quorum.arrived(&format!("tide {}", KEPT_FOR_OTHERS + 99)).await;
    make(&quorum.nodes[&leader], "last").await.unwrap();
    quorum.arrived("last").await;
    assert_eq!(image(&quorum.nodes[&gone]), image(&quorum.nodes[&leader]));
    quorum.stop().await;
}

/// A write of a follower's fails, its sync perhaps, and the leader needs that follower: what is answered after all must be there
/// when the power goes.
#[tokio::test(start_paused = true)]
async fn a_follower_does_not_stand_for_what_it_could_not_sync() {
    for (operation, starts_anew) in (0..8).flat_map(|operation| [(operation, false), (operation, true)]) {
        let mut quorum = Quorum::start(3, NEVER).await;
        let leader = quorum.leader(&[1, 2, 3]).await;
        make(&quorum.nodes[&leader], "before").await.unwrap();
        quorum.arrived("before").await;
        let others = quorum.others(leader);
        let [follower, away] = others[..] else { panic!("{others:?}") };
        quorum.net.cut(away, &quorum.others(away));
        let (disk, kind) = (quorum.disks[&follower].clone(), std::io::ErrorKind::StorageFull);
        disk.fail_at(Some(Fault { at: disk.operations() + operation, kind, stays: false, written: 0 }));
        let (node, records) = (quorum.nodes[&leader].clone(), topic("wish"));
        let wish = tokio::spawn(async move { node.propose(move |_| Ok(((), records))).await });
        SystemClock::shared().sleep(Duration::from_millis(100)).await;
        if starts_anew {
            quorum.kill(follower).await;
            disk.fail_at(None);
            quorum.run(follower).await;
        }
        SystemClock::shared().sleep(Duration::from_secs(3)).await;
        let answered = wish.is_finished() && wish.await.unwrap().is_ok();
        assert!(answered || !starts_anew, "a disk that is well again takes it: {operation}");
        quorum.kill(leader).await;
        quorum.kill(follower).await;
        let left = disk.crash(disk.operations(), &mut |_| 0);
        quorum.disks.insert(follower, left);
        quorum.run(follower).await;
        quorum.net.heal();
        let next = quorum.leader(&[follower, away]).await;
        assert!(!answered || has(&quorum.nodes[&next], "wish"), "operation {operation}, anew: {starts_anew}");
        quorum.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn five_voters_go_on_without_two() {
    let mut quorum = Quorum::start(5, NEVER).await;
    let first = quorum.leader(&[1, 2, 3, 4, 5]).await;
    make(&quorum.nodes[&first], "before").await.unwrap();
    let second = quorum.others(first)[0];
    quorum.kill(first).await;
    quorum.kill(second).await;
    let left: Vec<NodeId> = quorum.nodes.keys().copied().collect();
    let leader = quorum.leader(&left).await;
    assert!(has(&quorum.nodes[&leader], "before"), "what was answered is there");
    make(&quorum.nodes[&leader], "after").await.unwrap();
    quorum.arrived("after").await;
    quorum.stop().await;
}

#[tokio::test(start_paused = true)]
async fn all_of_them_come_back_with_what_was_answered() {
    let mut quorum = Quorum::start(3, NEVER).await;
    let leader = quorum.leader(&[1, 2, 3]).await;
    make(&quorum.nodes[&leader], "tide").await.unwrap();
    let epoch = quorum.nodes[&leader].leader().borrow().epoch;
    for id in [1, 2, 3] {
        quorum.kill(id).await;
        let disk = &quorum.disks[&id];
        let left = disk.crash(disk.operations(), &mut |_| 0);
        quorum.disks.insert(id, left);
    }
    for id in [1, 2, 3] {
        quorum.run(id).await;
    }
    let leader = quorum.leader(&[1, 2, 3]).await;
    assert!(has(&quorum.nodes[&leader], "tide"));
    assert!(quorum.nodes[&leader].leader().borrow().epoch > epoch, "each reign has a term of its own");
    quorum.arrived("tide").await;
    quorum.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_comes_as_an_observer_votes_and_goes() {
    let mut quorum = Quorum::start(1, NEVER).await;
    let lead = quorum.nodes[&1].clone();
    make(&lead, "before").await.unwrap();
    for id in [2, 3] {
        quorum.disks.insert(id, MemoryFs::new());
        quorum.run(id).await;
    }
    soon(lead.add_observer(voter(2))).await.unwrap();
    soon(arrived(&quorum.nodes[&2], "before")).await;
    let ids = |replicas: &[ReplicaView]| replicas.iter().map(|replica| replica.voter.id).collect::<Vec<_>>();
    let view = lead.quorum();
    assert_eq!(ids(&view.voters), [1]);
    assert!(ids(&view.observers).contains(&2));
    assert_eq!(make(&quorum.nodes[&2], "ebb").await.unwrap_err().code, ErrorCode::NOT_CONTROLLER);
    soon(lead.add_observer(voter(2))).await.unwrap();

    for id in [2, 3] {
        soon(lead.add_voter(voter(id), Duration::from_secs(5))).await.unwrap();
        assert_eq!(
            soon(lead.add_voter(voter(id), Duration::from_secs(5))).await.unwrap_err().code,
            ErrorCode::DUPLICATE_VOTER
        );
    }
    make(&lead, "three").await.unwrap();
    quorum.arrived("three").await;
    let view = lead.quorum();
    assert_eq!((ids(&view.voters), view.leader), (vec![1, 2, 3], 1));
    assert!(view.voters.iter().all(|replica| replica.log_end_offset == view.high_watermark), "{view:?}");

    // They are voters now: one may go, and the others lead.
    quorum.kill(1).await;
    let next = quorum.leader(&[2, 3]).await;
    make(&quorum.nodes[&next], "two").await.unwrap();
    quorum.run(1).await;
    quorum.arrived("two").await;
    let removed = soon(quorum.nodes[&next].remove_voter(1, voter(1).directory_id)).await;
    removed.unwrap();
    let view = quorum.nodes[&next].quorum();
    assert_eq!((ids(&view.voters), ids(&view.observers)), (vec![2, 3], vec![1]));
    make(&quorum.nodes[&next], "last").await.unwrap();
    quorum.arrived("last").await;
    quorum.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_lost_its_disk_has_no_vote() {
    let quorum = Quorum::start(3, NEVER).await;
    let leader = quorum.leader(&[1, 2, 3]).await;
    let other = quorum.others(leader)[0];
    let way = |directory_id| crate::protocol::messages::quorum_vote::QuorumWay {
        sender_id: leader,
        target_id: other,
        target_directory_id: directory_id,
        ..Default::default()
    };
    let request = QuorumVoteRequest { way: way(Uuid([9; 16])), ..Default::default() };
    let answer = quorum.nodes[&other].handle_vote(request).await;
    assert_eq!(answer.error_code, ErrorCode::INVALID_VOTER_KEY);
    let request = QuorumVoteRequest { way: way(voter(other).directory_id), ..Default::default() };
    assert_eq!(quorum.nodes[&other].handle_vote(request).await.error_code, ErrorCode::NONE);
    quorum.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_refused_and_changes_nothing() {
    let quorum = Quorum::start(3, NEVER).await;
    let leader = quorum.leader(&[1, 2, 3]).await;
    make(&quorum.nodes[&leader], "tide").await.unwrap();
    quorum.arrived("tide").await;
    let other = quorum.others(leader)[0];
    let node = &quorum.nodes[&other];
    let way = crate::protocol::messages::quorum_vote::QuorumWay { target_id: other, ..Default::default() };
    let of_term = |term| crate::protocol::messages::quorum_vote::QuorumTerm { term, voted_for: leader, leads: true };
    for term in [-1, i32::MAX] {
        let request = QuorumVoteRequest { way: way.clone(), vote: of_term(term), last_entry: None };
        assert_eq!(node.handle_vote(request).await.error_code, ErrorCode::INVALID_REQUEST);
    }
    // A batch that is cut, or has one byte that is another; what a leader stamps is under no CRC.
    let good = batches::records_batch(&topic("ebb"), NOW).unwrap();
    for at in 16..good.len() {
        let mut damaged = good.to_vec();
        damaged[at] ^= 0x55;
        for bytes in [damaged, good[..at].to_vec()] {
            let entries = bytes::Bytes::from(bytes).into();
            let request = QuorumAppendRequest { way: way.clone(), vote: of_term(1), entries, ..Default::default() };
            let answer = node.handle_append(request).await;
            let stale = answer.error_code == ErrorCode::NONE && answer.outcome > 1;
            assert!(stale || answer.error_code == ErrorCode::INVALID_REQUEST, "byte {at}: {answer:?}");
        }
    }
    let request = QuorumSnapshotRequest { way, vote: of_term(1), ..Default::default() };
    assert_eq!(node.handle_snapshot(request).await.error_code, ErrorCode::INVALID_REQUEST);
    make(&quorum.nodes[&leader], "after").await.unwrap();
    quorum.arrived("after").await;
    assert!(!has(node, "ebb"));
    quorum.stop().await;
}
