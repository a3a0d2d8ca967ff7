"""asyncio and uvloop: what is sent, read and asked without a thread that waits; and what a cancelled wait leaves."""

import asyncio
import contextlib
import gc
import inspect
import threading
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import polars as pl
import pytest
import uvloop

import strandline as sl

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


def values(cluster: sl.Cluster, topic: sl.Topic) -> list[bytes | None]:
    """All that a topic holds."""
    with cluster.consumer(topic.name, auto_offset_reset="earliest", stop_at_end=True) as consumer:
        return [message.value for message in consumer]


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop turn until something holds."""
    while not condition():
        await asyncio.sleep(0)


def test_an_awaited_send_tells_where_the_record_lies(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    async def main() -> list[sl.RecordMetadata]:
        async with cluster.async_producer() as producer:
            first = await producer.send(topic.name, b"v", key="k", timestamp=1_357_034_400_123, headers={"a": b"1"})
            return [first, await producer.send(topic.name, b"w")]

    first, second = run(main())
    assert first == sl.RecordMetadata(topic.name, 0, 0, 1_357_034_400_123)
    assert (second.topic, second.offset) == (topic.name, 1)
    assert values(cluster, topic) == [b"v", b"w"]


def test_many_sends_are_awaited_together_in_the_order_of_their_calls(
    cluster: sl.Cluster, new_topic: Callable[..., sl.Topic], run: Run[Any]
) -> None:
    topic = new_topic(partitions=3)

    async def main() -> list[sl.RecordMetadata]:
        async with cluster.async_producer(linger_ms=1) as producer:
            return await asyncio.gather(*[producer.send(topic.name, str(n), partition=n % 3) for n in range(9000)])

    found = run(main())
    assert [(known.partition, known.offset) for known in found] == [(n % 3, n // 3) for n in range(9000)]


def test_records_keep_their_order_while_the_topic_is_not_known_yet(cluster: sl.Cluster, run: Run[Any]) -> None:
    async def main() -> list[int | None]:
        async with cluster.async_producer(max_in_flight_requests_per_connection=1) as producer:
            # Nobody knows these topics: their records stand in line until the broker has made them.
            sent = [producer.send(f"async-new-{n % 2}", str(n)) for n in range(2000)]
            return [metadata.offset for metadata in await asyncio.gather(*sent)]

    for name in ("async-new-0", "async-new-1"):
        with contextlib.suppress(sl.errors.UnknownTopicOrPartitionError):
            cluster.topic(name).delete()
    assert run(main()) == [n // 2 for n in range(2000)]
    assert values(cluster, cluster.topic("async-new-1")) == [str(n).encode() for n in range(1, 2000, 2)]


def test_what_stands_in_line_is_bounded(run: Run[Any]) -> None:
    async def main() -> None:
        with sl.connect("127.0.0.1:1") as client:
            producer = client.async_producer(buffer_memory=100_000, max_block_ms=200)
            sent: list[sl.AsyncDelivery] = []

            def send_for_ever() -> None:
                while True:
                    sent.append(producer.send("t", bytes(1000)))

            with pytest.raises(sl.errors.BufferExhaustedError, match=r"buffer\.memory"):
                send_for_ever()
            assert 50 < len(sent) < 110
            assert "waits for room" in repr(sent[-1])
            told = await asyncio.gather(*sent, return_exceptions=True)
            assert all(isinstance(error, sl.KafkaError) for error in told)
            await producer.close()
            with pytest.raises(sl.errors.ClosedError):
                producer.send("t", b"v")

    run(main())


def test_what_is_refused_is_raised_by_the_call(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    async def main() -> None:
        async with cluster.async_producer() as producer:
            await producer.send(topic.name, b"v")
            with pytest.raises(TypeError, match="it must be bytes"):
                producer.send(topic.name, 5)  # type: ignore[arg-type]
            with pytest.raises(sl.errors.MessageTooLargeError):
                producer.send(topic.name, bytes(2_000_000))

    run(main())


def test_a_send_outside_of_an_event_loop_is_refused(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        cluster.async_producer().send(topic.name, b"v")


def test_a_delivery_is_a_future_to_asyncio(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    called: list[object] = []

    async def main() -> None:
        async with cluster.async_producer(linger_ms=60_000) as producer:
            sent = producer.send(topic.name, b"v")
            await until(lambda: "waits for room" not in repr(sent))
            assert asyncio.isfuture(sent)
            assert sent.get_loop() is asyncio.get_running_loop()
            assert not sent.done()
            with pytest.raises(asyncio.InvalidStateError):
                sent.result()
            sent.add_done_callback(called.append)
            sent.add_done_callback(print)
            assert sent.remove_done_callback(print) == 1
            waiting = asyncio.ensure_future(asyncio.shield(sent))
            assert await asyncio.wait([waiting], timeout=0.001) == (set(), {waiting})
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(sent), 0.001)
            await producer.flush()
            done = await asyncio.wait_for(sent, 30)
            assert await waiting == done == sent.result() == await sent
            assert sent.done()
            assert sent.exception() is None
            assert not sent.cancel()
            await until(lambda: called)
            late = asyncio.Event()
            sent.add_done_callback(lambda _: late.set())
            await late.wait()

    run(main())
    assert [type(one) for one in called] == [sl.AsyncDelivery]


def test_a_delivery_can_be_made_a_task(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    async def main() -> list[int | None]:
        async with cluster.async_producer() as producer:
            tasks = [asyncio.create_task(producer.send(topic.name, b"v")) for _ in range(10)]
            return [(await task).offset for task in tasks]

    assert run(main()) == list(range(10))


def test_a_cancelled_send_goes_its_way(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    async def main() -> None:
        async with cluster.async_producer(linger_ms=60_000) as producer:
            sent = [producer.send(topic.name, str(number)) for number in range(3)]

            async def wait() -> None:
                await sent[1]

            task = asyncio.create_task(wait())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert sent[1].cancelled()
            assert sent[1].done()
            with pytest.raises(asyncio.CancelledError):
                sent[1].exception()
            await producer.flush()
            assert [(await sent[0]).offset, (await sent[2]).offset] == [0, 2]

    run(main())
    assert values(cluster, topic) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("together", ["gather", "gather with exceptions", "wait", "tasks"])
def test_sends_that_are_cancelled_together_go_their_way(
    cluster: sl.Cluster, topic: sl.Topic, run: Run[Any], together: str
) -> None:
    async def wait(sent: list[sl.AsyncDelivery]) -> object:
        if together == "wait":
            return await asyncio.wait([asyncio.create_task(one) for one in sent])
        if together == "tasks":
            return await asyncio.gather(*map(asyncio.create_task, sent))
        return await asyncio.gather(*sent, return_exceptions=together == "gather with exceptions")

    async def main() -> None:
        async with cluster.async_producer(linger_ms=60_000) as producer:
            await producer.partitions_for(topic.name)
            sent = [producer.send(topic.name, b"v") for _ in range(10)]
            task = asyncio.create_task(wait(sent))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            last = producer.send(topic.name, b"v")
            await producer.flush()
            assert (await last).offset == 10

    run(main())


def test_a_failure_is_raised_by_the_await(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    async def main() -> None:
        producer = cluster.async_producer(linger_ms=60_000)
        await producer.partitions_for(topic.name)
        sent = producer.send(topic.name, b"v")
        waiting = asyncio.gather(sent, return_exceptions=True)
        await producer.close(timeout=0)
        # Closing sends what is there; without time for it the delivery fails, and either is told.
        [told] = await waiting
        assert isinstance(told, (sl.RecordMetadata, sl.errors.ClosedError))
        assert isinstance(sent.exception(), (sl.errors.ClosedError, type(None)))
        with pytest.raises(sl.KafkaError, match="no partition 7"):
            async with cluster.async_producer() as other:
                await other.send(topic.name, b"v", partition=7)

    run(main())


def test_a_sync_delivery_can_be_awaited_in_any_loop(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    async def main() -> int | None:
        with cluster.producer(linger_ms=1) as producer:
            sent = producer.send(topic.name, b"v")
            return (await sent).offset

    assert run(main()) == 0


def test_flush_says_when_its_time_ran_out(topic: sl.Topic, run: Run[Any]) -> None:
    async def main() -> None:
        with sl.connect("127.0.0.1:1") as client:
            producer = client.async_producer(max_block_ms=60_000)
            sent = producer.send(topic.name, b"v")
            with pytest.raises(TimeoutError, match="still under way"):
                await producer.flush(timeout=0.01)
            await producer.close(timeout=0)
            with pytest.raises(sl.KafkaError):
                await sent

    run(main())


def test_a_table_is_sent_in_a_thread(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    frame = pl.DataFrame({"key": ["a", "b"], "delay": [1, None]})

    async def main() -> sl.types.SentTable:
        async with cluster.async_producer() as producer:
            with pytest.raises(ValueError, match="missing"):
                producer.send_table(topic.name, frame, key="missing")
            return await producer.send_table(topic.name, frame, key="key")

    sent = run(main())
    assert (sent.rows, sent.failed) == (2, [])
    assert values(cluster, topic) == [b'{"delay":1}', b'{"delay":null}']


def test_the_admin_client_is_awaited(cluster: sl.Cluster, run: Run[Any]) -> None:
    async def main() -> None:
        async with cluster.async_admin() as admin:
            topic = await admin.create_topic("async-admin", partitions=2, retention_ms=60_000)
            assert (type(topic), topic.name) == (sl.Topic, "async-admin")
            made = await admin.create_topics({"async-b": 1, "async-a": 1})
            assert sorted(topic.name for topic in made) == ["async-a", "async-b"]
            with pytest.raises(sl.errors.TopicAlreadyExistsError):
                await admin.create_topic("async-admin")
            assert {"async-admin", "async-a"} <= set(await admin.list_topics())
            await admin.create_partitions("async-admin", 3)
            [described] = await admin.describe_topics(["async-admin"])
            assert len(described.partitions) == 3
            await admin.alter_configs(topic="async-admin", set={"retention.ms": 1000})
            assert (await admin.describe_configs(topic="async-admin"))["retention.ms"].value == "1000"
            partition = sl.TopicPartition("async-admin", 0)
            assert await admin.latest_offsets([partition]) == await admin.earliest_offsets([partition])
            await admin.alter_offsets("async-group", {partition: 7})
            assert (await admin.list_offsets("async-group"))[partition].offset == 7
            assert "async-group" in [group.group_id for group in await admin.list_groups()]
            await admin.delete_offsets("async-group", [partition])
            await admin.delete_groups(["async-group"])
            assert len((await admin.describe_cluster()).brokers) == 1
            assert len(await admin.describe_log_dirs()) == 1
            assert await admin.delete_records({partition: -1}) == {partition: 0}
            await admin.delete_topics(["async-admin", "async-a"])
            await admin.delete_topic("async-b")

    run(main())


def test_both_faces_have_the_same_methods_and_options() -> None:
    plain = {"__enter__", "__exit__", "__iter__", "__next__"}
    for sync, later in (
        (sl.Producer, sl.AsyncProducer),
        (sl.Consumer, sl.AsyncConsumer),
        (sl.Admin, sl.AsyncAdmin),
    ):
        names = {name for name in vars(sync) if not name.startswith("__")} - plain
        assert names == {name for name in vars(later) if not name.startswith("__")}
        for name in names:
            options = [inspect.signature(getattr(face, name)).parameters for face in (sync, later)]
            assert list(map(str, options[0].values())) == list(map(str, options[1].values())), (later, name)
    for maker in (sl.Cluster, sl.Client):
        for kind in ("producer", "consumer", "admin"):
            both = [inspect.signature(getattr(maker, name)) for name in (kind, f"async_{kind}")]
            assert both[0] == both[1]


def test_a_cluster_and_a_client_end_with_their_block(run: Run[Any]) -> None:
    async def main() -> None:
        async with sl.Cluster() as cluster:
            async with sl.connect(cluster.bootstrap_servers) as client:
                producer = client.async_producer()
                consumer = client.async_consumer("t", auto_offset_reset="earliest")
                waiting = asyncio.create_task(anext(consumer))  # type: ignore[arg-type]
                await producer.send("t", b"v")
                assert (await waiting).value == b"v"
                waiting = asyncio.create_task(anext(consumer))  # type: ignore[arg-type]
                await asyncio.sleep(0)
            with pytest.raises(sl.errors.ClosedError):
                await waiting
            with pytest.raises(sl.errors.ClosedError):
                producer.send("t", b"v")
        with pytest.raises(sl.errors.ClosedError):
            cluster.async_admin()

    run(main())


def test_several_loops_in_several_threads_share_a_client(cluster: sl.Cluster, topic: sl.Topic) -> None:
    producer = cluster.async_producer()
    admin = cluster.async_admin()
    found: list[int | None] = []

    async def main() -> None:
        sent = [producer.send(topic.name, b"v") for _ in range(500)]
        assert topic.name in await admin.list_topics()
        found.extend(metadata.offset for metadata in await asyncio.gather(*sent))

    threads = [threading.Thread(target=runs, args=(main(),)) for runs in (asyncio.run, uvloop.run, asyncio.run)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(offset for offset in found if offset is not None) == list(range(1500))
    asyncio.run(producer.close())  # type: ignore[arg-type]


def test_a_delivery_of_another_loop_says_so(cluster: sl.Cluster, topic: sl.Topic) -> None:
    producer = cluster.async_producer(linger_ms=60_000)

    async def send() -> sl.AsyncDelivery:
        return producer.send(topic.name, b"v")

    sent = asyncio.run(send())

    async def wait() -> None:
        await sent

    with pytest.raises(RuntimeError, match="attached to a different loop"):
        asyncio.run(wait())


def test_a_loop_that_is_closed_meanwhile_is_left_alone(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    producer = cluster.async_producer(linger_ms=60_000)

    async def main() -> list[sl.AsyncDelivery]:
        sent = [producer.send(topic.name, b"v") for _ in range(10)]
        for one in sent:
            one.add_done_callback(lambda _: pytest.fail("its loop is closed"))
        return sent

    sent = run(main())

    async def close() -> None:
        await producer.close()

    run(close())
    assert all(one.done() for one in sent)
    assert [one.result().offset for one in sent] == list(range(10))


def test_a_coroutine_that_is_forgotten_is_warned_of(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        cluster.async_admin().delete_topic(topic.name)
        gc.collect()
    assert [str(one.message) for one in told] == ["coroutine 'AsyncAdmin.delete_topic' was never awaited"]
    assert topic.record_count == 0


def test_a_coroutine_is_awaited_once(cluster: sl.Cluster, run: Run[Any]) -> None:
    async def main() -> None:
        asking = cluster.async_admin().list_topics()
        assert asyncio.iscoroutine(asking)
        await asyncio.create_task(asking)
        with pytest.raises(RuntimeError, match="already awaited"):
            await asking
        closed = cluster.async_admin().list_topics()
        closed.close()
        with pytest.raises(RuntimeError, match="already awaited"):
            await closed

    run(main())


def test_a_cancelled_question_ends_at_once(run: Run[Any]) -> None:
    async def main() -> None:
        with sl.connect("127.0.0.1:1") as client:
            task = asyncio.create_task(client.async_admin().list_topics())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.async_consumer("t").poll(timeout=None), 0.01)

    run(main())


def test_a_cancelled_close_still_sends_what_was_taken(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    async def main() -> None:
        producer = cluster.async_producer(linger_ms=60_000)
        sent = producer.send(topic.name, b"v")
        closing = asyncio.create_task(producer.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await producer.close()
        assert (await sent).offset == 0

    run(main())
