"""Kafka's errors as exceptions."""

import pickle

import pytest

import strandline as sl


def test_each_error_is_a_class_of_its_own() -> None:
    classes = set(sl.errors._BY_CODE.values())
    assert len(classes) == len(sl.errors._BY_CODE) > 130
    for code, error in sl.errors._BY_CODE.items():
        assert issubclass(error, sl.KafkaError)
        assert error.code == code
        assert error.name.isupper()
        assert error.__name__.endswith("Error")
        assert not error.__name__.endswith("ErrorError")
        assert getattr(sl.errors, error.__name__) is error


def test_they_are_also_what_python_calls_such_a_thing() -> None:
    assert issubclass(sl.errors.RequestTimedOutError, TimeoutError)
    assert issubclass(sl.errors.BufferExhaustedError, TimeoutError)
    assert issubclass(sl.errors.NetworkError, OSError)
    assert issubclass(sl.errors.InvalidConfigError, ValueError)


def test_a_broker_s_refusal_is_its_class_with_a_sentence(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with pytest.raises(sl.errors.TopicAlreadyExistsError, match=topic.name) as caught:
        cluster.create_topic(topic.name)
    error = caught.value
    assert (error.code, error.name, error.retriable) == (36, "TOPIC_ALREADY_EXISTS", False)


def test_they_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(sl.errors.NotLeaderOrFollowerError("broker 3 does not lead it")))
    assert isinstance(error, sl.errors.NotLeaderOrFollowerError)
    assert (error.retriable, str(error)) == (True, "broker 3 does not lead it")


def test_a_wrong_key_is_named_with_the_one_that_was_meant(cluster: sl.Cluster) -> None:
    with pytest.raises(sl.errors.InvalidConfigError, match=r"did you mean linger\.ms"):
        cluster.producer(lingerms=5)
    with pytest.raises(sl.errors.InvalidConfigError, match=r"acks"):
        cluster.producer(acks="some")
    with pytest.raises(sl.errors.InvalidConfigError):
        sl.Cluster(num_partitoins=3)
    with pytest.raises(ValueError, match="linger"):
        sl.connect(cluster.bootstrap_servers, linger_ms=5)


def test_a_cluster_that_is_not_there_is_a_network_error() -> None:
    with sl.connect("127.0.0.1:1").producer(max_block_ms=200) as producer, pytest.raises(sl.KafkaError) as caught:
        producer.send("t", b"v")
    assert isinstance(caught.value, OSError)
    assert caught.value.retriable
