//! The cluster itself: its brokers, and what lies in their log dirs.

use crate::client::metadata::BrokerView;
use crate::client::network::Wanted;
use crate::client::{Result, offsets};
use crate::common::ids::{NodeId, TopicPartition};
use crate::protocol::ApiKey;
use crate::protocol::messages::describe_cluster::DescribeClusterRequest;
use crate::protocol::messages::describe_log_dirs::DescribeLogDirsRequest;

use super::{Admin, Each, outcome};

/// From this version on DescribeCluster tells of fenced brokers, if asked.
const WITH_FENCED: i16 = 2;

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub id: Option<String>,
    /// The broker that changes are sent to.
    pub controller: Option<NodeId>,
    /// Its brokers, by id.
    pub brokers: Vec<BrokerView>,
}

/// A broker, and whether it takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedBroker {
    /// Who it is, and where.
    pub broker: BrokerView,
    /// Whether it is kept away from leading and from clients: it is down, or starts.
    pub is_fenced: bool,
}

/// A log dir of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDir {
    /// Its path.
    pub path: String,
    /// The size of its volume, in bytes; `None` where the broker did not say.
    pub total_bytes: Option<i64>,
    /// How much of that is free, in bytes; `None` where the broker did not say.
    pub usable_bytes: Option<i64>,
    /// What lies in it.
    pub replicas: Vec<LogDirReplica>,
}

/// A replica in a log dir.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirReplica {
    /// The partition.
    pub partition: TopicPartition,
    /// Its size, in bytes.
    pub size: i64,
    /// How far it is behind the high watermark, or behind the current replica for one that is being moved.
    pub offset_lag: i64,
    /// Whether it is being moved here.
    pub is_future: bool,
}

impl Admin {
    /// The cluster's id and brokers.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        let view =
            offsets::retrying(&self.network, self.timeout, || self.network.refresh(Wanted::Topics(&[]), false)).await?;
        let mut brokers: Vec<_> = view.brokers.values().cloned().collect();
        brokers.sort_by_key(|broker| broker.id);
        Ok(ClusterDescription { id: view.cluster_id.clone(), controller: view.controller, brokers })
    }

    /// All brokers that have registered, by id; from a cluster before Kafka 4.0 only those that take part.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn describe_brokers(&self) -> Result<Vec<DescribedBroker>> {
        let include_fenced_brokers = self.network.any().await?.version(ApiKey::DescribeCluster)? >= WITH_FENCED;
        let request = DescribeClusterRequest { include_fenced_brokers, ..Default::default() };
        let response = self.ask(&request).await?;
        outcome(response.error_code, response.error_message.as_ref(), || "describe the cluster".to_owned(), ())?;
        let described = response.brokers.into_iter().map(|broker| DescribedBroker {
            broker: BrokerView {
                id: broker.broker_id,
                host: broker.host.to_string(),
                port: u16::try_from(broker.port).unwrap_or(0),
                rack: broker.rack.map(|rack| rack.to_string()),
            },
            is_fenced: broker.is_fenced,
        });
        let mut brokers: Vec<DescribedBroker> = described.collect();
        brokers.sort_by_key(|described| described.broker.id);
        Ok(brokers)
    }

    /// The log dirs of these brokers, or of all. A dir that failed is an error in its broker's place.
    ///
    /// # Errors
    /// Those of the metadata; each broker's own is in the result.
    pub async fn describe_log_dirs(&self, brokers: &[NodeId]) -> Result<Each<NodeId, Vec<LogDir>>> {
        let mut all = brokers.to_vec();
        if all.is_empty() {
            all = self.describe_cluster().await?.brokers.iter().map(|broker| broker.id).collect();
        }
        let mut each = Vec::new();
        for node in all {
            each.push((node, self.log_dirs_of(node).await));
        }
        Ok(each)
    }

    async fn log_dirs_of(&self, node: NodeId) -> Result<Vec<LogDir>> {
        let response = self.ask_broker(node, &DescribeLogDirsRequest { topics: None }).await?;
        outcome(response.error_code, None, || format!("log dirs of broker {node}"), ())?;
        let known = |bytes: i64| (bytes >= 0).then_some(bytes);
        let dirs = response.results.into_iter().map(|dir| {
            let replicas = dir.topics.iter().flat_map(|topic| {
                let name = topic.name.to_string();
                topic.partitions.iter().map(move |replica| LogDirReplica {
                    partition: TopicPartition::new(name.clone(), replica.partition_index),
                    size: replica.partition_size,
                    offset_lag: replica.offset_lag,
                    is_future: replica.is_future_key,
                })
            });
            let described = LogDir {
                path: dir.log_dir.to_string(),
                total_bytes: known(dir.total_bytes),
                usable_bytes: known(dir.usable_bytes),
                replicas: replicas.collect(),
            };
            outcome(dir.error_code, None, || format!("log dir {} of broker {node}", dir.log_dir), described)
        });
        dirs.collect()
    }
}
