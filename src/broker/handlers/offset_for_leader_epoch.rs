//! OffsetForLeaderEpoch (key 23): where the reign of a leader ended, so that a reader can tell what it must forget.
//!
//! Versions 2-4 are served; 4 is flexible.
//!
//! Rules
//!   only the leader answers (NOT_LEADER_OR_FOLLOWER), and only to one who knows its epoch, if it tells one
//!   the answer is the largest epoch not after the one asked for, and the offset where it ended; -1 where there is none

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::ErrorCode;
use crate::protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: OffsetForLeaderEpochRequest,
) -> Outcome<OffsetForLeaderEpochResponse> {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let found = match broker.find_partition(&topic.topic, asked.partition).await {
                Err(code) => Err(code),
                Ok(found) => found
                    .check_leader_epoch(asked.current_leader_epoch)
                    .and_then(|()| found.check_leader())
                    .map(|()| found.end_offset_for(asked.leader_epoch))
                    .map_err(|error| error.code()),
            };
            let (code, (leader_epoch, end_offset)) = match found {
                Ok(end) => (ErrorCode::NONE, end),
                Err(code) => (code, (-1, -1)),
            };
            partitions.push(EpochEndOffset {
                error_code: code,
                partition: asked.partition,
                leader_epoch,
                end_offset,
            });
        }
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    Outcome::Reply(OffsetForLeaderEpochResponse { topics, ..Default::default() })
}
