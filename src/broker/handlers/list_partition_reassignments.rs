//! ListPartitionReassignments (key 46): the partitions that are being moved, and between which brokers.
//!
//! Version 0 is served; flexible.
//!
//! Rules
//!   null         all that are being moved
//!   some         those of them that are; one that is not, or is not there at all, is passed over, as in Apache Kafka

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::metadata::image::TopicImage;
use crate::protocol::Str;
use crate::protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, OngoingPartitionReassignment,
    OngoingTopicReassignment,
};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: ListPartitionReassignmentsRequest,
) -> Outcome<ListPartitionReassignmentsResponse> {
    let topics = broker.controller().read(|image| match &request.topics {
        None => image.topics().filter_map(|topic| ongoing(topic, |_| true)).collect(),
        Some(asked) => {
            let known = asked.iter().filter_map(|asked| Some((image.topic(&asked.name)?, &asked.partition_indexes)));
            known.filter_map(|(topic, indexes)| ongoing(topic, |index| indexes.contains(&index))).collect()
        }
    });
    Outcome::Reply(ListPartitionReassignmentsResponse { topics, ..Default::default() })
}

/// What is being moved of a topic, among those that are asked for; `None` where nothing is.
fn ongoing(topic: &TopicImage, is_asked: impl Fn(i32) -> bool) -> Option<OngoingTopicReassignment> {
    let moving = (0..).zip(&topic.partitions).filter(|(index, partition)| partition.is_reassigning() && is_asked(*index));
    let told = moving.map(|(partition_index, partition)| OngoingPartitionReassignment {
        partition_index,
        replicas: partition.replicas.clone(),
        adding_replicas: partition.adding.clone(),
        removing_replicas: partition.removing.clone(),
    });
    let partitions: Vec<_> = told.collect();
    (!partitions.is_empty()).then(|| OngoingTopicReassignment { name: Str::from(topic.name.as_str()), partitions })
}
