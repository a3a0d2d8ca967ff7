//! ListOffsets (key 2): which offset a time, or one of the special times, stands for.
//!
//! Versions 1-11 are served.
//!   2  isolation level     4  leader epochs     7  -3, the greatest timestamp     8  -4     9  -5     11  -6
//!
//! Rules
//!   -1  latest: the high watermark, or the last stable offset for read_committed
//!   -2  earliest: the log start offset
//!   -3  the offset of the greatest timestamp, and that timestamp
//!   -4  earliest local: the log start offset, for nothing lies in a remote tier
//!   -5  latest tiered, -6 earliest pending upload: none (-1), likewise
//!   t   the first record whose timestamp is t or later; -1 where there is none
//!
//! Only the leader answers (NOT_LEADER_OR_FOLLOWER). To a follower the latest offset is the log end; to others nothing counts
//! behind the high watermark, and a leader that does not know yet how far its records are safe says OFFSET_NOT_AVAILABLE
//! (LEADER_NOT_AVAILABLE before version 5) rather than an offset that went back. Replica id -2, Kafka's own for debugging, is
//! answered by every replica, as a follower is: so a client learns how far each of them is.

use super::{Context, Outcome, read_error_code};
use crate::broker::Broker;
use crate::log::TimestampOffset;
use crate::protocol::ErrorCode;
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};

/// The replica id of who wants to know what any replica has.
const DEBUGGING: i32 = -2;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: ListOffsetsRequest,
) -> Outcome<ListOffsetsResponse> {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let index = asked.partition_index;
            let reader = match request.replica_id {
                0.. => Reader::Replica,
                DEBUGGING => Reader::Anyone,
                _ if request.isolation_level == 1 => Reader::Committed,
                _ => Reader::Uncommitted,
            };
            let answer = look_up(broker, context, &topic.name, asked, reader).await;
            partitions.push(match answer {
                Ok(found) => ListOffsetsPartitionResponse {
                    partition_index: index,
                    timestamp: found.timestamp,
                    offset: found.offset,
                    // Before version 4 there is no place for it.
                    leader_epoch: if context.version >= 4 { found.leader_epoch } else { -1 },
                    ..Default::default()
                },
                Err(code) => ListOffsetsPartitionResponse {
                    partition_index: index,
                    error_code: code,
                    ..Default::default()
                },
            });
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    Outcome::Reply(ListOffsetsResponse { topics, ..Default::default() })
}

/// Up to where offsets count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// To the log end, of the leader or not.
    Anyone,
    /// To the log end.
    Replica,
    /// To the high watermark.
    Uncommitted,
    /// To the last stable offset.
    Committed,
}

async fn look_up(
    broker: &Broker,
    context: &Context,
    topic: &str,
    asked: ListOffsetsPartition,
    reader: Reader,
) -> Result<TimestampOffset, ErrorCode> {
    let none = TimestampOffset { timestamp: -1, offset: -1, leader_epoch: -1 };
    // A special time that came with a later version is a client's mistake in an earlier one.
    let since = match asked.timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        t if t < EARLIEST_PENDING_UPLOAD => return Err(ErrorCode::UNSUPPORTED_VERSION),
        _ => 1,
    };
    if context.version < since {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let partition = broker.find_partition(topic, asked.partition_index).await?;
    partition.check_leader_epoch(asked.current_leader_epoch).map_err(|error| error.code())?;
    if reader != Reader::Anyone {
        partition.check_leader().map_err(|error| error.code())?;
    }
    let last = match reader {
        Reader::Anyone | Reader::Replica => partition.log_end_offset(),
        Reader::Uncommitted => partition.high_watermark(),
        Reader::Committed => partition.last_stable_offset(),
    };
    let unknown = match context.version {
        5.. => ErrorCode::OFFSET_NOT_AVAILABLE,
        _ => ErrorCode::LEADER_NOT_AVAILABLE,
    };
    let catches_up = matches!(reader, Reader::Uncommitted | Reader::Committed) && partition.is_catching_up();
    let at = |offset| TimestampOffset { timestamp: -1, offset, leader_epoch: partition.epoch_of(offset) };
    // What is not safe yet is not there.
    let safe = |found: Option<TimestampOffset>| match found {
        Some(found) if found.offset < last => Ok(found),
        _ if catches_up => Err(unknown),
        _ => Ok(none),
    };
    match asked.timestamp {
        LATEST if catches_up => Err(unknown),
        LATEST => Ok(TimestampOffset { timestamp: -1, offset: last, leader_epoch: partition.leader_epoch() }),
        EARLIEST | EARLIEST_LOCAL => Ok(at(partition.log_start_offset())),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(none),
        MAX_TIMESTAMP => safe(partition.offset_of_max_timestamp().map_err(read_error_code)?),
        timestamp => safe(partition.offset_for_timestamp(timestamp).map_err(read_error_code)?),
    }
}
