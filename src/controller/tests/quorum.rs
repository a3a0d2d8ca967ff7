//! Some voters on one network, each with a disk of its own.

use super::*;

/// Some voters, each with a disk of its own.
pub(super) struct Quorum {
    pub(super) net: Arc<Net>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) ids: Vec<NodeId>,
    pub(super) disks: HashMap<NodeId, MemoryFs>,
    pub(super) nodes: HashMap<NodeId, Arc<Controller>>,
    pub(super) limits: SnapshotLimits,
}

impl Quorum {
    pub(super) async fn start(count: NodeId, limits: SnapshotLimits) -> Quorum {
        let ids: Vec<NodeId> = (1..=count).collect();
        let disks = ids.iter().map(|id| (*id, MemoryFs::new())).collect();
        let mut quorum = Quorum {
            net: Arc::default(),
            clock: ManualClock::new(NOW),
            ids: ids.clone(),
            disks,
            nodes: HashMap::new(),
            limits,
        };
        for id in ids {
            quorum.run(id).await;
        }
        quorum
    }

    pub(super) async fn run(&mut self, id: NodeId) {
        let ids = self.ids.clone();
        let node = start(&self.disks[&id], &self.clock, self.limits, (&self.net, id, &ids)).await.unwrap();
        self.nodes.insert(id, node);
    }

    pub(super) async fn kill(&mut self, id: NodeId) {
        self.nodes.remove(&id).unwrap().kill().await;
        self.net.nodes.lock().remove(&id);
    }

    pub(super) fn others(&self, id: NodeId) -> Vec<NodeId> {
        self.ids.iter().copied().filter(|other| *other != id).collect()
    }

    pub(super) async fn leader(&self, among: &[NodeId]) -> NodeId {
        let nodes: Vec<_> = among.iter().map(|id| &self.nodes[id]).collect();
        soon(leader(&nodes)).await.core.node.id
    }

    pub(super) async fn arrived(&self, name: &str) {
        for node in self.nodes.values() {
            soon(arrived(node, name)).await;
        }
    }

    pub(super) async fn stop(self) {
        for node in self.nodes.values() {
            node.close().await.unwrap();
        }
    }
}
