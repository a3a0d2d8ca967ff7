"""confluent-kafka's consumer groups: joining, leaving, committing, and how groups are told of and deleted."""

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from support.compare import Transcript, side_by_side
from support.tools import Tools
from support.topics import at, create, fill


def member(bootstrap: str, group: str, **settings: object) -> Consumer:
    """A member of a group that commits only when told."""
    base = {
        **at(bootstrap),
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 300,
    }
    return Consumer({**base, **settings})


def until(ready: Callable[[], bool], *members: Consumer, seconds: float = 30) -> None:
    """Poll all members until `ready`; what they read is dropped."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "the group did not settle in time"
        for consumer in members:
            consumer.poll(0.05)


def shares(*members: Consumer) -> list[int]:
    """How many partitions each member has."""
    return [len(consumer.assignment()) for consumer in members]


@side_by_side
def test_three_consumers_join_and_leave(bootstrap: str, _tools: Tools) -> Transcript:
    found: dict[str, object] = {}
    for strategy in ("range", "roundrobin", "cooperative-sticky"):
        topic = create(bootstrap, f"cg-{strategy}", 6)
        settings = {"partition.assignment.strategy": strategy}
        one, two, three = (member(bootstrap, f"cg-{strategy}", **settings) for _ in range(3))
        told: list[object] = []
        one.subscribe([topic])
        until(lambda one=one: shares(one) == [6], one)
        told.append(shares(one))
        two.subscribe([topic])
        until(lambda one=one, two=two: shares(one, two) == [3, 3], one, two)
        three.subscribe([topic])
        until(lambda a=one, b=two, c=three: shares(a, b, c) == [2, 2, 2], one, two, three)
        owned = sorted(p.partition for c in (one, two, three) for p in c.assignment())
        told.append(owned)
        two.close()
        until(lambda a=one, c=three: shares(a, c) == [3, 3], one, three)
        one.close()
        until(lambda c=three: shares(c) == [6], three)
        told.append(shares(three))
        three.close()
        found[strategy] = told
    return found


@side_by_side
def test_commits_are_kept_and_found_again(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "cg-commit", 2)
    fill(bootstrap, topic, 10)
    found: dict[str, object] = {}

    def committed(consumer: Consumer) -> object:
        asked = [TopicPartition(topic, n) for n in (0, 1)]
        return [[p.partition, p.offset, p.metadata] for p in consumer.committed(asked, timeout=20)]

    first = member(bootstrap, "cg-commit")
    found["at first"] = committed(first)
    first.subscribe([topic])
    read = [first.consume(1, 20)[0].offset() for _ in range(4)]
    first.commit(asynchronous=False)
    found["read"] = [read, committed(first)]
    first.commit(offsets=[TopicPartition(topic, 1, 77, metadata="a nöte")], asynchronous=False)
    found["by hand"] = committed(first)
    first.close()
    second = member(bootstrap, "cg-commit", **{"enable.auto.commit": True, "auto.commit.interval.ms": 100})
    second.subscribe([topic])
    found["goes on"] = [second.consume(1, 20)[0].offset() for _ in range(3)]
    second.close()
    third = member(bootstrap, "cg-commit")
    found["by itself"] = committed(third)
    try:
        third.commit(offsets=[TopicPartition("cg-none", 0, 1)], asynchronous=False)
        found["to no topic"] = "taken"
    except KafkaException as error:
        found["to no topic"] = error.args[0].name()
    third.close()
    return found


@side_by_side
def test_a_static_member_comes_back_to_its_share(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "cg-static", 4)
    settings = {"partition.assignment.strategy": "range"}
    one = member(bootstrap, "cg-static", **settings, **{"group.instance.id": "one"})
    two = member(bootstrap, "cg-static", **settings, **{"group.instance.id": "two"})
    one.subscribe([topic])
    two.subscribe([topic])
    until(lambda: shares(one, two) == [2, 2], one, two)
    before = sorted(p.partition for p in two.assignment())
    two.close()
    again = member(bootstrap, "cg-static", **settings, **{"group.instance.id": "two"})
    moves: list[int] = []
    one.poll(0.3)
    again.subscribe([topic])
    until(lambda: shares(again) == [2], again, one)
    after = sorted(p.partition for p in again.assignment())
    moves += shares(one, again)
    one.close()
    again.close()
    return [before == after, moves]


@side_by_side
def test_a_subscription_by_pattern_finds_new_topics(bootstrap: str, _tools: Tools) -> Transcript:
    create(bootstrap, "cgp-one", 1)
    consumer = member(bootstrap, "cg-pattern", **{"topic.metadata.refresh.interval.ms": 500})
    consumer.subscribe(["^cgp-.*"])
    until(lambda: shares(consumer) == [1], consumer)
    create(bootstrap, "cgp-two", 2)
    until(lambda: shares(consumer) == [3], consumer)
    names = sorted([p.topic, p.partition] for p in consumer.assignment())
    consumer.close()
    return names


def result(call: Callable[[], Any]) -> Any:
    """What a call gives, or the name of its error."""
    try:
        return call()
    except KafkaException as error:
        return error.args[0].name()


@side_by_side
def test_groups_are_listed_described_and_deleted(bootstrap: str, _tools: Tools) -> Transcript:
    admin = AdminClient(at(bootstrap))
    topic = create(bootstrap, "cg-admin", 2)
    fill(bootstrap, topic, 10)
    group = "cg-admin"
    consumer = member(bootstrap, group, **{"client.id": "teller", "partition.assignment.strategy": "range"})
    consumer.subscribe([topic])
    until(lambda: shares(consumer) == [2], consumer)
    consumer.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)

    def described(name: str) -> object:
        told = admin.describe_consumer_groups([name])[name].result(20)
        members = [[m.client_id, m.host, len(m.assignment.topic_partitions)] for m in told.members]
        return [told.state.name, told.is_simple_consumer_group, told.partition_assignor, members, told.coordinator.id]

    def listed(*states: ConsumerGroupState) -> object:
        groups = admin.list_consumer_groups(states=set(states)).result(20)
        return [[g.group_id, g.state.name, g.is_simple_consumer_group] for g in groups.valid if g.group_id == group]

    def offsets(*asked: TopicPartition) -> object:
        request = [ConsumerGroupTopicPartitions(group, list(asked) or None)]
        told = admin.list_consumer_group_offsets(request)[group].result(20)
        return sorted([p.topic, p.partition, p.offset, str(p.error)] for p in told.topic_partitions)

    def alter(*asked: TopicPartition) -> object:
        told = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, list(asked))])[group].result(20)
        return [[p.partition, p.offset, str(p.error)] for p in told.topic_partitions]

    def delete(name: str) -> object:
        return result(lambda: admin.delete_consumer_groups([name])[name].result(20))

    found: dict[str, object] = {
        "stable": result(lambda: described(group)),
        "listed": listed(),
        "listed, stable": listed(ConsumerGroupState.STABLE),
        "listed, empty": listed(ConsumerGroupState.EMPTY),
        "offsets": result(offsets),
        "offset of one": result(lambda: offsets(TopicPartition(topic, 1))),
        "delete while in use": delete(group),
        "alter while in use": result(lambda: alter(TopicPartition(topic, 0, 1))),
    }
    consumer.close()
    found |= {
        "empty": result(lambda: described(group)),
        "alter": result(lambda: alter(TopicPartition(topic, 0, 1), TopicPartition(topic, 1, 3))),
        "offsets after": result(offsets),
        "delete": delete(group),
        "delete again": delete(group),
        "gone": result(lambda: described(group)),
        "offsets of what is gone": result(offsets),
    }
    return found
