//! OffsetFetch (key 9): how far a group has read.
//!
//! Versions 1-10 are served.
//!   2  null topics ask for all     3  throttle time     5  leader epochs     6  flexible     7  require_stable
//!   8  several groups              9  member and epoch of a consumer group   10  topic ids
//!
//! Rules
//!   nothing committed   offset -1, no error; an unknown group is one that has committed nothing
//!   require stable      no transaction is open here, so every offset is
//!   an unknown id       UNKNOWN_TOPIC_ID for its partitions

use std::sync::Arc;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::common::ids::Uuid;
use crate::coordinator::groups::offsets::{CommittedOffset, FetchTopics, FetchedTopic};
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Arc<Broker>,
    context: &Context,
    request: OffsetFetchRequest,
) -> Outcome<OffsetFetchResponse> {
    if context.version < 8 {
        return Outcome::Reply(one_group(broker, request).await);
    }
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        groups.push(fetch_group(broker, group, context.version >= 10).await);
    }
    Outcome::Reply(OffsetFetchResponse { groups, ..Default::default() })
}

/// Up to version 7: one group, its topics by name.
async fn one_group(broker: &Arc<Broker>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let named = |topics: Vec<crate::protocol::messages::offset_fetch::OffsetFetchRequestTopic>| {
        let topics = topics.into_iter().map(|topic| (topic.name.to_string(), Uuid::ZERO, topic.partition_indexes));
        FetchTopics::Named(topics.collect())
    };
    let topics = request.topics.map_or(FetchTopics::All, named);
    match broker.look_at_group(&request.group_id, |shard| shard.fetch_offsets(&request.group_id, &topics)).await {
        Err(error_code) => OffsetFetchResponse { error_code, ..Default::default() },
        Ok(fetched) => {
            let topics = fetched.into_iter().map(|(name, partitions)| OffsetFetchResponseTopic {
                name: Str::from(name),
                partitions: partitions
                    .into_iter()
                    .map(|(index, offset)| {
                        let (committed_offset, committed_leader_epoch, metadata) = told(offset);
                        OffsetFetchResponsePartition {
                            partition_index: index,
                            committed_offset,
                            committed_leader_epoch,
                            metadata,
                            ..Default::default()
                        }
                    })
                    .collect(),
            });
            OffsetFetchResponse { topics: topics.collect(), ..Default::default() }
        }
    }
}

async fn fetch_group(broker: &Arc<Broker>, group: OffsetFetchRequestGroup, by_id: bool) -> OffsetFetchResponseGroup {
    let mut unknown = Vec::new();
    let topics = match group.topics {
        None => FetchTopics::All,
        Some(topics) => FetchTopics::Named(broker.controller().read(|image| {
            let mut named = Vec::with_capacity(topics.len());
            for topic in topics {
                match (by_id, image.topic_by_id(topic.topic_id)) {
                    (false, _) => named.push((topic.name.to_string(), Uuid::ZERO, topic.partition_indexes)),
                    (true, Some(found)) => named.push((found.name.clone(), found.id, topic.partition_indexes)),
                    (true, None) => unknown.push(topic),
                }
            }
            named
        })),
    };
    let fetched = broker.look_at_group(&group.group_id, |shard| shard.fetch_offsets(&group.group_id, &topics)).await;
    let mut answer = OffsetFetchResponseGroup { group_id: group.group_id, ..Default::default() };
    match fetched {
        Err(code) => answer.error_code = code,
        Ok(fetched) => {
            answer.topics = fetched.into_iter().filter_map(|topic| tell_topic(broker, topic, by_id)).collect();
            answer.topics.extend(unknown.into_iter().map(|topic| OffsetFetchResponseTopics {
                name: topic.name,
                topic_id: topic.topic_id,
                partitions: topic
                    .partition_indexes
                    .into_iter()
                    .map(|index| OffsetFetchResponsePartitions {
                        partition_index: index,
                        committed_offset: -1,
                        metadata: Some(Str::default()),
                        error_code: ErrorCode::UNKNOWN_TOPIC_ID,
                        ..Default::default()
                    })
                    .collect(),
            }));
        }
    }
    answer
}

/// A topic of the reply; by id, one that is gone cannot be told.
fn tell_topic(broker: &Broker, (name, partitions): FetchedTopic, by_id: bool) -> Option<OffsetFetchResponseTopics> {
    let id = broker.controller().read(|image| image.topic(&name).map(|topic| topic.id));
    let topic_id = match (by_id, id) {
        (true, None) => return None,
        (_, id) => id.unwrap_or(Uuid::ZERO),
    };
    let partition = |(index, offset): (i32, Option<CommittedOffset>)| {
        let (committed_offset, committed_leader_epoch, metadata) = told(offset);
        OffsetFetchResponsePartitions {
            partition_index: index,
            committed_offset,
            committed_leader_epoch,
            metadata,
            ..Default::default()
        }
    };
    let partitions = partitions.into_iter().map(partition).collect();
    Some(OffsetFetchResponseTopics { name: Str::from(name), topic_id, partitions })
}

/// Offset, leader epoch and metadata, as the wire has them.
fn told(offset: Option<CommittedOffset>) -> (i64, i32, Option<Str>) {
    match offset {
        Some(offset) => (offset.offset, offset.leader_epoch, Some(Str::from(offset.metadata))),
        None => (-1, -1, Some(Str::default())),
    }
}
