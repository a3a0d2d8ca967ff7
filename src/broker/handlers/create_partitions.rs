//! CreatePartitions (key 37): gives topics more partitions. Keys may then go to other partitions than before.
//!
//! Versions 0-3 are served. 2 is flexible; 3 may be refused by a quota, which this broker does not have.
//!
//! Rules
//!   the count is the new total and must be more than there are

use std::collections::HashSet;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: CreatePartitionsRequest,
) -> Outcome<CreatePartitionsResponse> {
    let mut results = Vec::with_capacity(request.topics.len());
    let mut named = HashSet::with_capacity(request.topics.len());
    for topic in &request.topics {
        let twice = !named.insert(topic.name.as_str());
        let assignments: Option<Vec<Vec<i32>>> =
            topic.assignments.as_ref().map(|list| list.iter().map(|one| one.broker_ids.clone()).collect());
        let done = if twice {
            let sentence = format!("topic '{}' is named more than once in the request", topic.name);
            Err(crate::metadata::Refusal::new(ErrorCode::INVALID_REQUEST, sentence))
        } else {
            broker.create_partitions(&topic.name, topic.count, assignments, request.validate_only).await
        };
        results.push(match done {
            Ok(()) => CreatePartitionsTopicResult { name: topic.name.clone(), ..Default::default() },
            Err(refusal) => CreatePartitionsTopicResult {
                name: topic.name.clone(),
                error_code: refusal.code,
                error_message: Some(Str::from(refusal.message)),
            },
        });
    }
    Outcome::Reply(CreatePartitionsResponse { results, ..Default::default() })
}
