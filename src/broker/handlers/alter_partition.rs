//! AlterPartition (key 56): a leader asks for another ISR.
//!
//! Versions 2-3 are served, on a controller's listener.
//!
//! Rules
//!   each by itself   a partition that is refused does not hold up the others; all that are granted are one write
//!   a leader no more one whose wish was the end of a reassignment, and whom that took away: NEW_LEADER_ELECTED
//!   recovering       a leader of an unclean election has looked through its log when it asks for another ISR
//!   the rest         in `metadata/plan/failover.rs`; the reply tells the partition as it is then

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::common::ids::{NodeId, Uuid};
use crate::metadata::plan::{self, AlterIsr};
use crate::metadata::{Image, MetadataRecord, Refusal};
use crate::protocol::ErrorCode;
use crate::protocol::messages::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, PartitionData, PartitionResult, TopicResult,
};

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: AlterPartitionRequest,
) -> Outcome<AlterPartitionResponse> {
    let refuse = |code| Outcome::Reply(AlterPartitionResponse { error_code: code, ..Default::default() });
    if !broker.is_active_controller() {
        return refuse(ErrorCode::NOT_CONTROLLER);
    }
    let leader = (request.broker_id, request.broker_epoch);
    if broker.controller().read(|image| image.broker(leader.0).is_none_or(|broker| broker.epoch != leader.1)) {
        return refuse(ErrorCode::STALE_BROKER_EPOCH);
    }
    let with_epochs = context.version >= 3;
    let asked: Vec<(Uuid, Vec<PartitionData>)> =
        request.topics.into_iter().map(|topic| (topic.topic_id, topic.partitions)).collect();
    let places: Vec<(Uuid, Vec<i32>)> = asked
        .iter()
        .map(|(id, partitions)| (*id, partitions.iter().map(|partition| partition.partition_index).collect()))
        .collect();
    let decide = move |image: &Image| {
        let mut records: Vec<MetadataRecord> = Vec::new();
        let mut codes = Vec::new();
        for (topic_id, partitions) in asked {
            for partition in partitions {
                let wish = wish(leader, topic_id, &partition, with_epochs);
                match check_recovery(&partition, &wish).and_then(|()| plan::alter_isr(image, &wish)) {
                    Ok(granted) => {
                        records.extend(granted);
                        codes.push(ErrorCode::NONE);
                    }
                    Err(refusal) => {
                        tracing::debug!(%refusal, "an ISR is refused");
                        codes.push(refusal.code);
                    }
                }
            }
        }
        Ok((codes, records))
    };
    let codes = match broker.change(decide, false).await {
        Ok(codes) => codes,
        Err(refusal) => return refuse(refusal.code),
    };
    let mut codes = codes.into_iter();
    let topics = broker.controller().read(|image| {
        let told = places.into_iter().map(|(topic_id, indexes)| {
            let partitions = indexes.into_iter().map(|index| {
                let code = codes.next().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
                result(image, topic_id, index, code, leader.0)
            });
            TopicResult { topic_id, partitions: partitions.collect() }
        });
        told.collect()
    });
    Outcome::Reply(AlterPartitionResponse { topics, ..Default::default() })
}

/// A leader that has not looked through its log yet asks for nobody but itself, and none of ours asks at all.
fn check_recovery(partition: &PartitionData, wish: &AlterIsr) -> Result<(), Refusal> {
    if partition.leader_recovery_state == 0 || wish.isr.len() == 1 {
        return Ok(());
    }
    let sentence = format!("a leader that recovers asks for the ISR {:?}: it must be alone", wish.isr);
    Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence))
}

fn wish(leader: (i32, i64), topic_id: Uuid, partition: &PartitionData, with_epochs: bool) -> AlterIsr {
    let isr = if with_epochs {
        partition.new_isr_with_epochs.iter().map(|one| (one.broker_id, one.broker_epoch)).collect()
    } else {
        partition.new_isr.iter().map(|id| (*id, -1)).collect()
    };
    AlterIsr {
        leader,
        topic_id,
        partition: partition.partition_index,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr,
    }
}

fn result(image: &Image, topic_id: Uuid, index: i32, code: ErrorCode, leader: NodeId) -> PartitionResult {
    let topic = image.topic_by_id(topic_id);
    let partition = topic.and_then(|topic| topic.partitions.get(usize::try_from(index).ok()?));
    let mut result = PartitionResult { partition_index: index, error_code: code, leader_id: -1, ..Default::default() };
    if let Some(partition) = partition {
        result.leader_id = partition.leader;
        result.leader_epoch = partition.leader_epoch;
        result.isr = partition.isr.clone();
        result.leader_recovery_state = i8::from(partition.recovering);
        result.partition_epoch = partition.partition_epoch;
        if code.is_none() && partition.leader != leader {
            result.error_code = ErrorCode::NEW_LEADER_ELECTED;
        }
    }
    result
}
