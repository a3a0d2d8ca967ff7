//! Topics: created, deleted, given more partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Plan, Refusal, configs, placement};
use crate::common::ids::{NodeId, Uuid};
use crate::config::{Values, broker as broker_key};
use crate::metadata::image::{BrokerImage, Configs, Image, ResourceType, TopicImage};
use crate::metadata::records::{MetadataRecord, PartitionRecord, RemoveTopicRecord, TopicRecord};
use crate::metadata::topic_name;
use crate::protocol::{ErrorCode, Str};

/// How many partitions one wish may make, as in Apache Kafka.
const MAX_PARTITIONS_AT_ONCE: usize = 10_000;

/// A topic to be made.
#[derive(Debug, Clone, Default)]
pub struct CreateTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for the broker's `num.partitions`, or where `assignments` tells.
    pub partitions: i32,
    /// How many replicas each; -1 for the broker's `default.replication.factor`, or where `assignments` tells.
    pub replication_factor: i16,
    /// The replicas of each partition, where the client chose them itself.
    pub assignments: BTreeMap<i32, Vec<NodeId>>,
    /// Its explicit configs.
    pub configs: Configs,
}

/// Makes a topic; where the wish is silent, `broker`'s configs speak.
pub fn create_topic(image: &Image, wish: &CreateTopic, broker: &Arc<Values>) -> Plan {
    topic_name::validate(&wish.name).map_err(|sentence| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, sentence))?;
    if image.topic(&wish.name).is_some() {
        return Err(Refusal::new(ErrorCode::TOPIC_ALREADY_EXISTS, format!("Topic '{}' already exists.", wish.name)));
    }
    if wish.name.contains(['.', '_'])
        && let Some(other) = image.topics().find(|topic| topic_name::collide(&topic.name, &wish.name))
    {
        let sentence = format!(
            "topic '{}' collides with topic '{}': '.' and '_' are one in the names of metrics",
            wish.name, other.name
        );
        return Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, sentence));
    }
    let assignments = assign(image, wish, broker)?;
    configs::topic_values(&wish.name, broker, Some(&wish.configs))?;

    let id = Uuid::random();
    let name = Str::from(wish.name.as_str());
    let mut records = vec![MetadataRecord::Topic(TopicRecord { name, topic_id: id })];
    let config =
        |(key, value): (&String, &String)| configs::config_record(ResourceType::Topic, &wish.name, key, Some(value));
    records.extend(wish.configs.iter().map(config));
    for (index, replicas) in assignments.into_iter().enumerate() {
        records.push(partition(image, id, index, replicas)?);
    }
    Ok(records)
}

/// Takes a topic away.
pub fn delete_topic(topic: &TopicImage) -> Vec<MetadataRecord> {
    vec![MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: topic.id })]
}

/// Brings a topic to `count` partitions; `assignments` names the replicas of the new ones, where the client chose them.
pub fn create_partitions(image: &Image, name: &str, count: i32, assignments: Option<&[Vec<NodeId>]>) -> Plan {
    let unknown = || Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic '{name}'"));
    let topic = image.topic(name).ok_or_else(unknown)?;
    let have = topic.partitions.len();
    let wanted = usize::try_from(count).unwrap_or(0);
    if wanted <= have {
        let sentence = format!("topic '{name}' has {have} partitions: a new count must be more, and {count} is not");
        return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, sentence));
    }
    let new = wanted - have;
    too_many(new)?;
    let replicas = match assignments {
        Some(assignments) if assignments.len() != new => {
            let sentence = format!("{} assignments for {new} new partitions of topic '{name}'", assignments.len());
            return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, sentence));
        }
        Some(assignments) => {
            for replicas in assignments {
                check_replicas(image, replicas)?;
            }
            assignments.to_vec()
        }
        None => spread(image, new, topic.partitions.first().map_or(1, |first| first.replicas.len()))?,
    };
    let new = replicas.into_iter().enumerate();
    new.map(|(index, replicas)| partition(image, topic.id, have + index, replicas)).collect()
}

/// A new partition: whoever of its replicas is there is in sync, and the first of them leads.
fn partition(image: &Image, topic_id: Uuid, index: usize, replicas: Vec<NodeId>) -> Result<MetadataRecord, Refusal> {
    let is_there = |id: &NodeId| image.broker(*id).is_some_and(BrokerImage::is_active);
    let isr: Vec<NodeId> = replicas.iter().copied().filter(is_there).collect();
    let Some(leader) = isr.first().copied() else {
        let sentence = format!("partition {index}: none of its replicas {replicas:?} is there");
        return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, sentence));
    };
    Ok(MetadataRecord::Partition(PartitionRecord {
        partition_id: i32::try_from(index).unwrap_or(i32::MAX),
        topic_id,
        leader,
        isr,
        directories: vec![UNASSIGNED_DIRECTORY; replicas.len()],
        replicas,
        leader_epoch: 0,
        partition_epoch: 0,
        ..Default::default()
    }))
}

/// Kafka's id for "in some log dir of that broker".
const UNASSIGNED_DIRECTORY: Uuid = Uuid::ZERO;

fn assign(image: &Image, wish: &CreateTopic, broker: &Values) -> Result<Vec<Vec<NodeId>>, Refusal> {
    if !wish.assignments.is_empty() {
        if wish.partitions != -1 || wish.replication_factor != -1 {
            let sentence = "a topic with assignments must have -1 for its partitions and for its replication factor";
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence));
        }
        too_many(wish.assignments.len())?;
        for (expected, (index, replicas)) in (0..).zip(&wish.assignments) {
            if *index != expected {
                let sentence = format!("partition {expected} has no assignment: they must go from 0 without a gap");
                return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, sentence));
            }
            check_replicas(image, replicas)?;
        }
        return Ok(wish.assignments.values().cloned().collect());
    }
    let partitions = if wish.partitions == -1 { broker.get(broker_key::NUM_PARTITIONS) } else { wish.partitions };
    let partitions = usize::try_from(partitions).ok().filter(|count| *count > 0).ok_or_else(|| {
        let sentence = format!("{} partitions for topic '{}': there must be at least 1", wish.partitions, wish.name);
        Refusal::new(ErrorCode::INVALID_PARTITIONS, sentence)
    })?;
    let factor = match wish.replication_factor {
        -1 => broker.get(broker_key::DEFAULT_REPLICATION_FACTOR),
        factor => i32::from(factor),
    };
    let factor = usize::try_from(factor).ok().filter(|count| *count > 0).ok_or_else(|| {
        let sentence = format!(
            "a replication factor of {} for topic '{}': it must be at least 1",
            wish.replication_factor, wish.name
        );
        Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, sentence)
    })?;
    too_many(partitions)?;
    spread(image, partitions, factor)
}

/// Spreads replicas over the brokers that are there. It goes on where the partitions that the cluster has ended, so that
/// the leaders of small topics are not all the same broker.
fn spread(image: &Image, count: usize, factor: usize) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let ready = image.brokers().filter(|broker| broker.is_active());
    let brokers: Vec<_> = ready.map(|broker| (broker.id, broker.rack.as_deref())).collect();
    if factor > brokers.len() {
        let there = match brokers.len() {
            1 => "there is 1 broker".to_owned(),
            count => format!("there are {count} brokers"),
        };
        let sentence = format!("a replication factor of {factor} cannot be reached: {there}");
        return Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, sentence));
    }
    Ok(placement::place(&brokers, image.partitions(), count, factor))
}

pub(super) fn check_replicas(image: &Image, replicas: &[NodeId]) -> Result<(), Refusal> {
    let refuse = |sentence: String| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, sentence));
    if replicas.is_empty() {
        return refuse("an assignment without replicas: it must name at least one broker".to_owned());
    }
    for (place, replica) in replicas.iter().enumerate() {
        if replicas[..place].contains(replica) {
            return refuse(format!("an assignment names broker {replica} twice"));
        }
        if !image.brokers().any(|broker| broker.id == *replica) {
            return refuse(format!("an assignment names broker {replica}, which has not registered"));
        }
    }
    Ok(())
}

fn too_many(partitions: usize) -> Result<(), Refusal> {
    if partitions > MAX_PARTITIONS_AT_ONCE {
        let sentence =
            format!("{partitions} partitions in one request: at most {MAX_PARTITIONS_AT_ONCE} are made at once");
        return Err(Refusal::new(ErrorCode::POLICY_VIOLATION, sentence));
    }
    Ok(())
}
