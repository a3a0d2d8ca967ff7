//! Fetch (key 1): hands out whole record batches, and waits where there are too few.
//!
//! Versions 4-18 are served.
//!    7  fetch sessions (KIP-227)           12  diverging epochs       16  leader hints (KIP-951)
//!    9  the client's leader epoch          13  topic ids              18  a follower's high watermark
//!   11  closest replica (KIP-392)          15  replica state
//!
//! Rules
//!   long poll   with less than min.bytes to give, and no error, the reply waits for max.wait
//!   first       the first batch goes out even where it is larger than every limit: else its reader would be stuck
//!   limits      max.bytes over all partitions, partition max.bytes for each; both cut at a batch
//!   epochs      FENCED_LEADER_EPOCH / UNKNOWN_LEADER_EPOCH where the client's is behind / ahead of ours
//!   diverging   a client that names the epoch of its last record learns where that epoch ended here, if it must cut back
//!   range       OFFSET_OUT_OF_RANGE below the log start offset and above the high watermark

use std::sync::Arc;
use std::time::Duration;

use super::{Context, Outcome};
use crate::broker::fetch_session::{Said, Step, Target, TopicKey};
use crate::broker::Broker;
use crate::protocol::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use crate::protocol::{ErrorCode, Records};
use crate::replica::{FetchError, FetchFrom, Partition, Waiter};

pub(super) async fn handle(broker: &Broker, context: &Context, request: FetchRequest) -> Outcome<FetchResponse> {
    let by_id = context.version >= 13;
    let key = |name: &crate::protocol::Str, id| if by_id { TopicKey::Id(id) } else { TopicKey::Name(name.clone()) };
    let targets = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| Target {
            topic: key(&topic.topic, topic.topic_id),
            partition: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            fetch_offset: partition.fetch_offset,
            last_fetched_epoch: partition.last_fetched_epoch,
            max_bytes: partition.partition_max_bytes,
        })
    });
    let targets: Vec<Target> = targets.collect();
    let forgotten: Vec<(TopicKey, i32)> = request
        .forgotten_topics_data
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (key(&topic.topic, topic.topic_id), *partition)))
        .collect();
    let session = (request.session_id, request.session_epoch);
    let step = match broker.fetch_sessions().step(session, targets, &forgotten, broker.clock().monotonic()) {
        Ok(step) => step,
        Err(code) => return Outcome::Reply(FetchResponse { error_code: code, ..Default::default() }),
    };

    let mut found = Vec::with_capacity(step.targets.len());
    for target in &step.targets {
        found.push(match &target.topic {
            TopicKey::Id(id) => broker.find_partition_by_id(*id, target.partition).await,
            TopicKey::Name(name) => broker.find_partition(name, target.partition).await,
        });
    }
    let limit = request.max_bytes.clamp(0, broker.fetch_max_bytes()) as usize;
    let read_committed = request.isolation_level == 1;
    let mut read = read_all(&step.targets, &found, limit, read_committed);

    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let enough = |read: &Read| read.failed || read.bytes >= request.min_bytes.max(0) as usize;
    if !enough(&read) && !wait.is_zero() && !step.targets.is_empty() {
        let waiter = Waiter::new();
        let timeout = broker.socket_clock().sleep(wait);
        tokio::pin!(timeout);
        loop {
            for partition in found.iter().flatten() {
                partition.wait_with(&waiter);
            }
            // An append may have come between the reading and the noting.
            read = read_all(&step.targets, &found, limit, read_committed);
            if enough(&read) {
                break;
            }
            tokio::select! {
                () = waiter.woken() => {}
                () = &mut timeout => break,
                () = broker.shutdown().begun() => break,
            }
        }
    }
    Outcome::Reply(respond(broker, context, &step, read))
}

/// What one pass over all partitions gave.
struct Read {
    partitions: Vec<PartitionData>,
    bytes: usize,
    failed: bool,
}

fn read_all(
    targets: &[Target],
    found: &[Result<Arc<Partition>, ErrorCode>],
    limit: usize,
    read_committed: bool,
) -> Read {
    let mut read = Read { partitions: Vec::with_capacity(targets.len()), bytes: 0, failed: false };
    for (target, found) in targets.iter().zip(found) {
        let data = match found {
            Ok(partition) => read_one(target, partition, limit, read_committed, &mut read),
            // As Apache Kafka: no list of aborted transactions where nothing was looked at, but an empty one.
            Err(code) => PartitionData { aborted_transactions: Some(Vec::new()), ..refuse(target, *code) },
        };
        read.failed |= data.error_code != ErrorCode::NONE || data.diverging_epoch.end_offset >= 0;
        read.partitions.push(data);
    }
    read
}

fn read_one(
    target: &Target,
    partition: &Arc<Partition>,
    limit: usize,
    read_committed: bool,
    read: &mut Read,
) -> PartitionData {
    let from = FetchFrom {
        offset: target.fetch_offset,
        current_leader_epoch: target.current_leader_epoch,
        last_fetched_epoch: target.last_fetched_epoch,
        max_bytes: (target.max_bytes.max(0) as usize).min(limit.saturating_sub(read.bytes)),
        min_one: read.bytes == 0,
        read_committed,
    };
    match partition.fetch(from) {
        Ok(fetched) => {
            read.bytes += fetched.records.len();
            let mut data = PartitionData {
                partition_index: target.partition,
                high_watermark: fetched.high_watermark,
                last_stable_offset: fetched.last_stable_offset,
                log_start_offset: fetched.log_start_offset,
                records: Some(Records(fetched.records)),
                ..Default::default()
            };
            if read_committed {
                data.aborted_transactions = Some(Vec::new());
            }
            if let Some((epoch, end_offset)) = fetched.diverging_epoch {
                data.diverging_epoch = EpochEndOffset { epoch, end_offset };
            }
            data
        }
        Err(error) => {
            let mut data = refuse(target, error.code());
            if let FetchError::LeaderEpoch { leader_id, leader_epoch, .. } = error {
                data.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
            }
            data
        }
    }
}

fn refuse(target: &Target, code: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index: target.partition,
        error_code: code,
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        records: Some(Records::default()),
        ..Default::default()
    }
}

fn respond(broker: &Broker, context: &Context, step: &Step, read: Read) -> FetchResponse {
    let said = |data: &PartitionData| {
        let said = Said { high_watermark: data.high_watermark, log_start_offset: data.log_start_offset };
        let told = (data.error_code == ErrorCode::NONE && data.diverging_epoch.end_offset < 0).then_some(said);
        (told, data.records.as_ref().is_some_and(|records| !records.is_empty()))
    };
    let tell = if step.session_id == 0 {
        vec![true; read.partitions.len()]
    } else {
        broker.fetch_sessions().reply(step, &read.partitions.iter().map(said).collect::<Vec<_>>())
    };
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    for ((target, mut data), tell) in step.targets.iter().zip(read.partitions).zip(tell) {
        if !tell {
            continue;
        }
        if context.version < 12 {
            data.current_leader = LeaderIdAndEpoch::default();
            data.diverging_epoch = EpochEndOffset::default();
        }
        let (name, id) = match &target.topic {
            TopicKey::Name(name) => (name.clone(), crate::common::ids::Uuid::ZERO),
            TopicKey::Id(id) => (Default::default(), *id),
        };
        match responses.last_mut() {
            Some(topic) if topic.topic == name && topic.topic_id == id => topic.partitions.push(data),
            _ => responses.push(FetchableTopicResponse {
                topic: name,
                topic_id: id,
                partitions: vec![data],
            }),
        }
    }
    let session_id = if context.version >= 7 { step.session_id } else { 0 };
    FetchResponse { session_id, responses, ..Default::default() }
}
