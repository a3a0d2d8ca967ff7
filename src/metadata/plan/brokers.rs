//! Brokers and what is handed out to them: registrations, features, producer ids.

use crate::common::ids::{NodeId, ProducerId, Uuid};
use crate::metadata::image::Image;
use crate::metadata::records::{
    BrokerEndpoint, BrokerFeature, FeatureLevelRecord, MetadataRecord, PartitionChangeRecord, ProducerIdsRecord,
    RegisterBrokerRecord,
};
use crate::protocol::Str;

/// How many producer ids a broker is given at once.
const PRODUCER_ID_BLOCK: i64 = 1_000;

/// The level of `metadata.version` that a new cluster begins with: that of Apache Kafka 4.3.
const METADATA_VERSION: i16 = 30;

/// What a new cluster begins with: only the features that work here.
pub fn bootstrap() -> Vec<MetadataRecord> {
    let feature = |name: &'static str, level| {
        MetadataRecord::FeatureLevel(FeatureLevelRecord { name: Str::from(name), feature_level: level })
    };
    vec![feature("metadata.version", METADATA_VERSION)]
}

/// Registers a broker that is ready to lead at once, at `host:port`; no records where it is registered just so.
pub fn register_broker(image: &Image, id: NodeId, endpoint: (&str, u16), log_dir: Uuid) -> Vec<MetadataRecord> {
    let known = image.brokers().find(|broker| broker.id == id);
    let same = known.is_some_and(|broker| !broker.fenced && broker.endpoint == (endpoint.0.to_owned(), endpoint.1));
    if same {
        return Vec::new();
    }
    vec![MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        broker_id: id,
        incarnation_id: Uuid::random(),
        broker_epoch: known.map_or(0, |broker| broker.epoch + 1),
        end_points: vec![BrokerEndpoint {
            name: Str::from("PLAINTEXT"),
            host: Str::from(endpoint.0),
            port: endpoint.1,
            security_protocol: 0,
        }],
        features: vec![BrokerFeature {
            name: Str::from("metadata.version"),
            min_supported_version: METADATA_VERSION,
            max_supported_version: METADATA_VERSION,
        }],
        fenced: false,
        log_dirs: vec![log_dir],
        ..Default::default()
    })]
}

/// Lets broker `id` lead the partitions that have no leader and whose records it has all: one that was stopped cleanly
/// under Apache Kafka has given them all up, and has left the ISR (KIP-966 remembers it elsewhere), which is empty then.
pub fn elect_leaders(image: &Image, id: NodeId) -> Vec<MetadataRecord> {
    let without_leader = image.topics().flat_map(|topic| {
        let partitions = (0..).zip(&topic.partitions);
        let is_last = |isr: &[NodeId]| isr.is_empty() || isr.contains(&id);
        let leaderless = partitions.filter(move |(_, partition)| {
            partition.leader == -1 && partition.replicas.contains(&id) && is_last(&partition.isr)
        });
        leaderless.map(move |(index, _)| PartitionChangeRecord {
            partition_id: index,
            topic_id: topic.id,
            isr: Some(vec![id]),
            leader: id,
            ..Default::default()
        })
    });
    without_leader.map(MetadataRecord::PartitionChange).collect()
}

/// Gives `broker` a block of producer ids that nobody had: the first, how many, and the record of it.
pub fn allocate_producer_ids(image: &Image, broker: NodeId, epoch: i64) -> (ProducerId, i64, MetadataRecord) {
    let first = image.next_producer_id();
    let record =
        ProducerIdsRecord { broker_id: broker, broker_epoch: epoch, next_producer_id: first + PRODUCER_ID_BLOCK };
    (first, PRODUCER_ID_BLOCK, MetadataRecord::ProducerIds(record))
}
