//! CreateTopics (key 19): makes topics, each by itself: one that is refused does not hold up the others.
//!
//! Versions 2-7 are served.
//!   4  -1 for "the broker's default" of partitions and replicas     5  tells the topic as it was made     7  its id
//!
//! Rules
//!   twice in a request   INVALID_REQUEST for that name
//!   validate only        the same answer, and nothing is made

use std::collections::BTreeMap;

use super::{Context, Outcome, describe_configs};
use crate::broker::Broker;
use crate::metadata::Refusal;
use crate::metadata::image::Configs;
use crate::metadata::plan::{self, CreateTopic};
use crate::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: CreateTopicsRequest,
) -> Outcome<CreateTopicsResponse> {
    let mut asked: BTreeMap<Str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *asked.entry(topic.name.clone()).or_default() += 1;
    }
    let mut wishes = Vec::new();
    let mut results = Vec::new();
    for topic in request.topics {
        if asked.get(&topic.name).is_some_and(|count| *count > 1) {
            if asked.remove(&topic.name).is_some() {
                let sentence = format!("topic '{}' is named more than once in the request", topic.name);
                results.push(refuse(topic.name, Refusal::new(ErrorCode::INVALID_REQUEST, sentence)));
            }
            continue;
        }
        if !asked.contains_key(&topic.name) {
            continue;
        }
        match wish(&topic) {
            Ok(wish) => wishes.push(wish),
            Err(refusal) => results.push(refuse(topic.name, refusal)),
        }
    }
    let names: Vec<Str> = wishes.iter().map(|wish| Str::from(wish.name.as_str())).collect();
    let made = match broker.create_topics(wishes, request.validate_only).await {
        Ok(made) => made,
        // Nothing was written: all are refused alike.
        Err(refusal) => names.iter().map(|_| Err(refusal.clone())).collect(),
    };
    for (name, made) in names.into_iter().zip(made) {
        results.push(match made {
            Err(refusal) => refuse(name, refusal),
            Ok(made) => CreatableTopicResult {
                configs: (context.version >= 5).then(|| told_configs(broker, &name, &made.configs)),
                name,
                topic_id: made.id,
                num_partitions: made.partitions,
                replication_factor: made.replication_factor,
                ..Default::default()
            },
        });
    }
    Outcome::Reply(CreateTopicsResponse { topics: results, ..Default::default() })
}

fn wish(topic: &CreatableTopic) -> Result<CreateTopic, Refusal> {
    let mut assignments = BTreeMap::new();
    for assignment in &topic.assignments {
        if assignments.insert(assignment.partition_index, assignment.broker_ids.clone()).is_some() {
            let sentence = format!("partition {} of '{}' is assigned twice", assignment.partition_index, topic.name);
            return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, sentence));
        }
    }
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let sentence = format!("{} of topic '{}' has no value", config.name, topic.name);
            return Err(Refusal::new(ErrorCode::INVALID_CONFIG, sentence));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    Ok(CreateTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments,
        configs,
    })
}

/// The topic's configs as they came to be; none where a broker's change meanwhile made them invalid.
fn told_configs(broker: &Broker, topic: &str, explicit: &Configs) -> Vec<CreatableTopicConfigs> {
    let Ok(values) = plan::topic_values(topic, &broker.values(), Some(explicit)) else { return Vec::new() };
    let told = describe_configs::of_topic(&values).into_iter().map(|config| CreatableTopicConfigs {
        name: config.name,
        value: config.value,
        read_only: config.read_only,
        config_source: config.config_source,
        is_sensitive: config.is_sensitive,
    });
    told.collect()
}

fn refuse(name: Str, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: refusal.code,
        error_message: Some(Str::from(refusal.message)),
        ..Default::default()
    }
}
