//! What is known of the cluster: its brokers, and the leaders of the topics that somebody asked for.
//!
//! A [`ClusterView`] does not change; each response makes a new one from the old. Of two answers about a partition's
//! leader the one with the higher leader epoch counts (KIP-320), unless the topic was created anew (another topic id).

use std::collections::HashMap;
use std::sync::Arc;

use crate::common::ids::{LeaderEpoch, NodeId, Uuid};
use crate::protocol::ErrorCode;
use crate::protocol::messages::metadata::{MetadataResponse, MetadataResponseTopic};

/// A broker, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerView {
    /// `node.id`
    pub id: NodeId,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `broker.rack`
    pub rack: Option<String>,
}

/// A partition, as its leader's broker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// Its leader, if it has one.
    pub leader: Option<NodeId>,
    /// The leader's epoch; -1 where the broker did not say.
    pub leader_epoch: LeaderEpoch,
    /// Its replicas, the preferred one first.
    pub replicas: Vec<NodeId>,
    /// Those in sync.
    pub isr: Vec<NodeId>,
    /// Those offline.
    pub offline: Vec<NodeId>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; [`Uuid::ZERO`] where the broker did not say.
    pub id: Uuid,
    /// Whether it is one of Kafka's own.
    pub internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionView>,
}

/// The cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// Its id.
    pub cluster_id: Option<String>,
    /// The broker to send changes to.
    pub controller: Option<NodeId>,
    /// Its brokers.
    pub brokers: HashMap<NodeId, BrokerView>,
    /// The topics that were asked for and exist.
    pub topics: HashMap<Arc<str>, Arc<TopicView>>,
    /// What was asked for and could not be had.
    pub errors: HashMap<Arc<str>, ErrorCode>,
}

impl ClusterView {
    /// The leader of a partition, and its epoch.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<(NodeId, LeaderEpoch)> {
        let partition = self.partition(topic, partition)?;
        Some((partition.leader?, partition.leader_epoch))
    }

    /// A partition.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionView> {
        self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    /// The id of a topic; [`Uuid::ZERO`] where it is not known.
    pub fn topic_id(&self, topic: &str) -> Uuid {
        self.topics.get(topic).map_or(Uuid::ZERO, |topic| topic.id)
    }

    /// The name of the topic with this id.
    pub fn topic_name(&self, id: Uuid) -> Option<&Arc<str>> {
        self.topics.values().find(|topic| topic.id == id).map(|topic| &topic.name)
    }

    /// What is known after `response`. If it lists `all` topics, those it leaves out are gone.
    pub fn merged(&self, response: &MetadataResponse, all: bool) -> ClusterView {
        let mut topics = if all { HashMap::new() } else { self.topics.clone() };
        let mut errors = if all { HashMap::new() } else { self.errors.clone() };
        for topic in &response.topics {
            let Some(name) = topic.name.as_deref() else { continue };
            let known = self.topics.get(name);
            let name: Arc<str> = known.map_or_else(|| name.into(), |known| known.name.clone());
            match topic.error_code {
                ErrorCode::NONE => {
                    errors.remove(&name);
                    topics.insert(name.clone(), Arc::new(topic_view(name, topic, known)));
                }
                code => {
                    // What was known stays while the error may pass; a topic that is gone is forgotten.
                    if matches!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID) {
                        topics.remove(&name);
                    }
                    errors.insert(name, code);
                }
            }
        }
        let brokers = response.brokers.iter().filter_map(|broker| {
            let view = BrokerView {
                id: broker.node_id,
                host: broker.host.to_string(),
                port: u16::try_from(broker.port).ok()?,
                rack: broker.rack.as_ref().map(ToString::to_string),
            };
            Some((broker.node_id, view))
        });
        ClusterView {
            cluster_id: response.cluster_id.as_ref().map(ToString::to_string).or_else(|| self.cluster_id.clone()),
            controller: (response.controller_id >= 0).then_some(response.controller_id),
            brokers: brokers.collect(),
            topics,
            errors,
        }
    }

    /// What is known once a partition's leader was named by the way (KIP-951); `None` if that is no news.
    pub fn with_leader(
        &self,
        topic: &str,
        partition: i32,
        leader: NodeId,
        epoch: LeaderEpoch,
        endpoint: Option<BrokerView>,
    ) -> Option<ClusterView> {
        let known = self.partition(topic, partition)?;
        if leader < 0 || epoch <= known.leader_epoch || (endpoint.is_none() && !self.brokers.contains_key(&leader)) {
            return None;
        }
        let mut view = self.clone();
        let topic = view.topics.get_mut(topic)?;
        let partition = Arc::make_mut(topic).partitions.get_mut(partition as usize)?;
        partition.leader = Some(leader);
        partition.leader_epoch = epoch;
        if let Some(endpoint) = endpoint {
            view.brokers.insert(leader, endpoint);
        }
        Some(view)
    }
}

fn topic_view(name: Arc<str>, topic: &MetadataResponseTopic, known: Option<&Arc<TopicView>>) -> TopicView {
    // Created anew, it has nothing to do with what was known.
    let known = known.filter(|known| known.id == topic.topic_id);
    let count = topic.partitions.len();
    let empty =
        PartitionView { leader: None, leader_epoch: -1, replicas: Vec::new(), isr: Vec::new(), offline: Vec::new() };
    let mut partitions = vec![empty; count];
    for partition in &topic.partitions {
        let Some(slot) = usize::try_from(partition.partition_index).ok().filter(|index| *index < count) else {
            continue;
        };
        let older = known.and_then(|known| known.partitions.get(slot));
        if let Some(older) =
            older.filter(|older| partition.leader_epoch >= 0 && older.leader_epoch > partition.leader_epoch)
        {
            partitions[slot] = older.clone();
            continue;
        }
        partitions[slot] = PartitionView {
            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            isr: partition.isr_nodes.clone(),
            offline: partition.offline_replicas.clone(),
        };
    }
    TopicView { name, id: topic.topic_id, internal: topic.is_internal, partitions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::metadata::{MetadataResponseBroker, MetadataResponsePartition};

    fn response(id: Uuid, leader: NodeId, epoch: LeaderEpoch) -> MetadataResponse {
        let partition = MetadataResponsePartition {
            leader_id: leader,
            leader_epoch: epoch,
            ..MetadataResponsePartition::default()
        };
        let topic = MetadataResponseTopic {
            name: Some("t".into()),
            topic_id: id,
            partitions: vec![partition],
            ..MetadataResponseTopic::default()
        };
        let broker = MetadataResponseBroker { node_id: 1, host: "a".into(), port: 9092, rack: None };
        MetadataResponse { brokers: vec![broker], topics: vec![topic], ..MetadataResponse::default() }
    }

    #[test]
    fn of_two_leaders_the_one_with_the_higher_epoch_counts() {
        let id = Uuid([1; 16]);
        let view = ClusterView::default().merged(&response(id, 1, 5), false);
        assert_eq!(view.leader("t", 0), Some((1, 5)));
        assert_eq!(view.merged(&response(id, 2, 4), false).leader("t", 0), Some((1, 5)));
        assert_eq!(view.merged(&response(id, 2, 6), false).leader("t", 0), Some((2, 6)));
        // A topic that was created anew counts from 0.
        assert_eq!(view.merged(&response(Uuid([2; 16]), 2, 0), false).leader("t", 0), Some((2, 0)));
    }

    #[test]
    fn a_topic_that_is_gone_is_forgotten() {
        let view = ClusterView::default().merged(&response(Uuid([1; 16]), 1, 5), false);
        let mut gone = response(Uuid::ZERO, -1, -1);
        gone.topics[0].error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        gone.topics[0].partitions.clear();
        let after = view.merged(&gone, false);
        assert!(after.topics.is_empty());
        assert_eq!(after.errors.get("t"), Some(&ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        gone.topics[0].error_code = ErrorCode::LEADER_NOT_AVAILABLE;
        assert_eq!(view.merged(&gone, false).leader("t", 0), Some((1, 5)));
        assert!(view.merged(&MetadataResponse::default(), true).topics.is_empty());
    }

    #[test]
    fn a_hint_counts_only_if_it_is_newer_and_leads_somewhere() {
        let view = ClusterView::default().merged(&response(Uuid([1; 16]), 1, 5), false);
        let endpoint = BrokerView { id: 2, host: "b".into(), port: 9092, rack: None };
        assert!(view.with_leader("t", 0, 2, 6, None).is_none());
        assert!(view.with_leader("t", 0, 2, 5, Some(endpoint.clone())).is_none());
        let after = view.with_leader("t", 0, 2, 6, Some(endpoint)).unwrap();
        assert_eq!((after.leader("t", 0), after.brokers.len()), (Some((2, 6)), 2));
    }
}
