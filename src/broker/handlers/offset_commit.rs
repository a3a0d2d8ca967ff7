//! OffsetCommit (key 8): a group writes down how far it has read.
//!
//! Versions 2-10 are served.
//!   5  no retention time any more     6  leader epochs     7  static members     8  flexible     10  topic ids
//!
//! Rules
//!   unknown topics   UNKNOWN_TOPIC_OR_PARTITION (UNKNOWN_TOPIC_ID) for these alone; the others are committed
//!   the rest         is the coordinator's: `coordinator/groups/offsets.rs`

use std::collections::HashMap;
use std::sync::Arc;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::common::ids::Uuid;
use crate::coordinator::Reply;
use crate::coordinator::groups::offsets::{CommitPartition, CommitRequest, CommitTopic};
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Arc<Broker>,
    context: &Context,
    request: OffsetCommitRequest,
) -> Outcome<OffsetCommitResponse> {
    let _turn = context.connection.turn.lock().await;
    let by_id = context.version >= 10;
    // What the reply says, topic by topic in the request's order; those that the coordinator decides come later.
    let mut answers: Vec<OffsetCommitResponseTopic> = Vec::with_capacity(request.topics.len());
    let mut topics = Vec::new();
    let mut places: HashMap<(String, i32), (usize, usize)> = HashMap::new();
    for topic in &request.topics {
        let (name, id, missing) = resolve(broker, topic, by_id);
        let mut committed = CommitTopic { name: name.clone(), topic_id: id, partitions: Vec::new() };
        let mut answer = OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: Vec::with_capacity(topic.partitions.len()),
        };
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let known = missing.is_none() && broker.has_partition(&name, index);
            let error_code = match (known, missing) {
                (true, _) => ErrorCode::NONE,
                (false, Some(code)) => code,
                (false, None) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            if known {
                places.insert((name.clone(), index), (answers.len(), answer.partitions.len()));
                committed.partitions.push(CommitPartition {
                    partition: index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.as_ref().map(Str::to_string),
                });
            }
            answer.partitions.push(OffsetCommitResponsePartition { partition_index: index, error_code });
        }
        answers.push(answer);
        topics.push(committed);
    }
    let group_id = request.group_id.to_string();
    let commit = CommitRequest {
        group_id: group_id.clone(),
        generation_id: request.generation_id_or_member_epoch,
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.map(String::from),
        retention_time_ms: request.retention_time_ms,
        topics,
    };
    let reply = match broker.ask_group(&group_id, |shard, token, now| shard.commit(token, commit, now)).await {
        Ok(Reply::Commit(reply)) => Ok(reply),
        Ok(_) => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        Err(code) => Err(code),
    };
    match reply {
        Ok(reply) => {
            for (name, partitions) in reply.topics {
                for (partition, code) in partitions {
                    if let Some((topic, place)) = places.get(&(name.clone(), partition)) {
                        answers[*topic].partitions[*place].error_code = code;
                    }
                }
            }
        }
        Err(code) => {
            for (topic, place) in places.into_values() {
                answers[topic].partitions[place].error_code = code;
            }
        }
    }
    Outcome::Reply(OffsetCommitResponse { topics: answers, ..Default::default() })
}

/// The name and id of a topic, and the error of one that is not there.
fn resolve(broker: &Broker, topic: &OffsetCommitRequestTopic, by_id: bool) -> (String, Uuid, Option<ErrorCode>) {
    broker.controller().read(|image| {
        if by_id {
            return match image.topic_by_id(topic.topic_id) {
                Some(found) => (found.name.clone(), found.id, None),
                None => (String::new(), topic.topic_id, Some(ErrorCode::UNKNOWN_TOPIC_ID)),
            };
        }
        let id = image.topic(&topic.name).map_or(Uuid::ZERO, |found| found.id);
        (topic.name.to_string(), id, None)
    })
}
