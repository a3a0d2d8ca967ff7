//! Fetch (key 1): hands out whole record batches, and waits where there are too few.
//!
//! Versions 4-18 are served.
//!    7  fetch sessions (KIP-227)           12  diverging epochs       16  leader hints (KIP-951)
//!    9  the client's leader epoch          13  topic ids              18  a follower's high watermark
//!   11  closest replica (KIP-392)          15  replica state
//!
//! Rules
//!   followers   read to the end of the log, where this broker leads and knows them as replicas; how far they are is noted
//!               before anything is read, so their answer has the high watermark that they moved. They wait for records, and
//!               but a moment where only the high watermark or the log start is news
//!   throttled   a follower that is not in sync is given no records of a throttled partition while the leader's quota is
//!               exceeded (KIP-73), and waits until there is room
//!   consumers   read up to the high watermark: of the leader, or from version 11 on of any replica; one that tells its rack
//!               is sent to a replica in sync there, if replica.selector.class says so
//!   long poll   with less than min.bytes to give, and no error, the reply waits for max.wait
//!   first       the first batch goes out even where it is larger than every limit: else its reader would be stuck
//!   limits      max.bytes over all partitions, partition max.bytes for each; both cut at a batch
//!   epochs      FENCED_LEADER_EPOCH / UNKNOWN_LEADER_EPOCH where the client's is behind / ahead of ours
//!   diverging   a client that names the epoch of its last record learns where that epoch ended here, if it must cut back
//!   range       OFFSET_OUT_OF_RANGE below the log start offset and above the log end offset
//!   leaders     NOT_LEADER_OR_FOLLOWER where another broker leads, from version 16 on with its name and address

use std::sync::Arc;
use std::time::Duration;

use super::{Context, Outcome, fetch_replica};
use crate::broker::fetch_session::{Said, Step, Target, TopicKey};
use crate::broker::Broker;
use crate::broker::partitions::TopicRef;
use crate::broker::throttling::Throttling;
use crate::common::ids::{NodeId, Offset};
use crate::protocol::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use crate::protocol::{ErrorCode, Records};
use crate::replica::{FetchError, FetchFrom, Fetched, LeaderHint, Partition, ReplicaFetch, Waiter};

/// How long a follower waits where all that is new is how far its readers may go.
pub(super) const NEWS_WAIT: Duration = Duration::from_millis(5);

/// Who reads.
#[derive(Clone, Copy)]
enum Reader {
    /// A consumer, which may read from a follower or not.
    Consumer { nearby: bool },
    /// A follower, and the epoch of its registration; noted once.
    Replica { node: NodeId, broker_epoch: i64, noted: bool },
}

pub(super) async fn handle(broker: &Broker, context: &Context, request: FetchRequest) -> Outcome<FetchResponse> {
    let by_id = context.version >= 13;
    let (node, broker_epoch) = match context.version {
        15.. => (request.replica_state.replica_id, request.replica_state.replica_epoch),
        _ => (request.replica_id, -1),
    };
    if by_id
        && node >= 0
        && let Some(outcome) = fetch_replica::handle(broker, context, &request, (node, broker_epoch)).await
    {
        return outcome;
    }
    let key = |name: &crate::protocol::Str, id| if by_id { TopicKey::Id(id) } else { TopicKey::Name(name.clone()) };
    let targets = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| Target {
            topic: key(&topic.topic, topic.topic_id),
            partition: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            fetch_offset: partition.fetch_offset,
            last_fetched_epoch: partition.last_fetched_epoch,
            max_bytes: partition.partition_max_bytes,
            log_start_offset: partition.log_start_offset,
            high_watermark: partition.high_watermark,
            said: None,
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
    let mut pass = Pass {
        broker,
        reader: match node {
            0.. => Reader::Replica { node, broker_epoch, noted: false },
            _ => Reader::Consumer { nearby: context.version >= 11 },
        },
        limit: request.max_bytes.clamp(0, broker.fetch_max_bytes()) as usize,
        read_committed: request.isolation_level == 1,
        near: (!request.rack_id.is_empty()).then_some(&*request.rack_id),
        now: broker.clock().monotonic(),
    };
    let mut read = pass.read_all(&step.targets, &found);

    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let enough = |read: &Read| read.due || read.bytes >= request.min_bytes.max(0) as usize;
    if !enough(&read) && !wait.is_zero() && !step.targets.is_empty() {
        pass.has_noted();
        let waiter = Waiter::new();
        let mut timeout = broker.socket_clock().sleep(wait);
        let mut hastened = false;
        loop {
            for partition in found.iter().flatten() {
                match pass.reader {
                    Reader::Consumer { .. } => partition.wait_with(&waiter),
                    Reader::Replica { .. } => partition.wait_as_replica(&waiter),
                }
            }
            // An append may have come between the reading and the noting.
            read = pass.read_all(&step.targets, &found);
            if enough(&read) || broker.fetch_sessions().is_overtaken(&step, &waiter) {
                break;
            }
            if read.news && !hastened && wait > NEWS_WAIT {
                (timeout, hastened) = (broker.socket_clock().sleep(NEWS_WAIT), true);
            }
            tokio::select! {
                () = waiter.woken() => {}
                () = read.throttling.free(broker) => {}
                () = &mut timeout => break,
                () = broker.shutdown().begun() => break,
            }
        }
    }
    read.throttling.sent(broker);
    Outcome::Reply(respond(broker, context, &step, read))
}

/// How all partitions are read.
struct Pass<'a> {
    broker: &'a Broker,
    reader: Reader,
    /// Where a consumer is, which may be sent to a replica there.
    near: Option<&'a str>,
    limit: usize,
    read_committed: bool,
    now: Duration,
}

/// What one pass over all partitions gave.
struct Read {
    partitions: Vec<PartitionData>,
    bytes: usize,
    /// Whether the reply is due, whatever there is to read.
    due: bool,
    /// Whether a follower has something to learn besides records.
    news: bool,
    throttling: Throttling,
}

impl Pass<'_> {
    /// A follower is noted once a request, as it was when that came.
    fn has_noted(&mut self) {
        if let Reader::Replica { noted, .. } = &mut self.reader {
            *noted = true;
        }
    }

    fn read_all(&self, targets: &[Target], found: &[Result<Arc<Partition>, ErrorCode>]) -> Read {
        let partitions = Vec::with_capacity(targets.len());
        let mut read = Read { partitions, bytes: 0, due: false, news: false, throttling: Throttling::default() };
        for (target, found) in targets.iter().zip(found) {
            let data = match found {
                Ok(partition) => self.read_one(target, partition, &mut read),
                // As Apache Kafka: no list of aborted transactions where nothing was looked at, but an empty one.
                Err(code) => PartitionData { aborted_transactions: Some(Vec::new()), ..refuse(target, *code) },
            };
            read.due |= data.error_code != ErrorCode::NONE
                || data.diverging_epoch.end_offset >= 0
                || data.preferred_read_replica >= 0;
            read.partitions.push(data);
        }
        read
    }

    fn read_one(&self, target: &Target, partition: &Partition, read: &mut Read) -> PartitionData {
        let from = FetchFrom {
            offset: target.fetch_offset,
            current_leader_epoch: target.current_leader_epoch,
            last_fetched_epoch: target.last_fetched_epoch,
            max_bytes: (target.max_bytes.max(0) as usize).min(self.limit.saturating_sub(read.bytes)),
            min_one: read.bytes == 0,
            read_committed: self.read_committed,
        };
        let elsewhere = match (self.reader, self.near) {
            (Reader::Consumer { nearby: true }, Some(rack)) => {
                self.broker.nearest_replica(partition, rack, target.fetch_offset)
            }
            _ => None,
        };
        // Who is sent elsewhere is given no records.
        let from = if elsewhere.is_some() { FetchFrom { max_bytes: 0, min_one: false, ..from } } else { from };
        let fetched = match self.reader {
            Reader::Consumer { nearby: false } => partition.fetch(from),
            Reader::Consumer { nearby: true } => partition.fetch_nearby(from),
            Reader::Replica { noted: true, .. } => partition.fetch_again_as_replica(from),
            Reader::Replica { node, broker_epoch, .. } => {
                let replica = ReplicaFetch { node, broker_epoch, log_start_offset: target.log_start_offset };
                partition.fetch_as_replica(replica, from, self.now)
            }
        };
        let mut data = partition_data(target, fetched);
        let withheld = match self.reader {
            Reader::Replica { node, .. } => {
                read.throttling.withhold(partition, node, &mut data, self.broker.clock().monotonic())
            }
            Reader::Consumer { .. } => false,
        };
        read.bytes += data.records.as_ref().map_or(0, |records| records.len());
        if data.error_code == ErrorCode::NONE {
            if matches!(self.reader, Reader::Replica { .. }) && !withheld {
                read.news |= target.is_behind(said(data.high_watermark, data.log_start_offset));
            }
            if self.read_committed {
                data.aborted_transactions = Some(Vec::new());
            }
            data.preferred_read_replica = elsewhere.unwrap_or(-1);
        }
        data
    }
}

/// What is said of a partition that was read.
pub(super) fn partition_data(target: &Target, fetched: Result<Fetched, FetchError>) -> PartitionData {
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) => {
            let mut data = refuse(target, error.code());
            if let Some(LeaderHint { leader_id, leader_epoch }) = error.hint() {
                data.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
            }
            return data;
        }
    };
    let mut data = PartitionData {
        partition_index: target.partition,
        high_watermark: fetched.high_watermark,
        last_stable_offset: fetched.last_stable_offset,
        log_start_offset: fetched.log_start_offset,
        records: Some(Records(fetched.records)),
        ..Default::default()
    };
    if let Some((epoch, end_offset)) = fetched.diverging_epoch {
        data.diverging_epoch = EpochEndOffset { epoch, end_offset };
    }
    data
}

pub(super) fn said(high_watermark: Offset, log_start_offset: Offset) -> Said {
    Said { high_watermark, log_start_offset }
}

pub(super) fn refuse(target: &Target, code: ErrorCode) -> PartitionData {
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
        let told = data.error_code == ErrorCode::NONE && data.diverging_epoch.end_offset < 0;
        let told = told.then(|| said(data.high_watermark, data.log_start_offset));
        let says = data.records.as_ref().is_some_and(|records| !records.is_empty()) || data.preferred_read_replica >= 0;
        (told, says)
    };
    let tell = if step.session_id == 0 {
        vec![true; read.partitions.len()]
    } else {
        broker.fetch_sessions().reply(step, &read.partitions.iter().map(said).collect::<Vec<_>>())
    };
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut node_endpoints = Vec::new();
    for ((target, mut data), tell) in step.targets.iter().zip(read.partitions).zip(tell) {
        if !tell {
            continue;
        }
        if context.version >= 16 {
            name_leader(broker, context, target, &mut data, &mut node_endpoints);
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
    FetchResponse { session_id, responses, node_endpoints, ..Default::default() }
}

/// Names the leader of a partition that another broker leads, and tells where that is.
pub(super) fn name_leader(
    broker: &Broker,
    context: &Context,
    target: &Target,
    data: &mut PartitionData,
    endpoints: &mut Vec<NodeEndpoint>,
) {
    if ![ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::FENCED_LEADER_EPOCH].contains(&data.error_code) {
        return;
    }
    let topic = match &target.topic {
        TopicKey::Id(id) => TopicRef::Id(*id),
        TopicKey::Name(name) => TopicRef::Name(name),
    };
    let LeaderHint { leader_id, leader_epoch } = broker.leader_of(topic, target.partition);
    data.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
    if endpoints.iter().all(|known| known.node_id != leader_id)
        && let Some((host, port, rack)) = broker.endpoint_of(leader_id, context.listener())
    {
        endpoints.push(NodeEndpoint { node_id: leader_id, host, port, rack });
    }
}
