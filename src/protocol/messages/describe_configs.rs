//! DescribeConfigs (key 32): the configs of topics, brokers and groups, and where each value comes from.
//!
//! Versions 1-4.
//!
//! ```text
//!  1  synonyms and sources (KIP-226)      3  types and documentation (KIP-569)
//!  2  no change on the wire               4  flexible
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The resources whose configs are asked for.
    DescribeConfigsRequest (request of DescribeConfigs, answered by DescribeConfigsResponse) {
        resources: Vec<DescribeConfigsResource>,
        include_synonyms: bool,
        include_documentation: bool [3+],
    }

    /// One resource.
    DescribeConfigsResource {
        /// 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
        resource_type: i8,
        resource_name: Str,
        /// The configs asked for; null for all.
        configuration_keys: Option<Vec<Str>>,
    }

    /// The configs of each resource.
    DescribeConfigsResponse (response of DescribeConfigs) {
        throttle_time_ms: i32,
        results: Vec<DescribeConfigsResult>,
    }

    /// The configs of one resource.
    DescribeConfigsResult {
        error_code: ErrorCode,
        error_message: Option<Str>,
        resource_type: i8,
        resource_name: Str,
        configs: Vec<DescribeConfigsResourceResult>,
    }

    /// One config.
    DescribeConfigsResourceResult {
        name: Str,
        /// Null if it is a secret, or has no value.
        value: Option<Str>,
        read_only: bool,
        /// 1 the topic, 2 this broker while running, 3 all brokers while running, 4 the
        /// broker's file, 5 the default, 6 a broker's logger, 7 client metrics, 8 the group; -1 unknown.
        config_source: i8          = -1,
        is_sensitive: bool,
        synonyms: Vec<DescribeConfigsSynonym>,
        /// 0 unknown, 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password.
        config_type: i8            [3+] ignorable,
        documentation: Option<Str> [3+] ignorable,
    }

    /// A config that this one's value could come from, the strongest first.
    DescribeConfigsSynonym {
        name: Str,
        value: Option<Str>,
        source: i8,
    }
}
