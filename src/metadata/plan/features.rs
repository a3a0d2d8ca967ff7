//! Features: what the whole cluster does or does not, each by its level, and how levels are raised and lowered (UpdateFeatures).
//!
//! ```text
//! metadata.version                  how all records are to be read: one level is known, that of Apache Kafka 4.3
//! eligible.leader.replicas.version  0 without, 1 with replicas that stay eligible out of sync (KIP-966)
//! ```
//! The rules are those of Kafka's `FeatureControlManager`: a level goes up by an upgrade and down by a downgrade, to none that
//! this controller or a broker that is registered does not know; of several features all are changed, or none. Where replicas
//! stay eligible, one `min.insync.replicas` must hold for all brokers: whoever switches that on is given it.

use super::change::{ELIGIBLE_FEATURE, MIN_IN_SYNC};
use super::configs::config_record;
use super::{Plan, Refusal};
use crate::common::ids::NodeId;
use crate::metadata::image::{Image, ResourceType};
use crate::metadata::records::{FeatureLevelRecord, MetadataRecord};
use crate::protocol::{ErrorCode, Str};

/// The feature that tells how all records are to be read.
const METADATA_VERSION_FEATURE: &str = "metadata.version";

/// The level of `metadata.version` that a new cluster begins with: that of Apache Kafka 4.3.
const METADATA_VERSION: i16 = 30;

/// The levels of the eligible leader replicas that are known.
const ELIGIBLE_LEVELS: (i16, i16) = (0, 1);

/// The level of `metadata.version` from which records can tell who is eligible: that of Apache Kafka 4.0.
const ELIGIBLE_FROM: i16 = 23;

/// The features that are known here, with the lowest and the highest level of each.
pub const FEATURES: [(&str, i16, i16); 2] = [
    (METADATA_VERSION_FEATURE, METADATA_VERSION, METADATA_VERSION),
    (ELIGIBLE_FEATURE, ELIGIBLE_LEVELS.0, ELIGIBLE_LEVELS.1),
];

/// What a new cluster begins with: only the features that work here, and what must be the same for all brokers where replicas
/// stay eligible: the `min.insync.replicas` of topics that do not say it, which is that of the controller's own properties.
pub fn bootstrap(min_in_sync_replicas: i32) -> Vec<MetadataRecord> {
    let min = min_in_sync_replicas.to_string();
    vec![
        level_record(METADATA_VERSION_FEATURE, METADATA_VERSION),
        level_record(ELIGIBLE_FEATURE, ELIGIBLE_LEVELS.1),
        config_record(ResourceType::Broker, "", MIN_IN_SYNC, Some(&min)),
    ]
}

/// The features that this cluster could have on, with the lowest and the highest level of each. What Apache Kafka wrote and is
/// only handed on is known at its level alone.
pub fn supported_features(image: &Image) -> Vec<(&str, i16, i16)> {
    let handed_on = image.features().iter().filter(|(name, _)| !FEATURES.iter().any(|(known, ..)| known == name));
    FEATURES.into_iter().chain(handed_on.map(|(name, level)| (name.as_str(), *level, *level))).collect()
}

/// In which direction a level may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeType {
    /// Up.
    Upgrade,
    /// Down, where nothing is lost by it.
    SafeDowngrade,
    /// Down, whatever is lost by it.
    UnsafeDowngrade,
}

impl UpgradeType {
    /// The one whose number is `code`, if there is one.
    pub fn from_code(code: i8) -> Option<UpgradeType> {
        match code {
            1 => Some(UpgradeType::Upgrade),
            2 => Some(UpgradeType::SafeDowngrade),
            3 => Some(UpgradeType::UnsafeDowngrade),
            _ => None,
        }
    }
}

/// The level that a feature is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The feature.
    pub name: String,
    /// Its new level; 0 switches it off.
    pub level: i16,
    /// How it may get there; `None` for a way that is not known.
    pub upgrade_type: Option<UpgradeType>,
}

/// Gives features other levels. `node` is the controller that decides, and `min_in_sync_replicas` that of its own properties.
///
/// # Errors
/// INVALID_UPDATE_VERSION, in Kafka's words.
pub fn update_features(image: &Image, node: NodeId, updates: &[FeatureUpdate], min_in_sync_replicas: i32) -> Plan {
    let mut records = Vec::new();
    for update in updates {
        let FeatureUpdate { name, level, .. } = update;
        may_update(image, node, update).map_err(|reason| {
            let sentence = format!("Invalid update version {level} for feature {name}. {reason}");
            Refusal::new(ErrorCode::INVALID_UPDATE_VERSION, sentence)
        })?;
        if level_of(image, name) != *level {
            records.push(level_record(name, *level));
        }
        if name == ELIGIBLE_FEATURE && *level > 0 {
            records.extend(one_minimum(image, min_in_sync_replicas));
        }
    }
    Ok(records)
}

fn level_of(image: &Image, name: &str) -> i16 {
    image.features().get(name).copied().unwrap_or(0)
}

/// Whether a feature may have the level; if not, why.
fn may_update(image: &Image, node: NodeId, update: &FeatureUpdate) -> Result<(), String> {
    let FeatureUpdate { name, level, upgrade_type } = update;
    let refuse = |reason: &str| Err(reason.to_owned());
    let Some(upgrade_type) = upgrade_type else {
        return refuse("The controller does not support the given upgrade type.");
    };
    if *level < 0 {
        return refuse("A feature version cannot be less than 0.");
    }
    let supported = supported_features(image);
    let here = supported.iter().find(|(known, ..)| known == name);
    is_supported(*level, || format!("Local controller {node}"), here.map(|(_, min, max)| (*min, *max)))?;
    for broker in image.brokers() {
        let there = broker.features.iter().find(|(known, ..)| known == name);
        is_supported(*level, || format!("Broker {}", broker.id), there.map(|(_, min, max)| (*min, *max)))?;
    }
    let current = level_of(image, name);
    if *level < current && *upgrade_type == UpgradeType::Upgrade {
        return refuse(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
        );
    }
    if *level > current && *upgrade_type != UpgradeType::Upgrade {
        return refuse("Can't downgrade to a newer version.");
    }
    if here.is_none() {
        return Err(format!("Feature {name} not found."));
    }
    // An image that Apache Kafka wrote may be of an older one.
    if name == ELIGIBLE_FEATURE && *level > 0 && level_of(image, METADATA_VERSION_FEATURE) < ELIGIBLE_FROM {
        return Err(format!(
            "{name} could not be set to {level} because it depends on {METADATA_VERSION_FEATURE} level {ELIGIBLE_FROM}"
        ));
    }
    Ok(())
}

/// Whether one who knows a feature in these levels takes it at `level`. Who does not know it takes it switched off.
fn is_supported(level: i16, who: impl Fn() -> String, range: Option<(i16, i16)>) -> Result<(), String> {
    let (min, max) = range.unwrap_or((0, 0));
    match (min..=max).contains(&level) {
        true => Ok(()),
        false if max == 0 => Err(format!("{} does not support this feature.", who())),
        false if min == max => Err(format!("{} only supports versions {min}", who())),
        false => Err(format!("{} only supports versions {min}-{max}", who())),
    }
}

/// What gives all brokers one `min.insync.replicas`, which Kafka calls the safety records of the eligible: who holds how many
/// records to be acknowledged must not depend on who leads.
fn one_minimum(image: &Image, min_in_sync_replicas: i32) -> impl Iterator<Item = MetadataRecord> {
    let says =
        |name: &str| image.configs(ResourceType::Broker, name).is_some_and(|configs| configs.contains_key(MIN_IN_SYNC));
    let min = min_in_sync_replicas.to_string();
    let all = (!says("")).then(|| config_record(ResourceType::Broker, "", MIN_IN_SYNC, Some(&min)));
    let mut own: Vec<&str> =
        image.configured(ResourceType::Broker).filter(|name| !name.is_empty() && says(name)).collect();
    own.sort_unstable();
    all.into_iter().chain(own.into_iter().map(|name| config_record(ResourceType::Broker, name, MIN_IN_SYNC, None)))
}

fn level_record(name: &str, level: i16) -> MetadataRecord {
    MetadataRecord::FeatureLevel(FeatureLevelRecord { name: Str::from(name), feature_level: level })
}

#[cfg(test)]
mod tests;
