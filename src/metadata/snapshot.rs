//! The image as the fewest records that make it anew: what a snapshot holds.

use super::image::{BrokerImage, Image, PartitionImage, RECOVERING, TopicImage};
use super::records::{
    BrokerEndpoint, BrokerFeature, ConfigRecord, FeatureLevelRecord, MetadataRecord, PartitionRecord,
    ProducerIdsRecord, RegisterBrokerRecord, TopicRecord,
};
use crate::common::ids::NodeId;
use crate::protocol::Str;

/// The feature that tells how the other records are to be read, and so must be the first.
const METADATA_VERSION: &str = "metadata.version";

impl Image {
    /// Records that, applied to an empty image, make this one; in Kafka's order.
    pub fn records(&self) -> Vec<MetadataRecord> {
        let (first, others): (Vec<_>, Vec<_>) = self.features().iter().partition(|(name, _)| *name == METADATA_VERSION);
        let mut records: Vec<MetadataRecord> = first.into_iter().chain(others).map(feature).collect();
        records.extend(self.brokers().map(broker));
        let mut topics: Vec<&TopicImage> = self.topics().collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for topic in topics {
            let made = TopicRecord { name: Str::from(topic.name.as_str()), topic_id: topic.id };
            records.push(MetadataRecord::Topic(made));
            records.extend((0..).zip(&topic.partitions).map(|(index, found)| partition(topic, index, found)));
        }
        let mut configs: Vec<_> = self.configs.iter().collect();
        configs.sort_unstable();
        for ((kind, name), values) in configs {
            records.extend(values.iter().map(|(key, value)| {
                MetadataRecord::Config(ConfigRecord {
                    resource_type: *kind as i8,
                    resource_name: Str::from(name.as_str()),
                    name: Str::from(key.as_str()),
                    value: Some(Str::from(value.as_str())),
                })
            }));
        }
        if self.next_producer_id() > 0 {
            let next_producer_id = self.next_producer_id();
            let ids = ProducerIdsRecord { broker_id: -1, broker_epoch: -1, next_producer_id };
            records.push(MetadataRecord::ProducerIds(ids));
        }
        let foreign = self.foreign.iter();
        records.extend(foreign.map(|other| MetadataRecord::Other { key: other.key, value: other.value.clone() }));
        records
    }
}

fn feature((name, level): (&String, &i16)) -> MetadataRecord {
    MetadataRecord::FeatureLevel(FeatureLevelRecord { name: Str::from(name.as_str()), feature_level: *level })
}

fn broker(broker: &BrokerImage) -> MetadataRecord {
    MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        broker_id: broker.id,
        incarnation_id: broker.incarnation_id,
        broker_epoch: broker.epoch,
        end_points: broker
            .endpoints
            .iter()
            .map(|endpoint| BrokerEndpoint {
                name: Str::from(endpoint.listener.as_str()),
                host: Str::from(endpoint.host.as_str()),
                port: endpoint.port,
                security_protocol: endpoint.security_protocol,
            })
            .collect(),
        features: broker
            .features
            .iter()
            .map(|(name, least, most)| BrokerFeature {
                name: Str::from(name.as_str()),
                min_supported_version: *least,
                max_supported_version: *most,
            })
            .collect(),
        rack: broker.rack.as_deref().map(Str::from),
        fenced: broker.fenced,
        in_controlled_shutdown: broker.in_controlled_shutdown,
        log_dirs: broker.log_dirs.clone(),
        ..Default::default()
    })
}

fn partition(topic: &TopicImage, index: i32, partition: &PartitionImage) -> MetadataRecord {
    MetadataRecord::Partition(PartitionRecord {
        partition_id: index,
        topic_id: topic.id,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        directories: partition.directories.clone(),
        adding_replicas: partition.adding.clone(),
        removing_replicas: partition.removing.clone(),
        leader_recovery_state: if partition.recovering { RECOVERING } else { 0 },
        eligible_leader_replicas: some(&partition.eligible),
        last_known_elr: some(&partition.last_known_eligible),
    })
}

/// Kafka writes nothing where there are none.
fn some(nodes: &[NodeId]) -> Option<Vec<NodeId>> {
    (!nodes.is_empty()).then(|| nodes.to_vec())
}
