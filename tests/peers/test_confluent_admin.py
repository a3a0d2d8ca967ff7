"""confluent-kafka's admin client: topics, configs, offsets, and what it is refused."""

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from support.compare import Transcript, side_by_side
from support.tools import Tools
from support.topics import at, create, fill


def outcome(call: Callable[[], dict[Any, Any]]) -> object:
    """What the futures of a call tell, or the names of their errors: the words are each broker's own."""
    found = {}
    try:
        futures = call()
    except KafkaException as error:
        return ["refused", error.args[0].name()]
    for asked, future in futures.items():
        try:
            result = future.result(30)
            found[str(asked)] = None if result is None else "done"
        except KafkaException as error:
            found[str(asked)] = error.args[0].name()
    return found


def settled(ask: Callable[[], dict[str, Any]], is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What is told once it is so, or after ten seconds.

    Apache Kafka answers once a change is decided, and its broker goes by it a moment later.
    """
    deadline = time.monotonic() + 10
    while True:
        told = ask()
        if is_so(told) or time.monotonic() > deadline:
            return told
        time.sleep(0.02)


@side_by_side
def test_topics_are_made_told_grown_and_deleted(bootstrap: str, _tools: Tools) -> Transcript:
    admin = AdminClient(at(bootstrap))

    def listed() -> dict[str, Any]:
        return dict(admin.list_topics(timeout=10).topics)

    found: dict[str, object] = {}
    found["create"] = outcome(lambda: admin.create_topics([NewTopic("ca-a", 3, 1), NewTopic("ca-b", 1, 1)]))
    found["again"] = outcome(lambda: admin.create_topics([NewTopic("ca-a", 3, 1)]))
    found["only tried"] = outcome(lambda: admin.create_topics([NewTopic("ca-c", 3, 1)], validate_only=True))
    found["by default"] = outcome(lambda: admin.create_topics([NewTopic("ca-d")]))
    found["grow"] = outcome(lambda: admin.create_partitions([NewPartitions("ca-a", 5)]))
    found["shrink"] = outcome(lambda: admin.create_partitions([NewPartitions("ca-a", 2)]))
    found["stay"] = outcome(lambda: admin.create_partitions([NewPartitions("ca-a", 5)]))
    found["grow what is not"] = outcome(lambda: admin.create_partitions([NewPartitions("ca-none", 5)]))
    found["only tried to grow"] = outcome(
        lambda: admin.create_partitions([NewPartitions("ca-a", 9)], validate_only=True)
    )
    topics = settled(listed, lambda topics: "ca-d" in topics and len(topics["ca-a"].partitions) == 5)
    found["listed"] = sorted([name, len(t.partitions)] for name, t in topics.items() if name.startswith("ca-"))
    found["delete"] = outcome(lambda: admin.delete_topics(["ca-a", "ca-b", "ca-none"]))
    topics = settled(listed, lambda topics: "ca-a" not in topics and "ca-b" not in topics)
    found["left"] = sorted(name for name in topics if name.startswith("ca-"))
    found["made again"] = outcome(lambda: admin.create_topics([NewTopic("ca-a", 2, 1)]))
    return found


@side_by_side
def test_topics_that_are_refused(bootstrap: str, _tools: Tools) -> Transcript:
    admin = AdminClient(at(bootstrap))

    def make(name: str, *args: object, **kwargs: object) -> object:
        return outcome(lambda: admin.create_topics([NewTopic(name, *args, **kwargs)]))

    return [
        make("ca bad name", 1, 1),
        make("ca-replicas", 1, 3),
        make("ca-key", 1, 1, config={"no.such.key": "1"}),
        make("ca-value", 1, 1, config={"retention.ms": "soon"}),
        make("ca-range", 1, 1, config={"min.cleanable.dirty.ratio": "2"}),
        make("ca-word", 1, 1, config={"compression.type": "brotli"}),
        make("ca-by-hand", 2, replica_assignment=[[1], [1]]),
        make("ca-by-hand-wrong", 2, replica_assignment=[[1], [5]]),
    ]


def described(admin: AdminClient, resource: ConfigResource) -> dict[str, Any]:
    """The configs of one resource."""
    (future,) = admin.describe_configs([resource]).values()
    entries: dict[str, Any] = future.result(30)
    return entries


# Topic configs that any broker of default settings describes alike. Left out: min.insync.replicas, which Apache Kafka
# writes into the cluster's own config when it formats, and what only tiered storage and replication want.
KEYS = (
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "preallocate",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
)


@side_by_side
def test_configs_of_a_topic_are_told_and_changed(bootstrap: str, _tools: Tools) -> Transcript:
    admin = AdminClient(at(bootstrap))
    topic = create(bootstrap, "ca-configs", retention_ms="86400000", cleanup_policy="delete")
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)

    def tell(key: str, value: str) -> object:
        entries = settled(lambda: described(admin, resource), lambda entries: entries[key].value == value)
        return {
            key: [e.value, e.source, e.is_read_only, e.is_default, e.is_sensitive, sorted(e.synonyms)]
            for key, e in sorted(entries.items())
            if key in KEYS
        }

    def change(*entries: ConfigEntry, **kwargs: object) -> object:
        asked = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=list(entries))
        return outcome(lambda: admin.incremental_alter_configs([asked], **kwargs))

    def entry(name: str, value: str | None, operation: AlterConfigOpType = AlterConfigOpType.SET) -> ConfigEntry:
        return ConfigEntry(name, value, incremental_operation=operation)

    found: dict[str, object] = {"at first": tell("retention.ms", "86400000")}
    found["set"] = change(entry("retention.ms", "1000"), entry("max.message.bytes", "2000"))
    found["append"] = change(entry("cleanup.policy", "compact", AlterConfigOpType.APPEND))
    found["told after"] = tell("cleanup.policy", "delete,compact")
    found["subtract"] = change(entry("cleanup.policy", "delete", AlterConfigOpType.SUBTRACT))
    found["delete"] = change(entry("retention.ms", None, AlterConfigOpType.DELETE))
    found["only tried"] = change(entry("segment.bytes", "2000000"), validate_only=True)
    found["unknown"] = change(entry("no.such.key", "1"))
    found["no number"] = change(entry("retention.ms", "soon"))
    found["out of range"] = change(entry("retention.ms", "-5"))
    found["append to a number"] = change(entry("retention.ms", "5", AlterConfigOpType.APPEND))
    found["told at last"] = tell("retention.ms", "604800000")
    return found


@side_by_side
def test_configs_of_the_broker_are_told(bootstrap: str, _tools: Tools) -> Transcript:
    admin = AdminClient(at(bootstrap))
    node = str(next(iter(admin.list_topics(timeout=10).brokers)))
    entries = described(admin, ConfigResource(ConfigResource.Type.BROKER, node))
    asked = (
        "group.initial.rebalance.delay.ms",
        "log.retention.hours",
        "log.segment.bytes",
        "message.max.bytes",
        "num.partitions",
        "auto.create.topics.enable",
        "offsets.topic.num.partitions",
        "compression.type",
    )
    shown = [[key, e.value, e.source, e.is_read_only] for key in asked if (e := entries.get(key)) is not None]
    found: dict[str, object] = {"told": shown}
    for name, resource in {
        "unknown topic": ConfigResource(ConfigResource.Type.TOPIC, "ca-none"),
        "another broker": ConfigResource(ConfigResource.Type.BROKER, "99"),
        "no broker": ConfigResource(ConfigResource.Type.BROKER, "one"),
    }.items():
        found[name] = outcome(lambda resource=resource: admin.describe_configs([resource], request_timeout=3))
    return found


# Left out: what Apache Kafka's validator lets through and its broker then stumbles over, as "*," and "0:99999999999".
THROTTLED_REPLICAS = (
    "*",
    "0:1",
    "0:1,1:2",
    "0:1, 1:2",
    " 0:1 ",
    "0:1,",
    "",
    "0",
    "0:",
    ":1",
    "0:x",
    "-1:0",
    "0:1:2",
    "*,0:1",
    "*,*",
    "all",
)


@side_by_side
def test_throttled_replicas_are_pairs_or_all(bootstrap: str, _tools: Tools) -> Transcript:
    admin = AdminClient(at(bootstrap))
    topic = create(bootstrap, "ca-throttled")
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)

    def without_blanks(value: str | None) -> str:
        # Apache Kafka tells a list without those around its words, and a broker of ours what was given.
        return (value or "").replace(" ", "")

    found: dict[str, object] = {}
    for side in ("leader", "follower"):
        key = f"{side}.replication.throttled.replicas"
        holds = ""
        for value in THROTTLED_REPLICAS:
            entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            asked = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
            changed = outcome(lambda asked=asked: admin.incremental_alter_configs([asked]))
            if changed == {str(asked): None}:
                holds = without_blanks(value)
            told = settled(
                lambda: described(admin, resource),
                lambda entries, key=key, holds=holds: without_blanks(entries[key].value) == holds,
            )[key]
            found[f"{side} {value!r}"] = [changed, without_blanks(told.value), told.source, told.is_default]
    return found


@side_by_side
def test_the_rate_of_throttled_replicas_is_set_while_a_broker_runs(bootstrap: str, _tools: Tools) -> Transcript:
    admin = AdminClient(at(bootstrap))
    node = str(next(iter(admin.list_topics(timeout=10).brokers)))
    resource = ConfigResource(ConfigResource.Type.BROKER, node)
    key = "leader.replication.throttled.rate"

    def change(value: str | None, name: str = key) -> object:
        operation = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        entry = ConfigEntry(name, value, incremental_operation=operation)
        asked = ConfigResource(ConfigResource.Type.BROKER, node, incremental_configs=[entry])
        return outcome(lambda: admin.incremental_alter_configs([asked]))

    def value_in(entries: dict[str, Any]) -> str | None:
        return entries[key].value if key in entries else None

    def told(wanted: str | None) -> object:
        entry = settled(lambda: described(admin, resource), lambda entries: value_in(entries) == wanted).get(key)
        return entry and [entry.value, entry.source, entry.is_sensitive, entry.is_default, sorted(entry.synonyms)]

    found: dict[str, object] = {"at first": told(None)}
    found["set"] = [change("7000"), told("7000")]
    found["nothing"] = [change("0"), told("0")]
    for value in ("-1", "soon", "", "9223372036854775807", "9223372036854775808"):
        found[value] = change(value)
    found["windows"] = change("3", "replication.quota.window.num")
    found["none"] = [change(None), told(None)]
    return found


@side_by_side
def test_offsets_are_listed_and_records_deleted(bootstrap: str, _tools: Tools) -> Transcript:
    admin = AdminClient(at(bootstrap))
    topic = create(bootstrap, "ca-records", 2)
    fill(bootstrap, topic, 50)
    fill(bootstrap, topic, 5, partition=1)

    def offsets() -> object:
        specs = {
            "earliest": OffsetSpec.earliest(),
            "latest": OffsetSpec.latest(),
            "greatest": OffsetSpec.max_timestamp(),
            "at a time": OffsetSpec.for_timestamp(1_600_000_003_500),
        }
        told = {}
        for name, spec in specs.items():
            futures = admin.list_offsets({TopicPartition(topic, n): spec for n in (0, 1)})
            told[name] = [[r.offset, r.timestamp, r.leader_epoch] for r in (f.result(30) for f in futures.values())]
        return told

    def delete(partition: int, offset: int) -> object:
        (future,) = admin.delete_records([TopicPartition(topic, partition, offset)]).values()
        try:
            return future.result(30).low_watermark
        except KafkaException as error:
            return error.args[0].name()

    found: dict[str, object] = {"at first": offsets()}
    found["delete"] = [delete(0, 20), delete(0, 10), delete(0, 51), delete(1, -1), delete(7, 1)]
    found["after"] = offsets()
    return found


@side_by_side
def test_topics_and_cluster_are_described(bootstrap: str, _tools: Tools) -> Transcript:
    admin = AdminClient(at(bootstrap))
    create(bootstrap, "ca-described", 2)
    found: dict[str, object] = {}
    for name, future in admin.describe_topics(TopicCollection(["ca-described", "ca-none"])).items():
        try:
            topic = future.result(30)
            rows = [[p.id, p.leader.id, len(p.replicas), len(p.isr)] for p in topic.partitions]
            found[name] = [topic.name, topic.is_internal, len(str(topic.topic_id)), rows]
        except KafkaException as error:
            found[name] = error.args[0].name()
    cluster = admin.describe_cluster().result(30)
    found["cluster"] = [len(cluster.cluster_id), cluster.controller.id, [node.id for node in cluster.nodes]]
    return found
