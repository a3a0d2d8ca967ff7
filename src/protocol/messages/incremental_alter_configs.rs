//! IncrementalAlterConfigs (key 44): changes single configs of a resource (KIP-339).
//!
//! Versions 0-1; 1 is flexible.

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The resources to change.
    IncrementalAlterConfigsRequest (request of IncrementalAlterConfigs, answered by IncrementalAlterConfigsResponse) {
        resources: Vec<AlterConfigsResource>,
        /// Only says whether it would work.
        validate_only: bool,
    }

    /// One resource and the changes.
    AlterConfigsResource {
        /// 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
        resource_type: i8,
        resource_name: Str,
        configs: Vec<AlterableConfig>,
    }

    /// One change.
    AlterableConfig {
        name: Str,
        /// 0 sets, 1 takes back to the default, 2 adds to a list, 3 takes from a list.
        config_operation: i8,
        value: Option<Str>,
    }

    /// What became of each resource.
    IncrementalAlterConfigsResponse (response of IncrementalAlterConfigs) {
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
