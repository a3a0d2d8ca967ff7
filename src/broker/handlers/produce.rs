//! Produce (key 0): appends record batches to the partitions that this broker leads.
//!
//! Versions 3-13 are served; 0-2 are advertised, for librdkafka, and close the connection, as Apache Kafka does.
//!   5  log start offset in the reply        9  flexible             12  joins its transaction by itself (KIP-890)
//!   8  record errors (KIP-467)             10  leader hints         13  topic ids (KIP-516)
//!
//! Rules
//!   acks 0    no reply; an error closes the connection, which is all the client would notice
//!   acks 1    replies once the leader has appended
//!   acks all  wants min.insync.replicas before the append; this broker holds the only replica, so the append is all
//!   records   exactly one batch a partition; nobody but Kafka's tools writes to internal topics
//!   a repeat  of one of a producer's last five batches is answered with the offset that the first one got

use bytes::Bytes;

use super::{Context, Outcome, append_error_code};
use crate::broker::Broker;
use crate::common::ids::Uuid;
use crate::log::AppendError;
use crate::metadata::topic_name;
use crate::protocol::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use crate::protocol::{ErrorCode, Records, Str};
use crate::record::{BatchError, batches};

/// The client id under which Kafka's own tools may write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";
/// Refusals of batches that were not looked into, or could not be kept.
const UNREAD: [ErrorCode; 4] = [
    ErrorCode::CORRUPT_MESSAGE,
    ErrorCode::MESSAGE_TOO_LARGE,
    ErrorCode::RECORD_LIST_TOO_LARGE,
    ErrorCode::KAFKA_STORAGE_ERROR,
];

pub(super) async fn handle(broker: &Broker, context: &Context, request: ProduceRequest) -> Outcome<ProduceResponse> {
    let _turn = context.connection.turn.lock().await;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    let mut failed = None;
    for topic in request.topic_data {
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let refused = match request.acks {
                _ if request.transactional_id.is_some() => Some(ErrorCode::INVALID_TXN_STATE),
                -1..=1 => None,
                _ => Some(ErrorCode::INVALID_REQUIRED_ACKS),
            };
            let response = match refused {
                Some(code) => refuse(data.index, code, None),
                None => append(broker, context, &topic.name, topic.topic_id, request.acks, data).await,
            };
            if response.error_code != ErrorCode::NONE {
                failed = Some(response.error_code);
            }
            partitions.push(response);
        }
        responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: partitions,
        });
    }
    match (request.acks, failed) {
        (0, None) => Outcome::Nothing,
        (0, Some(code)) => Outcome::Close(format!("a produce with acks 0 failed with error code {code}")),
        _ => Outcome::Reply(ProduceResponse { responses, ..Default::default() }),
    }
}

async fn append(
    broker: &Broker,
    context: &Context,
    name: &Str,
    id: Uuid,
    acks: i16,
    data: PartitionProduceData,
) -> PartitionProduceResponse {
    let found = if context.version >= 13 {
        broker.find_partition_by_id(id, data.index).await
    } else {
        broker.find_partition(name, data.index).await
    };
    let partition = match found {
        Ok(found) => found,
        Err(code) => return refuse(data.index, code, None),
    };
    if acks == -1 && partition.in_sync_replicas() < partition.min_in_sync_replicas() {
        return refuse(data.index, ErrorCode::NOT_ENOUGH_REPLICAS, None);
    }
    if topic_name::is_internal(&partition.id().topic) && context.client_id.as_deref() != Some(ADMIN_CLIENT) {
        return refuse(data.index, ErrorCode::INVALID_TOPIC_EXCEPTION, None);
    }
    let batch = match one_batch(data.records.unwrap_or_default()) {
        Ok(batch) => batch,
        Err((code, sentence)) => return refuse(data.index, code, Some(sentence.to_owned())),
    };
    match partition.append(batch, broker.clock().now()) {
        Ok(appended) => PartitionProduceResponse {
            index: data.index,
            base_offset: appended.first_offset,
            log_append_time_ms: appended.log_append_time,
            log_start_offset: appended.log_start_offset,
            ..Default::default()
        },
        Err(error) => {
            let code = append_error_code(&error);
            let mut response = refuse(data.index, code, Some(error.to_string()));
            // What was read and then refused is told where the log begins; what could not be read, or kept, is not.
            if !UNREAD.contains(&code) {
                response.log_start_offset = partition.log_start_offset();
            }
            if let AppendError::InvalidRecord { record_errors, .. }
            | AppendError::InvalidTimestamp { record_errors, .. } = error
            {
                let told = record_errors.into_iter().map(|error| BatchIndexAndErrorMessage {
                    batch_index: error.batch_index,
                    batch_index_error_message: Some(Str::from(error.message)),
                });
                response.record_errors = told.collect();
            }
            response
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
