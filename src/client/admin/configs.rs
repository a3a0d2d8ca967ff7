//! Configs of topics, brokers and groups.

use crate::client::Result;
use crate::common::ids::NodeId;
use crate::protocol::Str;
use crate::protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use super::{Admin, Each, outcome, unanswered};

/// Whose configs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// A topic's.
    Topic(String),
    /// A broker's; without an id, the defaults of all.
    Broker(Option<NodeId>),
    /// A broker's log levels.
    BrokerLogger(NodeId),
    /// A group's.
    Group(String),
}

impl Resource {
    fn code(&self) -> i8 {
        match self {
            Resource::Topic(_) => 2,
            Resource::Broker(_) => 4,
            Resource::BrokerLogger(_) => 8,
            Resource::Group(_) => 32,
        }
    }

    fn name(&self) -> String {
        match self {
            Resource::Topic(name) | Resource::Group(name) => name.clone(),
            Resource::Broker(id) => id.map(|id| id.to_string()).unwrap_or_default(),
            Resource::BrokerLogger(id) => id.to_string(),
        }
    }

    /// The broker that must be asked, where it matters.
    fn broker(&self) -> Option<NodeId> {
        match self {
            Resource::Broker(id) => *id,
            Resource::BrokerLogger(id) => Some(*id),
            Resource::Topic(_) | Resource::Group(_) => None,
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Resource::Topic(name) => write!(f, "topic {name}"),
            Resource::Broker(Some(id)) => write!(f, "broker {id}"),
            Resource::Broker(None) => write!(f, "all brokers"),
            Resource::BrokerLogger(id) => write!(f, "the loggers of broker {id}"),
            Resource::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// One config, as the broker describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; `None` when it is null, or not to be seen.
    pub value: Option<String>,
    /// Where the value comes from: Kafka's code (1 topic, 2 broker, 3 all brokers, 4 static, 5 default).
    pub source: i8,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// Whether its value is not to be seen.
    pub sensitive: bool,
    /// Kafka's type code; 0 where the broker did not say.
    pub config_type: i8,
    /// What it means, if that was asked for.
    pub documentation: Option<String>,
    /// What would count without it, in order: name, value, source.
    pub synonyms: Vec<(String, Option<String>, i8)>,
}

impl ConfigEntry {
    /// Whether the value is the default.
    pub fn is_default(&self) -> bool {
        self.source == 5
    }
}

/// A change of one config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alteration {
    /// Sets it.
    Set(String, String),
    /// Takes it back to what counts without it.
    Delete(String),
    /// Adds to a list.
    Append(String, String),
    /// Takes out of a list.
    Subtract(String, String),
}

impl Alteration {
    fn config(&self) -> AlterableConfig {
        let (operation, name, value) = match self {
            Alteration::Set(name, value) => (0, name, Some(value)),
            Alteration::Delete(name) => (1, name, None),
            Alteration::Append(name, value) => (2, name, Some(value)),
            Alteration::Subtract(name, value) => (3, name, Some(value)),
        };
        AlterableConfig { name: name.into(), config_operation: operation, value: value.map(Str::from) }
    }
}

impl Admin {
    /// The configs of each resource.
    ///
    /// # Errors
    /// Those of the call; each resource's own is in the result.
    pub async fn describe_configs(
        &self,
        resources: &[Resource],
        documentation: bool,
    ) -> Result<Each<Resource, Vec<ConfigEntry>>> {
        let mut each = Vec::new();
        // A broker knows only its own configs, so resources are asked for one by one.
        for resource in resources {
            let request = DescribeConfigsRequest {
                resources: vec![DescribeConfigsResource {
                    resource_type: resource.code(),
                    resource_name: resource.name().into(),
                    configuration_keys: None,
                }],
                include_synonyms: true,
                include_documentation: documentation,
            };
            let response = match resource.broker() {
                Some(node) => self.ask_broker(node, &request).await?,
                None => self.ask(&request).await?,
            };
            let context = || format!("configs of {resource}");
            let result = response.results.into_iter().next().ok_or_else(|| unanswered(context())).and_then(|answer| {
                let entries = answer.configs.iter().map(|config| ConfigEntry {
                    name: config.name.to_string(),
                    value: config.value.as_ref().map(ToString::to_string),
                    source: config.config_source,
                    read_only: config.read_only,
                    sensitive: config.is_sensitive,
                    config_type: config.config_type,
                    documentation: config.documentation.as_ref().map(ToString::to_string),
                    synonyms: config
                        .synonyms
                        .iter()
                        .map(|s| (s.name.to_string(), s.value.as_ref().map(ToString::to_string), s.source))
                        .collect(),
                });
                outcome(answer.error_code, answer.error_message.as_ref(), context, entries.collect())
            });
            each.push((resource.clone(), result));
        }
        Ok(each)
    }

    /// Changes configs; those that are not named stay. With `validate_only`, checks only whether it could.
    ///
    /// # Errors
    /// Those of the call; each resource's own is in the result.
    pub async fn alter_configs(
        &self,
        changes: &[(Resource, Vec<Alteration>)],
        validate_only: bool,
    ) -> Result<Each<Resource, ()>> {
        let mut each = Vec::new();
        for (resource, alterations) in changes {
            let request = IncrementalAlterConfigsRequest {
                resources: vec![AlterConfigsResource {
                    resource_type: resource.code(),
                    resource_name: resource.name().into(),
                    configs: alterations.iter().map(Alteration::config).collect(),
                }],
                validate_only,
            };
            let response = match resource.broker() {
                Some(node) => self.ask_broker(node, &request).await?,
                None => self.ask(&request).await?,
            };
            let context = || format!("alter configs of {resource}");
            let answer = response.responses.into_iter().next();
            let result = answer
                .ok_or_else(|| unanswered(context()))
                .and_then(|answer| outcome(answer.error_code, answer.error_message.as_ref(), context, ()));
            each.push((resource.clone(), result));
        }
        Ok(each)
    }
}
