//! DescribeLogDirs (key 35): what lies on the broker's disk, and how large it is.
//!
//! Versions 1-5 are served.
//!   2  flexible     3  error code     4  the volume's total and usable bytes     5  cordoned dirs (none here)
//!
//! Rules
//!   null topics ask for all partitions; those never written to have 0 bytes

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::Str;
use crate::protocol::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: DescribeLogDirsRequest,
) -> Outcome<DescribeLogDirsResponse> {
    let asked: Vec<(String, Vec<i32>)> = match request.topics {
        None => broker.controller().read(|image| {
            image.topics().map(|topic| (topic.name.clone(), (0..topic.partitions.len() as i32).collect())).collect()
        }),
        Some(topics) => topics.into_iter().map(|topic| (topic.topic.to_string(), topic.partitions)).collect(),
    };
    let mut topics = Vec::with_capacity(asked.len());
    for (name, indexes) in asked {
        let mut partitions = Vec::with_capacity(indexes.len());
        for index in indexes {
            // A partition that is not here is passed over, as Apache Kafka does.
            if let Ok(found) = broker.find_partition(&name, index).await {
                partitions.push(DescribeLogDirsPartition {
                    partition_index: index,
                    partition_size: found.size() as i64,
                    offset_lag: 0,
                    ..Default::default()
                });
            }
        }
        if !partitions.is_empty() {
            topics.push(DescribeLogDirsTopic { name: Str::from(name), partitions });
        }
    }
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let volume = broker.log_dir_volume();
    let result = DescribeLogDirsResult {
        // As Apache Kafka: from the root, for whoever asks stands somewhere else.
        log_dir: Str::from(std::path::absolute(broker.log_dir()).unwrap_or_else(|_| broker.log_dir().to_owned()).display().to_string()),
        topics,
        total_bytes: volume.map_or(-1, |(total, _)| total),
        usable_bytes: volume.map_or(-1, |(_, usable)| usable),
        ..Default::default()
    };
    Outcome::Reply(DescribeLogDirsResponse { results: vec![result], ..Default::default() })
}
