//! Levels that go up and down, or are refused, in Kafka's words.

use super::super::configs::config_record;
use super::super::failover::tests::apply;
use super::*;
use crate::common::ids::Uuid;
use crate::metadata::plan::{Registration, register_broker, unfence_broker};

/// A cluster of this version, with brokers 1 and 2, and with or without the eligible.
fn cluster(eligible: bool) -> Image {
    let mut image = Image::default();
    apply(&mut image, bootstrap(1).into_iter().take(if eligible { 3 } else { 1 }));
    for id in [1, 2] {
        let wish = Registration::new(id, ("localhost", 9092), Uuid::random());
        let records = register_broker(&image, &wish, false).unwrap();
        apply(&mut image, records);
        let records = unfence_broker(&image, id);
        apply(&mut image, records);
    }
    image
}

fn update(name: &str, level: i16, upgrade_type: UpgradeType) -> FeatureUpdate {
    FeatureUpdate { name: name.into(), level, upgrade_type: Some(upgrade_type) }
}

fn up(level: i16) -> FeatureUpdate {
    update(ELIGIBLE_FEATURE, level, UpgradeType::Upgrade)
}

fn down(level: i16) -> FeatureUpdate {
    update(ELIGIBLE_FEATURE, level, UpgradeType::SafeDowngrade)
}

/// Why an update is refused.
fn refusal(image: &Image, update: FeatureUpdate) -> String {
    let refused = update_features(image, 1, &[update], 1).unwrap_err();
    assert_eq!(refused.code, ErrorCode::INVALID_UPDATE_VERSION);
    refused.message
}

#[test]
fn a_cluster_of_before_the_eligible_is_given_them() {
    let mut image = cluster(false);
    let own = config_record(ResourceType::Broker, "2", MIN_IN_SYNC, Some("3"));
    apply(&mut image, [own]);
    let records = update_features(&image, 1, &[up(1)], 2).unwrap();
    assert_eq!(
        records,
        [
            level_record(ELIGIBLE_FEATURE, 1),
            config_record(ResourceType::Broker, "", MIN_IN_SYNC, Some("2")),
            config_record(ResourceType::Broker, "2", MIN_IN_SYNC, None),
        ]
    );
    apply(&mut image, records);
    assert_eq!(image.features().get(ELIGIBLE_FEATURE), Some(&1));
    assert_eq!(update_features(&image, 1, &[up(1)], 7).unwrap(), [], "what is so is left");
    let records = update_features(&image, 1, &[down(0)], 2).unwrap();
    assert_eq!(records, [level_record(ELIGIBLE_FEATURE, 0)]);
    apply(&mut image, records);
    assert!(!image.features().contains_key(ELIGIBLE_FEATURE));
    assert_eq!(update_features(&image, 1, &[down(0)], 2).unwrap(), []);
}

#[test]
fn a_broker_of_before_the_eligible_holds_them_up_until_it_registers_anew() {
    let mut image = Image::default();
    apply(&mut image, bootstrap(1).into_iter().take(1));
    let mut wish = Registration::new(1, ("localhost", 9092), Uuid::random());
    let features = std::mem::take(&mut wish.features);
    let records = register_broker(&image, &wish, false).unwrap();
    apply(&mut image, records);
    assert_eq!(
        refusal(&image, up(1)),
        "Invalid update version 1 for feature eligible.leader.replicas.version. Broker 1 does not support this feature."
    );
    // Alone, and nothing else has changed.
    let started = Registration { features, incarnation_id: Uuid::random(), ..wish };
    let records = register_broker(&image, &started, false).unwrap();
    apply(&mut image, records);
    assert!(update_features(&image, 1, &[up(1)], 1).is_ok());
}

#[test]
fn what_kafka_refuses_is_refused_in_its_words() {
    let image = cluster(true);
    let invalid = "Invalid update version";
    let refusals = [
        (up(2), "2 for feature eligible.leader.replicas.version. Local controller 1 only supports versions 0-1"),
        (up(-1), "-1 for feature eligible.leader.replicas.version. A feature version cannot be less than 0."),
        (
            up(0),
            "0 for feature eligible.leader.replicas.version. Can't downgrade the version of this feature without setting \
             the upgrade type to either safe or unsafe downgrade.",
        ),
        (
            FeatureUpdate { upgrade_type: UpgradeType::from_code(0), ..up(1) },
            "1 for feature eligible.leader.replicas.version. The controller does not support the given upgrade type.",
        ),
        (
            update("metadata.version", 29, UpgradeType::UnsafeDowngrade),
            "29 for feature metadata.version. Local controller 1 only supports versions 30",
        ),
        (
            update("tides.version", 1, UpgradeType::Upgrade),
            "1 for feature tides.version. Local controller 1 does not support this feature.",
        ),
        (
            update("tides.version", 0, UpgradeType::SafeDowngrade),
            "0 for feature tides.version. Feature tides.version not found.",
        ),
    ];
    for (update, why) in refusals {
        assert_eq!(refusal(&image, update), format!("{invalid} {why}"));
    }
    let off = cluster(false);
    let why = format!("{invalid} 1 for feature {ELIGIBLE_FEATURE}. Can't downgrade to a newer version.");
    assert_eq!(refusal(&off, down(1)), why);
}

#[test]
fn of_several_all_are_changed_or_none() {
    let image = cluster(true);
    let unknown = update("tides.version", 1, UpgradeType::Upgrade);
    assert!(update_features(&image, 1, &[down(0), unknown], 1).is_err());
    let same = update("metadata.version", 30, UpgradeType::Upgrade);
    assert_eq!(update_features(&image, 1, &[same, down(0)], 1).unwrap(), [level_record(ELIGIBLE_FEATURE, 0)]);
}

#[test]
fn an_image_of_an_older_kafka_cannot_tell_who_is_eligible() {
    let mut image = Image::default();
    apply(&mut image, [level_record(METADATA_VERSION_FEATURE, 22), level_record("group.version", 1)]);
    let why = "eligible.leader.replicas.version could not be set to 1 because it depends on metadata.version level 23";
    assert_eq!(refusal(&image, up(1)), format!("Invalid update version 1 for feature {ELIGIBLE_FEATURE}. {why}"));
    // What is only handed on stays as it is.
    let off = update("group.version", 0, UpgradeType::SafeDowngrade);
    let why = "Invalid update version 0 for feature group.version. Local controller 1 only supports versions 1";
    assert_eq!(refusal(&image, off), why);
    assert_eq!(
        supported_features(&image),
        [("metadata.version", 30, 30), (ELIGIBLE_FEATURE, 0, 1), ("group.version", 1, 1)]
    );
}
