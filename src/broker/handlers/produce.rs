//! Produce (key 0): appends record batches to the partitions that this broker leads.
//!
//! Versions 3-13 are served; 0-2 are advertised, for librdkafka, and close the connection, as Apache Kafka does.
//!   5  log start offset in the reply        9  flexible             12  joins its transaction by itself (KIP-890)
//!   8  record errors (KIP-467)             10  leader hints         13  topic ids (KIP-516)
//!
//! Rules
//!   acks 0    no reply; an error closes the connection, which is all the client would notice
//!   acks 1    replies once the leader has appended
//!   acks all  wants min.insync.replicas before the append (else NOT_ENOUGH_REPLICAS), and replies once the high watermark has
//!             passed it: NOT_ENOUGH_REPLICAS_AFTER_APPEND if fewer are in sync by then, REQUEST_TIMED_OUT after timeout_ms;
//!             what the connection sent behind it is worked on meanwhile
//!   records   exactly one batch a partition; nobody but Kafka's tools writes to internal topics
//!   a repeat  of one of a producer's last five batches is answered with the offset that the first one got, and waits as it did
//!   leaders   NOT_LEADER_OR_FOLLOWER where another broker leads, from version 10 on with its name and address

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Context, Outcome, append_error_code};
use crate::broker::Broker;
use crate::broker::partitions::TopicRef;
use crate::common::ids::Uuid;
use crate::log::AppendError;
use crate::metadata::topic_name;
use crate::protocol::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use crate::protocol::{ErrorCode, Records, Str};
use crate::record::{BatchError, batches};
use crate::replica::{LeaderHint, Partition, Replication, Waiter, WriteError};

/// The client id under which Kafka's own tools may write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";
/// Refusals of batches that were not looked into, or could not be kept.
const UNREAD: [ErrorCode; 6] = [
    ErrorCode::NOT_LEADER_OR_FOLLOWER,
    ErrorCode::NOT_ENOUGH_REPLICAS,
    ErrorCode::CORRUPT_MESSAGE,
    ErrorCode::MESSAGE_TOO_LARGE,
    ErrorCode::RECORD_LIST_TOO_LARGE,
    ErrorCode::KAFKA_STORAGE_ERROR,
];

/// A partition's response that waits for all replicas in sync: its place, and what it waits for.
struct Pending {
    place: (usize, usize),
    partition: Arc<Partition>,
    append: Replication,
}

pub(super) async fn handle(broker: &Broker, context: &Context, request: ProduceRequest) -> Outcome<ProduceResponse> {
    let mut responses = Vec::with_capacity(request.topic_data.len());
    let mut pending = Vec::new();
    let turn = context.connection.turn.lock().await;
    for topic in request.topic_data {
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let refused = match request.acks {
                _ if request.transactional_id.is_some() => Some(ErrorCode::INVALID_TXN_STATE),
                -1..=1 => None,
                _ => Some(ErrorCode::INVALID_REQUIRED_ACKS),
            };
            partitions.push(match refused {
                Some(code) => refuse(data.index, code, None),
                None => {
                    let of = topic_ref(context, &topic.name, topic.topic_id);
                    let (response, wait) = append(broker, context, of, request.acks, data).await;
                    let place = (responses.len(), partitions.len());
                    pending.extend(wait.map(|(partition, append)| Pending { place, partition, append }));
                    response
                }
            });
        }
        responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: partitions,
        });
    }
    drop(turn);
    if !pending.is_empty() {
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        wait_for_replicas(broker, pending, timeout, &mut responses).await;
    }
    let failed = responses.iter().flat_map(|topic| &topic.partition_responses).map(|partition| partition.error_code);
    let failed = failed.filter(|code| !code.is_none()).last();
    match (request.acks, failed) {
        (0, None) => Outcome::Nothing,
        (0, Some(code)) => Outcome::Close(format!("a produce with acks 0 failed with error code {code}")),
        (_, None) => Outcome::Reply(ProduceResponse { responses, ..Default::default() }),
        (_, Some(_)) => {
            let node_endpoints = name_leaders(broker, context, &mut responses);
            Outcome::Reply(ProduceResponse { responses, node_endpoints, ..Default::default() })
        }
    }
}

fn topic_ref<'a>(context: &Context, name: &'a Str, id: Uuid) -> TopicRef<'a> {
    if context.version >= 13 { TopicRef::Id(id) } else { TopicRef::Name(name) }
}

/// Waits until all replicas in sync have what was appended, and puts into the responses what became of it otherwise.
async fn wait_for_replicas(
    broker: &Broker,
    pending: Vec<Pending>,
    timeout: Duration,
    responses: &mut [TopicProduceResponse],
) {
    let mut left = pending.into_iter();
    let mut code = ErrorCode::NONE;
    let fail = |Pending { place, .. }: &Pending, code, responses: &mut [TopicProduceResponse]| {
        let response = &mut responses[place.0].partition_responses[place.1];
        *response = refuse(response.index, code, None);
    };
    let waiter = Waiter::new();
    let mut late = std::pin::pin!(broker.socket_clock().sleep(timeout));
    // One after the other: the last is what counts.
    for pending in left.by_ref() {
        let done = loop {
            pending.partition.wait_for_replication(&waiter, pending.append);
            if let Some(done) = pending.partition.replicated(pending.append) {
                break done;
            }
            tokio::select! {
                biased;
                () = waiter.woken() => {}
                () = &mut late => code = ErrorCode::REQUEST_TIMED_OUT,
                // Another broker will lead, and knows what became of it.
                () = broker.shutdown().begun() => code = ErrorCode::NOT_LEADER_OR_FOLLOWER,
            }
            if !code.is_none() {
                break Err(code);
            }
        };
        if let Err(code) = done {
            fail(&pending, code, responses);
        }
        if !code.is_none() {
            break;
        }
    }
    for pending in left {
        if let Err(code) = pending.partition.replicated(pending.append).unwrap_or(Err(code)) {
            fail(&pending, code, responses);
        }
    }
}

/// Names the leaders of partitions that others lead, and tells where those are.
fn name_leaders(broker: &Broker, context: &Context, responses: &mut [TopicProduceResponse]) -> Vec<NodeEndpoint> {
    let mut endpoints: Vec<NodeEndpoint> = Vec::new();
    if context.version < 10 {
        return endpoints;
    }
    for topic in responses {
        let elsewhere = |partition: &&mut PartitionProduceResponse| {
            partition.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER
        };
        for partition in topic.partition_responses.iter_mut().filter(elsewhere) {
            let of = topic_ref(context, &topic.name, topic.topic_id);
            let LeaderHint { leader_id, leader_epoch } = broker.leader_of(of, partition.index);
            partition.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
            if endpoints.iter().all(|known| known.node_id != leader_id)
                && let Some((host, port, rack)) = broker.endpoint_of(leader_id, context.listener())
            {
                endpoints.push(NodeEndpoint { node_id: leader_id, host, port, rack });
            }
        }
    }
    endpoints
}

/// Appends one partition's batch, and tells what to wait for before that is answered.
async fn append(
    broker: &Broker,
    context: &Context,
    topic: TopicRef<'_>,
    acks: i16,
    data: PartitionProduceData,
) -> (PartitionProduceResponse, Option<(Arc<Partition>, Replication)>) {
    let found = match topic {
        TopicRef::Id(id) => broker.find_partition_by_id(id, data.index).await,
        TopicRef::Name(name) => broker.find_partition(name, data.index).await,
    };
    let partition = match found {
        Ok(found) => found,
        Err(code) => return (refuse(data.index, code, None), None),
    };
    if topic_name::is_internal(&partition.id().topic) && context.client_id.as_deref() != Some(ADMIN_CLIENT) {
        return (refuse(data.index, ErrorCode::INVALID_TOPIC_EXCEPTION, None), None);
    }
    let batch = match one_batch(data.records.unwrap_or_default()) {
        Ok(batch) => batch,
        Err((code, sentence)) => return (refuse(data.index, code, Some(sentence.to_owned())), None),
    };
    let now = broker.clock().now();
    let appended = match acks {
        -1 => partition.append_for_all(batch, now),
        _ => partition.append(batch, now).map(|appended| (appended, None)),
    };
    match appended {
        Ok((appended, wait)) => {
            let response = PartitionProduceResponse {
                index: data.index,
                base_offset: appended.first_offset,
                log_append_time_ms: appended.log_append_time,
                log_start_offset: appended.log_start_offset,
                ..Default::default()
            };
            (response, wait.map(|append| (partition, append)))
        }
        Err(error) => {
            let code = append_error_code(&error);
            let mut response = refuse(data.index, code, Some(error.to_string()));
            // What was read and then refused is told where the log begins; what could not be read, or kept, is not.
            if !UNREAD.contains(&code) {
                response.log_start_offset = partition.log_start_offset();
            }
            if let WriteError::Log(
                AppendError::InvalidRecord { record_errors, .. } | AppendError::InvalidTimestamp { record_errors, .. },
            ) = error
            {
                let told = record_errors.into_iter().map(|error| BatchIndexAndErrorMessage {
                    batch_index: error.batch_index,
                    batch_index_error_message: Some(Str::from(error.message)),
                });
                response.record_errors = told.collect();
            }
            (response, None)
        }
    }
}

/// The one batch that a partition's records must be; a piece of another behind it is passed over.
fn one_batch(records: Records) -> Result<Bytes, (ErrorCode, &'static str)> {
    let mut found = batches(&records);
    let first = match found.next() {
        Some(Ok(batch)) => batch,
        // The formats that Kafka once had are refused; what never was one, or has an impossible length, is damage.
        Some(Err(BatchError::Magic { magic: 0 | 1, .. })) => {
            return Err((ErrorCode::INVALID_RECORD, "a batch of an old format: magic must be 2"));
        }
        Some(Err(BatchError::Magic { .. } | BatchError::Length { .. })) => {
            return Err((ErrorCode::CORRUPT_MESSAGE, "a batch whose length or magic no batch can have"));
        }
        _ => return Err((ErrorCode::INVALID_RECORD, "a partition's records must be one whole batch, and there is none")),
    };
    if first.is_transactional() {
        let sentence = "a batch of a transaction, in a request without a transactional id";
        return Err((ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, sentence));
    }
    let length = first.size_in_bytes();
    if matches!(found.next(), Some(Ok(_))) {
        return Err((ErrorCode::INVALID_RECORD, "a partition's records must be one whole batch, and there are more"));
    }
    Ok(records.0.slice(..length))
}

fn refuse(index: i32, code: ErrorCode, message: Option<String>) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: code,
        base_offset: -1,
        error_message: message.map(Str::from),
        ..Default::default()
    }
}
