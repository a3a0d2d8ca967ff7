//! ListConfigResources (key 74): the resources that have configs.
//!
//! Versions 0-1; 0 knows client metrics only, 1 every kind (KIP-1142).

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Which kinds of resource to list.
    ListConfigResourcesRequest (request of ListConfigResources, answered by ListConfigResourcesResponse) {
        /// Empty for all; 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
        resource_types: Vec<i8> [1+],
    }

    /// The resources.
    ListConfigResourcesResponse (response of ListConfigResources) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        config_resources: Vec<ConfigResource>,
    }

    /// One resource.
    ConfigResource {
        resource_name: Str,
        resource_type: i8 [1+] ignorable = 16,
    }
}
