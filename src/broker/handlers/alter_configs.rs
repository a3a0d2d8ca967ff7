//! AlterConfigs (key 33): gives a topic or broker exactly these configs; all others go back to their defaults.
//!
//! Versions 0-2 are served; 2 is flexible. Old: IncrementalAlterConfigs (key 44) changes some and leaves the others.

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::metadata::Refusal;
use crate::metadata::image::Configs;
use crate::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: AlterConfigsRequest,
) -> Outcome<AlterConfigsResponse> {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let (code, message) = match replace(broker, &resource, request.validate_only).await {
            Ok(()) => (ErrorCode::NONE, None),
            Err(refusal) => (refusal.code, Some(Str::from(refusal.message))),
        };
        responses.push(AlterConfigsResourceResponse {
            error_code: code,
            error_message: message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        });
    }
    Outcome::Reply(AlterConfigsResponse { responses, ..Default::default() })
}

async fn replace(broker: &Broker, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    let mut wanted = Configs::new();
    for config in &resource.configs {
        let Some(value) = &config.value else {
            let sentence = format!("{} of '{}' has no value", config.name, resource.resource_name);
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence));
        };
        wanted.insert(config.name.to_string(), value.to_string());
    }
    broker.replace_configs((resource.resource_type, &resource.resource_name), wanted, validate_only).await
}
