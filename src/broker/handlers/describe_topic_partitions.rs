//! DescribeTopicPartitions (key 75): topics and partitions page by page, for clusters whose Metadata is large.
//!
//! Version 0 is served.
//!
//! Rules
//!   order    topics by name, partitions by index
//!   cursor   names the first partition of the next page; topics before it are passed over
//!   limit    of partitions in a page, at most `max.request.partition.size.limit` (2000)

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::config::broker as key;
use crate::common::ids::NodeId;
use crate::metadata::Image;
use crate::metadata::image::TopicImage;
use crate::metadata::topic_name;
use crate::protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: DescribeTopicPartitionsRequest,
) -> Outcome<DescribeTopicPartitionsResponse> {
    let mut names: Vec<Str> = match request.topics.is_empty() {
        true => broker.controller().read(|image| image.topics().map(|topic| Str::from(topic.name.as_str())).collect()),
        false => request.topics.into_iter().map(|topic| topic.name).collect(),
    };
    names.sort_unstable();
    names.dedup();
    let (first_topic, first_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.clone(), cursor.partition_index),
        None => (Str::default(), 0),
    };
    let mut left = request.response_partition_limit.clamp(1, broker.values().get(key::MAX_REQUEST_PARTITION_SIZE_LIMIT).max(1));
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for name in names.into_iter().filter(|name| *name >= first_topic) {
        let from = if name == first_topic { first_partition.max(0) } else { 0 };
        if left == 0 {
            next_cursor = Some(Cursor { topic_name: name, partition_index: from });
            break;
        }
        let found = broker.controller().read(|image| image.topic(&name).map(|topic| describe(image, topic, from, left)));
        let Some((topic, more)) = found else {
            topics.push(DescribeTopicPartitionsResponseTopic {
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                is_internal: topic_name::is_internal(&name),
                name: Some(name),
                ..Default::default()
            });
            continue;
        };
        let told = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        topics.push(topic);
        if more {
            next_cursor = Some(Cursor { topic_name: name, partition_index: from + told });
            break;
        }
        left -= told;
    }
    Outcome::Reply(DescribeTopicPartitionsResponse { topics, next_cursor, ..Default::default() })
}

/// A topic's partitions from `from` on, at most `limit`, and whether there are more.
fn describe(image: &Image, topic: &TopicImage, from: i32, limit: i32) -> (DescribeTopicPartitionsResponseTopic, bool) {
    let is_live = |id: NodeId| image.broker(id).is_some_and(|broker| !broker.fenced);
    let partitions = (0..).zip(&topic.partitions).skip(from as usize).take(limit as usize);
    let partitions: Vec<_> = partitions
        .map(|(index, partition)| DescribeTopicPartitionsResponsePartition {
            partition_index: index,
            leader_id: partition.leader,
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            error_code: if is_live(partition.leader) { ErrorCode::NONE } else { ErrorCode::LEADER_NOT_AVAILABLE },
            eligible_leader_replicas: Some(partition.eligible.clone()),
            last_known_elr: Some(partition.last_known_eligible.clone()),
            offline_replicas: partition.replicas.iter().copied().filter(|id| !is_live(*id)).collect(),
        })
        .collect();
    let more = from as usize + partitions.len() < topic.partitions.len();
    let told = DescribeTopicPartitionsResponseTopic {
        name: Some(Str::from(topic.name.as_str())),
        topic_id: topic.id,
        is_internal: topic_name::is_internal(&topic.name),
        partitions,
        ..Default::default()
    };
    (told, more)
}
