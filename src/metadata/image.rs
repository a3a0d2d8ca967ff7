//! The cluster as its records have made it: topics, partitions, configs, brokers, features, producer ids.
//!
//! [`Image::apply`] takes one record and changes the image; nothing else does. So a broker that replays the records
//! from the start, a follower that receives them one by one, and the controller that wrote them hold the same image.
//! A record that does not fit (a partition of an unknown topic, say) is an error: the log it came from is not this
//! cluster's, or was damaged.

use std::collections::{BTreeMap, HashMap};

use super::records::{
    BrokerEndpoint, BrokerRegistrationChangeRecord, ConfigRecord, MetadataRecord, PartitionChangeRecord,
    PartitionRecord, RegisterBrokerRecord,
};
use crate::common::ids::{LeaderEpoch, NodeId, ProducerId, Uuid};

/// The kind of a resource that has configs, by Kafka's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i8)]
pub enum ResourceType {
    /// A topic; its name is the topic's.
    Topic = 2,
    /// A broker; its name is the node id, or empty for the default of all brokers.
    Broker = 4,
}

impl ResourceType {
    /// The kind whose number is `code`, where this cluster keeps configs for it.
    pub fn from_code(code: i8) -> Option<ResourceType> {
        match code {
            2 => Some(ResourceType::Topic),
            4 => Some(ResourceType::Broker),
            _ => None,
        }
    }
}

/// The explicit configs of one resource: name to value.
pub type Configs = BTreeMap<String, String>;

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicImage {
    /// Its name.
    pub name: String,
    /// Its id, new with each creation.
    pub id: Uuid,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionImage>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionImage {
    /// The nodes that hold it, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Those of them that are in sync.
    pub isr: Vec<NodeId>,
    /// The node that leads it, -1 for none.
    pub leader: NodeId,
    /// Rises with each election.
    pub leader_epoch: LeaderEpoch,
    /// Rises with each change.
    pub partition_epoch: i32,
    /// The log dir of each replica; zero where it is not known.
    pub directories: Vec<Uuid>,
    /// Those of the replicas that a reassignment brings.
    pub adding: Vec<NodeId>,
    /// Those of the replicas that go when a reassignment is done.
    pub removing: Vec<NodeId>,
    /// Whether its leader was chosen though it may lack records that were acknowledged, and has not looked through its
    /// log since.
    pub recovering: bool,
    /// Those that are not in sync and yet have every record that was acknowledged (KIP-966).
    pub eligible: Vec<NodeId>,
    /// Who led last, while nobody is in sync.
    pub last_known_eligible: Vec<NodeId>,
}

impl PartitionImage {
    /// Whether a reassignment is under way.
    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }
}

/// Where a broker is reached by one of its listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointImage {
    /// The listener's name.
    pub listener: String,
    /// The host that others are told.
    pub host: String,
    /// The port that they are told.
    pub port: u16,
    /// Kafka's number of the protocol.
    pub security_protocol: i16,
}

impl From<&BrokerEndpoint> for EndpointImage {
    fn from(endpoint: &BrokerEndpoint) -> EndpointImage {
        EndpointImage {
            listener: endpoint.name.to_string(),
            host: endpoint.host.to_string(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        }
    }
}

/// One broker that has registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerImage {
    /// Its node id.
    pub id: NodeId,
    /// The registration's epoch.
    pub epoch: i64,
    /// Whether it is kept away from leading and from clients.
    pub fenced: bool,
    /// Whether it has said that it is about to stop: it keeps what it has, and is given nothing.
    pub in_controlled_shutdown: bool,
    /// Its rack, where it told one.
    pub rack: Option<String>,
    /// Where it is reached, listener by listener, as it told them.
    pub endpoints: Vec<EndpointImage>,
    /// New with each start of it that registers.
    pub incarnation_id: Uuid,
    /// Its log dirs.
    pub log_dirs: Vec<Uuid>,
    /// The features that it knows, and from which to which level.
    pub features: Vec<(String, i16, i16)>,
}

impl BrokerImage {
    /// Whether it may lead, and may be counted as in sync.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// Where it is reached by those who came by a listener of this name, elsewhere or here; by an empty one, which is of nobody
    /// from outside, at the first of them.
    pub fn endpoint(&self, listener: &str) -> Option<&EndpointImage> {
        self.endpoints.iter().find(|endpoint| listener.is_empty() || endpoint.listener == listener)
    }
}

/// Why a record does not fit the image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The topic is not there.
    #[error("{record} names the topic id {id}, which no record has made")]
    UnknownTopic {
        /// The record's kind.
        record: &'static str,
        /// The id it names.
        id: Uuid,
    },
    /// The partition is not there, or comes out of order.
    #[error("{record} names partition {partition} of topic {topic:?}, which has {partitions}")]
    Partition {
        /// The record's kind.
        record: &'static str,
        /// The topic's name.
        topic: String,
        /// The index it names.
        partition: i32,
        /// How many the topic has.
        partitions: usize,
    },
    /// Two topics of one name.
    #[error("topic {0:?} is made twice")]
    TopicExists(String),
}

/// The whole cluster, as far as its records tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    topics: HashMap<String, TopicImage>,
    names: HashMap<Uuid, String>,
    pub(super) configs: HashMap<(ResourceType, String), Configs>,
    brokers: BTreeMap<NodeId, BrokerImage>,
    /// The highest epoch that a broker ever had: one that registers gets a higher one, also after it was unregistered.
    broker_epoch: i64,
    features: BTreeMap<String, i16>,
    next_producer_id: ProducerId,
    partitions: usize,
    /// What Apache Kafka wrote and this cluster does not serve (ACLs, quotas, SCRAM), in its order: a snapshot hands it on.
    pub(super) foreign: Vec<Foreign>,
}

/// Kafka's word for a partition whose leader may lack records that were acknowledged.
pub(super) const RECOVERING: i8 = 1;

/// A record that changes nothing here, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) key: i16,
    pub(super) value: bytes::Bytes,
}

/// Kafka's records that need not be handed on: fencing as it was told before it was a change of a registration (7, 8),
/// and "nothing" (20), which an idle controller writes twice a second.
const NOT_KEPT: [i16; 3] = [7, 8, 20];

impl Image {
    /// The topic called `name`.
    pub fn topic(&self, name: &str) -> Option<&TopicImage> {
        self.topics.get(name)
    }

    /// The topic whose id is `id`.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&TopicImage> {
        self.topics.get(self.names.get(&id)?)
    }

    /// One partition of a topic.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionImage> {
        self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    /// All topics, in no order.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &TopicImage> {
        self.topics.values()
    }

    /// How many partitions all topics have.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// The explicit configs of a resource, where it has any.
    pub fn configs(&self, kind: ResourceType, name: &str) -> Option<&Configs> {
        // The key is a pair of owned values; an allocation here is cheaper than a second map.
        self.configs.get(&(kind, name.to_owned()))
    }

    /// The resources of `kind` that have explicit configs.
    pub fn configured(&self, kind: ResourceType) -> impl Iterator<Item = &str> {
        self.configs.keys().filter(move |(of, _)| *of == kind).map(|(_, name)| name.as_str())
    }

    /// All brokers that have registered, by node id.
    pub fn brokers(&self) -> impl Iterator<Item = &BrokerImage> {
        self.brokers.values()
    }

    /// The broker whose node id is `id`, if it has registered.
    pub fn broker(&self, id: NodeId) -> Option<&BrokerImage> {
        self.brokers.get(&id)
    }

    /// Those of them that are not fenced: what clients are told of.
    pub fn live_brokers(&self) -> impl Iterator<Item = &BrokerImage> {
        self.brokers().filter(|broker| !broker.fenced)
    }

    /// The epoch of the next registration.
    pub fn next_broker_epoch(&self) -> i64 {
        self.broker_epoch + 1
    }

    /// The finalized features and their levels.
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The first producer id that no broker was given.
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// Changes the image as `record` says.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ImageError> {
        match record {
            MetadataRecord::Topic(topic) => {
                let name = topic.name.to_string();
                if self.topics.contains_key(&name) {
                    return Err(ImageError::TopicExists(name));
                }
                let image = TopicImage { name: name.clone(), id: topic.topic_id, partitions: Vec::new() };
                self.names.insert(topic.topic_id, name.clone());
                self.topics.insert(name, image);
            }
            MetadataRecord::RemoveTopic(removed) => {
                let unknown = ImageError::UnknownTopic { record: "RemoveTopicRecord", id: removed.topic_id };
                let name = self.names.remove(&removed.topic_id).ok_or(unknown)?;
                if let Some(topic) = self.topics.remove(&name) {
                    self.partitions -= topic.partitions.len();
                }
                self.configs.remove(&(ResourceType::Topic, name));
            }
            MetadataRecord::Partition(partition) => self.apply_partition(partition)?,
            MetadataRecord::PartitionChange(change) => self.apply_partition_change(change)?,
            MetadataRecord::Config(config) => self.apply_config(config),
            MetadataRecord::RegisterBroker(broker) => self.apply_broker(broker),
            MetadataRecord::BrokerRegistrationChange(change) => self.apply_broker_change(change),
            MetadataRecord::FeatureLevel(feature) => {
                if feature.feature_level == 0 {
                    self.features.remove(feature.name.as_ref() as &str);
                } else {
                    self.features.insert(feature.name.to_string(), feature.feature_level);
                }
            }
            MetadataRecord::ProducerIds(ids) => self.next_producer_id = ids.next_producer_id,
            MetadataRecord::UnregisterBroker(broker) => {
                self.brokers.remove(&broker.broker_id);
                self.broker_epoch = self.broker_epoch.max(broker.broker_epoch);
            }
            MetadataRecord::Other { key, value } if !NOT_KEPT.contains(key) => {
                self.foreign.push(Foreign { key: *key, value: value.clone() });
            }
            MetadataRecord::Other { .. } => {}
        }
        Ok(())
    }

    fn topic_of(&mut self, record: &'static str, id: Uuid) -> Result<&mut TopicImage, ImageError> {
        let unknown = ImageError::UnknownTopic { record, id };
        let Some(name) = self.names.get(&id) else { return Err(unknown) };
        self.topics.get_mut(name).ok_or(unknown)
    }

    fn apply_partition(&mut self, record: &PartitionRecord) -> Result<(), ImageError> {
        let topic = self.topic_of("PartitionRecord", record.topic_id)?;
        let image = PartitionImage {
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            directories: record.directories.clone(),
            adding: record.adding_replicas.clone(),
            removing: record.removing_replicas.clone(),
            recovering: record.leader_recovery_state == RECOVERING,
            eligible: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_eligible: record.last_known_elr.clone().unwrap_or_default(),
        };
        // A snapshot may say a partition again; otherwise they come in order.
        match usize::try_from(record.partition_id) {
            Ok(index) if index == topic.partitions.len() => {
                topic.partitions.push(image);
                self.partitions += 1;
                Ok(())
            }
            Ok(index) if index < topic.partitions.len() => {
                topic.partitions[index] = image;
                Ok(())
            }
            _ => Err(no_partition("PartitionRecord", topic, record.partition_id)),
        }
    }

    fn apply_partition_change(&mut self, record: &PartitionChangeRecord) -> Result<(), ImageError> {
        let topic = self.topic_of("PartitionChangeRecord", record.topic_id)?;
        let index = usize::try_from(record.partition_id).unwrap_or(usize::MAX);
        let missing = no_partition("PartitionChangeRecord", topic, record.partition_id);
        let partition = topic.partitions.get_mut(index).ok_or(missing)?;
        if let Some(isr) = &record.isr {
            partition.isr = isr.clone();
        }
        if let Some(replicas) = &record.replicas {
            partition.replicas = replicas.clone();
        }
        if let Some(directories) = &record.directories {
            partition.directories = directories.clone();
        }
        if let Some(adding) = &record.adding_replicas {
            partition.adding = adding.clone();
        }
        if let Some(removing) = &record.removing_replicas {
            partition.removing = removing.clone();
        }
        if let Some(eligible) = &record.eligible_leader_replicas {
            partition.eligible = eligible.clone();
        }
        if let Some(last) = &record.last_known_elr {
            partition.last_known_eligible = last.clone();
        }
        if record.leader_recovery_state != -1 {
            partition.recovering = record.leader_recovery_state == RECOVERING;
        }
        // -2 stands for "as it was".
        if record.leader != -2 {
            partition.leader = record.leader;
            partition.leader_epoch += 1;
        }
        partition.partition_epoch += 1;
        Ok(())
    }

    fn apply_config(&mut self, record: &ConfigRecord) {
        // Resources that this cluster does not serve: client metrics, groups.
        let Some(kind) = ResourceType::from_code(record.resource_type) else {
            if let Ok(value) = MetadataRecord::Config(record.clone()).encode() {
                self.foreign.push(Foreign { key: 4, value });
            }
            return;
        };
        let key = (kind, record.resource_name.to_string());
        match &record.value {
            Some(value) => {
                self.configs.entry(key).or_default().insert(record.name.to_string(), value.to_string());
            }
            None => {
                if let Some(configs) = self.configs.get_mut(&key) {
                    configs.remove(record.name.as_ref() as &str);
                    if configs.is_empty() {
                        self.configs.remove(&key);
                    }
                }
            }
        }
    }

    fn apply_broker(&mut self, record: &RegisterBrokerRecord) {
        let image = BrokerImage {
            id: record.broker_id,
            epoch: record.broker_epoch,
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            rack: record.rack.as_ref().map(|rack| rack.to_string()),
            endpoints: record.end_points.iter().map(EndpointImage::from).collect(),
            incarnation_id: record.incarnation_id,
            log_dirs: record.log_dirs.clone(),
            features: record
                .features
                .iter()
                .map(|known| (known.name.to_string(), known.min_supported_version, known.max_supported_version))
                .collect(),
        };
        self.broker_epoch = self.broker_epoch.max(record.broker_epoch);
        self.brokers.insert(record.broker_id, image);
    }

    fn apply_broker_change(&mut self, record: &BrokerRegistrationChangeRecord) {
        if let Some(broker) = self.brokers.get_mut(&record.broker_id) {
            match record.fenced {
                1 => broker.fenced = true,
                -1 => broker.fenced = false,
                _ => {}
            }
            if record.in_controlled_shutdown != 0 {
                broker.in_controlled_shutdown = record.in_controlled_shutdown == 1;
            }
            if !record.log_dirs.is_empty() {
                broker.log_dirs = record.log_dirs.clone();
            }
        }
    }
}

fn no_partition(record: &'static str, topic: &TopicImage, partition: i32) -> ImageError {
    ImageError::Partition { record, topic: topic.name.clone(), partition, partitions: topic.partitions.len() }
}
