//! The broker's and its topics' configs and the cluster's features, as they hold now, and how they change while it runs.

use std::sync::Arc;

use tokio::sync::watch;

use super::Broker;
use crate::common::ids::NodeId;
use crate::config::alter::Alteration;
use crate::config::value::ThrottledReplicas;
use crate::config::{ConfigError, Values, broker, topic};
use crate::log::LogConfig;
use crate::metadata::image::Configs;
use crate::metadata::{Image, Refusal, ResourceType, plan};
use crate::protocol::ErrorCode;
use crate::record::{Codec, Compression, TimestampType};
use crate::replica::{ThrottleRates, Throttled};

impl Broker {
    /// The broker's configs as they hold now.
    pub(crate) fn values(&self) -> Arc<Values> {
        self.values.borrow().clone()
    }

    /// The same, and the news when they change.
    pub(crate) fn watch_values(&self) -> watch::Receiver<Arc<Values>> {
        self.values.subscribe()
    }

    /// A topic's configs as they hold now; UNKNOWN_TOPIC_OR_PARTITION if there is no such topic.
    pub(crate) fn topic_values(&self, name: &str) -> Result<Values, Refusal> {
        self.controller.read(|image| {
            if image.topic(name).is_none() {
                return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic '{name}'")));
            }
            Ok(self.values_of_topic(image, name)?)
        })
    }

    /// As [`Broker::topic_values`], by an image at hand.
    pub(super) fn values_of_topic(&self, image: &Image, name: &str) -> Result<Values, ConfigError> {
        plan::topic_values(name, &self.values(), image.configs(ResourceType::Topic, name))
    }

    /// Changes some configs of a topic or broker.
    pub(crate) async fn alter_configs(
        &self,
        resource: (i8, &str),
        changes: Vec<(String, Alteration)>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let (kind, name) = self.resource(resource)?;
        let under = self.under(kind);
        let target = name.clone();
        let decide = move |image: &Image| {
            plan::alter_configs(image, &under, (kind, &target), changes).map(|records| ((), records))
        };
        self.change(decide, validate_only).await
    }

    /// Gives a topic or broker exactly these configs.
    pub(crate) async fn replace_configs(
        &self,
        resource: (i8, &str),
        wanted: Configs,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let (kind, name) = self.resource(resource)?;
        let under = self.under(kind);
        let target = name.clone();
        let decide = move |image: &Image| {
            plan::replace_configs(image, &under, (kind, &target), wanted).map(|records| ((), records))
        };
        self.change(decide, validate_only).await
    }

    /// Gives the cluster's features other levels.
    pub(crate) async fn update_features(
        &self,
        updates: Vec<plan::FeatureUpdate>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let (node, min_isr) = (self.node.id, self.properties.get(broker::MIN_INSYNC_REPLICAS));
        let decide =
            move |image: &Image| plan::update_features(image, node, &updates, min_isr).map(|records| ((), records));
        self.change(decide, validate_only).await
    }

    /// Fails unless `name` is this broker's node id.
    pub(crate) fn check_node_id(&self, name: &str) -> Result<(), Refusal> {
        if name.parse() == Ok(self.node.id) {
            return Ok(());
        }
        let sentence = format!("'{name}' is not this broker: its node.id is {}", self.node.id);
        Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence))
    }

    fn resource(&self, (kind, name): (i8, &str)) -> Result<(ResourceType, String), Refusal> {
        let kind = ResourceType::from_code(kind).ok_or_else(|| {
            let sentence = format!("resource type {kind} has no configs here: topics (2) and brokers (4) have");
            Refusal::new(ErrorCode::INVALID_REQUEST, sentence)
        })?;
        // The controller changes the configs of any broker; each tells its own.
        if kind == ResourceType::Broker && !name.is_empty() {
            let is_known = |id| self.controller.read(|image| image.broker(id).is_some());
            if !name.parse().is_ok_and(is_known) {
                let sentence = format!("there is no broker '{name}' in this cluster");
                return Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence));
            }
        }
        Ok((kind, name.to_owned()))
    }

    /// What lies under a resource's own configs.
    fn under(&self, kind: ResourceType) -> Arc<Values> {
        match kind {
            ResourceType::Topic => self.values(),
            ResourceType::Broker => self.properties.clone(),
        }
    }

    /// Lets a change take effect on what is open.
    pub(super) fn configs_changed(&self, kind: ResourceType, name: &str) {
        let partitions = match kind {
            ResourceType::Topic => self.replicas.open_of(name),
            ResourceType::Broker => {
                match self.controller.read(|image| plan::broker_values(image, &self.properties, self.node.id)) {
                    Ok(values) => drop(self.values.send_replace(Arc::new(values))),
                    Err(error) => {
                        tracing::error!(%error, "the broker's new configs do not hold together: the old ones stay");
                        return;
                    }
                }
                self.replicas.set_throttle_rates(throttle_rates(&self.values()));
                self.replicas.all_open()
            }
        };
        let mut throttled_some = false;
        // Those of one topic stand together.
        for of_topic in partitions.chunk_by(|a, b| a.id().topic == b.id().topic) {
            let topic = &of_topic[0].id().topic;
            match self.controller.read(|image| self.values_of_topic(image, topic)) {
                Ok(values) => {
                    let (config, min) = (log_config(&values, &self.values()), values.get(topic::MIN_INSYNC_REPLICAS));
                    let throttled = ThrottledLists::of(&values);
                    for partition in of_topic {
                        let throttled = throttled.at(self.node.id, partition.id().partition);
                        throttled_some |= partition.reconfigure(config.clone(), min, throttled);
                    }
                }
                Err(error) => {
                    tracing::error!(%topic, %error, "a topic's configs do not hold together: the old ones stay");
                }
            }
        }
        if throttled_some {
            self.replicas.throttles_changed();
        }
    }
}

/// Which replicas of a topic are throttled (`leader.replication.throttled.replicas`, `follower...`).
pub(super) struct ThrottledLists {
    leader: ThrottledReplicas,
    follower: ThrottledReplicas,
}

impl ThrottledLists {
    /// As the topic's configs say.
    pub(super) fn of(values: &Values) -> ThrottledLists {
        ThrottledLists {
            leader: ThrottledReplicas::of(&values.get(topic::LEADER_REPLICATION_THROTTLED_REPLICAS)),
            follower: ThrottledReplicas::of(&values.get(topic::FOLLOWER_REPLICATION_THROTTLED_REPLICAS)),
        }
    }

    /// What they say of one partition at one broker.
    pub(super) fn at(&self, node: NodeId, partition: i32) -> Throttled {
        Throttled { as_leader: self.leader.holds(partition, node), as_follower: self.follower.holds(partition, node) }
    }
}

/// How much throttled replication may cost.
pub(super) fn throttle_rates(values: &Values) -> ThrottleRates {
    // The table of keys allows nothing below 0.
    let rate = |rate: i64| u64::try_from(rate).unwrap_or(0);
    ThrottleRates {
        leader: rate(values.get(broker::LEADER_REPLICATION_THROTTLED_RATE)),
        follower: rate(values.get(broker::FOLLOWER_REPLICATION_THROTTLED_RATE)),
    }
}

/// What a topic's configs say to its logs.
pub(super) fn log_config(values: &Values, broker: &Values) -> LogConfig {
    let bytes = |value: i64| u64::try_from(value).ok();
    let policy = values.get(topic::CLEANUP_POLICY);
    LogConfig {
        segment_bytes: values.get(topic::SEGMENT_BYTES) as u64,
        segment_ms: values.get(topic::SEGMENT_MS),
        segment_jitter_ms: values.get(topic::SEGMENT_JITTER_MS),
        segment_index_bytes: values.get(topic::SEGMENT_INDEX_BYTES) as usize,
        index_interval_bytes: values.get(topic::INDEX_INTERVAL_BYTES) as usize,
        retention_bytes: bytes(values.get(topic::RETENTION_BYTES)),
        retention_ms: Some(values.get(topic::RETENTION_MS)).filter(|ms| *ms >= 0),
        max_message_bytes: values.get(topic::MAX_MESSAGE_BYTES) as usize,
        delete: policy.iter().any(|word| word == "delete"),
        compact: policy.iter().any(|word| word == "compact"),
        min_cleanable_dirty_ratio: values.get(topic::MIN_CLEANABLE_DIRTY_RATIO),
        delete_retention_ms: values.get(topic::DELETE_RETENTION_MS),
        min_compaction_lag_ms: values.get(topic::MIN_COMPACTION_LAG_MS),
        max_compaction_lag_ms: values.get(topic::MAX_COMPACTION_LAG_MS),
        timestamp_type: match values.get(topic::MESSAGE_TIMESTAMP_TYPE).as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        timestamp_before_max_ms: values.get(topic::MESSAGE_TIMESTAMP_BEFORE_MAX_MS),
        timestamp_after_max_ms: values.get(topic::MESSAGE_TIMESTAMP_AFTER_MAX_MS),
        compression: compression(values),
        flush_messages: values.get(topic::FLUSH_MESSAGES),
        flush_ms: values.get(topic::FLUSH_MS),
        file_delete_delay_ms: values.get(topic::FILE_DELETE_DELAY_MS),
        producer_id_expiration_ms: broker.get(broker::PRODUCER_ID_EXPIRATION_MS),
    }
}

/// What batches are compressed with anew; `None` where they stay as the producer sent them.
fn compression(values: &Values) -> Option<Compression> {
    let codec = match values.get(topic::COMPRESSION_TYPE).as_str() {
        "producer" => return None,
        "uncompressed" => Codec::None,
        // The table of keys allows only the codecs' names besides these two.
        name => name.parse().ok()?,
    };
    let level = match codec {
        Codec::Gzip => Some(values.get(topic::COMPRESSION_GZIP_LEVEL)),
        Codec::Lz4 => Some(values.get(topic::COMPRESSION_LZ4_LEVEL)),
        Codec::Zstd => Some(values.get(topic::COMPRESSION_ZSTD_LEVEL)),
        _ => None,
    };
    // A level that the table allows and the codec does not is the codec's own.
    let compression = level.and_then(|level| Compression::with_level(codec, level).ok());
    Some(compression.unwrap_or_else(|| Compression::new(codec)))
}
