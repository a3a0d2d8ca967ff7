//! Topics of a broker in this process as tables: its logs, without a socket.

use crate::arrow::LogSource;
use crate::arrow::source::LocalPartition;
use crate::broker::Broker;
use crate::common::ids::Uuid;
use crate::protocol::ErrorCode;

/// The logs of `topic`, each up to its high watermark of this moment.
///
/// # Errors
/// UNKNOWN_TOPIC_OR_PARTITION, or KAFKA_STORAGE_ERROR where a log cannot be opened.
pub async fn log_source(broker: &Broker, topic: &str) -> Result<LogSource, ErrorCode> {
    let partitions = broker.open_topic(topic).await?;
    let local = partitions.iter().map(|partition| {
        let local = LocalPartition { reader: partition.log_reader(), end: partition.high_watermark() };
        (partition.id().partition, local)
    });
    let topic_id = partitions.first().map_or(Uuid::ZERO, |partition| partition.topic_id());
    Ok(LogSource::new(topic, local.collect()).with_id(topic_id))
}
