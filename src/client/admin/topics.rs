//! Topics: create, delete, describe, list, grow, and delete what is old in them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::client::metadata::TopicView;
use crate::client::network::Wanted;
use crate::client::{ClientError, Result, offsets};
use crate::common::ids::{NodeId, Offset, TopicPartition, Uuid};
use crate::protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use crate::protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use crate::protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use crate::protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::protocol::{ApiKey, ErrorCode, Str};

use super::{Admin, Each, outcome, unanswered};

/// From this version on DeleteTopics takes topics by name or id.
const DELETE_BY_STATE: i16 = 6;

/// A topic to create.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None`: as the broker has it (`num.partitions`).
    pub partitions: Option<i32>,
    /// How many replicas of each; `None`: as the broker has it (`default.replication.factor`).
    pub replication_factor: Option<i16>,
    /// The replicas of each partition by index, instead of the two above.
    pub assignments: BTreeMap<i32, Vec<NodeId>>,
    /// Its configs.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with so many partitions, and whatever else the broker's defaults are.
    pub fn new(name: impl Into<String>, partitions: i32) -> NewTopic {
        NewTopic { name: name.into(), partitions: Some(partitions), ..NewTopic::default() }
    }
}

/// A topic that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id.
    pub id: Uuid,
    /// How many partitions it has; `None` where the broker did not say.
    pub partitions: Option<i32>,
    /// How many replicas each has; `None` where the broker did not say.
    pub replication_factor: Option<i16>,
}

impl Admin {
    /// Creates topics; with `validate_only`, checks only whether it could.
    ///
    /// # Errors
    /// Those of the call; each topic's own is in the result.
    pub async fn create_topics(&self, topics: &[NewTopic], validate_only: bool) -> Result<Each<String, CreatedTopic>> {
        let creatable = topics.iter().map(|topic| CreatableTopic {
            name: topic.name.as_str().into(),
            num_partitions: if topic.assignments.is_empty() { topic.partitions.unwrap_or(-1) } else { -1 },
            replication_factor: if topic.assignments.is_empty() { topic.replication_factor.unwrap_or(-1) } else { -1 },
            assignments: topic
                .assignments
                .iter()
                .map(|(index, brokers)| CreatableReplicaAssignment {
                    partition_index: *index,
                    broker_ids: brokers.clone(),
                })
                .collect(),
            configs: topic
                .configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig { name: name.into(), value: Some(value.into()) })
                .collect(),
        });
        let request = CreateTopicsRequest { topics: creatable.collect(), timeout_ms: self.timeout_ms(), validate_only };
        let not_yet = |code: &ErrorCode| *code == ErrorCode::NOT_CONTROLLER;
        let response = self
            .ask_until(&request, |response| response.topics.iter().map(|topic| topic.error_code).find(not_yet))
            .await?;
        let each = topics.iter().map(|topic| {
            let context = || format!("create topic {}", topic.name);
            let answer = response.topics.iter().find(|answer| *answer.name == *topic.name);
            let result = answer.ok_or_else(|| unanswered(context())).and_then(|answer| {
                let created = CreatedTopic {
                    id: answer.topic_id,
                    partitions: (answer.num_partitions >= 0).then_some(answer.num_partitions),
                    replication_factor: (answer.replication_factor >= 0).then_some(answer.replication_factor),
                };
                outcome(answer.error_code, answer.error_message.as_ref(), context, created)
            });
            (topic.name.clone(), result)
        });
        Ok(each.collect())
    }

    /// Deletes topics.
    ///
    /// # Errors
    /// Those of the call; each topic's own is in the result.
    pub async fn delete_topics(&self, names: &[String]) -> Result<Each<String, ()>> {
        let by_state = self.network.any().await?.version(ApiKey::DeleteTopics)? >= DELETE_BY_STATE;
        let request = DeleteTopicsRequest {
            topics: if by_state {
                names.iter().map(|name| DeleteTopicState { name: Some(name.into()), topic_id: Uuid::ZERO }).collect()
            } else {
                Vec::new()
            },
            topic_names: if by_state { Vec::new() } else { names.iter().map(Str::from).collect() },
            timeout_ms: self.timeout_ms(),
        };
        let response = self.ask(&request).await?;
        let each = names.iter().map(|name| {
            let context = || format!("delete topic {name}");
            let answer = response.responses.iter().find(|answer| answer.name.as_deref() == Some(name));
            let result = answer
                .ok_or_else(|| unanswered(context()))
                .and_then(|answer| outcome(answer.error_code, answer.error_message.as_ref(), context, ()));
            (name.clone(), result)
        });
        Ok(each.collect())
    }

    /// All topics, by name; Kafka's own only if asked for.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn list_topics(&self, internal: bool) -> Result<Vec<Arc<TopicView>>> {
        let view = offsets::retrying(&self.network, self.timeout, || self.network.refresh(Wanted::All, false)).await?;
        let mut topics: Vec<_> = view.topics.values().filter(|topic| internal || !topic.internal).cloned().collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// These topics, with their partitions.
    ///
    /// # Errors
    /// Those of the call; each topic's own is in the result.
    pub async fn describe_topics(&self, names: &[String]) -> Result<Each<String, Arc<TopicView>>> {
        let topics: Vec<Arc<str>> = names.iter().map(|name| Arc::from(name.as_str())).collect();
        let view =
            offsets::retrying(&self.network, self.timeout, || self.network.refresh(Wanted::Topics(&topics), false))
                .await?;
        let each = names.iter().map(|name| {
            let error = view.errors.get(name.as_str()).copied();
            let result = match (view.topics.get(name.as_str()), error) {
                (Some(topic), None) => Ok(topic.clone()),
                (_, error) => {
                    let code = error.unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                    Err(ClientError::kafka(code, format!("topic {name}")))
                }
            };
            (name.clone(), result)
        });
        Ok(each.collect())
    }

    /// Grows topics to so many partitions; with `validate_only`, checks only whether it could.
    ///
    /// # Errors
    /// Those of the call; each topic's own is in the result.
    pub async fn create_partitions(&self, totals: &[(String, i32)], validate_only: bool) -> Result<Each<String, ()>> {
        let topics = totals.iter().map(|(name, count)| CreatePartitionsTopic {
            name: name.into(),
            count: *count,
            assignments: None,
        });
        let request =
            CreatePartitionsRequest { topics: topics.collect(), timeout_ms: self.timeout_ms(), validate_only };
        let response = self.ask(&request).await?;
        let each = totals.iter().map(|(name, count)| {
            let context = || format!("grow topic {name} to {count} partitions");
            let answer = response.results.iter().find(|answer| *answer.name == **name);
            let result = answer
                .ok_or_else(|| unanswered(context()))
                .and_then(|answer| outcome(answer.error_code, answer.error_message.as_ref(), context, ()));
            (name.clone(), result)
        });
        Ok(each.collect())
    }

    /// Deletes the records before an offset in each partition (-1: all there are), and returns where each begins then.
    ///
    /// # Errors
    /// Those of the call; each partition's own is in the result.
    pub async fn delete_records(&self, before: &[(TopicPartition, Offset)]) -> Result<Each<TopicPartition, Offset>> {
        let done = parking_lot::Mutex::new(HashMap::new());
        let last = offsets::retrying(&self.network, self.timeout, || self.delete_records_once(before, &done)).await;
        let mut done = done.into_inner();
        let each = before.iter().map(|(partition, _)| {
            let missing = || match &last {
                Err(error) => Err(error.clone()),
                Ok(()) => Err(unanswered(format!("delete records of {partition}"))),
            };
            (partition.clone(), done.remove(partition).unwrap_or_else(missing))
        });
        Ok(each.collect())
    }

    async fn delete_records_once(
        &self,
        before: &[(TopicPartition, Offset)],
        done: &parking_lot::Mutex<HashMap<TopicPartition, Result<Offset>>>,
    ) -> Result<()> {
        let mut topics: Vec<Arc<str>> = before.iter().map(|(partition, _)| Arc::from(&*partition.topic)).collect();
        topics.sort();
        topics.dedup();
        let view = self.network.refresh(Wanted::Topics(&topics), false).await?;
        let mut again = None;
        let mut requests: HashMap<NodeId, BTreeMap<&str, Vec<DeleteRecordsPartition>>> = HashMap::new();
        for (partition, offset) in before {
            if done.lock().contains_key(partition) {
                continue;
            }
            let Some((leader, _)) = view.leader(&partition.topic, partition.partition) else {
                let code = view.errors.get(partition.topic.as_str()).copied();
                let code = code.unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                done.lock().insert(partition.clone(), Err(ClientError::kafka(code, format!("records of {partition}"))));
                continue;
            };
            let partitions = requests.entry(leader).or_default().entry(&partition.topic).or_default();
            partitions.push(DeleteRecordsPartition { partition_index: partition.partition, offset: *offset });
        }
        for (leader, topics) in requests {
            let topics =
                topics.into_iter().map(|(name, partitions)| DeleteRecordsTopic { name: name.into(), partitions });
            let request = DeleteRecordsRequest { topics: topics.collect(), timeout_ms: self.timeout_ms() };
            for topic in self.network.call(leader, &request).await?.topics {
                for answer in topic.partitions {
                    let partition = TopicPartition::new(topic.name.to_string(), answer.partition_index);
                    let context = || format!("delete records of {partition}");
                    match outcome(answer.error_code, None, context, answer.low_watermark) {
                        Err(error) if error.retriable() => again = Some(error),
                        result => {
                            done.lock().insert(partition, result);
                        }
                    }
                }
            }
        }
        again.map_or(Ok(()), Err)
    }
}
