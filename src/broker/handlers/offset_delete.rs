//! OffsetDelete (key 47): takes back what a group has committed for some partitions.
//!
//! Version 0 is served.
//!
//! The rules are the coordinator's: `coordinator/groups/offsets.rs`; a topic that is subscribed to is refused.

use std::sync::Arc;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::coordinator::Reply;
use crate::protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Arc<Broker>,
    _context: &Context,
    request: OffsetDeleteRequest,
) -> Outcome<OffsetDeleteResponse> {
    let mut known = Vec::new();
    let mut topics = Vec::new();
    for topic in request.topics {
        let indexes = topic.partitions.iter().map(|partition| partition.partition_index);
        let (here, gone): (Vec<i32>, Vec<i32>) = indexes.partition(|index| broker.has_partition(&topic.name, *index));
        if !gone.is_empty() {
            let refused = gone.into_iter().map(|index| (index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)).collect();
            topics.push((topic.name.to_string(), refused));
        }
        if !here.is_empty() {
            known.push((topic.name.to_string(), here));
        }
    }
    let group_id = request.group_id.to_string();
    let asked = broker.ask_group(&group_id, |shard, token, _| shard.delete_offsets(token, &group_id, &known)).await;
    let error_code = match asked {
        Ok(Reply::DeleteOffsets(reply)) => {
            topics.extend(reply.topics);
            reply.error
        }
        Ok(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
        Err(code) => code,
    };
    if error_code != ErrorCode::NONE {
        topics.clear();
    }
    let partition = |(index, error_code)| OffsetDeleteResponsePartition { partition_index: index, error_code };
    let topic = |(name, partitions): (String, Vec<(i32, ErrorCode)>)| OffsetDeleteResponseTopic {
        name: Str::from(name),
        partitions: partitions.into_iter().map(partition).collect(),
    };
    let topics = topics.into_iter().map(topic).collect();
    Outcome::Reply(OffsetDeleteResponse { error_code, topics, ..Default::default() })
}
