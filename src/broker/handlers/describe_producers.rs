//! DescribeProducers (key 61): who has written idempotently to a partition, and how far they are.
//!
//! Version 0 is served.

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: DescribeProducersRequest,
) -> Outcome<DescribeProducersResponse> {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            let found = broker.find_partition(&topic.name, index).await;
            let code = found.as_ref().err().copied().unwrap_or(ErrorCode::NONE);
            let producers = found.map(|found| found.producers()).unwrap_or_default();
            let active = producers.into_iter().map(|(producer_id, entry)| ProducerState {
                producer_id,
                producer_epoch: i32::from(entry.epoch),
                last_sequence: entry.last_sequence(),
                last_timestamp: entry.last_timestamp,
                coordinator_epoch: entry.coordinator_epoch,
                current_txn_start_offset: entry.current_txn_first_offset.unwrap_or(-1),
            });
            partitions.push(PartitionResponse {
                partition_index: index,
                error_code: code,
                active_producers: active.collect(),
                ..Default::default()
            });
        }
        topics.push(TopicResponse { name: topic.name, partitions });
    }
    Outcome::Reply(DescribeProducersResponse { topics, ..Default::default() })
}
