//! DescribeConfigs (key 32): the configs of topics and brokers, each with its source.
//!
//! Versions 1-4 are served.
//!   1  synonyms     3  types and documentation     4  flexible
//!
//! Rules
//!   a topic         all of its keys; what it does not set itself comes from the broker or the default
//!   a broker        by node id; an empty name asks only for what is set for all brokers while they run
//!   keys            null asks for all of them; one that is not known is left out
//!   twice           the same question is answered once, where Apache Kafka answers each time: 8 bytes would ask for 25,000
//!   other kinds     INVALID_REQUEST

use std::collections::HashSet;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::config::{Described, Source, Values};
use crate::metadata::{Refusal, ResourceType};
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: DescribeConfigsRequest,
) -> Outcome<DescribeConfigsResponse> {
    let with = (request.include_synonyms, request.include_documentation);
    let mut asked = HashSet::with_capacity(request.resources.len());
    let fresh = request.resources.iter().filter(|resource| {
        asked.insert((resource.resource_type, &resource.resource_name, &resource.configuration_keys))
    });
    let results = fresh.map(|resource| {
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        };
        match describe(broker, resource) {
            Ok(described) => result.configs = described.into_iter().map(|config| told(config, with)).collect(),
            Err(refusal) => {
                result.error_code = refusal.code;
                result.error_message = Some(Str::from(refusal.message));
            }
        }
        result
    });
    Outcome::Reply(DescribeConfigsResponse { results: results.collect(), ..Default::default() })
}

fn describe(broker: &Broker, resource: &DescribeConfigsResource) -> Result<Vec<Described>, Refusal> {
    let name = &resource.resource_name;
    let mut described = match ResourceType::from_code(resource.resource_type) {
        Some(ResourceType::Topic) => broker.topic_values(name)?.describe_all(),
        Some(ResourceType::Broker) if name.is_empty() => {
            broker.values().describe_all().into_iter().filter_map(for_all).collect()
        }
        Some(ResourceType::Broker) => {
            broker.check_node_id(name)?;
            broker.values().describe_all()
        }
        None => {
            let sentence = format!("resource type {} has no configs here: topics (2) and brokers (4) have", resource.resource_type);
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence));
        }
    };
    if let Some(keys) = &resource.configuration_keys {
        described.retain(|config| keys.iter().any(|key| *key == *config.def.name));
    }
    Ok(described)
}

/// A broker's config as far as it was set for all brokers, whatever this one has of its own.
fn for_all(mut config: Described) -> Option<Described> {
    config.synonyms.retain(|synonym| synonym.source == Source::DynamicDefaultBroker);
    let set = config.synonyms.first()?;
    (config.value, config.source) = (set.value.clone(), set.source);
    Some(config)
}

/// A topic's configs as CreateTopics tells them.
pub(super) fn of_topic(values: &Values) -> Vec<DescribeConfigsResourceResult> {
    values.describe_all().into_iter().map(|config| told(config, (false, false))).collect()
}

fn told(config: Described, (synonyms, documentation): (bool, bool)) -> DescribeConfigsResourceResult {
    let synonym = |synonym: crate::config::values::DescribedSynonym| DescribeConfigsSynonym {
        name: Str::from(synonym.name),
        value: synonym.value.map(Str::from),
        source: synonym.source.code(),
    };
    DescribeConfigsResourceResult {
        name: Str::from(config.def.name),
        value: config.value.map(Str::from),
        read_only: config.read_only,
        config_source: config.source.code(),
        is_sensitive: config.def.is_sensitive(),
        synonyms: if synonyms { config.synonyms.into_iter().map(synonym).collect() } else { Vec::new() },
        config_type: config.def.config_type.code(),
        documentation: documentation.then(|| Str::from(config.def.text.trim())),
    }
}
