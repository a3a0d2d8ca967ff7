//! AlterConfigs (key 33): sets all configs of a resource at once; those that are not named fall back to their defaults.
//!
//! Versions 0-2; 1 changed nothing on the wire, 2 is flexible. IncrementalAlterConfigs is the better choice.

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The resources to change.
    AlterConfigsRequest (request of AlterConfigs, answered by AlterConfigsResponse) {
        resources: Vec<AlterConfigsResource>,
        /// Only says whether it would work.
        validate_only: bool,
    }

    /// One resource and all its configs.
    AlterConfigsResource {
        /// 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
        resource_type: i8,
        resource_name: Str,
        configs: Vec<AlterableConfig>,
    }

    /// One config.
    AlterableConfig {
        name: Str,
        value: Option<Str>,
    }

    /// What became of each resource.
    AlterConfigsResponse (response of AlterConfigs) {
        throttle_time_ms: i32,
        responses: Vec<AlterConfigsResourceResponse>,
    }

    /// What became of one resource.
    AlterConfigsResourceResponse {
        error_code: ErrorCode,
        error_message: Option<Str>,
        resource_type: i8,
        resource_name: Str,
    }
}
