//! ElectLeaders (key 43): lets preferred leaders lead again, or chooses any replica where none in sync is left.
//!
//! Versions 0-2 are served.
//!   1  unclean elections (KIP-460)     2  flexible
//!
//! Rules
//!   all partitions   (null): those where nothing is to be done are not told of, as in Apache Kafka
//!   each by itself   a partition that is refused does not hold up the others; all that are elected are one write
//!   the rest         in `metadata/plan/failover.rs`

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::metadata::plan::{self, Election};
use crate::metadata::{Image, MetadataRecord, Refusal};
use crate::protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: ElectLeadersRequest,
) -> Outcome<ElectLeadersResponse> {
    let how = match request.election_type {
        0 => Election::Preferred,
        1 => Election::Unclean,
        _ => return Outcome::Reply(ElectLeadersResponse { error_code: ErrorCode::INVALID_REQUEST, ..Default::default() }),
    };
    let asked = request.topic_partitions;
    let decide = move |image: &Image| {
        let mut records: Vec<MetadataRecord> = Vec::new();
        let mut results = Vec::new();
        let mut elect = |topic: &str, partition: i32| {
            plan::elect_leader(image, topic, partition, how).map(|granted| records.extend(granted))
        };
        match asked {
            Some(topics) => {
                for topic in topics {
                    let elected = topic.partitions.iter().map(|index| result(*index, elect(&topic.topic, *index)));
                    let partition_result = elected.collect();
                    results.push(ReplicaElectionResult { topic: topic.topic, partition_result });
                }
            }
            None => {
                for topic in image.topics() {
                    let elected = (0..).zip(&topic.partitions).map(|(index, _)| (index, elect(&topic.name, index)));
                    let told = elected.filter(|(_, elected)| !not_needed(elected));
                    let partition_result: Vec<_> = told.map(|(index, elected)| result(index, elected)).collect();
                    if !partition_result.is_empty() {
                        let topic = Str::from(topic.name.as_str());
                        results.push(ReplicaElectionResult { topic, partition_result });
                    }
                }
            }
        }
        Ok((results, records))
    };
    Outcome::Reply(match broker.change(decide, false).await {
        Ok(replica_election_results) => ElectLeadersResponse { replica_election_results, ..Default::default() },
        Err(refusal) => ElectLeadersResponse { error_code: refusal.code, ..Default::default() },
    })
}

fn not_needed(elected: &Result<(), Refusal>) -> bool {
    matches!(elected, Err(refusal) if refusal.code == ErrorCode::ELECTION_NOT_NEEDED)
}

fn result(partition_id: i32, elected: Result<(), Refusal>) -> PartitionResult {
    match elected {
        Ok(()) => PartitionResult { partition_id, ..Default::default() },
        Err(refusal) => PartitionResult {
            partition_id,
            error_code: refusal.code,
            error_message: Some(Str::from(refusal.message)),
        },
    }
}
