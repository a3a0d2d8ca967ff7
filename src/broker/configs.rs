//! The broker's and its topics' configs, as they hold now, and how they change while it runs.

use std::sync::Arc;

use tokio::sync::watch;

use super::Broker;
use crate::config::alter::Alteration;
use crate::config::{ConfigError, Values, broker, topic};
use crate::log::LogConfig;
use crate::metadata::image::Configs;
use crate::metadata::{Image, Refusal, ResourceType, plan};
use crate::protocol::ErrorCode;
use crate::record::{Codec, Compression, TimestampType};

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
                self.replicas.all_open()
            }
        };
        for partition in partitions {
            match self.controller.read(|image| self.values_of_topic(image, &partition.id().topic)) {
                Ok(values) => {
                    partition.reconfigure(log_config(&values, &self.values()), values.get(topic::MIN_INSYNC_REPLICAS));
                }
                Err(error) => {
                    tracing::error!(partition = %partition.id(), %error, "a topic's configs do not hold together: the old ones stay");
                }
            }
        }
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
