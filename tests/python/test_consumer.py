"""Reading: iteration, polls, places, commits and groups."""

import threading
import time
from collections.abc import Callable

import pytest

import strandline as sl
from strandline import TopicPartition
from strandline.types import CommittedOffset, OffsetAndTimestamp

EARLY = {"auto_offset_reset": "earliest"}


def fill(cluster: sl.Cluster, topic: sl.Topic, count: int, start: int = 0) -> None:
    """Send the numbers from `start` on, in order, one millisecond apart."""
    with cluster.producer() as producer:
        for number in range(start, start + count):
            producer.send(topic.name, str(number), partition=0, timestamp=1_000_000 + number)


def numbers(messages: list[sl.Message]) -> list[int]:
    return [int(message.value or b"-1") for message in messages]


def take(consumer: sl.Consumer, count: int) -> list[sl.Message]:
    """Poll until there are this many."""
    messages: list[sl.Message] = []
    end = time.monotonic() + 30
    while len(messages) < count and time.monotonic() < end:
        messages += consumer.poll(timeout=1)
    return messages


def test_iteration_hands_out_everything_in_order(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 5000)
    with cluster.consumer(topic.name, stop_at_end=True, **EARLY) as consumer:
        assert numbers(list(consumer)) == list(range(5000))


def test_iteration_without_an_end_waits_for_more(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 3)
    seen = []
    with cluster.consumer(topic.name, **EARLY) as consumer:
        for message in consumer:
            seen.append(message)
            if len(seen) == 3:
                fill(cluster, topic, 3, start=3)
            if len(seen) == 6:
                break
    assert numbers(seen) == list(range(6))


def test_an_empty_topic_ends_at_once(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with cluster.consumer(topic.name, stop_at_end=True, **EARLY) as consumer:
        assert list(consumer) == []


def test_a_poll_hands_out_what_there_is(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 20)
    with cluster.consumer(topic.name, **EARLY) as consumer:
        first = take(consumer, 1)
        rest = take(consumer, 20 - len(first))
        assert numbers(first + rest) == list(range(20))
        assert consumer.poll(timeout=0) == []


def test_a_poll_hands_out_no_more_than_it_is_asked_for(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 20)
    with cluster.consumer(topic.name, **EARLY) as consumer:
        seen: list[sl.Message] = []
        while len(seen) < 20:
            messages = consumer.poll(max_records=7, timeout=10)
            assert 0 < len(messages) <= 7
            seen += messages
    assert numbers(seen) == list(range(20))


def test_a_consumer_may_be_given_its_partitions(cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]) -> None:
    topic = new_topic(partitions=3)
    with cluster.producer() as producer:
        for number in range(30):
            producer.send(topic.name, str(number), partition=number % 3)
    with cluster.consumer(stop_at_end=True, **EARLY) as consumer:
        consumer.assign([(topic.name, 0), TopicPartition(topic.name, 2)])
        assert consumer.assignment() == [TopicPartition(topic.name, 0), TopicPartition(topic.name, 2)]
        assert sorted(numbers(list(consumer))) == [n for n in range(30) if n % 3 != 1]


def test_a_place_can_be_sought(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 100)
    tp = TopicPartition(topic.name, 0)
    with cluster.consumer(**EARLY) as consumer:
        consumer.assign([tp])
        consumer.seek(tp, 90)
        assert numbers(take(consumer, 10)) == list(range(90, 100))
        assert consumer.position(tp) == 100
        consumer.seek_to_beginning()
        assert consumer.position(tp) == 0
        assert numbers(take(consumer, 5))[:5] == [0, 1, 2, 3, 4]
        consumer.seek_to_end()
        assert consumer.position(tp) == 100
        consumer.seek_to_timestamp(1_000_050)
        assert numbers(take(consumer, 1))[0] == 50
        consumer.seek_to_timestamp("1970-01-01T00:16:40.095Z")
        assert numbers(take(consumer, 1))[0] == 95
        consumer.seek_to_timestamp(9_000_000)
        assert consumer.position(tp) == 100


def test_a_place_in_the_middle_of_what_was_polled_is_exact(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 100)
    tp = TopicPartition(topic.name, 0)
    with cluster.consumer(topic.name, group_id=topic.name, enable_auto_commit=False, **EARLY) as consumer:
        for message in consumer:
            if message.offset == 30:
                break
        assert consumer.position(tp) == 31
        assert consumer.lag(tp) == 69
        consumer.commit()
        assert consumer.committed([tp]) == {tp: CommittedOffset(31, "", 0)}
        assert next(iter(consumer)).offset == 31
    with cluster.consumer(topic.name, group_id=topic.name, stop_at_end=True) as consumer:
        assert numbers(list(consumer)) == list(range(31, 100))


def test_what_was_not_handed_out_is_not_committed_on_close(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 100)
    with cluster.consumer(topic.name, group_id=topic.name, **EARLY) as consumer:
        for message in consumer:
            if message.offset == 41:
                break
    assert cluster.admin().list_offsets(topic.name)[TopicPartition(topic.name, 0)].offset == 42


def test_offsets_are_committed_by_hand(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 10)
    tp = TopicPartition(topic.name, 0)
    with cluster.consumer(topic.name, group_id=topic.name, enable_auto_commit=False, **EARLY) as consumer:
        take(consumer, 10)
        assert consumer.committed([tp]) == {}
        consumer.commit({tp: 4})
        assert consumer.committed([tp])[tp].offset == 4
        consumer.commit({tp: CommittedOffset(7, "noted")})
        assert consumer.committed([tp])[tp][:2] == (7, "noted")
        messages = list(take_again(consumer, tp))
        consumer.commit(messages[2])
        assert consumer.committed([tp])[tp].offset == 3


def take_again(consumer: sl.Consumer, tp: TopicPartition) -> list[sl.Message]:
    consumer.seek(tp, 0)
    return take(consumer, 10)


def test_a_paused_partition_is_silent(cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]) -> None:
    topic = new_topic(partitions=2)
    with cluster.producer() as producer:
        for number in range(20):
            producer.send(topic.name, str(number), partition=number % 2)
    zero, one = TopicPartition(topic.name, 0), TopicPartition(topic.name, 1)
    with cluster.consumer(**EARLY) as consumer:
        consumer.assign([zero, one])
        consumer.pause([zero])
        assert consumer.paused() == [zero]
        assert {message.partition for message in take(consumer, 10)} == {1}
        assert consumer.poll(timeout=0.2) == []
        consumer.resume([zero])
        assert {message.partition for message in take(consumer, 10)} == {0}


def test_a_pattern_finds_its_topics(cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]) -> None:
    topics = [new_topic(), new_topic()]
    for topic in topics:
        fill(cluster, topic, 5)
    pattern = "|".join(f"^{topic.name}$" for topic in topics)
    with cluster.consumer(group_id=topics[0].name, stop_at_end=True, **EARLY) as consumer:
        consumer.subscribe(pattern=pattern)
        assert {message.topic for message in consumer} == {topic.name for topic in topics}
        assert len(consumer.subscription()) == 2


def test_a_group_shares_the_partitions(cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]) -> None:
    topic = new_topic(partitions=4)
    group = topic.name
    with cluster.producer() as producer:
        for number in range(4000):
            producer.send(topic.name, str(number), partition=number % 4)
    seen: list[int] = []
    shares: dict[int, int] = {}
    both = threading.Barrier(2)

    def run(thread: int) -> None:
        end = time.monotonic() + 60
        with cluster.consumer(group_id=group, **EARLY) as consumer:
            # Neither reads before each has its share.
            consumer.subscribe([topic.name], on_assign=consumer.pause)
            while len(consumer.assignment()) != 2 and time.monotonic() < end:
                assert consumer.poll(timeout=0.05) == []
            both.wait(30)
            consumer.resume(consumer.assignment())
            while len(seen) < 4000 and time.monotonic() < end:
                messages = consumer.poll(timeout=0.1)
                shares[thread] = shares.get(thread, 0) + len(messages)
                seen.extend(numbers(messages))

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shares == {0: 2000, 1: 2000}
    assert sorted(seen) == list(range(4000))


def test_callbacks_tell_of_partitions_that_come_and_go(cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]) -> None:
    topic = new_topic(partitions=2)
    told: list[tuple[str, list[TopicPartition]]] = []
    with cluster.consumer(group_id=topic.name, **EARLY) as first:
        first.subscribe(
            [topic.name],
            on_assign=lambda partitions: told.append(("assign", partitions)),
            on_revoke=lambda partitions: told.append(("revoke", partitions)),
        )
        end = time.monotonic() + 30
        while not told and time.monotonic() < end:
            first.poll(timeout=0.1)
        assert told == [("assign", [TopicPartition(topic.name, 0), TopicPartition(topic.name, 1)])]
        with cluster.consumer(topic.name, group_id=topic.name) as second:
            while not (second.assignment() and len(first.assignment()) == 1) and time.monotonic() < end:
                first.poll(timeout=0.05)
                second.poll(timeout=0.05)
            assert sorted(first.assignment() + second.assignment()) == [(topic.name, 0), (topic.name, 1)]
    assert [what for what, _ in told][1] == "revoke"


def test_what_a_callback_raises_comes_out_of_the_poll(cluster: sl.Cluster, topic: sl.Topic) -> None:
    def refuse(partitions: list[TopicPartition]) -> None:
        raise LookupError("not this one")

    with cluster.consumer(group_id=topic.name) as consumer:
        consumer.subscribe([topic.name], on_assign=refuse)
        with pytest.raises(LookupError, match="not this one"):
            consumer.poll(timeout=30)


def test_offsets_of_the_log_can_be_asked_for(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 10)
    tp = TopicPartition(topic.name, 0)
    with cluster.consumer() as consumer:
        assert consumer.beginning_offsets([tp]) == {tp: 0}
        assert consumer.end_offsets([tp]) == {tp: 10}
        assert consumer.offsets_for_times({tp: 1_000_004}) == {tp: OffsetAndTimestamp(4, 1_000_004, 0)}
        assert consumer.offsets_for_times({tp: 9_000_000}) == {tp: None}


def test_without_an_offset_to_start_from_it_says_so(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with (
        cluster.consumer(topic.name, group_id=topic.name, auto_offset_reset="none") as consumer,
        pytest.raises(sl.errors.NoOffsetForPartitionError),
    ):
        next(iter(consumer))


def test_a_closed_consumer_says_so(cluster: sl.Cluster, topic: sl.Topic) -> None:
    consumer = cluster.consumer(topic.name)
    consumer.close()
    consumer.close()
    for call in (consumer.poll, consumer.assignment, consumer.commit, lambda: next(iter(consumer))):
        with pytest.raises(sl.errors.ClosedError):
            call()


def test_arguments_that_make_no_sense_are_refused_with_a_sentence(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with cluster.consumer(group_id="wrong-arguments") as consumer:
        for most in (0, -1):
            with pytest.raises(ValueError, match=f"max_records is {most}: it must be at least 1"):
                consumer.poll(most)
        with pytest.raises(TypeError, match=r"topics is a str: it must be a list of names, as in \['flights'\]"):
            consumer.subscribe("flights")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="unclosed character class") as told:
            consumer.subscribe(pattern="[")
        assert "^" not in str(told.value).splitlines()[1]
        with pytest.raises(ValueError, match="nothing is subscribed to"):
            consumer.poll()


def test_two_threads_cannot_poll_one_consumer_at_once(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with cluster.consumer(topic.name) as consumer:
        begun = threading.Event()
        said = set()

        def poll(timeout: float) -> None:
            begun.set()
            try:
                consumer.poll(timeout=timeout)
            except sl.KafkaError as error:
                # Whichever of the two comes second.
                said.add(str(error))

        thread = threading.Thread(target=poll, args=(1.5,))
        thread.start()
        begun.wait()
        while thread.is_alive():
            poll(0.01)
        assert said == {"another thread is using this consumer: a consumer serves one thread at a time"}


def test_a_message_keeps_what_it_needs(cluster: sl.Cluster, topic: sl.Topic) -> None:
    fill(cluster, topic, 3)
    with cluster.consumer(topic.name, stop_at_end=True, **EARLY) as consumer:
        messages = list(consumer)
    assert numbers(messages) == [0, 1, 2]
    assert messages[0] != messages[1]
    assert len({*messages, *messages}) == 3
    assert repr(messages[0]) == (
        f"Message(topic='{topic.name}', partition=0, offset=0, timestamp=1000000, key=None, value=b'0')"
    )
