//! Whether a cluster is healthy: every broker that runs may lead, and every partition has a leader and all of its replicas that
//! run in sync. Each broker tells what it sees of that, and of a topic's leaders and replicas.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::broker::Broker;
use crate::common::ids::NodeId;
use crate::metadata::Image;

/// What keeps the cluster from being healthy as `broker` sees it, if `running` run.
pub(super) fn of(broker: &Broker, running: &[NodeId]) -> Option<String> {
    let ailment = broker.controller().read(|image| ailment(image, running));
    ailment.map(|what| format!("as broker {} sees it, {what}", broker.node().id))
}

/// Ends when nothing does any more; never, where the broker stops before.
pub(super) async fn until_well(broker: &Arc<Broker>, running: &[NodeId]) {
    until(broker, |image| ailment(image, running).is_none().then_some(())).await;
}

/// Ends when `find` finds something in the metadata, as `broker` has it; never, where the broker stops before.
pub(super) async fn until<T>(broker: &Arc<Broker>, find: impl Fn(&Image) -> Option<T>) -> T {
    let mut news = broker.controller().subscribe();
    loop {
        if let Some(found) = broker.controller().read(&find) {
            return found;
        }
        if news.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Who leads a partition, unless it is one of `not_in`.
pub(super) fn leader(image: &Image, topic: &str, partition: i32, not_in: &BTreeSet<NodeId>) -> Option<NodeId> {
    let leader = image.partition(topic, partition)?.leader;
    (leader >= 0 && !not_in.contains(&leader)).then_some(leader)
}

/// Whether a topic is there, and all its replicas are in sync.
pub(super) fn in_sync(image: &Image, topic: &str) -> Option<()> {
    let mut partitions = image.topic(topic)?.partitions.iter();
    partitions.all(|partition| partition.isr.len() == partition.replicas.len()).then_some(())
}

/// Whether these topics are there.
pub(super) fn known(image: &Image, topics: &[String]) -> Option<()> {
    topics.iter().all(|topic| image.topic(topic).is_some()).then_some(())
}

/// Whether a broker does not serve.
pub(super) fn fenced(image: &Image, id: NodeId) -> Option<()> {
    image.broker(id).is_none_or(|broker| broker.fenced).then_some(())
}

fn ailment(image: &Image, running: &[NodeId]) -> Option<String> {
    for id in running {
        if !image.broker(*id).is_some_and(|broker| broker.is_active()) {
            return Some(format!("broker {id} is fenced"));
        }
    }
    image.topics().find_map(|topic| {
        (0..).zip(&topic.partitions).find_map(|(index, partition): (i32, _)| {
            let name = format!("{}-{index}", topic.name);
            if partition.leader < 0 {
                return Some(format!("{name} has no leader"));
            }
            if !running.contains(&partition.leader) {
                return Some(format!("{name} is led by {}, which does not run", partition.leader));
            }
            let missing = partition.replicas.iter().find(|id| running.contains(id) && !partition.isr.contains(id));
            missing.map(|id| format!("broker {id} is not in sync with {name}"))
        })
    })
}
