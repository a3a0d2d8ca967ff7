//! DeleteTopics (key 20): takes topics away, with their records, configs and committed offsets.
//!
//! Versions 1-6 are served.
//!   5  error messages     6  topics by id
//!
//! Rules
//!   delete.topic.enable=false   TOPIC_DELETION_DISABLED (INVALID_REQUEST before version 3)
//!   the files                   lie in a folder named `-delete` until file.delete.delay.ms is over

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::common::ids::Uuid;
use crate::protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: DeleteTopicsRequest,
) -> Outcome<DeleteTopicsResponse> {
    let by_name = |name: Str| DeleteTopicState { name: Some(name), ..Default::default() };
    let asked: Vec<DeleteTopicState> =
        if context.version >= 6 { request.topics } else { request.topic_names.into_iter().map(by_name).collect() };
    let mut responses = Vec::with_capacity(asked.len());
    for topic in asked {
        let (name, id, code) = delete(broker, context, &topic).await;
        responses.push(DeletableTopicResult {
            name,
            topic_id: id,
            error_code: code,
            error_message: (code != ErrorCode::NONE).then(|| Str::from(code.message())),
        });
    }
    Outcome::Reply(DeleteTopicsResponse { responses, ..Default::default() })
}

async fn delete(broker: &Broker, context: &Context, asked: &DeleteTopicState) -> (Option<Str>, Uuid, ErrorCode) {
    let fail = |code| (asked.name.clone(), asked.topic_id, code);
    if !broker.deletes_topics() {
        let old = context.version < 3;
        return fail(if old { ErrorCode::INVALID_REQUEST } else { ErrorCode::TOPIC_DELETION_DISABLED });
    }
    let found = broker.controller().read(|image| {
        let topic = match &asked.name {
            Some(name) => image.topic(name),
            None => image.topic_by_id(asked.topic_id),
        };
        topic.map(|topic| (topic.name.clone(), topic.id))
    });
    match found {
        None if asked.name.is_some() => fail(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        None => fail(ErrorCode::UNKNOWN_TOPIC_ID),
        Some((name, id)) => match broker.delete_topic(&name).await {
            Ok(()) => (Some(Str::from(name)), id, ErrorCode::NONE),
            Err(refusal) => fail(refusal.code),
        },
    }
}
