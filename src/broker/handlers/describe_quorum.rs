//! DescribeQuorum (key 55): who leads the metadata quorum, and how far its voters and observers are.
//!
//! Versions 0-2 are served.
//!   1  when a replica last fetched, and when it last had all     2  error messages, directory ids, the voters' listeners
//!
//! Rules
//!   only partition 0 of __cluster_metadata has a quorum: others are answered UNKNOWN_TOPIC_OR_PARTITION
//!   only the leader knows how far the others are: who does not lead answers NOT_LEADER_OR_FOLLOWER

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::controller::{QuorumView, ReplicaView};
use crate::metadata::topic_name::METADATA_TOPIC;
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionQuorum, ReplicaState, TopicQuorum,
};
use crate::protocol::{ErrorCode, Str};

/// The name of the listener that controllers talk over, where nobody has named it otherwise.
const LISTENER: &str = "CONTROLLER";

pub(super) async fn handle(
    broker: &Broker,
    _: &Context,
    request: DescribeQuorumRequest,
) -> Outcome<DescribeQuorumResponse> {
    let leads = broker.controller().leader().borrow().is_us;
    let view = broker.controller().quorum();
    let topics = request.topics.into_iter().map(|topic| {
        let is_metadata = topic.topic_name.as_str() == METADATA_TOPIC;
        let partitions = topic.partitions.iter().map(|partition| match partition.partition_index {
            0 if is_metadata && leads => describe(&view),
            0 if is_metadata => refuse(0, ErrorCode::NOT_LEADER_OR_FOLLOWER),
            other => refuse(other, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        });
        TopicQuorum { partitions: partitions.collect(), topic_name: topic.topic_name }
    });
    let nodes = view.voters.iter().map(|replica| Node {
        node_id: replica.voter.id,
        listeners: vec![Listener {
            name: Str::from_static(LISTENER),
            host: Str::from(replica.voter.host.as_str()),
            port: replica.voter.port,
        }],
    });
    Outcome::Reply(DescribeQuorumResponse { topics: topics.collect(), nodes: nodes.collect(), ..Default::default() })
}

fn describe(view: &QuorumView) -> PartitionQuorum {
    let replica = |replica: &ReplicaView| ReplicaState {
        replica_id: replica.voter.id,
        replica_directory_id: replica.voter.directory_id,
        log_end_offset: replica.log_end_offset,
        last_fetch_timestamp: replica.last_fetch,
        last_caught_up_timestamp: replica.last_caught_up,
    };
    PartitionQuorum {
        leader_id: view.leader,
        leader_epoch: view.epoch,
        high_watermark: view.high_watermark,
        current_voters: view.voters.iter().map(replica).collect(),
        observers: view.observers.iter().map(replica).collect(),
        ..Default::default()
    }
}

fn refuse(partition_index: i32, error_code: ErrorCode) -> PartitionQuorum {
    PartitionQuorum {
        partition_index,
        error_code,
        error_message: Some(Str::from_static(error_code.message())),
        ..Default::default()
    }
}
