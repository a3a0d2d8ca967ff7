//! How nodes come into a quorum: by a log dir that was formatted, by way of a bootstrap server, and after a disk was lost.

use super::*;
use crate::config::listener::place;

/// Controllers that know each other by bootstrap servers alone, each with a disk of its own.
#[derive(Default)]
struct Coast {
    net: Arc<Net>,
    disks: HashMap<NodeId, MemoryFs>,
    nodes: HashMap<NodeId, Arc<Controller>>,
    /// Which log dir a node has; its first one where nothing is said.
    dirs: HashMap<NodeId, u8>,
}

impl Coast {
    fn node(&self, id: NodeId) -> Voter {
        let nth = self.dirs.get(&id).copied().unwrap_or(0);
        Voter { directory_id: Uuid([id as u8 + nth; 16]), ..voter(id) }
    }

    /// Formats the disks of these nodes, with them as the first voters.
    fn format(&mut self, ids: &[NodeId]) {
        let voters: Vec<Voter> = ids.iter().map(|id| self.node(*id)).collect();
        for id in ids {
            let disk = MemoryFs::new();
            format_dir(&disk, Path::new("/data"), &voters, NOW).unwrap();
            self.disks.insert(*id, disk);
        }
    }

    /// Gives a node another disk, which is empty.
    fn lose_disk(&mut self, id: NodeId) {
        self.disks.insert(id, MemoryFs::new());
        *self.dirs.entry(id).or_default() += 100;
    }

    async fn run(&mut self, id: NodeId, servers: &[&str]) {
        self.run_with(id, servers, |_| ()).await;
    }

    async fn run_with(&mut self, id: NodeId, servers: &[&str], change: impl FnOnce(&mut ControllerOptions)) {
        let disk = self.disks.entry(id).or_default().clone();
        let bootstrap_servers = servers.iter().map(|text| place(text).unwrap()).collect();
        let mut options = ControllerOptions { bootstrap_servers, ..options(&self.net, self.node(id)) };
        change(&mut options);
        let node = start_with(&disk, &self.net, options).await.unwrap();
        self.nodes.insert(id, node);
    }

    async fn kill(&mut self, id: NodeId) {
        self.nodes.remove(&id).unwrap().kill().await;
        self.net.nodes.lock().remove(&id);
    }

    async fn leader(&self, among: &[NodeId]) -> &Arc<Controller> {
        let nodes: Vec<_> = among.iter().map(|id| &self.nodes[id]).collect();
        soon(leader(&nodes)).await
    }

    /// Waits until the leader counts these as voters and those as observers, and nothing of that can be taken back.
    async fn stands(&self, lead: &Controller, voters: &[NodeId], observers: &[NodeId]) {
        let ids = |replicas: &[ReplicaView]| replicas.iter().map(|replica| replica.voter.id).collect::<Vec<_>>();
        let (mut metrics, mut applied) = (lead.core.raft().server_metrics(), lead.core.state.applied.subscribe());
        let so = async {
            loop {
                let view = lead.quorum();
                let (is_one, since) = {
                    let membership = &metrics.borrow_and_update().membership_config;
                    (membership.membership().get_joint_config().len() == 1, *membership.log_id())
                };
                let is_done = is_one && *applied.borrow_and_update() >= since;
                if is_done && (ids(&view.voters), ids(&view.observers)) == (voters.to_vec(), observers.to_vec()) {
                    return;
                }
                tokio::select! {
                    changed = metrics.changed() => changed.unwrap(),
                    changed = applied.changed() => changed.unwrap(),
                }
            }
        };
        soon(so).await;
    }

    async fn stop(self) {
        for node in self.nodes.values() {
            node.close().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_one_grows_by_nodes_that_know_its_address_alone() {
    let mut coast = Coast::default();
    coast.format(&[1]);
    coast.run(1, &["host-1:9093", "host-2:9093"]).await;
    let lead = coast.leader(&[1]).await.clone();
    make(&lead, "before").await.unwrap();
    for id in [2, 3] {
        // The third one is told of nobody but the second one, which does not lead.
        coast.run(id, &[if id == 2 { "host-1:9093" } else { "host-2:9093" }]).await;
        soon(arrived(&coast.nodes[&id], "before")).await;
    }
    coast.stands(&lead, &[1], &[2, 3]).await;
    assert_eq!(make(&coast.nodes[&2], "ebb").await.unwrap_err().code, ErrorCode::NOT_CONTROLLER);
    for id in [2, 3] {
        soon(lead.add_voter(coast.node(id), Duration::from_secs(5))).await.unwrap();
    }
    coast.stands(&lead, &[1, 2, 3], &[]).await;
    coast.kill(1).await;
    let next = coast.leader(&[2, 3]).await;
    make(next, "after").await.unwrap();
    // It comes back with what it knew, and finds out who leads now.
    coast.run(1, &["host-1:9093"]).await;
    soon(arrived(&coast.nodes[&1], "after")).await;
    coast.stop().await;
}

#[tokio::test(start_paused = true)]
async fn three_that_were_formatted_together_begin_one_cluster() {
    let mut coast = Coast::default();
    coast.format(&[1, 2, 3]);
    for id in [1, 2, 3] {
        coast.run(id, &["host-1:9093"]).await;
    }
    let lead = coast.leader(&[1, 2, 3]).await;
    make(lead, "tide").await.unwrap();
    coast.stands(lead, &[1, 2, 3], &[]).await;
    for id in [1, 2, 3] {
        soon(arrived(&coast.nodes[&id], "tide")).await;
        coast.kill(id).await;
        let disk = &coast.disks[&id];
        let left = disk.crash(disk.operations(), &mut |_| 0);
        coast.disks.insert(id, left);
    }
    for id in [1, 2, 3] {
        coast.run(id, &["host-1:9093"]).await;
    }
    let lead = coast.leader(&[1, 2, 3]).await;
    assert!(has(lead, "tide"));
    assert_eq!(
        files(&coast.disks[&1], ".checkpoint"),
        ["00000000000000000000-0000000000.checkpoint"],
        "until the next one"
    );
    coast.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_minority_of_those_that_were_formatted_begins_nothing() {
    let mut coast = Coast::default();
    coast.format(&[1, 2, 3]);
    coast.run(1, &["host-1:9093"]).await;
    SystemClock::shared().sleep(Duration::from_secs(60)).await;
    assert!(coast.nodes[&1].leader().borrow().leader.is_none());
    coast.run(3, &["host-1:9093"]).await;
    let lead = coast.leader(&[1, 3]).await;
    make(lead, "tide").await.unwrap();
    coast.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_lost_its_disk_founds_nothing_and_has_no_vote() {
    let mut coast = Coast::default();
    coast.format(&[1, 2, 3]);
    for id in [1, 2, 3] {
        coast.run(id, &["host-1:9093", "host-2:9093", "host-3:9093"]).await;
    }
    make(coast.leader(&[1, 2, 3]).await, "tide").await.unwrap();
    // The one with the lowest id is the one that would found.
    coast.kill(1).await;
    let old = coast.node(1);
    coast.lose_disk(1);
    let voters: Vec<Voter> = [1, 2, 3].iter().map(|id| coast.node(*id)).collect();
    format_dir(&coast.disks[&1], Path::new("/data"), &voters, NOW).unwrap();
    let lead = coast.leader(&[2, 3]).await.clone();
    // Nobody but itself says that it is to vote, and it says so only once.
    coast.run(1, &["host-2:9093", "host-3:9093"]).await;
    coast.stands(&lead, &[1, 2, 3], &[]).await;
    soon(arrived(&coast.nodes[&1], "tide")).await;
    coast.stands(&lead, &[1, 2, 3], &[]).await;
    let view = lead.quorum();
    assert_ne!(view.voters[0].voter.directory_id, old.directory_id, "its old vote went before it got a new one");
    coast.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_voter_on_a_new_disk_waits_until_its_old_vote_is_taken() {
    let mut coast = Coast::default();
    coast.format(&[1, 2, 3]);
    let all = ["host-1:9093", "host-2:9093", "host-3:9093"];
    for id in [1, 2, 3] {
        coast.run(id, &all).await;
    }
    make(coast.leader(&[1, 2, 3]).await, "tide").await.unwrap();
    coast.kill(3).await;
    let old = coast.node(3);
    coast.lose_disk(3);
    coast.run(3, &all).await;
    let lead = coast.leader(&[1, 2]).await.clone();
    SystemClock::shared().sleep(Duration::from_secs(30)).await;
    assert!(!has(&coast.nodes[&3], "tide"), "it is not let in");
    assert!(coast.nodes[&3].leader().borrow().leader.is_some(), "and yet it knows who leads");
    soon(lead.remove_voter(3, old.directory_id)).await.unwrap();
    soon(arrived(&coast.nodes[&3], "tide")).await;
    coast.stands(&lead, &[1, 2], &[3]).await;
    soon(lead.add_voter(coast.node(3), Duration::from_secs(5))).await.unwrap();
    coast.stands(&lead, &[1, 2, 3], &[]).await;
    coast.kill(lead.core.node.id).await;
    let left: Vec<NodeId> = coast.nodes.keys().copied().collect();
    assert!(has(coast.leader(&left).await, "tide"));
    coast.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_is_to_join_by_itself_gets_its_vote() {
    let mut coast = Coast::default();
    coast.format(&[1]);
    coast.run(1, &["host-1:9093"]).await;
    let lead = coast.leader(&[1]).await.clone();
    make(&lead, "tide").await.unwrap();
    for id in [2, 3] {
        coast.run_with(id, &["host-1:9093"], |options| options.wants_vote = true).await;
    }
    coast.stands(&lead, &[1, 2, 3], &[]).await;
    // And on another disk again.
    coast.kill(2).await;
    coast.lose_disk(2);
    coast.run_with(2, &["host-1:9093"], |options| options.wants_vote = true).await;
    soon(arrived(&coast.nodes[&2], "tide")).await;
    let now = coast.node(2).directory_id;
    let mut metrics = lead.core.raft().server_metrics();
    let counts = async {
        while !lead.quorum().voters.iter().any(|replica| replica.voter.directory_id == now) {
            metrics.changed().await.unwrap();
        }
    };
    soon(counts).await;
    coast.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_of_another_cluster_is_not_let_in() {
    let mut coast = Coast::default();
    coast.format(&[1]);
    coast.run_with(1, &["host-1:9093"], |options| options.cluster_id = Some("ours".into())).await;
    let lead = coast.leader(&[1]).await.clone();
    make(&lead, "tide").await.unwrap();
    coast.run_with(2, &["host-1:9093"], |options| options.cluster_id = Some("theirs".into())).await;
    SystemClock::shared().sleep(Duration::from_secs(30)).await;
    assert!(lead.quorum().observers.is_empty() && !has(&coast.nodes[&2], "tide"));
    coast.stop().await;
}
