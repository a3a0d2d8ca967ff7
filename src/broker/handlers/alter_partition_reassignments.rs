//! AlterPartitionReassignments (key 45): moves replicas to other brokers, and takes back a move that is under way.
//!
//! Versions 0-1 are served; flexible from the start.
//!   1  a move may be told to keep the number of replicas (KIP-860)
//!
//! Rules
//!   each by itself   a partition that is refused does not hold up the others; all that are granted are one write
//!   no waiting       the reply comes when the move has begun; ListPartitionReassignments tells how far it is
//!   named twice      is refused the second time
//!   the rest         in `metadata/plan/reassign.rs`

use std::collections::HashSet;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::metadata::plan::{self, Reassign};
use crate::metadata::{Image, MetadataRecord, Refusal};
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartitionResponse,
    ReassignableTopicResponse,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: AlterPartitionReassignmentsRequest,
) -> Outcome<AlterPartitionReassignmentsResponse> {
    let may_change_factor = request.allow_replication_factor_change;
    let asked = request.topics;
    let decide = move |image: &Image| {
        let mut records: Vec<MetadataRecord> = Vec::new();
        let mut named = HashSet::new();
        let mut responses = Vec::new();
        for topic in asked {
            let mut partitions = Vec::new();
            for partition in topic.partitions {
                let index = partition.partition_index;
                let wish = Reassign {
                    topic: topic.name.to_string(),
                    partition: index,
                    target: partition.replicas,
                    may_change_factor,
                };
                let done = if named.insert((wish.topic.clone(), index)) {
                    plan::reassign(image, &wish).map(|granted| records.extend(granted))
                } else {
                    let sentence = format!("{}-{index} is named more than once in the request", topic.name);
                    Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence))
                };
                partitions.push(match done {
                    Ok(()) => ReassignablePartitionResponse { partition_index: index, ..Default::default() },
                    Err(refusal) => ReassignablePartitionResponse {
                        partition_index: index,
                        error_code: refusal.code,
                        error_message: Some(Str::from(refusal.message)),
                    },
                });
            }
            responses.push(ReassignableTopicResponse { name: topic.name, partitions });
        }
        Ok((responses, records))
    };
    let told = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: may_change_factor,
        ..Default::default()
    };
    Outcome::Reply(match broker.change(decide, false).await {
        Ok(responses) => AlterPartitionReassignmentsResponse { responses, ..told },
        Err(refusal) => AlterPartitionReassignmentsResponse {
            error_code: refusal.code,
            error_message: Some(Str::from(refusal.message)),
            ..told
        },
    })
}
