//! Topics of the brokers in this process as tables: their logs, without a socket.

use crate::arrow::LogSource;
use crate::arrow::source::LocalPartition;
use crate::cluster::LocalCluster;
use crate::common::ids::Uuid;
use crate::protocol::ErrorCode;

/// The logs of `topic`, each that of its leader, up to its high watermark of this moment.
///
/// # Errors
/// UNKNOWN_TOPIC_OR_PARTITION; LEADER_NOT_AVAILABLE where the leader of a partition does not run; KAFKA_STORAGE_ERROR where
/// a log cannot be opened.
pub async fn log_source(cluster: &LocalCluster, topic: &str) -> Result<LogSource, ErrorCode> {
    let any = cluster.running().into_iter().next().ok_or(ErrorCode::LEADER_NOT_AVAILABLE)?;
    let leaders = any.controller().read(|image| {
        let topic = image.topic(topic)?;
        Some(topic.partitions.iter().map(|partition| partition.leader).collect::<Vec<_>>())
    });
    let leaders = leaders.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let mut local = Vec::with_capacity(leaders.len());
    let mut topic_id = Uuid::ZERO;
    for (index, leader) in (0..).zip(leaders) {
        let broker = cluster.broker(leader).ok_or(ErrorCode::LEADER_NOT_AVAILABLE)?;
        let partition = broker.open_partition(topic, index).await?;
        topic_id = partition.topic_id();
        local.push((index, LocalPartition { reader: partition.log_reader(), end: partition.high_watermark() }));
    }
    Ok(LogSource::new(topic, local.into_iter().collect()).with_id(topic_id))
}
