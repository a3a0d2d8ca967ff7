//! Refusals of what is asked of one topic, while the rest of the request is worked on.
//!
//! ```text
//! divided   the topic's part is taken out of the request and refused; the rest is worked on as ever, and the two answers
//!           are told as one
//! altered   the request is worked on as a whole, and in its answer the topic's part becomes the error: where a request may ask
//!           for all topics without a name, or for what its fetch session knows. None of these changes anything
//! ```
//! One line an API in either table. An API that stands in neither does not answer topic by topic.

use std::sync::Arc;

use bytes::Bytes;

use super::super::{handle, sent, work};
use super::{decode, refuse};
use crate::broker::{Broker, Connection, Reply, ReplyFuture};
use crate::common::ids::Uuid;
use crate::protocol::messages::{
    create_partitions::*, create_topics::*, delete_records::*, delete_topics::*, describe_producers::*,
    describe_topic_partitions, fetch, list_offsets::*, metadata, offset_commit::*, offset_fetch::*,
    offset_for_leader_epoch::*, produce,
};
use crate::protocol::{
    ApiKey, Decoder, ErrorCode, Frame, Request, RequestHeader, decode_request_header, decode_response, encode_request,
    encode_response,
};

/// Whether requests of `api` can be refused for one topic alone.
pub fn can_be_refused_for_a_topic(api: ApiKey) -> bool {
    DIVIDED.contains(&api) || ALTERED.contains(&api)
}

/// Answers a client's request, of which a topic's part is to be refused, if one is.
pub(super) fn refused(
    broker: &Arc<Broker>,
    connection: &Arc<Connection>,
    header: &RequestHeader,
    frame: &Bytes,
) -> Option<ReplyFuture> {
    let client_id = header.client_id.as_deref().unwrap_or_default();
    let due = broker.request_faults().topics(header.api_key, client_id);
    if due.is_empty() || is_of_a_follower(header, frame) {
        return None;
    }
    let due = due.into_iter().map(|(fault, name, code)| {
        let id = broker.controller().read(|image| image.topic(&name).map(|topic| topic.id));
        Due { fault, code, named: Named { name, id } }
    });
    let due: Vec<Due> = due.collect();
    if ALTERED.contains(&header.api_key) {
        return Some(Box::pin(altered(broker.clone(), connection.clone(), header.clone(), frame.clone(), due)));
    }
    due.into_iter().find_map(|due| divided(broker, connection, frame, &due))
}

/// What is to be refused of a topic.
struct Due {
    fault: u64,
    code: ErrorCode,
    named: Named,
}

/// A topic, by whatever a message calls it.
struct Named {
    name: String,
    /// `None` where there is no such topic.
    id: Option<Uuid>,
}

impl Named {
    fn is(&self, name: &str, id: Uuid) -> bool {
        self.name == name || self.id == Some(id)
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name
    }
}

/// Whether a replica fetches, and no consumer.
fn is_of_a_follower(header: &RequestHeader, frame: &Bytes) -> bool {
    if header.api_key != ApiKey::Fetch {
        return false;
    }
    let Ok((_, body)) = decode_request_header(frame.clone()) else { return false };
    let fetch = decode::<fetch::FetchRequest>(header, body);
    fetch.is_ok_and(|(fetch, _)| fetch.replica_id >= 0 || fetch.replica_state.replica_id >= 0)
}

/// Answers a request from two parts; `None` where it does not name the topic.
fn divided(broker: &Arc<Broker>, connection: &Arc<Connection>, frame: &Bytes, due: &Due) -> Option<ReplyFuture> {
    let (header, body) = decode_request_header(frame.clone()).ok()?;
    let (part, rest) = divide(&header, body, &due.named)?;
    let (part_header, part_body) = decode_request_header(part).ok()?;
    let part = refuse(&part_header, part_body, due.code)?;
    if !broker.request_faults().take_one(due.fault) {
        return None;
    }
    let (key, version) = (header.api_key, header.api_version);
    let rest = rest.map(|rest| handle(broker, connection, rest));
    Some(Box::pin(async move {
        let rest = match rest {
            Some(rest) => rest.await,
            None => return part,
        };
        match (part, rest) {
            (Reply::Send(part), Reply::Send(rest)) => together(key, version, part, rest),
            (Reply::Close(reason), _) | (_, Reply::Close(reason)) => Reply::Close(reason),
            (part, Reply::Nothing) => part,
            (Reply::Nothing, rest) => rest,
        }
    }))
}

/// Answers a request, and alters what the answer tells of the topics.
async fn altered(
    broker: Arc<Broker>,
    connection: Arc<Connection>,
    header: RequestHeader,
    frame: Bytes,
    due: Vec<Due>,
) -> Reply {
    let mut reply = work(&broker, &connection, frame).await;
    for due in due {
        let Reply::Send(answer) = &reply else { return reply };
        let answer = answer.clone().into_bytes();
        if let Some(altered) = alter(header.api_key, header.api_version, answer, &due.named, due.code)
            && broker.request_faults().take_one(due.fault)
        {
            reply = altered;
        }
    }
    reply
}

/// The frame of a request, without its size, as a client would send it.
fn again<R: Request>(header: &RequestHeader, request: &R) -> Option<Bytes> {
    let frame = encode_request(request, header.api_version, header.correlation_id, header.client_id.as_ref());
    frame.ok().map(without_size)
}

fn without_size(frame: Frame) -> Bytes {
    frame.into_bytes().slice(4..)
}

/// One line an API: the request's type, where it names topics and which of them is meant, and where the answer tells of them.
macro_rules! divided {
    ($named:ident; $($key:ident: $type:ty, { $($field:ident: |$topic:ident| $is:expr),+ } => $answers:ident;)*) => {
        const DIVIDED: &[ApiKey] = &[$(ApiKey::$key),*];

        /// The frames of the topic's part and, where there is any, of the rest; `None` where the topic is not named.
        fn divide(header: &RequestHeader, body: Decoder, $named: &Named) -> Option<(Bytes, Option<Bytes>)> {
            match header.api_key {
                $(ApiKey::$key => {
                    let (mut request, _) = decode::<$type>(header, body).ok()?;
                    let (mut is_named, mut is_rest) = (false, false);
                    $(
                        let all = std::mem::take(&mut request.$field);
                        let ($field, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|$topic| $is);
                        is_named |= !$field.is_empty();
                        is_rest |= !rest.is_empty();
                        request.$field = rest;
                    )+
                    if !is_named {
                        return None;
                    }
                    let rest = if is_rest { Some(again(header, &request)?) } else { None };
                    $(request.$field = $field;)+
                    Some((again(header, &request)?, rest))
                })*
                _ => None,
            }
        }

        /// The two answers as one.
        fn together(key: ApiKey, version: i16, part: Frame, rest: Frame) -> Reply {
            match key {
                $(ApiKey::$key => {
                    let part = decode_response::<$type>(without_size(part), version);
                    let rest = decode_response::<$type>(without_size(rest), version);
                    match (part, rest) {
                        (Ok((_, part)), Ok((correlation_id, mut rest))) => {
                            rest.$answers.extend(part.$answers);
                            sent(encode_response::<$type>(&rest, version, correlation_id))
                        }
                        (Err(error), _) | (_, Err(error)) => Reply::Close(format!("an answer cannot be read: {error}")),
                    }
                })*
                key => Reply::Close(format!("{key} is not answered in parts")),
            }
        }
    };
}

divided! {
    named;
    Produce: produce::ProduceRequest, { topic_data: |topic| named.is(&topic.name, topic.topic_id) } => responses;
    ListOffsets: ListOffsetsRequest, { topics: |topic| named.is_called(&topic.name) } => topics;
    OffsetCommit: OffsetCommitRequest, { topics: |topic| named.is(&topic.name, topic.topic_id) } => topics;
    CreateTopics: CreateTopicsRequest, { topics: |topic| named.is_called(&topic.name) } => topics;
    DeleteTopics: DeleteTopicsRequest, {
        topics: |topic| named.is(topic.name.as_deref().unwrap_or_default(), topic.topic_id),
        topic_names: |name| named.is_called(name)
    } => responses;
    DeleteRecords: DeleteRecordsRequest, { topics: |topic| named.is_called(&topic.name) } => topics;
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest, { topics: |topic| named.is_called(&topic.topic) } => topics;
    CreatePartitions: CreatePartitionsRequest, { topics: |topic| named.is_called(&topic.name) } => results;
    DescribeProducers: DescribeProducersRequest, { topics: |topic| named.is_called(&topic.name) } => topics;
    DescribeTopicPartitions: describe_topic_partitions::DescribeTopicPartitionsRequest, {
        topics: |topic| named.is_called(&topic.name)
    } => topics;
}

/// One line an API: the request's type, and how its answer tells the error of a topic; whether it does.
macro_rules! altered {
    ($code:ident, $named:ident; $($key:ident: $type:ty, |$response:ident| $told:expr;)*) => {
        const ALTERED: &[ApiKey] = &[$(ApiKey::$key),*];

        /// The answer with the error; `None` where it does not tell of the topic.
        fn alter(key: ApiKey, version: i16, frame: Bytes, $named: &Named, $code: ErrorCode) -> Option<Reply> {
            match key {
                $(ApiKey::$key => {
                    let (correlation_id, mut answer) = decode_response::<$type>(frame.slice(4..), version).ok()?;
                    let $response = &mut answer;
                    let is_told: bool = $told;
                    is_told.then(|| sent(encode_response::<$type>(&answer, version, correlation_id)))
                })*
                _ => None,
            }
        }
    };
}

altered! {
    code, named;
    Fetch: fetch::FetchRequest, |response| {
        let mut is_told = false;
        for topic in response.responses.iter_mut().filter(|topic| named.is(&topic.topic, topic.topic_id)) {
            is_told |= !topic.partitions.is_empty();
            for partition in &mut topic.partitions {
                *partition = fetch::PartitionData {
                    partition_index: partition.partition_index,
                    error_code: code,
                    high_watermark: -1,
                    ..Default::default()
                };
            }
        }
        is_told
    };
    Metadata: metadata::MetadataRequest, |response| {
        let mut is_told = false;
        let is_it = |topic: &&mut metadata::MetadataResponseTopic| {
            named.is(topic.name.as_deref().unwrap_or_default(), topic.topic_id)
        };
        for topic in response.topics.iter_mut().filter(is_it) {
            is_told = true;
            topic.error_code = code;
            topic.partitions.clear();
        }
        is_told
    };
    OffsetFetch: OffsetFetchRequest, |response| {
        let mut is_told = false;
        for topic in response.topics.iter_mut().filter(|topic| named.is_called(&topic.name)) {
            for partition in &mut topic.partitions {
                is_told = true;
                (partition.error_code, partition.committed_offset) = (code, -1);
            }
        }
        let topics = response.groups.iter_mut().flat_map(|group| &mut group.topics);
        for topic in topics.filter(|topic| named.is(&topic.name, topic.topic_id)) {
            for partition in &mut topic.partitions {
                is_told = true;
                (partition.error_code, partition.committed_offset) = (code, -1);
            }
        }
        is_told
    };
}

#[cfg(test)]
mod tests;
