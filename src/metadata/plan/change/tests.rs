//! Who may lead when nobody is in sync (KIP-966), story by story.

use super::super::failover::tests::{apply, cluster, fence, unfence, wish};
use super::*;
use crate::config::Values;
use crate::config::alter::Alteration;
use crate::metadata::plan::{self, Registration};
use crate::metadata::records::{FeatureLevelRecord, MetadataRecord};
use crate::protocol::{ErrorCode, Str};

/// One partition on brokers 1, 2 and 3, of which two must be in sync; replicas stay eligible.
fn eligible() -> Image {
    let mut image = cluster(&[&[1, 2, 3]]);
    keep(&mut image);
    image
}

/// Lets replicas stay eligible, and two be needed.
pub(in crate::metadata::plan) fn keep(image: &mut Image) {
    let feature = FeatureLevelRecord { name: Str::from(ELIGIBLE_FEATURE), feature_level: 1 };
    let min = super::super::configs::config_record(ResourceType::Broker, "", MIN_IN_SYNC, Some("2"));
    apply(image, [MetadataRecord::FeatureLevel(feature), min]);
}

/// Starts a broker again, after a stop that was clean or not.
pub(in crate::metadata::plan) fn restart(image: &mut Image, id: NodeId, clean: bool) {
    let known = image.broker(id).unwrap();
    let previous_epoch = if clean { known.epoch } else { -1 };
    let log_dir = known.log_dirs[0];
    let start = Registration { previous_epoch, ..Registration::new(id, ("localhost", 9092), log_dir) };
    let records = plan::register_broker(image, &start, false).unwrap();
    apply(image, records);
}

/// Leader, ISR, eligible, last leader, and whether it recovers.
fn told(image: &Image) -> (NodeId, &[NodeId], &[NodeId], &[NodeId], bool) {
    let partition = image.partition("t", 0).unwrap();
    let PartitionImage { leader, isr, eligible, last_known_eligible, recovering, .. } = partition;
    (*leader, isr, eligible, last_known_eligible, *recovering)
}

fn alter(image: &mut Image, isr: &[NodeId]) {
    let records = plan::alter_isr(image, &wish(image, isr)).unwrap();
    apply(image, records);
}

#[test]
fn who_leaves_below_the_minimum_may_still_lead() {
    let mut image = eligible();
    fence(&mut image, 3);
    assert_eq!(told(&image), (1, &[1, 2][..], &[][..], &[][..], false), "two are enough");
    alter(&mut image, &[1]);
    assert_eq!(told(&image), (1, &[1][..], &[2][..], &[][..], false));
    fence(&mut image, 1);
    // Broker 2 is there, and has all that was acknowledged.
    assert_eq!(told(&image), (2, &[2][..], &[1][..], &[][..], false));
    fence(&mut image, 2);
    assert_eq!(told(&image), (NO_LEADER, &[][..], &[1, 2][..], &[2][..], false));
    unfence(&mut image, 3);
    assert_eq!(told(&image).0, NO_LEADER, "it left while enough were in sync, and may lack what came then");
    unfence(&mut image, 1);
    assert_eq!(told(&image), (1, &[1][..], &[2][..], &[][..], false));
    unfence(&mut image, 2);
    alter(&mut image, &[1, 2]);
    assert_eq!(told(&image), (1, &[1, 2][..], &[][..], &[][..], false), "as many as needed: nobody else is eligible");
}

#[test]
fn who_was_shut_down_uncleanly_is_not_eligible() {
    let mut image = eligible();
    [3, 2].into_iter().for_each(|id| fence(&mut image, id));
    assert_eq!(told(&image), (1, &[1][..], &[2][..], &[][..], false));
    restart(&mut image, 2, true);
    assert_eq!(told(&image).2, [2]);
    restart(&mut image, 2, false);
    assert_eq!(told(&image), (1, &[1][..], &[][..], &[][..], false));
    // The leader is killed: it may have lost records, and so nobody is known to have them all.
    restart(&mut image, 1, false);
    assert_eq!(told(&image), (NO_LEADER, &[][..], &[][..], &[1][..], false));
    unfence(&mut image, 2);
    assert_eq!(told(&image).0, NO_LEADER, "the last leader is waited for");
    unfence(&mut image, 1);
    assert_eq!(told(&image), (1, &[1][..], &[][..], &[][..], true), "it is the best there is");
    alter(&mut image, &[1, 2]);
    assert_eq!(told(&image), (1, &[1, 2][..], &[][..], &[][..], false), "who asks has looked through its log");
}

#[test]
fn a_replica_that_is_alone_leads_again_however_it_was_stopped() {
    for (clean, recovers) in [(true, false), (false, true)] {
        let mut image = cluster(&[&[1]]);
        keep(&mut image);
        restart(&mut image, 1, clean);
        assert_eq!(told(&image).0, NO_LEADER);
        unfence(&mut image, 1);
        assert_eq!(told(&image), (1, &[1][..], &[][..], &[][..], recovers));
    }
}

#[test]
fn without_the_feature_the_last_one_stays_in_sync() {
    let mut image = cluster(&[&[1, 2, 3]]);
    [1, 2, 3].into_iter().for_each(|id| fence(&mut image, id));
    assert_eq!(told(&image), (NO_LEADER, &[3][..], &[][..], &[][..], false));
    restart(&mut image, 3, false);
    [1, 3].into_iter().for_each(|id| unfence(&mut image, id));
    assert_eq!(told(&image), (3, &[3][..], &[][..], &[][..], false));
}

#[test]
fn who_was_eligible_when_the_feature_was_switched_off_may_still_lead() {
    let mut image = eligible();
    [3, 2, 1].into_iter().for_each(|id| fence(&mut image, id));
    assert_eq!(told(&image), (NO_LEADER, &[][..], &[1, 2][..], &[1][..], false));
    let off = FeatureLevelRecord { name: Str::from(ELIGIBLE_FEATURE), feature_level: 0 };
    apply(&mut image, [MetadataRecord::FeatureLevel(off)]);
    unfence(&mut image, 3);
    assert_eq!(told(&image).0, NO_LEADER, "it left before the others");
    restart(&mut image, 1, false);
    assert_eq!(told(&image).2, [2], "it may have lost what it had");
    unfence(&mut image, 2);
    assert_eq!(told(&image), (2, &[2][..], &[][..], &[1][..], false));
    // From here on the last in sync stays there.
    fence(&mut image, 2);
    assert_eq!(told(&image).1, [2]);
}

#[test]
fn another_minimum_is_another_promise() {
    let mut image = eligible();
    [3, 2].into_iter().for_each(|id| fence(&mut image, id));
    assert_eq!(told(&image).2, [2]);
    let none: [(&str, &str); 0] = [];
    let values = std::sync::Arc::new(Values::broker(none).unwrap().0);
    let set = |value: &str| vec![(MIN_IN_SYNC.to_owned(), Alteration::Set(value.to_owned()))];
    let altered = |image: &Image, kind, name, changes| plan::alter_configs(image, &values, (kind, name), changes);
    // What one alone acknowledges from now on, the other one has not.
    let records = altered(&image, ResourceType::Topic, "t", set("1")).unwrap();
    apply(&mut image, records);
    assert_eq!(told(&image), (1, &[1][..], &[][..], &[][..], false));
    let refused = |name, changes| altered(&image, ResourceType::Broker, name, changes).unwrap_err().code;
    assert_eq!(refused("1", set("1")), ErrorCode::INVALID_CONFIG, "it is one for all brokers");
    assert_eq!(refused("", vec![(MIN_IN_SYNC.to_owned(), Alteration::Delete)]), ErrorCode::INVALID_CONFIG);
}

#[test]
fn where_that_is_allowed_anybody_leads() {
    let mut image = eligible();
    [3, 2, 1].into_iter().for_each(|id| fence(&mut image, id));
    unfence(&mut image, 3);
    assert!(plan::elect_unclean(&image, |_| false, 10).is_empty());
    let records = plan::elect_unclean(&image, |topic| topic == "t", 10);
    apply(&mut image, records);
    assert_eq!(told(&image), (3, &[3][..], &[][..], &[][..], true));
    assert!(plan::elect_unclean(&image, |_| true, 10).is_empty(), "it has a leader");
}
