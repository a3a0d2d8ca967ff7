//! Configs: altered key by key, or replaced as a whole.
//!
//! A resource's explicit configs are one layer over the broker's own; they are checked as they would hold, and only what
//! differs becomes a record.

use std::collections::HashSet;
use std::sync::Arc;

use super::change::{MIN_IN_SYNC, keeps_eligible};
use super::failover::change_of;
use super::{Plan, Refusal};
use crate::common::ids::NodeId;
use crate::config::alter::{Alteration, apply};
use crate::config::{ConfigError, Owner, Scope, Source, Values};
use crate::metadata::image::{Configs, Image, ResourceType, TopicImage};
use crate::metadata::records::{ConfigRecord, MetadataRecord, PartitionChangeRecord};
use crate::protocol::{ErrorCode, Str};

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Refusal {
        Refusal::new(ErrorCode::INVALID_CONFIG, error.to_string())
    }
}

/// The configs of broker `id`: its properties, and over them what was set while it ran, for all brokers and for it.
pub fn broker_values(image: &Image, properties: &Values, id: NodeId) -> Result<Values, ConfigError> {
    let none = Configs::new();
    let all = image.configs(ResourceType::Broker, "").unwrap_or(&none);
    let own = image.configs(ResourceType::Broker, &id.to_string()).unwrap_or(&none);
    properties.with_dynamic(Source::DynamicDefaultBroker, all)?.with_dynamic(Source::DynamicBroker, own)
}

/// The configs of a topic over its broker's.
pub fn topic_values(name: &str, broker: &Arc<Values>, explicit: Option<&Configs>) -> Result<Values, ConfigError> {
    Values::topic(name, broker.clone(), explicit.into_iter().flatten())
}

/// Changes some keys of a resource. `broker` holds what is under a topic's configs, or a broker's properties.
pub fn alter_configs(
    image: &Image,
    broker: &Arc<Values>,
    (kind, name): (ResourceType, &str),
    changes: Vec<(String, Alteration)>,
) -> Plan {
    let current = check(image, broker, kind, name, &explicit(image, kind, name))?;
    let owner = owner(kind, name);
    let mut wanted = explicit(image, kind, name);
    let mut altered = HashSet::with_capacity(changes.len());
    for (key, change) in &changes {
        if !altered.insert(key) {
            let sentence = format!("{key} of {owner} is altered twice in one request");
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence));
        }
        apply(&owner, &mut wanted, &current, key, change.clone())?;
    }
    replace_configs(image, broker, (kind, name), wanted)
}

/// Gives a resource exactly these explicit configs.
pub fn replace_configs(
    image: &Image,
    broker: &Arc<Values>,
    (kind, name): (ResourceType, &str),
    wanted: Configs,
) -> Plan {
    check(image, broker, kind, name, &wanted)?;
    let have = explicit(image, kind, name);
    let min_changes = have.get(MIN_IN_SYNC) != wanted.get(MIN_IN_SYNC);
    if min_changes && keeps_eligible(image) && kind == ResourceType::Broker {
        let refuse = |sentence: &str| Err(Refusal::new(ErrorCode::INVALID_CONFIG, sentence));
        match (name.is_empty(), wanted.get(MIN_IN_SYNC)) {
            (false, _) => return refuse("Broker-level min.insync.replicas cannot be altered while ELR is enabled."),
            (true, None) => return refuse("Cluster level min.insync.replicas cannot be removed while ELR is enabled."),
            (true, Some(_)) => {}
        }
    }
    let gone = have.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key, None));
    let set = wanted.iter().filter(|(key, value)| have.get(*key) != Some(value)).map(|(key, value)| (key, Some(value)));
    let record = |(key, value): (&String, Option<&String>)| config_record(kind, name, key, value.map(String::as_str));
    let mut records: Vec<MetadataRecord> = gone.chain(set).map(record).collect();
    if min_changes {
        records.extend(forget_eligible(image, kind, name));
    }
    Ok(records)
}

/// Whoever is eligible is so by the `min.insync.replicas` of then: with another one it may lack what is acknowledged from now on.
fn forget_eligible(image: &Image, kind: ResourceType, name: &str) -> impl Iterator<Item = MetadataRecord> {
    let concerns = move |topic: &&TopicImage| kind == ResourceType::Broker || topic.name == name;
    image.topics().filter(concerns).flat_map(|topic| {
        let eligible = (0..topic.partitions.len()).filter(|index| !topic.partitions[*index].eligible.is_empty());
        eligible.map(|index| {
            let nobody = Some(Vec::new());
            let change = PartitionChangeRecord { eligible_leader_replicas: nobody, ..change_of(topic, index) };
            MetadataRecord::PartitionChange(change)
        })
    })
}

/// The record that gives a key its value, or takes it away.
pub(super) fn config_record(kind: ResourceType, name: &str, key: &str, value: Option<&str>) -> MetadataRecord {
    MetadataRecord::Config(ConfigRecord {
        resource_type: kind as i8,
        resource_name: Str::from(name),
        name: Str::from(key),
        value: value.map(Str::from),
    })
}

fn explicit(image: &Image, kind: ResourceType, name: &str) -> Configs {
    image.configs(kind, name).cloned().unwrap_or_default()
}

fn owner(kind: ResourceType, name: &str) -> Owner {
    match kind {
        ResourceType::Topic => Owner::topic(name),
        ResourceType::Broker => Owner::new(Scope::Broker, ""),
    }
}

fn check(
    image: &Image,
    broker: &Arc<Values>,
    kind: ResourceType,
    name: &str,
    wanted: &Configs,
) -> Result<Values, Refusal> {
    match kind {
        ResourceType::Topic if image.topic(name).is_none() => {
            Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic '{name}'")))
        }
        ResourceType::Topic => Ok(topic_values(name, broker, Some(wanted))?),
        ResourceType::Broker => {
            let source = if name.is_empty() { Source::DynamicDefaultBroker } else { Source::DynamicBroker };
            // Apache Kafka tells a broker's bad config with another code than a topic's.
            let refuse = |error: ConfigError| Refusal::new(ErrorCode::INVALID_REQUEST, error.to_string());
            broker.with_dynamic(source, wanted).map_err(refuse)
        }
    }
}
