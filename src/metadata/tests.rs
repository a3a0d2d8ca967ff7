//! Stories of topics and configs: wishes become records, records become the image.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::image::{Configs, ImageError};
use super::plan::{self, CreateTopic};
use super::records::{ConfigRecord, MetadataRecord, PartitionChangeRecord, RemoveTopicRecord, UnregisterBrokerRecord};
use super::{Image, ResourceType};
use crate::common::ids::Uuid;
use crate::config::Values;
use crate::config::alter::Alteration;
use crate::protocol::{ErrorCode, Str};

fn broker() -> Arc<Values> {
    Arc::new(Values::broker([("num.partitions", "3")]).unwrap().0)
}

/// A cluster of one broker, whose id is 1.
fn cluster() -> Image {
    let mut image = Image::default();
    let records = plan::bootstrap(1);
    apply(&mut image, records);
    let wish = plan::Registration::new(1, ("localhost", 9092), Uuid::random());
    let registered = plan::register_broker(&image, &wish, false).unwrap();
    apply(&mut image, registered);
    image
}

/// Applies records as they would come from disk.
fn apply(image: &mut Image, records: Vec<MetadataRecord>) {
    for record in records {
        let bytes = record.encode().unwrap();
        image.apply(&MetadataRecord::decode(bytes).unwrap()).unwrap();
    }
}

fn wish(name: &str) -> CreateTopic {
    CreateTopic { name: name.to_owned(), partitions: -1, replication_factor: 1, ..Default::default() }
}

fn create(image: &mut Image, wish: &CreateTopic) {
    let records = plan::create_topic(image, wish, &broker()).unwrap();
    apply(image, records);
}

fn refusal(image: &Image, wish: &CreateTopic) -> (ErrorCode, String) {
    let refusal = plan::create_topic(image, wish, &broker()).unwrap_err();
    (refusal.code, refusal.message)
}

#[test]
fn a_topic_comes_into_being_with_its_partitions_and_configs() {
    let mut image = cluster();
    let configs = Configs::from([("retention.ms".to_owned(), "1000".to_owned())]);
    create(&mut image, &CreateTopic { configs: configs.clone(), ..wish("flights") });
    let topic = image.topic("flights").unwrap();
    assert_eq!((topic.partitions.len(), image.partitions()), (3, 3), "num.partitions");
    assert_eq!((topic.partitions[2].leader, &topic.partitions[2].replicas[..]), (1, &[1][..]));
    assert_eq!(image.topic_by_id(topic.id).unwrap().name, "flights");
    assert_eq!(image.configs(ResourceType::Topic, "flights"), Some(&configs));
}

#[test]
fn a_topic_that_goes_takes_all_with_it() {
    let mut image = cluster();
    let before = image.clone();
    let configs = Configs::from([("retention.ms".to_owned(), "1000".to_owned())]);
    create(&mut image, &CreateTopic { configs, ..wish("flights") });
    let gone = plan::delete_topic(image.topic("flights").unwrap());
    apply(&mut image, gone);
    assert_eq!(image, before);
    let unknown = RemoveTopicRecord { topic_id: Uuid::ZERO };
    let error = image.apply(&MetadataRecord::RemoveTopic(unknown)).unwrap_err();
    assert!(matches!(error, ImageError::UnknownTopic { .. }));
}

#[test]
fn a_bad_wish_is_refused_with_a_reason() {
    let mut image = cluster();
    create(&mut image, &wish("a.b"));
    assert_eq!(refusal(&image, &wish("a.b")).0, ErrorCode::TOPIC_ALREADY_EXISTS);
    let (code, sentence) = refusal(&image, &wish("a_b"));
    assert_eq!(code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert!(sentence.contains("'a.b'"), "{sentence}");
    assert_eq!(refusal(&image, &wish("a b")).0, ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert_eq!(refusal(&image, &CreateTopic { partitions: 0, ..wish("t") }).0, ErrorCode::INVALID_PARTITIONS);
    assert_eq!(refusal(&image, &CreateTopic { partitions: 10_001, ..wish("t") }).0, ErrorCode::POLICY_VIOLATION);
    let three = CreateTopic { replication_factor: 3, ..wish("t") };
    assert_eq!(refusal(&image, &three).0, ErrorCode::INVALID_REPLICATION_FACTOR);
    let configs = Configs::from([("retention.bytes".to_owned(), "-5".to_owned())]);
    let (code, sentence) = refusal(&image, &CreateTopic { configs, ..wish("t") });
    assert_eq!(code, ErrorCode::INVALID_CONFIG);
    assert!(sentence.contains("retention.bytes of topic \"t\" is -5"), "{sentence}");
}

#[test]
fn an_assignment_is_taken_whole_or_not() {
    let image = cluster();
    let assigned = |assignments: BTreeMap<i32, Vec<i32>>| CreateTopic {
        partitions: -1,
        replication_factor: -1,
        assignments,
        ..wish("t")
    };
    let good = assigned(BTreeMap::from([(0, vec![1]), (1, vec![1])]));
    assert_eq!(plan::create_topic(&image, &good, &broker()).unwrap().len(), 3);
    for bad in [BTreeMap::from([(1, vec![1])]), BTreeMap::from([(0, vec![1, 1])]), BTreeMap::from([(0, vec![7])])] {
        assert_eq!(refusal(&image, &assigned(bad)).0, ErrorCode::INVALID_REPLICA_ASSIGNMENT);
    }
    let both = CreateTopic { partitions: 1, ..good };
    assert_eq!(refusal(&image, &both).0, ErrorCode::INVALID_REQUEST);
}

#[test]
fn a_topic_grows_and_never_shrinks() {
    let mut image = cluster();
    create(&mut image, &wish("t"));
    for count in [3, 2, -1] {
        let refusal = plan::create_partitions(&image, "t", count, None).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::INVALID_PARTITIONS);
    }
    let more = plan::create_partitions(&image, "t", 5, None).unwrap();
    apply(&mut image, more);
    assert_eq!(image.topic("t").unwrap().partitions.len(), 5);
    let unknown = plan::create_partitions(&image, "nope", 5, None).unwrap_err();
    assert_eq!(unknown.code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn configs_change_key_by_key_or_as_a_whole() {
    let mut image = cluster();
    create(&mut image, &wish("t"));
    let topic = (ResourceType::Topic, "t");
    let set = |key: &str, value: &str| (key.to_owned(), Alteration::Set(value.to_owned()));
    let changes = vec![set("retention.ms", "1000"), set("cleanup.policy", "compact")];
    let records = plan::alter_configs(&image, &broker(), topic, changes).unwrap();
    apply(&mut image, records);
    let append = vec![("cleanup.policy".to_owned(), Alteration::Append("delete".to_owned()))];
    let records = plan::alter_configs(&image, &broker(), topic, append).unwrap();
    apply(&mut image, records);
    let configs = image.configs(ResourceType::Topic, "t").unwrap();
    assert_eq!((configs["retention.ms"].as_str(), configs["cleanup.policy"].as_str()), ("1000", "compact,delete"));

    let records = plan::replace_configs(&image, &broker(), topic, Configs::new()).unwrap();
    apply(&mut image, records);
    assert_eq!(image.configs(ResourceType::Topic, "t"), None);

    let twice = vec![set("retention.ms", "1"), set("retention.ms", "2")];
    assert_eq!(plan::alter_configs(&image, &broker(), topic, twice).unwrap_err().code, ErrorCode::INVALID_REQUEST);
    let unknown = vec![set("retention.mss", "1")];
    let refusal = plan::alter_configs(&image, &broker(), topic, unknown).unwrap_err();
    assert!(refusal.message.contains("did you mean retention.ms?"), "{refusal}");
}

#[test]
fn a_brokers_configs_are_layers() {
    let mut image = cluster();
    let set = |value: &str| vec![("message.max.bytes".to_owned(), Alteration::Set(value.to_owned()))];
    for (name, value) in [("", "2000"), ("1", "3000")] {
        let records = plan::alter_configs(&image, &broker(), (ResourceType::Broker, name), set(value)).unwrap();
        apply(&mut image, records);
    }
    let values = plan::broker_values(&image, &broker(), 1).unwrap();
    assert_eq!(values.get(crate::config::broker::MESSAGE_MAX_BYTES), 3000);
    let read_only = vec![("node.id".to_owned(), Alteration::Set("9".to_owned()))];
    assert!(plan::alter_configs(&image, &broker(), (ResourceType::Broker, "1"), read_only).is_err());
}

#[test]
fn producer_ids_are_never_handed_out_twice() {
    let mut image = cluster();
    let (first, count, record) = plan::allocate_producer_ids(&image, 1, 0);
    apply(&mut image, vec![record]);
    let (next, _, _) = plan::allocate_producer_ids(&image, 1, 0);
    assert_eq!((first, next), (0, count));
}

#[test]
fn a_partition_that_was_given_up_is_led_again() {
    let mut image = cluster();
    create(&mut image, &wish("t"));
    let topic_id = image.topic("t").unwrap().id;
    let resign = super::records::PartitionChangeRecord {
        partition_id: 1,
        topic_id,
        leader: -1,
        isr: Some(vec![]),
        ..Default::default()
    };
    apply(&mut image, vec![MetadataRecord::PartitionChange(resign)]);
    let elected = plan::elect_leaders(&image, 1);
    assert_eq!(elected.len(), 1);
    apply(&mut image, elected);
    let partition = image.partition("t", 1).unwrap();
    assert_eq!((partition.leader, partition.leader_epoch), (1, 2), "each election has its epoch");
    assert_eq!(partition.isr, [1]);
    assert!(plan::elect_leaders(&image, 1).is_empty());
}

#[test]
fn a_snapshot_makes_the_same_image() {
    let mut image = cluster();
    let configs = Configs::from([("retention.ms".to_owned(), "1000".to_owned())]);
    create(&mut image, &CreateTopic { configs, ..wish("flights") });
    create(&mut image, &wish("airports"));
    let id = image.topic("airports").unwrap().id;
    let moved = PartitionChangeRecord {
        partition_id: 1,
        topic_id: id,
        leader: -1,
        isr: Some(Vec::new()),
        directories: Some(vec![Uuid::random()]),
        ..Default::default()
    };
    apply(&mut image, vec![MetadataRecord::PartitionChange(moved)]);
    let (_, _, ids) = plan::allocate_producer_ids(&image, 1, 0);
    apply(&mut image, vec![ids]);
    // What Apache Kafka wrote and we do not serve: an ACL, say, and a group's config. "Nothing" is not kept.
    let acl = Bytes::from_static(&[1, 18, 0, 42, 42]);
    let group = ConfigRecord { resource_type: 32, resource_name: "gulls".into(), name: "a".into(), value: None };
    let foreign = vec![
        MetadataRecord::Other { key: 18, value: acl.clone() },
        MetadataRecord::Config(group),
        MetadataRecord::Other { key: 20, value: Bytes::from_static(&[1, 20, 0, 0]) },
    ];
    apply(&mut image, foreign);
    let records = image.records();
    let MetadataRecord::FeatureLevel(first) = &records[0] else { panic!("{records:?}") };
    assert_eq!(first.name, Str::from("metadata.version"));
    assert!(records.contains(&MetadataRecord::Other { key: 18, value: acl }));
    assert!(!records.iter().any(|record| matches!(record, MetadataRecord::Other { key: 20, .. })));
    let mut again = Image::default();
    apply(&mut again, records);
    assert_eq!(again, image);
}

#[test]
fn a_broker_that_is_unregistered_is_gone() {
    let mut image = cluster();
    let gone = UnregisterBrokerRecord { broker_id: 1, broker_epoch: 0 };
    apply(&mut image, vec![MetadataRecord::UnregisterBroker(gone)]);
    assert_eq!(image.brokers().count(), 0);
}
