//! Reassignments: where the replicas of partitions are to move, and how far they are (KIP-455).

use std::collections::BTreeMap;

use crate::client::Result;
use crate::common::ids::{NodeId, TopicPartition};
use crate::protocol::ErrorCode;
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use crate::protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};

use super::{Admin, Each, outcome, unanswered};

/// A partition that is being moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassignment {
    /// Which.
    pub partition: TopicPartition,
    /// All that hold it, those that come and those that go too.
    pub replicas: Vec<NodeId>,
    /// Those that come.
    pub adding: Vec<NodeId>,
    /// Those that go.
    pub removing: Vec<NodeId>,
}

impl Reassignment {
    /// Where it will be.
    pub fn target(&self) -> Vec<NodeId> {
        self.replicas.iter().copied().filter(|node| !self.removing.contains(node)).collect()
    }
}

impl Admin {
    /// Moves partitions to these brokers, the preferred leader first; without brokers, takes a move back that is under way.
    /// Returns when the moves have begun.
    ///
    /// # Errors
    /// Those of the call; each partition's own is in the result.
    pub async fn alter_reassignments(
        &self,
        targets: &[(TopicPartition, Option<Vec<NodeId>>)],
    ) -> Result<Each<TopicPartition, ()>> {
        let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
        for (partition, replicas) in targets {
            let wish = ReassignablePartition { partition_index: partition.partition, replicas: replicas.clone() };
            topics.entry(&partition.topic).or_default().push(wish);
        }
        let topics = topics.into_iter().map(|(name, partitions)| ReassignableTopic { name: name.into(), partitions });
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics: topics.collect(),
            ..Default::default()
        };
        let code = |code: ErrorCode| (!code.is_none()).then_some(code);
        let response = self.ask_until(&request, |response| code(response.error_code)).await?;
        outcome(response.error_code, response.error_message.as_ref(), || "reassign partitions".to_owned(), ())?;
        let each = targets.iter().map(|(partition, _)| {
            let context = || format!("reassign {partition}");
            let topic = response.responses.iter().find(|answer| *answer.name == *partition.topic);
            let answer =
                topic.and_then(|topic| topic.partitions.iter().find(|one| one.partition_index == partition.partition));
            let result = answer
                .ok_or_else(|| unanswered(context()))
                .and_then(|answer| outcome(answer.error_code, answer.error_message.as_ref(), context, ()));
            (partition.clone(), result)
        });
        Ok(each.collect())
    }

    /// The partitions that are being moved, by name: among these, or all.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn list_reassignments(&self, among: Option<&[TopicPartition]>) -> Result<Vec<Reassignment>> {
        let topics = among.map(|among| {
            let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for partition in among {
                topics.entry(&partition.topic).or_default().push(partition.partition);
            }
            let named = topics.into_iter().map(|(name, indexes)| ListPartitionReassignmentsTopics {
                name: name.into(),
                partition_indexes: indexes,
            });
            named.collect()
        });
        let request = ListPartitionReassignmentsRequest { timeout_ms: self.timeout_ms(), topics };
        let code = |code: ErrorCode| (!code.is_none()).then_some(code);
        let response = self.ask_until(&request, |response| code(response.error_code)).await?;
        outcome(response.error_code, response.error_message.as_ref(), || "list reassignments".to_owned(), ())?;
        let mut moving: Vec<Reassignment> = response
            .topics
            .into_iter()
            .flat_map(|topic| {
                let name = topic.name.to_string();
                topic.partitions.into_iter().map(move |partition| Reassignment {
                    partition: TopicPartition::new(name.as_str(), partition.partition_index),
                    replicas: partition.replicas,
                    adding: partition.adding_replicas,
                    removing: partition.removing_replicas,
                })
            })
            .collect();
        moving.sort_by(|a, b| a.partition.cmp(&b.partition));
        Ok(moving)
    }
}
