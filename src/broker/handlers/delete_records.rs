//! DeleteRecords (key 21): moves the log start offset of partitions up, so that what lies before is gone for readers.
//!
//! Versions 0-2 are served; 2 is flexible.
//!
//! Rules
//!   -1             stands for the high watermark
//!   out of range   OFFSET_OUT_OF_RANGE above the high watermark; below the log start offset nothing happens
//!   compacted      POLICY_VIOLATION for a topic that is only compacted: its latest values are its meaning

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::ErrorCode;
use crate::protocol::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: DeleteRecordsRequest,
) -> Outcome<DeleteRecordsResponse> {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let done = match broker.find_partition(&topic.name, asked.partition_index).await {
                Err(code) => Err(code),
                Ok(found) => found.delete_records(asked.offset),
            };
            let (low_watermark, code) = done.map_or_else(|code| (-1, code), |low| (low, ErrorCode::NONE));
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark,
                error_code: code,
            });
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    Outcome::Reply(DeleteRecordsResponse { topics, ..Default::default() })
}
