//! Finding the partition that a request means.

use std::sync::Arc;

use super::Broker;
use super::configs::{ThrottledLists, log_config};
use crate::common::ids::{NodeId, Offset, TopicPartition, Uuid};
use crate::config::{broker as broker_key, topic as topic_key};
use crate::log::LogConfig;
use crate::metadata::image::BrokerImage;
use crate::metadata::{Image, plan};
use crate::protocol::{ErrorCode, Str};
use crate::replica::{LeaderHint, Partition, PartitionSpec, Throttled};

/// A topic as a request names it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TopicRef<'a> {
    /// By its id.
    Id(Uuid),
    /// By its name.
    Name(&'a str),
}

impl Broker {
    /// The partition `index` of `topic`, opened if it is not; it need not be led here.
    ///
    /// Fails with UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER if this broker does not hold it, or
    /// KAFKA_STORAGE_ERROR if its log cannot be opened.
    pub(crate) async fn find_partition(&self, topic: &str, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        if let Some(partition) = self.replicas.get(topic, index) {
            return Ok(partition);
        }
        let spec = self.controller.read(|image| self.partition_spec(image, topic, index));
        let spec = spec.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if !spec.replicas.contains(&self.node.id) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        let (id, replicas) = (spec.id.clone(), self.replicas.clone());
        match self.shutdown().blocking(move || replicas.open_blocking(spec)).await {
            Some(Ok(partition)) => {
                // What the image has come to meanwhile, nobody could tell it.
                if let Some(spec) = self.controller.read(|image| self.partition_spec(image, topic, index)) {
                    partition.apply(&spec, self.clock().monotonic());
                }
                Ok(partition)
            }
            failed => {
                let error = failed.and_then(Result::err).map_or("the broker is ending".to_owned(), |e| e.to_string());
                tracing::error!(partition = %id, error, "a partition's log could not be opened");
                Err(ErrorCode::KAFKA_STORAGE_ERROR)
            }
        }
    }

    /// One partition of `topic` that this broker holds, opened if it is not.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER where this broker has no replica of it, or KAFKA_STORAGE_ERROR where
    /// its log cannot be opened.
    pub async fn open_partition(&self, topic: &str, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        self.find_partition(topic, index).await
    }

    /// As [`Broker::find_partition`], by the topic's id; fails with UNKNOWN_TOPIC_ID if there is none.
    pub(crate) async fn find_partition_by_id(&self, id: Uuid, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        let found = self.controller.read(|image| {
            let topic = image.topic_by_id(id)?;
            Some(self.replicas.get(&topic.name, index).ok_or_else(|| topic.name.clone()))
        });
        match found {
            None => Err(ErrorCode::UNKNOWN_TOPIC_ID),
            Some(Ok(partition)) => Ok(partition),
            Some(Err(name)) => self.find_partition(&name, index).await,
        }
    }

    /// Where the broker `id` is for those who came by a listener, for replies that name it; `None` where it is not registered, or has
    /// no such listener.
    pub(crate) fn endpoint_of(&self, id: NodeId, listener: &str) -> Option<(Str, i32, Option<Str>)> {
        self.controller.read(|image| {
            let broker = image.broker(id)?;
            let endpoint = broker.endpoint(listener)?;
            Some((Str::from(endpoint.host.as_str()), i32::from(endpoint.port), broker.rack.as_deref().map(Str::from)))
        })
    }

    /// The follower in `rack` from which a consumer there should read (`replica.selector.class`); `None` for this broker.
    pub(crate) fn nearest_replica(&self, partition: &Partition, rack: &str, offset: Offset) -> Option<NodeId> {
        if self.values().get(broker_key::REPLICA_SELECTOR_CLASS).is_none() || self.node.rack.as_deref() == Some(rack) {
            return None;
        }
        // Not with the image in hand: a partition may ask for that while it holds its own.
        let near: Vec<NodeId> = self.controller.read(|image| {
            let near = |known: &&BrokerImage| !known.fenced && known.rack.as_deref() == Some(rack);
            image.brokers().filter(near).map(|known| known.id).collect()
        });
        partition.nearest(offset, |node| near.contains(&node))
    }

    /// Who leads a partition, as the metadata has it.
    pub(crate) fn leader_of(&self, topic: TopicRef<'_>, index: i32) -> LeaderHint {
        let found = self.controller.read(|image| {
            let topic = match topic {
                TopicRef::Id(id) => image.topic_by_id(id),
                TopicRef::Name(name) => image.topic(name),
            };
            let partition = topic?.partitions.get(usize::try_from(index).ok()?)?;
            Some(LeaderHint { leader_id: partition.leader, leader_epoch: partition.leader_epoch })
        });
        found.unwrap_or(LeaderHint { leader_id: -1, leader_epoch: -1 })
    }

    /// Whether there is such a partition.
    pub(crate) fn has_partition(&self, topic: &str, index: i32) -> bool {
        self.controller.read(|image| image.partition(topic, index).is_some())
    }

    /// How many bytes a fetch hands out at most (`fetch.max.bytes`).
    pub(crate) fn fetch_max_bytes(&self) -> i32 {
        i32::try_from(self.values().get(broker_key::FETCH_MAX_BYTES)).unwrap_or(i32::MAX)
    }

    /// What is to be known of a partition to open it; `None` where there is no such partition.
    pub(crate) fn partition_spec(&self, image: &Image, topic: &str, index: i32) -> Option<PartitionSpec> {
        let partition = image.partition(topic, index)?;
        // A topic's configs were checked when they were set; a broker's change meanwhile may have made them clash, and
        // then the topic goes by the defaults rather than not at all.
        let values = self.values_of_topic(image, topic).or_else(|_| plan::topic_values(topic, &self.values(), None));
        let values = values.ok()?;
        Some(PartitionSpec {
            id: TopicPartition::new(topic, index),
            topic_id: image.topic(topic)?.id,
            local: self.node.id,
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            min_in_sync_replicas: values.get(topic_key::MIN_INSYNC_REPLICAS),
            throttled: ThrottledLists::of(&values).at(self.node.id, index),
            config: log_config(&values, &self.values()),
        })
    }

    /// The same of a partition whose topic is gone, as far as its removal goes by it.
    pub(super) fn spec_of_removed(&self, topic: &str, topic_id: Uuid, index: i32) -> PartitionSpec {
        PartitionSpec {
            id: TopicPartition::new(topic, index),
            topic_id,
            local: self.node.id,
            leader: -1,
            leader_epoch: -1,
            partition_epoch: -1,
            replicas: Vec::new(),
            isr: Vec::new(),
            min_in_sync_replicas: 1,
            throttled: Throttled::default(),
            config: LogConfig::default(),
        }
    }
}
