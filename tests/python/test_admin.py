"""What the admin client can do and ask."""

from collections.abc import Callable

import pytest

import strandline as sl
from strandline import TopicPartition
from strandline.types import CommittedOffset


def fill(cluster: sl.Cluster, topic: sl.Topic, count: int) -> None:
    with cluster.producer() as producer:
        for number in range(count):
            producer.send(topic.name, str(number), partition=0, timestamp=1_000_000 + number)


def read(cluster: sl.Cluster, topic: sl.Topic, group: str) -> None:
    with cluster.consumer(topic.name, group_id=group, auto_offset_reset="earliest", stop_at_end=True) as consumer:
        for _ in consumer:
            pass


def test_a_topic_s_life(cluster: sl.Cluster) -> None:
    admin = cluster.admin()
    admin.create_topic("life", partitions=2, retention_ms=60_000)
    assert "life" in admin.list_topics()
    [description] = admin.describe_topics(["life"])
    assert (description.name, description.internal, len(description.partitions)) == ("life", False, 2)
    assert description.partitions[1].leader == description.partitions[1].replicas[0]
    admin.create_partitions("life", 5)
    assert len(admin.describe_topics(["life"])[0].partitions) == 5
    admin.delete_topic("life")
    assert "life" not in admin.list_topics()
    with pytest.raises(sl.errors.UnknownTopicOrPartitionError):
        admin.describe_topics(["life"])
    with pytest.raises(sl.errors.UnknownTopicOrPartitionError):
        admin.delete_topic("life")


def test_topics_are_made_and_deleted_together(cluster: sl.Cluster) -> None:
    admin = cluster.admin()
    admin.create_topics({"many-a": 1, "many-b": 3})
    described = admin.describe_topics(["many-a", "many-b"])
    assert {topic.name: len(topic.partitions) for topic in described} == {"many-a": 1, "many-b": 3}
    admin.delete_topics(["many-a", "many-b"])
    assert not {"many-a", "many-b"} & set(admin.list_topics())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"name": "bad name"}, sl.errors.InvalidTopicError),
        ({"name": "t0", "partitions": 0}, sl.errors.InvalidPartitionsError),
        ({"name": "t0", "replication_factor": 3}, sl.errors.InvalidReplicationFactorError),
        ({"name": "t0", "retention_ms": "soon"}, sl.errors.InvalidConfigError),
    ],
)
def test_what_makes_no_sense_is_refused(
    cluster: sl.Cluster, wrong: dict[str, object], error: type[sl.KafkaError]
) -> None:
    with pytest.raises(error):
        cluster.create_topic(**wrong)


def test_configs_are_described_and_changed(cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]) -> None:
    topic = new_topic(retention_ms=60_000)
    admin = cluster.admin()
    before = admin.describe_configs(topic=topic.name)
    assert (before["retention.ms"].value, before["retention.ms"].source) == ("60000", "DYNAMIC_TOPIC_CONFIG")
    assert before["cleanup.policy"].source == "DEFAULT_CONFIG"
    admin.alter_configs(topic=topic.name, set={"cleanup.policy": "compact"}, delete=["retention.ms"])
    after = admin.describe_configs(topic=topic.name)
    assert after["cleanup.policy"].value == "compact"
    assert after["retention.ms"].source != "DYNAMIC_TOPIC_CONFIG"
    with pytest.raises(sl.errors.InvalidConfigError):
        admin.alter_configs(topic=topic.name, set={"retention.ms": "soon"})
    broker = admin.describe_cluster().brokers[0].id
    assert "num.partitions" in admin.describe_configs(broker=broker)


def test_groups_are_listed_described_and_deleted(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 10)
    admin = cluster.admin()
    group = f"group-{topic.name}"
    with cluster.consumer(topic.name, group_id=group, auto_offset_reset="earliest") as consumer:
        while not consumer.poll(timeout=5):
            pass
        [described] = admin.describe_groups([group])
        assert (described.state, described.protocol_type) == ("Stable", "consumer")
        assert [member.assignment for member in described.members] == [[TopicPartition(topic.name, 0)]]
        with pytest.raises(sl.errors.NonEmptyGroupError):
            admin.delete_groups([group])
    assert group in [listed.group_id for listed in admin.list_groups()]
    admin.delete_groups([group])
    assert group not in [listed.group_id for listed in admin.list_groups()]
    with pytest.raises(sl.errors.GroupIdNotFoundError):
        admin.delete_groups([group])


def test_a_group_s_offsets_are_read_and_changed(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 10)
    admin = cluster.admin()
    group, tp = f"group-{topic.name}", TopicPartition(topic.name, 0)
    read(cluster, topic, group)
    assert admin.list_offsets(group)[tp].offset == 10
    admin.alter_offsets(group, {tp: 3})
    assert admin.list_offsets(group)[tp].offset == 3
    admin.alter_offsets(group, {(topic.name, 0): CommittedOffset(4, "why")})
    assert admin.list_offsets(group)[tp][:2] == (4, "why")
    admin.delete_offsets(group, [tp])
    assert admin.list_offsets(group) == {}


def test_partitions_tell_their_offsets(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 10)
    admin, tp = cluster.admin(), TopicPartition(topic.name, 0)
    assert admin.earliest_offsets([tp]) == {tp: 0}
    assert admin.latest_offsets([tp]) == {tp: 10}
    assert admin.offsets_for_times({tp: 1_000_007})[tp][:2] == (7, 1_000_007)
    assert admin.delete_records({tp: 6}) == {tp: 6}
    assert admin.earliest_offsets([tp]) == {tp: 6}


def test_the_cluster_tells_who_it_is(cluster: sl.Cluster) -> None:
    described = cluster.admin().describe_cluster()
    assert described.cluster_id
    [broker] = described.brokers
    assert f"{broker.host}:{broker.port}" == cluster.bootstrap_servers
    assert described.controller == broker.id


def test_log_dirs_tell_what_lies_in_them(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 10)
    [log_dir] = cluster.admin().describe_log_dirs()
    assert log_dir.path == str(cluster.data_dir)
    assert [replica.size > 0 for replica in log_dir.replicas if replica.topic == topic.name] == [True]


def test_a_topic_tells_what_one_asks_next(cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]) -> None:
    topic = new_topic(partitions=4)
    fill(cluster, topic, 1234)
    assert topic.record_count == 1234
    assert topic.size > 1234
    assert topic.partitions == 4
    assert repr(topic).startswith(f"Topic '{topic.name}': 4 partitions, 1,234 records, ")
    assert repr(topic).endswith("replication 1, in sync")
    assert topic.configs()["cleanup.policy"].value == "delete"
    topic.delete()
    assert repr(topic) == f"Topic '{topic.name}': not there"
    assert repr(sl.connect("127.0.0.1:1").topic("t")) == "Topic 't': no answer within 2 s"
