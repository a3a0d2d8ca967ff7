//! The metadata quorum: who votes, who only listens, how far each is, and how that is changed.

use super::{Admin, outcome, unanswered};
use crate::client::Result;
use crate::common::ids::{NodeId, Offset, Timestamp, Uuid};
use crate::protocol::messages::add_raft_voter::{AddRaftVoterRequest, Listener};
use crate::protocol::messages::describe_cluster::DescribeClusterRequest;
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, PartitionData, PartitionQuorum, ReplicaState, TopicData,
};
use crate::protocol::messages::remove_raft_voter::RemoveRaftVoterRequest;
use crate::protocol::{ApiKey, ErrorCode, Str};

/// The topic whose only partition the quorum keeps.
const TOPIC: &str = "__cluster_metadata";
/// DescribeCluster's word for controllers.
const CONTROLLERS: i8 = 2;

/// The quorum at one moment, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// Who leads.
    pub leader: NodeId,
    /// In which epoch.
    pub epoch: i32,
    /// The offset up to which a majority has all.
    pub high_watermark: Offset,
    /// Those who vote.
    pub voters: Vec<QuorumReplica>,
    /// Those who only listen.
    pub observers: Vec<QuorumReplica>,
}

/// One replica of the metadata log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumReplica {
    /// Its node id.
    pub id: NodeId,
    /// Its log dir; zero where it was not told.
    pub directory_id: Uuid,
    /// The offset up to which it has the log; `None` where the leader does not know.
    pub log_end_offset: Option<Offset>,
    /// When it was last heard of; `None` where the leader does not know.
    pub last_fetch: Option<Timestamp>,
}

/// A node that is to vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVoter {
    /// Its node id.
    pub id: NodeId,
    /// Its log dir.
    pub directory_id: Uuid,
    /// The name, host and port of its controller listener.
    pub listener: (String, String, u16),
}

impl Admin {
    /// How the metadata quorum stands.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn describe_quorum(&self) -> Result<Quorum> {
        let partitions = vec![PartitionData { partition_index: 0 }];
        let request = DescribeQuorumRequest { topics: vec![TopicData { topic_name: TOPIC.into(), partitions }] };
        let found = |response: &crate::protocol::messages::describe_quorum::DescribeQuorumResponse| {
            let partition = response.topics.first().and_then(|topic| topic.partitions.first());
            partition.map(|partition| partition.error_code)
        };
        let response = self
            .ask_until(&request, |response| {
                let of_all = Some(response.error_code).filter(|code| *code != ErrorCode::NONE);
                of_all.or_else(|| found(response))
            })
            .await?;
        let context = || "describe the metadata quorum".to_owned();
        outcome(response.error_code, response.error_message.as_ref(), context, ())?;
        let partition = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let partition = partition.ok_or_else(|| unanswered(context()))?;
        let (code, message) = (partition.error_code, partition.error_message.clone());
        outcome(code, message.as_ref(), context, quorum(partition))
    }

    /// Makes a node a voter, once it has caught up.
    ///
    /// # Errors
    /// Those of the call; DUPLICATE_VOTER where it is one, REQUEST_TIMED_OUT where it did not catch up in time.
    pub async fn add_voter(&self, voter: &NewVoter) -> Result<()> {
        let (name, host, port) = &voter.listener;
        let request = AddRaftVoterRequest {
            timeout_ms: self.timeout_ms(),
            voter_id: voter.id,
            voter_directory_id: voter.directory_id,
            listeners: vec![Listener { name: Str::from(name.as_str()), host: Str::from(host.as_str()), port: *port }],
            ..Default::default()
        };
        let response = self.ask(&request).await?;
        outcome(response.error_code, response.error_message.as_ref(), || format!("make {} a voter", voter.id), ())
    }

    /// Takes a voter's vote.
    ///
    /// # Errors
    /// Those of the call; VOTER_NOT_FOUND where there is none of this id and log dir.
    pub async fn remove_voter(&self, id: NodeId, directory_id: Uuid) -> Result<()> {
        let request = RemoveRaftVoterRequest { voter_id: id, voter_directory_id: directory_id, ..Default::default() };
        let response = self.ask(&request).await?;
        outcome(response.error_code, response.error_message.as_ref(), || format!("take the vote of {id}"), ())
    }

    /// Where the active controller is, as a controller tells.
    ///
    /// # Errors
    /// Those of the call: MISMATCHED_ENDPOINT_TYPE where it is no controller's listener that answers.
    pub async fn active_controller(&self) -> Result<Option<(String, u16)>> {
        self.network.any().await?.version(ApiKey::DescribeCluster)?;
        let response = self.ask(&DescribeClusterRequest { endpoint_type: CONTROLLERS, ..Default::default() }).await?;
        let message = response.error_message.as_ref();
        outcome(response.error_code, message, || "look for the active controller".to_owned(), ())?;
        let leads = response.brokers.iter().find(|one| one.broker_id == response.controller_id);
        Ok(leads.and_then(|one| Some((one.host.to_string(), u16::try_from(one.port).ok()?))))
    }
}

fn quorum(partition: PartitionQuorum) -> Quorum {
    let known = |number: i64| Some(number).filter(|number| *number >= 0);
    let replica = |replica: ReplicaState| QuorumReplica {
        id: replica.replica_id,
        directory_id: replica.replica_directory_id,
        log_end_offset: known(replica.log_end_offset),
        last_fetch: known(replica.last_fetch_timestamp),
    };
    Quorum {
        leader: partition.leader_id,
        epoch: partition.leader_epoch,
        high_watermark: partition.high_watermark,
        voters: partition.current_voters.into_iter().map(replica).collect(),
        observers: partition.observers.into_iter().map(replica).collect(),
    }
}
