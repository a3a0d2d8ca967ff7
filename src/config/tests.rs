//! The tables hold together, and every refusal says its sentence.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::alter::{Alteration, apply};
use super::key::Support;
use super::*;

const SCOPES: [Scope; 6] = [Scope::Broker, Scope::Topic, Scope::Client, Scope::Producer, Scope::Consumer, Scope::Admin];

fn broker_with(pairs: &[(&str, &str)]) -> Values {
    Values::broker(pairs.iter().copied()).unwrap().0
}

fn topic_with(pairs: &[(&str, &str)]) -> Result<Values, ConfigError> {
    Values::topic("flights", Arc::new(broker_with(&[])), pairs.iter().copied())
}

fn topic_error(name: &str, value: &str) -> String {
    topic_with(&[(name, value)]).unwrap_err().to_string()
}

fn broker_error(pairs: &[(&str, &str)]) -> String {
    Values::broker(pairs.iter().copied()).unwrap_err().to_string()
}

#[test]
fn every_default_is_a_value_that_its_key_may_have() {
    for scope in SCOPES {
        for def in all(scope) {
            if let Some(text) = def.default_text() {
                let value = def.parse(&text);
                assert_eq!(value.as_ref(), Ok(&def.default_value()), "{} {}", scope, def.name);
                values::check(&Owner::new(scope, ""), def.name, &text).unwrap();
            }
        }
    }
}

#[test]
fn every_name_comes_once_in_its_scope() {
    for scope in SCOPES {
        let mut seen = HashSet::new();
        for def in all(scope) {
            assert!(seen.insert(def.name), "{} comes twice", def.name);
        }
    }
}

#[test]
fn a_topic_has_kafkas_33_keys_and_each_synonym_is_a_broker_key() {
    assert_eq!(all(Scope::Topic).count(), 33);
    for def in all(Scope::Topic) {
        for synonym in def.synonyms {
            let known = find(Scope::Broker, synonym.name).unwrap();
            assert_eq!(known.support == Support::NotYet, def.support == Support::NotYet, "{}", def.name);
        }
        let topic = topic_with(&[]).unwrap();
        assert_eq!(topic.describe(def.name).unwrap().value, def.default_text(), "{}", def.name);
    }
}

#[test]
fn every_key_we_honour_says_what_it_does() {
    for def in SCOPES.into_iter().flat_map(all) {
        assert!(def.support == Support::NotYet || def.text.trim().ends_with(['.', ',', ')']), "{}", def.name);
    }
}

#[test]
fn a_value_out_of_range_is_refused_with_what_it_must_be() {
    assert_eq!(
        topic_error("retention.bytes", "-5"),
        "retention.bytes of topic \"flights\" is -5: it must be -1 (no limit) or at least 0 bytes"
    );
    assert_eq!(
        topic_error("segment.bytes", "1000"),
        "segment.bytes of topic \"flights\" is 1000: it must be at least 1048576 bytes"
    );
    assert_eq!(
        topic_error("segment.bytes", "1g"),
        "segment.bytes of topic \"flights\" is 1g: it must be a whole number of bytes: at least 1048576 bytes, and at most 2147483647"
    );
    assert_eq!(
        topic_error("cleanup.policy", "delete,shred"),
        "cleanup.policy of topic \"flights\" is delete,shred: it must be one of compact, delete"
    );
    assert_eq!(topic_error("preallocate", "yes"), "preallocate of topic \"flights\" is yes: it must be true or false");
    assert_eq!(
        topic_error("min.cleanable.dirty.ratio", "1.1"),
        "min.cleanable.dirty.ratio of topic \"flights\" is 1.1: it must be from 0 to 1"
    );
    assert_eq!(broker_error(&[("num.partitions", "0")]), "num.partitions of the broker is 0: it must be at least 1");
}

#[test]
fn an_unknown_key_is_refused_and_the_nearest_named() {
    assert_eq!(
        topic_error("retention_ms", "1"),
        "retention_ms is not a key of topic \"flights\": did you mean retention.ms?"
    );
    assert_eq!(topic_error("zzz", "1"), "zzz is not a key of topic \"flights\"");
    assert_eq!(
        broker_error(&[("auto.create.topic.enable", "true")]),
        "auto.create.topic.enable is not a key of the broker: did you mean auto.create.topics.enable?"
    );
}

#[test]
fn a_key_that_is_not_honoured_is_refused_unless_it_has_its_default() {
    assert_eq!(
        topic_error("preallocate", "true"),
        "preallocate of topic \"flights\" is true: this broker does not honour it yet; leave it out, or at its default (false)"
    );
    topic_with(&[("preallocate", "false")]).unwrap();
    assert_eq!(
        broker_error(&[("ssl.keystore.password", "hush")]),
        "ssl.keystore.password of the broker is ***: this broker does not honour it yet; leave it out, or at its default (not set)"
    );
    assert!(broker_error(&[("listener.name.x.ssl.keystore.key", "k")]).contains("does not honour it yet"));
}

#[test]
fn a_key_without_effect_is_accepted_and_told() {
    let (_, notices) = Values::broker([("num.io.threads", "16"), ("num.network.threads", "3")]).unwrap();
    assert_eq!(notices, ["num.io.threads of the broker has no effect: threads follow the machine's processors"]);
}

#[test]
fn kafkas_sample_server_properties_are_accepted() {
    let text = "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
        advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\ncontroller.listener.names=CONTROLLER\n\
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
        num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\nsocket.receive.buffer.bytes=102400\n\
        socket.request.max.bytes=104857600\nlog.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\n\
        num.recovery.threads.per.data.dir=1\noffsets.topic.replication.factor=1\n\
        share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
        transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\nlog.retention.hours=168\n\
        log.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n";
    let (values, _) = Values::broker(properties::parse(text).unwrap()).unwrap();
    assert_eq!(rules::node_id(&values), 1);
    assert_eq!(listener::bound(&values).unwrap().len(), 1);
    assert_eq!(listener::advertised(&values).unwrap()[0].to_string(), "PLAINTEXT://localhost:9092");
    assert_eq!(rules::data_dirs(&values), ["/tmp/kraft-combined-logs"]);
}

#[test]
fn a_broker_needs_no_configuration() {
    let values = broker_with(&[]);
    assert_eq!((rules::node_id(&values), values.get(broker::NUM_PARTITIONS)), (1, 1));
    assert_eq!(rules::node_id(&broker_with(&[("broker.id", "7")])), 7);
}

#[test]
fn keys_that_do_not_go_together_are_refused() {
    let conflict = topic_with(&[("min.compaction.lag.ms", "20"), ("max.compaction.lag.ms", "10")]).unwrap_err();
    assert_eq!(
        conflict.to_string(),
        "topic \"flights\": min.compaction.lag.ms is 20 and max.compaction.lag.ms is 10: the first must not be larger"
    );
    assert!(broker_error(&[("node.id", "1"), ("broker.id", "2")]).contains("they must agree"));
    assert!(broker_error(&[("process.roles", "broker")]).contains("must be told where those are that have that role"));
    let controller = ("process.roles", "controller");
    assert!(broker_error(&[controller]).contains("listeners must have one for them too"));
    let both = ("listeners", "PLAINTEXT://:1,CONTROLLER://:2");
    let names = ("controller.listener.names", "CONTROLLER");
    assert!(broker_error(&[controller, both, names]).contains("a node that is no broker has no clients"));
    broker_with(&[controller, ("listeners", "CONTROLLER://:2"), names]);
    let voters = ("controller.quorum.voters", "1@a:9093,2@b:9093,3@c:9093");
    assert!(broker_error(&[voters, ("node.id", "7")]).contains("is not among controller.quorum.voters"));
    assert!(broker_error(&[voters, ("process.roles", "broker")]).contains("it must hold controller"));
    assert!(broker_error(&[voters]).contains("listeners must have one for them too"));
    assert!(broker_error(&[("controller.quorum.voters", "a:9093")]).contains("it must be id@host:port"));
    assert!(broker_error(&[("log.dirs", "/a,/b")]).contains("it must name one directory"));
    let queued = broker_error(&[("queued.max.request.bytes", "1000")]);
    assert!(queued.contains("socket.request.max.bytes is 104857600: the first must not be smaller"), "{queued}");
    assert!(broker_error(&[("listeners", "SSL://:9093")]).contains("only PLAINTEXT is served yet"));
    assert!(broker_error(&[("listeners", "INSIDE://:1")]).contains("add INSIDE:PLAINTEXT"));
    assert!(broker_error(&[("listeners", "PLAINTEXT://a:1,PLAINTEXT://b:2")]).contains("a name of its own"));
    assert!(broker_error(&[("advertised.listeners", "X://a:1")]).contains("none of that name"));
    assert!(broker_error(&[("advertised.listeners", "PLAINTEXT://0.0.0.0:1")]).contains("every address"));
    let among = ("inter.broker.listener.name", "inside");
    assert!(
        broker_error(&[among]).contains("is INSIDE: it must be one of the listeners that are advertised, PLAINTEXT")
    );
    assert!(broker_error(&[both, names, ("inter.broker.listener.name", "CONTROLLER")]).contains("is CONTROLLER"));
    let mapped = ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT");
    let name = |pairs: &[(&str, &str)]| listener::inter_broker(&broker_with(pairs)).unwrap();
    let several = ("listeners", "OUTSIDE://:1,PLAINTEXT://:2,INSIDE://:3");
    assert_eq!([name(&[mapped, several, among]), name(&[mapped, several])], ["INSIDE", "PLAINTEXT"]);
    assert_eq!(name(&[mapped, ("listeners", "OUTSIDE://:1,INSIDE://:3")]), "OUTSIDE");
}

#[test]
fn a_topic_takes_what_it_does_not_set_from_its_broker() {
    let topic =
        |pairs: &[(&str, &str)]| Values::topic("t", Arc::new(broker_with(pairs)), [("flush.messages", "5")]).unwrap();
    assert_eq!(topic(&[]).get(topic::RETENTION_MS), 604_800_000);
    assert_eq!(topic(&[("log.retention.hours", "2")]).get(topic::RETENTION_MS), 7_200_000);
    assert_eq!(topic(&[("log.retention.hours", "2"), ("log.retention.minutes", "1")]).get(topic::RETENTION_MS), 60_000);
    assert_eq!(topic(&[("log.retention.hours", "-1")]).get(topic::RETENTION_MS), -1);
    assert_eq!(topic(&[("log.retention.minutes", "3"), ("log.retention.ms", "-1")]).get(topic::RETENTION_MS), -1);
    assert_eq!(topic(&[]).get(topic::FLUSH_MESSAGES), 5);
    assert_eq!(topic(&[]).get(topic::CLEANUP_POLICY), ["delete"]);
}

#[test]
fn a_description_tells_the_source_and_what_stands_behind() {
    let broker = broker_with(&[("message.max.bytes", "100")])
        .with_dynamic(Source::DynamicDefaultBroker, [("message.max.bytes", "200")])
        .unwrap()
        .with_dynamic(Source::DynamicBroker, [("message.max.bytes", "300")])
        .unwrap();
    let described = broker.describe("message.max.bytes").unwrap();
    assert_eq!((described.value.as_deref(), described.source), (Some("300"), Source::DynamicBroker));
    let topic = Values::topic("t", Arc::new(broker), [("max.message.bytes", "400")]).unwrap();
    let described = topic.describe("max.message.bytes").unwrap();
    let chain: Vec<_> =
        described.synonyms.iter().map(|s| (s.name, s.value.as_deref().unwrap_or(""), s.source.code())).collect();
    let broker_key = "message.max.bytes";
    assert_eq!(
        chain,
        [
            ("max.message.bytes", "400", 1),
            (broker_key, "300", 2),
            (broker_key, "200", 3),
            (broker_key, "100", 4),
            (broker_key, "1048588", 5)
        ]
    );
    assert_eq!(topic.describe_all().len(), 33);
    assert!(topic.describe("nothing").is_none());
}

/// Kafka 4.3.1 was asked, with log.retention.hours=100 and log.roll.ms=3600000 in its properties.
#[test]
fn the_chain_behind_a_value_is_kafkas() {
    let broker = Arc::new(broker_with(&[("log.retention.hours", "100"), ("log.roll.ms", "3600000")]));
    let topic = Values::topic("t", broker.clone(), [("segment.ms", "5000")]).unwrap();
    let shown = |values: &Values, name: &str| {
        let described = values.describe(name).unwrap();
        let chain: Vec<_> = described
            .synonyms
            .iter()
            .map(|synonym| {
                format!("{}:{}={}", synonym.source.code(), synonym.name, synonym.value.clone().unwrap_or_default())
            })
            .collect();
        format!("{}={} {}", described.source.code(), described.value.unwrap_or_default(), chain.join(" "))
    };
    assert_eq!(shown(&topic, "retention.ms"), "5=360000000 ");
    assert_eq!(shown(&topic, "segment.ms"), "1=5000 1:segment.ms=5000 4:log.roll.ms=3600000 5:log.roll.hours=168");
    assert_eq!(shown(&topic, "flush.ms"), "5=9223372036854775807 ");
    assert_eq!(shown(&topic, "remote.storage.enable"), "5=false ");
    assert_eq!(shown(&broker, "log.roll.ms"), "4=3600000 4:log.roll.ms=3600000 5:log.roll.hours=168");
    assert_eq!(shown(&broker, "log.roll.hours"), "5=168 5:log.roll.hours=168");
    assert_eq!(shown(&broker, "log.retention.hours"), "4=100 4:log.retention.hours=100 5:log.retention.hours=168");
    assert_eq!(shown(&broker, "log.retention.ms"), "5= ");
    assert_eq!(shown(&broker, "log.flush.interval.ms"), "5= ");
    let own = "log.flush.scheduler.interval.ms";
    assert_eq!(shown(&broker, own), format!("5=9223372036854775807 5:{own}=9223372036854775807"));
}

#[test]
fn a_key_that_needs_a_restart_does_not_change_while_the_broker_runs() {
    let error = broker_with(&[]).with_dynamic(Source::DynamicBroker, [("num.partitions", "3")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "num.partitions of the broker cannot change while the broker runs: set it in the properties file and restart"
    );
    assert!(broker_with(&[]).describe("num.partitions").unwrap().read_only);
    assert!(!broker_with(&[]).describe("message.max.bytes").unwrap().read_only);
}

#[test]
fn a_key_that_only_counts_while_running_is_told_of_where_it_is_set() {
    let key = broker::LEADER_REPLICATION_THROTTLED_RATE;
    let (alone, notices) = Values::broker([(key.name(), "5")]).unwrap();
    assert!(notices[0].starts_with("leader.replication.throttled.rate of the broker has no effect in its properties"));
    assert_eq!(alone.get(key), i64::MAX);
    let shown =
        |values: &Values| values.describe(key.name()).map(|told| (told.value, told.source, told.synonyms.len()));
    assert_eq!(shown(&broker_with(&[])), None);
    assert_eq!(shown(&alone), Some((Some("5".to_owned()), Source::StaticBroker, 1)));
    for source in [Source::DynamicDefaultBroker, Source::DynamicBroker] {
        let set = alone.with_dynamic(source, [(key.name(), "7")]).unwrap();
        assert_eq!((set.get(key), shown(&set)), (7, Some((Some("7".to_owned()), source, 2))));
    }
}

#[test]
fn a_list_is_appended_to_and_subtracted_from() {
    let (owner, current) = (Owner::topic("t"), topic_with(&[]).unwrap());
    let mut given = BTreeMap::new();
    let mut change = |name: &str, change| apply(&owner, &mut given, &current, name, change).map(|()| given.clone());
    let policy = |given: &BTreeMap<String, String>| given["cleanup.policy"].clone();
    assert_eq!(policy(&change("cleanup.policy", Alteration::Append("compact".into())).unwrap()), "delete,compact");
    assert_eq!(policy(&change("cleanup.policy", Alteration::Subtract("delete".into())).unwrap()), "compact");
    assert!(change("cleanup.policy", Alteration::Delete).unwrap().is_empty());
    // Kafka's tools take away all that they may have set, and ask nobody whether it is known.
    assert!(change("no.such.key", Alteration::Delete).unwrap().is_empty());
    assert!(change("no.such.key", Alteration::Append("1".into())).is_err());
    let error = change("retention.ms", Alteration::Append("1".into())).unwrap_err();
    assert!(error.to_string().contains("is not a list"));
}

#[test]
fn a_producers_keys_agree_as_in_kafka() {
    let producer = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().copied().chain([("bootstrap.servers", "a:1")]);
        Values::client(Scope::Producer, pairs).map(|(values, _)| values).map_err(|error| error.to_string())
    };
    assert!(rules::idempotence(&producer(&[]).unwrap()));
    assert!(!rules::idempotence(&producer(&[("acks", "1")]).unwrap()));
    assert!(producer(&[("acks", "1"), ("enable.idempotence", "true")]).unwrap_err().contains("acks is 1"));
    assert!(producer(&[("max.in.flight.requests.per.connection", "6")]).unwrap_err().contains("at most 5"));
    assert!(producer(&[("delivery.timeout.ms", "10")]).unwrap_err().contains("must be at least linger.ms"));
    assert_eq!(rules::delivery_timeout_ms(&producer(&[("request.timeout.ms", "300000")]).unwrap()), 300_005);
    let missing = Values::client(Scope::Consumer, [("group.id", "g")]).unwrap_err();
    assert_eq!(missing.to_string(), "bootstrap.servers of the consumer is not set, and it has no default");
}

#[test]
fn the_docs_have_a_row_for_each_key() {
    let page = docs::markdown(Scope::Topic);
    assert_eq!(page.lines().count(), 35);
    assert!(page.contains(
        "| `retention.bytes` | long (bytes) | `-1` | -1 (no limit) or at least 0 bytes | yes | while running |"
    ));
}
