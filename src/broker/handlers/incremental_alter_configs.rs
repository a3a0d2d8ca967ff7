//! IncrementalAlterConfigs (key 44): changes some configs of a topic or broker and leaves the others (KIP-339).
//!
//! Versions 0-1 are served; 1 is flexible.
//!
//! Rules
//!   operations   0 set, 1 delete (back to the default), 2 append to a list, 3 subtract from a list
//!   all or none  for each resource; one that is refused does not hold up the others
//!   twice        a resource named twice, or a key altered twice, is INVALID_REQUEST

use std::collections::HashMap;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::config::alter::Alteration;
use crate::metadata::Refusal;
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: IncrementalAlterConfigsRequest,
) -> Outcome<IncrementalAlterConfigsResponse> {
    let mut responses = Vec::with_capacity(request.resources.len());
    let mut named: HashMap<(i8, &str), usize> = HashMap::with_capacity(request.resources.len());
    for resource in &request.resources {
        *named.entry((resource.resource_type, &resource.resource_name)).or_default() += 1;
    }
    for resource in &request.resources {
        let times = named.get(&(resource.resource_type, resource.resource_name.as_str()));
        let done = if times.is_some_and(|times| *times > 1) {
            let sentence = format!("'{}' is named more than once in the request", resource.resource_name);
            Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence))
        } else {
            alter(broker, resource, request.validate_only).await
        };
        let (code, message) = match done {
            Ok(()) => (ErrorCode::NONE, None),
            Err(refusal) => (refusal.code, Some(Str::from(refusal.message))),
        };
        responses.push(AlterConfigsResourceResponse {
            error_code: code,
            error_message: message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        });
    }
    Outcome::Reply(IncrementalAlterConfigsResponse { responses, ..Default::default() })
}

async fn alter(broker: &Broker, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    let mut changes = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        let value = || {
            let sentence = || format!("{} of '{}' has no value", config.name, resource.resource_name);
            config.value.as_ref().map(Str::to_string).ok_or_else(|| Refusal::new(ErrorCode::INVALID_REQUEST, sentence()))
        };
        let change = match config.config_operation {
            0 => Alteration::Set(value()?),
            1 => Alteration::Delete,
            2 => Alteration::Append(value()?),
            3 => Alteration::Subtract(value()?),
            other => {
                let sentence = format!("operation {other} on {}: it must be from 0 to 3", config.name);
                return Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence));
            }
        };
        changes.push((config.name.to_string(), change));
    }
    broker.alter_configs((resource.resource_type, &resource.resource_name), changes, validate_only).await
}
