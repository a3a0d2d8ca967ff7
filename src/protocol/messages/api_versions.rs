//! ApiVersions (key 18): which APIs a broker speaks, in which versions. The first request of most clients.
//!
//! Versions 0-4.
//!
//! ```text
//!  1  throttle time          3  flexible; the client's name and version (KIP-511), features (KIP-584)
//!  2  no change on the wire  4  supported features may begin at version 0
//! ```
//!
//! The response's header has no tagged fields in any version, and a request in a version that the broker does not know
//! is answered in version 0 with UNSUPPORTED_VERSION: a client that knows nothing yet must be able to read it.

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Asks what the broker speaks.
    ApiVersionsRequest (request of ApiVersions, answered by ApiVersionsResponse) {
        client_software_name: Str    [3+] ignorable,
        client_software_version: Str [3+] ignorable,
    }

    /// What the broker speaks.
    ApiVersionsResponse (response of ApiVersions) {
        error_code: ErrorCode,
        api_keys: Vec<ApiVersion>,
        throttle_time_ms: i32                        [1+] ignorable,
        supported_features: Vec<SupportedFeatureKey> [3+] tag 0 ignorable,
        /// Rises with each change of the finalized features; -1 if not known.
        finalized_features_epoch: i64                [3+] tag 1 ignorable = -1,
        /// The features that are on in the whole cluster: clients act on them.
        finalized_features: Vec<FinalizedFeatureKey> [3+] tag 2 ignorable,
        zk_migration_ready: bool                     [3+] tag 3 ignorable,
    }

    /// One API and its versions, both ends included.
    ApiVersion {
        api_key: i16,
        min_version: i16,
        max_version: i16,
    }

    /// A feature that this broker could have on, and its levels.
    SupportedFeatureKey {
        name: Str,
        min_version: i16,
        max_version: i16,
    }

    /// A feature that the cluster has on, and its levels.
    FinalizedFeatureKey {
        name: Str,
        max_version_level: i16,
        min_version_level: i16,
    }
}
