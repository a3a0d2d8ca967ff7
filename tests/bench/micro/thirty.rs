//! The image of a cluster at a size that one may reach: thirty brokers, a hundred thousand partitions of three replicas.

use strandline::common::ids::{NodeId, Uuid};
use strandline::metadata::records::{PartitionRecord, TopicRecord};
use strandline::metadata::{Image, MetadataRecord, plan};
use strandline::protocol::Str;

const BROKERS: i32 = 30;
const TOPICS: i32 = 1_000;
/// Of each topic.
const PARTITIONS: i32 = 100;

/// The image, as the records that made it leave it.
pub(crate) fn image() -> Image {
    let mut image = Image::default();
    let mut records: Vec<MetadataRecord> = Vec::new();
    for id in 0..BROKERS {
        let wish = plan::Registration::new(id, ("localhost", 9092), Uuid::random());
        records.extend(plan::register_broker(&image, &wish, false).unwrap());
    }
    for topic in 0..TOPICS {
        let topic_id = Uuid::random();
        let name = Str::from(format!("topic-{topic}"));
        records.push(MetadataRecord::Topic(TopicRecord { name, topic_id }));
        records.extend((0..PARTITIONS).map(|partition_id| {
            let replicas: Vec<NodeId> = (0..3).map(|step| (topic + partition_id + step) % BROKERS).collect();
            let (leader, isr) = (replicas[0], replicas.clone());
            let (leader_epoch, partition_epoch) = (0, 0);
            MetadataRecord::Partition(PartitionRecord {
                partition_id,
                topic_id,
                replicas,
                isr,
                leader,
                leader_epoch,
                partition_epoch,
                ..Default::default()
            })
        }));
    }
    records.iter().for_each(|record| image.apply(record).unwrap());
    image
}
