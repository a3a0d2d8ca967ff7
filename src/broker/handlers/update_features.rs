//! UpdateFeatures (key 57): raises or lowers the levels of the cluster's features.
//!
//! Versions 0-2 are served.
//!   1  safe and unsafe downgrades; only to validate     2  no result for each feature
//!
//! Rules
//!   all or none    one that is refused refuses the request, with INVALID_UPDATE_VERSION; the others' results are not told then
//!   version 0      may only raise: as in Apache Kafka its `allow_downgrade` has no effect
//!   the rest       in `metadata/plan/features.rs`

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::metadata::plan::{FeatureUpdate, UpgradeType};
use crate::protocol::messages::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: UpdateFeaturesRequest,
) -> Outcome<UpdateFeaturesResponse> {
    let update = |update: &FeatureUpdateKey| FeatureUpdate {
        name: update.feature.to_string(),
        level: update.max_version_level,
        upgrade_type: UpgradeType::from_code(update.upgrade_type),
    };
    let updates: Vec<FeatureUpdate> = request.feature_updates.iter().map(update).collect();
    Outcome::Reply(match broker.update_features(updates, request.validate_only).await {
        Ok(()) => {
            let result = |update: &FeatureUpdateKey| UpdatableFeatureResult {
                feature: update.feature.clone(),
                error_code: ErrorCode::NONE,
                // So does Apache Kafka call it.
                error_message: Some(Str::from_static("NONE")),
            };
            let results = request.feature_updates.iter().filter(|_| context.version < 2).map(result).collect();
            UpdateFeaturesResponse { results, ..Default::default() }
        }
        Err(refusal) => {
            let why = format!(
                "The update failed for all features since the following feature had an error: {}",
                refusal.message
            );
            UpdateFeaturesResponse {
                error_code: refusal.code,
                error_message: Some(Str::from(why)),
                ..Default::default()
            }
        }
    })
}
