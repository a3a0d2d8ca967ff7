//! UpdateFeatures (key 57): raises or lowers the levels of the cluster's features (KIP-584, KIP-778).
//!
//! Versions 0-2.
//!
//! ```text
//!  1  safe and unsafe downgrades; only to validate     2  no result for each feature
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The features and the levels that they are to have: all of them, or none.
    UpdateFeaturesRequest (request of UpdateFeatures, answered by UpdateFeaturesResponse) {
        /// How long to wait until it is done, in milliseconds.
        timeout_ms: i32 [0+] = 60_000,
        feature_updates: Vec<FeatureUpdateKey>,
        validate_only: bool [1+],
    }

    /// One feature.
    FeatureUpdateKey {
        feature: Str,
        /// The level it is to have; 0 switches it off.
        max_version_level: i16,
        allow_downgrade: bool [0],
        /// 1 only up, 2 also down where nothing is lost by it, 3 also where something is.
        upgrade_type: i8 [1+] = 1,
    }

    /// What became of it.
    UpdateFeaturesResponse (response of UpdateFeatures) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Str>,
        results: Vec<UpdatableFeatureResult> [0-1] ignorable,
    }

    /// What became of one feature.
    UpdatableFeatureResult {
        feature: Str,
        error_code: ErrorCode,
        error_message: Option<Str>,
    }
}
