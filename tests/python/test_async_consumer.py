"""Reading in asyncio and uvloop: what a wait hands out, who steps aside, and what a cancelled wait leaves."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

import strandline as sl

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


def fill(cluster: sl.Cluster, topic: sl.Topic, count: int) -> None:
    """Records with their numbers as values."""
    with cluster.producer() as producer:
        for number in range(count):
            producer.send(topic.name, str(number))


def numbers(messages: list[sl.Message]) -> list[int]:
    """The numbers of records that `fill` wrote."""
    return [int(message.value or b"-1") for message in messages]


@pytest.mark.parametrize("group", [None, "async-iterates"])
def test_async_for_reads_to_the_end(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any], group: str | None) -> None:
    fill(cluster, topic, 2500)

    async def main() -> list[sl.Message]:
        options = {"group_id": group and f"{group}-{topic.name}", "auto_offset_reset": "earliest"}
        async with cluster.async_consumer(topic.name, stop_at_end=True, **options) as consumer:  # type: ignore[arg-type]
            return [message async for message in consumer]

    assert numbers(run(main())) == list(range(2500))


def test_poll_returns_what_is_there_and_waits_no_longer_than_it_should(
    cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]
) -> None:
    fill(cluster, topic, 10)

    async def main() -> None:
        async with cluster.async_consumer(topic.name, auto_offset_reset="earliest") as consumer:
            assert len(await consumer.poll(max_records=4, timeout=None)) == 4
            assert numbers(await consumer.poll(timeout=30)) == [4, 5, 6, 7, 8, 9]
            assert await consumer.poll(timeout=0.001) == []
            assert await consumer.poll(timeout=0) == []
            with pytest.raises(ValueError, match="max_records is 0"):
                consumer.poll(max_records=0)
            waiting = asyncio.create_task(consumer.poll(timeout=None))
            async with cluster.async_producer() as producer:
                await producer.send(topic.name, b"10")
            assert numbers(await waiting) == [10]

    run(main())


def test_a_cancelled_wait_loses_no_message(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    count = 300

    async def main() -> list[int]:
        seen: list[int] = []
        async with (
            cluster.async_producer(linger_ms=0) as producer,
            cluster.async_consumer(topic.name, auto_offset_reset="earliest") as consumer,
        ):

            async def one() -> None:
                seen.append(int((await anext(consumer)).value or b""))

            async def some() -> None:
                seen.extend(numbers(await consumer.poll(max_records=2, timeout=None)))

            for number in range(count):
                task = asyncio.create_task(one() if number % 2 else some())
                sent = producer.send(topic.name, str(number))
                # At one moment after another: before it runs, while it fetches, when it has been woken.
                if number % 3 == 0:
                    await sent
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            while len(seen) < count:
                seen.extend(numbers(await consumer.poll(timeout=None)))
        return seen

    assert run(main()) == list(range(count))


def test_what_a_cancelled_wait_fetched_is_not_committed(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    fill(cluster, topic, 10)
    group = f"group-{topic.name}"

    async def main() -> int:
        async with cluster.async_consumer(topic.name, group_id=group, auto_offset_reset="earliest") as consumer:
            for turns in range(50):
                waiting = asyncio.create_task(consumer.poll(max_records=3, timeout=None))
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                [seen] = await asyncio.gather(waiting, return_exceptions=True)
                if isinstance(seen, list):
                    break
            else:
                seen = await consumer.poll(max_records=3, timeout=None)
            assert numbers(seen) == list(range(len(seen)))
            assert await consumer.position((topic.name, 0)) == len(seen)
            return len(seen)

    seen = run(main())
    assert cluster.admin().list_offsets(group)[sl.TopicPartition(topic.name, 0)].offset == seen


def test_whoever_waits_steps_aside(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    fill(cluster, topic, 3)
    partition = sl.TopicPartition(topic.name, 0)

    async def main() -> None:
        options: dict[str, Any] = {"group_id": f"group-{topic.name}", "auto_offset_reset": "earliest"}
        async with cluster.async_consumer(topic.name, enable_auto_commit=False, **options) as consumer:
            messages = [await anext(consumer) for _ in range(3)]
            waiting = [asyncio.create_task(consumer.poll(timeout=None)) for _ in range(2)]
            await asyncio.sleep(0)
            for _ in range(20):
                await consumer.commit(messages[1])
                assert (await consumer.committed())[partition].offset == 2
                assert await consumer.position(partition) == 3
                assert consumer.assignment() == [partition]
                consumer.pause([partition])
                assert consumer.paused() == [partition]
                consumer.resume([partition])
            assert await consumer.end_offsets([partition]) == {partition: 3}
            assert not any(task.done() for task in waiting)
            consumer.seek(partition, 2)
            done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert [numbers(task.result()) for task in done] == [[2]]
            for task in left:
                task.cancel()

    run(main())


def test_offsets_are_committed_and_looked_up(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    fill(cluster, topic, 5)
    partition = sl.TopicPartition(topic.name, 0)

    async def main() -> None:
        group = f"group-{topic.name}"
        options: dict[str, Any] = {"group_id": group, "auto_offset_reset": "earliest", "enable_auto_commit": False}
        async with cluster.async_consumer(topic.name, **options) as consumer:
            await consumer.poll(max_records=2, timeout=None)
            await consumer.commit()
            assert (await consumer.committed())[partition].offset == 2
            await consumer.commit({partition: 4})
            assert await consumer.beginning_offsets([partition]) == {partition: 0}
            found = await consumer.offsets_for_times({partition: 0})
            assert found[partition] is not None
            assert found[partition].offset == 0
            await consumer.unsubscribe()
            assert consumer.assignment() == []
        async with cluster.async_consumer(topic.name, **options) as consumer:
            assert numbers(await consumer.poll(timeout=None)) == [4]
        with pytest.raises(sl.KafkaError, match=r"group\.id is not set"):
            await cluster.async_consumer(topic.name).commit()

    run(main())


def test_a_group_shares_its_partitions_and_callbacks_may_be_async(
    cluster: sl.Cluster, new_topic: Callable[..., sl.Topic], run: Run[Any]
) -> None:
    topic = new_topic(partitions=4)
    fill(cluster, topic, 100)
    told: list[tuple[str, int]] = []

    async def main() -> None:
        group = f"group-{topic.name}"
        async with cluster.async_consumer(group_id=group, auto_offset_reset="earliest") as first:

            async def assigned(partitions: list[sl.TopicPartition]) -> None:
                await first.position(partitions[0])
                told.append(("assigned", len(partitions)))

            async def revoked(partitions: list[sl.TopicPartition]) -> None:
                await first.commit()
                told.append(("revoked", len(partitions)))

            first.subscribe([topic.name], on_assign=assigned, on_revoke=revoked)
            assert len(await first.poll(timeout=None)) > 0
            assert told == [("assigned", 4)]
            second = cluster.async_consumer(group_id=group, auto_offset_reset="earliest")
            second.subscribe([topic.name], on_assign=lambda partitions: told.append(("second", len(partitions))))
            polls = [asyncio.create_task(poll_until(consumer, 2)) for consumer in (first, second)]
            await asyncio.gather(*polls)
            await second.close()
        assert ("second", 2) in told
        assert any(kind == "revoked" for kind, _ in told)

    async def poll_until(consumer: sl.AsyncConsumer, partitions: int) -> None:
        while len(consumer.assignment()) != partitions:
            await consumer.poll(timeout=0.01)

    run(main())


def test_an_error_of_a_callback_comes_out_of_the_poll(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    async def main() -> None:
        async with cluster.async_consumer(group_id=f"group-{topic.name}") as consumer:

            async def fails(_: object) -> None:
                await asyncio.sleep(0)
                raise LookupError("mine")

            consumer.subscribe([topic.name], on_assign=fails)
            with pytest.raises(LookupError, match="mine"):
                await consumer.poll(timeout=None)
            assert await consumer.poll(timeout=0) == []

    run(main())


def test_a_topic_that_is_not_there_is_told_by_the_first_wait(cluster: sl.Cluster, run: Run[Any]) -> None:
    async def main() -> None:
        options = {"allow_auto_create_topics": False, "default_api_timeout_ms": 200}
        consumer = cluster.async_consumer("never-made", **options)
        with pytest.raises(sl.KafkaError):
            await consumer.poll()
        await consumer.close()

    run(main())


def test_close_ends_a_wait_and_may_be_awaited_again(cluster: sl.Cluster, topic: sl.Topic, run: Run[Any]) -> None:
    async def main() -> None:
        consumer = cluster.async_consumer(topic.name, group_id=f"group-{topic.name}")
        while not consumer.assignment():
            await consumer.poll(timeout=0.01)
        waiting = asyncio.create_task(consumer.poll(timeout=None))
        await asyncio.sleep(0)
        closing = asyncio.create_task(consumer.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await consumer.close()
        with pytest.raises(sl.errors.ClosedError):
            await waiting
        with pytest.raises(sl.errors.ClosedError):
            await consumer.commit()
        assert cluster.admin().describe_groups([f"group-{topic.name}"])[0].members == []

    run(main())
