//! ApiVersions (key 18): what this broker serves, and which features the cluster has agreed on.
//!
//! Versions 0-4 are served. An unknown version is answered in version 0 with UNSUPPORTED_VERSION and our range of this API, so that
//! a newer client can come again; the response header has always version 0, since the client does not know ours yet.
//!   3  flexible: the client's software name and version; features     4  features with a minimum of 0
//!
//! Rules
//!   the list derives from the table of handlers: what is not served is not in it. What brokers and controllers have among
//!   themselves is only told on a controller's listener, and what brokers alone answer only on the other

use super::{Context, Outcome};
use crate::broker::{Broker, Listener};
use crate::metadata::plan;
use crate::protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::protocol::{ApiKey, ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: ApiVersionsRequest,
) -> Outcome<ApiVersionsResponse> {
    if context.version >= 3
        && !(is_software_name(&request.client_software_name) && is_software_name(&request.client_software_version))
    {
        return Outcome::Reply(ApiVersionsResponse {
            error_code: ErrorCode::INVALID_REQUEST,
            ..Default::default()
        });
    }
    let (supported, finalized): (Vec<_>, Vec<_>) = broker.controller().read(|image| {
        let supported = plan::supported_features(image).into_iter().map(|(name, min_version, max_version)| {
            SupportedFeatureKey { name: Str::from(name), min_version, max_version }
        });
        // A client of before version 4 takes a minimum of 0 for nonsense.
        let supported = supported.filter(|known| known.min_version > 0 || context.version >= 4);
        let finalized = image.features().iter().map(|(name, level)| FinalizedFeatureKey {
            name: Str::from(name.as_str()),
            max_version_level: *level,
            min_version_level: *level,
        });
        (supported.collect(), finalized.collect())
    });
    Outcome::Reply(ApiVersionsResponse {
        api_keys: served(context.connection.listener),
        supported_features: supported,
        finalized_features: finalized,
        // Clients take what has a higher epoch for newer.
        finalized_features_epoch: broker.controller().last_applied(),
        ..Default::default()
    })
}

/// The reply to a version that this broker does not know: in version 0, and of the one API that matters then.
pub(super) fn unsupported(listener: Listener) -> ApiVersionsResponse {
    let mut api_keys = served(listener);
    api_keys.retain(|version| version.api_key == ApiKey::ApiVersions.spec().key);
    ApiVersionsResponse { error_code: ErrorCode::UNSUPPORTED_VERSION, api_keys, ..Default::default() }
}

fn served(listener: Listener) -> Vec<ApiVersion> {
    let mut keys: Vec<ApiVersion> = super::SERVED
        .iter()
        .filter(|key| match listener {
            Listener::Controller => super::is_for_controllers(**key),
            Listener::Client => !key.spec().internal,
        })
        .map(|key| {
            let versions = key.spec().advertised;
            ApiVersion {
                api_key: key.spec().key,
                min_version: versions.min,
                max_version: versions.max,
            }
        })
        .collect();
    keys.sort_unstable_by_key(|version| version.api_key);
    keys
}

/// Kafka's rule: letters, digits, '-' and '.', an alphanumeric at both ends.
fn is_software_name(name: &str) -> bool {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    alphanumeric(name.chars().next())
        && alphanumeric(name.chars().next_back())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}
