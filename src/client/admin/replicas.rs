//! How far each replica of a topic is.
//!
//! Every broker is asked for the log end of what it holds, in the way that Kafka keeps for debugging: ListOffsets of replica -2,
//! which followers answer too. Who does not answer soon is left out: a broker that hangs tells nothing, and is waited for by
//! nobody.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::future::join_all;

use crate::client::Result;
use crate::client::metadata::TopicView;
use crate::client::offsets::{EARLIEST, LATEST};
use crate::common::ids::{NodeId, Offset, Timestamp, TopicPartition};
use crate::protocol::ErrorCode;
use crate::protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};

use super::Admin;

/// Who asks as this is answered by any replica.
const DEBUGGING: NodeId = -2;
/// How long a broker may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far a partition is, as far as its brokers tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// The first offset that is still there.
    pub earliest: Option<Offset>,
    /// The offset behind the last record that consumers see: the high watermark.
    pub latest: Option<Offset>,
    /// The offset behind the last record that each replica has; of those that tell.
    pub log_ends: BTreeMap<NodeId, Offset>,
}

impl Admin {
    /// How far each partition of a topic is, and each of its replicas, in the order of the partitions.
    pub async fn reach(&self, topic: &TopicView) -> Vec<Reach> {
        let (earliest, latest, log_ends) =
            tokio::join!(self.ends(topic, EARLIEST), self.ends(topic, LATEST), self.log_ends(topic));
        let mut all: Vec<Reach> = Vec::new();
        for index in 0..i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX) {
            let (earliest, latest) = (earliest.get(&index).copied(), latest.get(&index).copied());
            all.push(Reach { earliest, latest, log_ends: BTreeMap::new() });
        }
        for ((index, node), end) in log_ends {
            if let Some(reach) = usize::try_from(index).ok().and_then(|index| all.get_mut(index)) {
                reach.log_ends.insert(node, end);
            }
        }
        all
    }

    /// One of the ends of each partition that has a leader, by those that answer soon.
    async fn ends(&self, topic: &TopicView, which: Timestamp) -> HashMap<i32, Offset> {
        let led = (0..).zip(&topic.partitions).filter(|(_, partition)| partition.leader.is_some());
        let asking = led.map(|(index, _)| async move {
            let name = TopicPartition::new(&*topic.name, index);
            let wanted = HashMap::from([(name, which)]);
            let found = tokio::select! {
                found = self.list_offsets(&wanted) => found.unwrap_or_default(),
                () = self.network.doors().clock.sleep(PATIENCE) => HashMap::new(),
            };
            found.into_values().next().map(|listed| (index, listed.offset))
        });
        join_all(asking).await.into_iter().flatten().collect()
    }

    async fn log_ends(&self, topic: &TopicView) -> Vec<((i32, NodeId), Offset)> {
        let mut held: BTreeMap<NodeId, Vec<i32>> = BTreeMap::new();
        for (index, partition) in (0..).zip(&topic.partitions) {
            for node in partition.replicas.iter().filter(|node| !partition.offline.contains(node)) {
                held.entry(*node).or_default().push(index);
            }
        }
        let clock = &self.network.doors().clock;
        let asking = held.into_iter().map(|(node, partitions)| async move {
            let answer = tokio::select! {
                answer = self.log_ends_at(node, &topic.name, partitions) => answer.unwrap_or_default(),
                () = clock.sleep(PATIENCE) => Vec::new(),
            };
            answer.into_iter().map(move |(partition, end)| ((partition, node), end))
        });
        join_all(asking).await.into_iter().flatten().collect()
    }

    async fn log_ends_at(&self, node: NodeId, topic: &str, partitions: Vec<i32>) -> Result<Vec<(i32, Offset)>> {
        let partitions = partitions.into_iter().map(|partition_index| ListOffsetsPartition {
            partition_index,
            current_leader_epoch: -1,
            timestamp: LATEST,
        });
        let topics = vec![ListOffsetsTopic { name: topic.into(), partitions: partitions.collect() }];
        let request = ListOffsetsRequest { replica_id: DEBUGGING, topics, ..Default::default() };
        let response = self.ask_broker(node, &request).await?;
        let answers = response.topics.into_iter().flat_map(|topic| topic.partitions);
        let good = answers.filter(|answer| answer.error_code == ErrorCode::NONE);
        Ok(good.map(|answer| (answer.partition_index, answer.offset)).collect())
    }
}
