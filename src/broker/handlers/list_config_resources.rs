//! ListConfigResources (key 74): which resources may have configs.
//!
//! Versions 0-1 are served. 0 asks for client metrics subscriptions, of which there are none; 1 asks by type.
//!
//! Rules
//!   types   2 topics, 4 brokers, 8 broker loggers, 16 client metrics, 32 groups; an empty list asks for all
//!   others  UNSUPPORTED_VERSION

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use crate::protocol::{ErrorCode, Str};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
const KNOWN: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: ListConfigResourcesRequest,
) -> Outcome<ListConfigResourcesResponse> {
    let asked = match (context.version, request.resource_types.is_empty()) {
        (0, _) => vec![CLIENT_METRICS],
        (_, true) => KNOWN.to_vec(),
        (_, false) => request.resource_types,
    };
    if asked.iter().any(|kind| !KNOWN.contains(kind)) {
        let error_code = ErrorCode::UNSUPPORTED_VERSION;
        return Outcome::Reply(ListConfigResourcesResponse { error_code, ..Default::default() });
    }
    let mut config_resources = Vec::new();
    let mut list = |kind: i8, names: Vec<Str>| {
        let resources = names.into_iter().map(|name| ConfigResource { resource_name: name, resource_type: kind });
        config_resources.extend(resources);
    };
    if asked.contains(&TOPIC) {
        list(TOPIC, broker.controller().read(|image| image.topics().map(|topic| Str::from(topic.name.as_str())).collect()));
    }
    for kind in [BROKER, BROKER_LOGGER] {
        if asked.contains(&kind) {
            list(kind, vec![Str::from(broker.node().id.to_string())]);
        }
    }
    Outcome::Reply(ListConfigResourcesResponse { config_resources, ..Default::default() })
}
