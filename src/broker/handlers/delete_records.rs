//! DeleteRecords (key 21): moves the log start offset of partitions up, so that what lies before is gone for readers.
//!
//! Versions 0-2 are served; 2 is flexible.
//!
//! Rules
//!   -1             stands for the high watermark
//!   out of range   OFFSET_OUT_OF_RANGE above the high watermark; below the log start offset nothing happens
//!   compacted      POLICY_VIOLATION for a topic that is only compacted: its latest values are its meaning
//!   replicas       the reply waits until all of them have come after, those of brokers that are gone left out; after
//!                  timeout_ms it says REQUEST_TIMED_OUT, and they come after all the same

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::common::ids::Offset;
use crate::protocol::ErrorCode;
use crate::protocol::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use crate::replica::{Partition, Waiter};

/// What became of a partition, or what it waits for.
enum Done {
    Known(Result<Offset, ErrorCode>),
    Waits(Arc<Partition>, Offset),
}

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: DeleteRecordsRequest,
) -> Outcome<DeleteRecordsResponse> {
    // First all are told to delete, then all are waited for.
    let mut begun = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let done = match broker.find_partition(&topic.name, asked.partition_index).await {
                Err(code) => Done::Known(Err(code)),
                Ok(found) => match found.delete_records(asked.offset) {
                    Err(code) => Done::Known(Err(code)),
                    Ok(start) => Done::Waits(found, start),
                },
            };
            partitions.push((asked.partition_index, done));
        }
        begun.push((topic.name, partitions));
    }
    let wait = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let mut late = pin!(broker.socket_clock().sleep(wait));
    let mut is_late = false;
    let mut topics = Vec::with_capacity(begun.len());
    for (name, begun) in begun {
        let mut partitions = Vec::with_capacity(begun.len());
        for (partition_index, done) in begun {
            let done = match done {
                Done::Known(done) => done,
                Done::Waits(partition, start) => loop {
                    let waiter = Waiter::new();
                    partition.wait_for_low_watermark(&waiter);
                    match partition.low_watermark() {
                        Ok(low) if low < start && is_late => break Err(ErrorCode::REQUEST_TIMED_OUT),
                        Ok(low) if low < start => {}
                        known => break known,
                    }
                    tokio::select! {
                        () = waiter.woken() => {}
                        () = &mut late => is_late = true,
                        () = broker.shutdown().begun() => break Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                    }
                },
            };
            let (low_watermark, error_code) = done.map_or_else(|code| (-1, code), |low| (low, ErrorCode::NONE));
            partitions.push(DeleteRecordsPartitionResult { partition_index, low_watermark, error_code });
        }
        topics.push(DeleteRecordsTopicResult { name, partitions });
    }
    Outcome::Reply(DeleteRecordsResponse { topics, ..Default::default() })
}
