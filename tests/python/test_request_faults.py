"""Requests that are refused on purpose: this API, with this error, so many times."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import pytest

import strandline as sl

Isolation: TypeAlias = Literal["thread", "process"]


@pytest.fixture
def cluster(isolation: Isolation) -> Iterator[sl.Cluster]:
    """One broker with a topic."""
    with sl.Cluster(isolation=isolation) as cluster:
        cluster.create_topic("t")
        yield cluster


def test_a_producer_tries_again_until_it_is_taken(cluster: sl.Cluster) -> None:
    [broker] = cluster.brokers
    with cluster.producer() as producer:
        producer.send("t", "0").result()
        fault = broker.fail_requests("Produce", error="NOT_ENOUGH_REPLICAS", times=3)
        assert fault.remaining == 3
        assert producer.send("t", "1").result().offset == 1
        fault.wait()
        assert fault.remaining == 0
    assert repr(fault) == f"<RequestFault: broker {broker.id} refuses Produce with NOT_ENOUGH_REPLICAS>"


def test_an_error_that_is_for_good_reaches_the_application(cluster: sl.Cluster) -> None:
    [broker] = cluster.brokers
    with cluster.producer() as producer:
        fault = broker.fail_requests("Produce", error="MESSAGE_TOO_LARGE")
        for _ in range(2):
            with pytest.raises(sl.errors.MessageTooLargeError):
                producer.send("t", "0").result()
        assert fault.remaining is None
        with pytest.raises(TimeoutError, match="has still requests to refuse"):
            fault.wait(timeout=0.05)
        fault.end()
        assert producer.send("t", "0").result().offset == 0
        with pytest.raises(RuntimeError, match="refuses nothing of the kind"):
            _ = fault.remaining
        with pytest.raises(RuntimeError, match="refuses nothing of the kind"):
            fault.wait()


def test_a_consumer_reads_on_when_its_fetches_are_taken_again(cluster: sl.Cluster) -> None:
    [broker] = cluster.brokers
    with cluster.producer() as producer:
        producer.send("t", "0").result()
    fetches = broker.fail_requests("Fetch", error="NOT_LEADER_OR_FOLLOWER", times=2)
    offsets = broker.fail_requests("ListOffsets", error="LEADER_NOT_AVAILABLE", times=1)
    metadata = broker.fail_requests("Metadata", error="LEADER_NOT_AVAILABLE", times=1)
    with cluster.consumer("t", auto_offset_reset="earliest", stop_at_end=True) as consumer:
        assert [message.value for message in consumer] == [b"0"]
    for fault in (fetches, offsets, metadata):
        fault.wait()


def test_a_group_joins_and_commits_all_the_same(cluster: sl.Cluster) -> None:
    [broker] = cluster.brokers
    with cluster.producer() as producer:
        producer.send("t", "0").result()
    apis = ["FindCoordinator", "JoinGroup", "SyncGroup", "OffsetFetch", "OffsetCommit"]
    faults = [broker.fail_requests(api, error="COORDINATOR_LOAD_IN_PROGRESS", times=1) for api in apis]
    with cluster.consumer("t", group_id="g", auto_offset_reset="earliest", stop_at_end=True) as consumer:
        [message] = list(consumer)
        consumer.commit(message)
    for fault in faults:
        fault.wait()
    assert cluster.admin().list_offsets("g")[sl.TopicPartition("t", 0)].offset == 1


def test_one_topic_is_refused_and_the_others_are_served(cluster: sl.Cluster) -> None:
    [broker] = cluster.brokers
    cluster.create_topic("flights")
    fault = broker.fail_requests("Produce", error="MESSAGE_TOO_LARGE", times=1, topic="flights")
    told = f"<RequestFault: broker {broker.id} refuses Produce of topic 'flights' with MESSAGE_TOO_LARGE>"
    assert repr(fault) == told
    # Both in one request, where the client puts them there.
    with cluster.producer(linger_ms=50) as producer:
        served, refused = (producer.send(topic, "0") for topic in ("t", "flights"))
        assert served.result().offset == 0
        with pytest.raises(sl.errors.MessageTooLargeError):
            refused.result()
        fault.wait()
        assert producer.send("flights", "1").result().offset == 0
    reads = {
        api: broker.fail_requests(api, error=error, times=2, topic="flights")
        for api, error in {
            "Fetch": "NOT_LEADER_OR_FOLLOWER",
            "ListOffsets": "LEADER_NOT_AVAILABLE",
            "Metadata": "LEADER_NOT_AVAILABLE",
        }.items()
    }
    for topic in ("t", "flights"):
        with cluster.consumer(topic, auto_offset_reset="earliest", stop_at_end=True) as consumer:
            assert len(list(consumer)) == 1
        assert all(fault.remaining == 2 for fault in reads.values()) == (topic == "t")
    for fault in reads.values():
        fault.wait()


def test_commits_and_admin_requests_may_be_refused_for_one_topic(cluster: sl.Cluster) -> None:
    [broker] = cluster.brokers
    cluster.create_topic("flights")
    with cluster.producer() as producer:
        for topic in ("t", "flights"):
            producer.send(topic, "0").result()
    committed = broker.fail_requests("OffsetCommit", error="TOPIC_AUTHORIZATION_FAILED", times=1, topic="flights")
    with cluster.consumer("t", "flights", group_id="g", auto_offset_reset="earliest") as consumer:
        messages = {message.topic: message for message in (next(consumer), next(consumer))}
        with pytest.raises(sl.errors.TopicAuthorizationFailedError):
            consumer.commit(messages["flights"])
        consumer.commit(messages["flights"])
    committed.wait()
    broker.fail_requests("CreateTopics", error="POLICY_VIOLATION", topic="airports")
    broker.fail_requests("DeleteTopics", error="POLICY_VIOLATION", times=1, topic="flights")
    with pytest.raises(sl.errors.PolicyViolationError):
        cluster.create_topic("airports")
    cluster.create_topic("airlines")
    with pytest.raises(sl.errors.PolicyViolationError):
        cluster.admin().delete_topic("flights")
    cluster.admin().delete_topics(["t", "flights"])


def test_one_client_is_refused(cluster: sl.Cluster) -> None:
    [broker] = cluster.brokers
    fault = broker.fail_requests("Produce", error="MESSAGE_TOO_LARGE", client_id="loader")
    assert repr(fault).endswith("refuses Produce by client 'loader' with MESSAGE_TOO_LARGE>")
    with cluster.producer(client_id="loader") as loader, cluster.producer(client_id="other") as other:
        with pytest.raises(sl.errors.MessageTooLargeError):
            loader.send("t", "0").result()
        assert other.send("t", "0").result().offset == 0
        fault.end()
        assert loader.send("t", "1").result().offset == 1


def test_what_a_broker_forwards_it_may_refuse_itself() -> None:
    # Whichever broker is asked.
    with sl.Cluster(brokers=3) as cluster:
        faults = [broker.fail_requests("CreateTopics", error="POLICY_VIOLATION") for broker in cluster.brokers]
        for _ in range(3):
            with pytest.raises(sl.errors.PolicyViolationError):
                cluster.create_topic("t")
        for fault in faults:
            fault.end()
        cluster.create_topic("t")


def test_it_ends_with_the_broker(cluster: sl.Cluster) -> None:
    [broker] = cluster.brokers
    fault = broker.fail_requests("Produce", error=7, times=1)
    broker.kill()
    with pytest.raises(RuntimeError, match="does not run"):
        _ = fault.remaining
    with pytest.raises(RuntimeError, match="does not run"):
        broker.fail_requests("Produce", error="REQUEST_TIMED_OUT")
    broker.start()
    with pytest.raises(RuntimeError, match="started anew since"):
        _ = fault.remaining
    with cluster.producer() as producer:
        producer.send("t", "0").result()


def test_what_makes_no_sense_is_refused(cluster: sl.Cluster) -> None:
    [broker] = cluster.brokers
    with pytest.raises(ValueError, match=r"api is .Prduce.: it must be one of Produce, Fetch"):
        broker.fail_requests("Prduce", error="REQUEST_TIMED_OUT")
    for error in ("NO_SUCH_ERROR", "NONE", 9999, 0):
        with pytest.raises(ValueError, match="it must be Kafka's name of an error"):
            broker.fail_requests("Produce", error=error)
    with pytest.raises(ValueError, match="times is 0"):
        broker.fail_requests("Produce", error="REQUEST_TIMED_OUT", times=0)
    # Between brokers and controllers.
    with pytest.raises(ValueError, match="it must be one of"):
        broker.fail_requests("AlterPartition", error="REQUEST_TIMED_OUT")
    # Its answer is about a group, or about the broker.
    for api in ("JoinGroup", "ApiVersions", "AlterPartitionReassignments"):
        with pytest.raises(sl.errors.InvalidRequestError, match=f"{api} cannot be refused for one topic.*Produce"):
            broker.fail_requests(api, error="REQUEST_TIMED_OUT", topic="t")
