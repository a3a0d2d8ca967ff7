"""Our own asyncio clients, the same code against either broker, on asyncio and uvloop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pyarrow as pa
import uvloop

import strandline as sl
from support.compare import Transcript, side_by_side
from support.tools import Tools


def run(scenario: Callable[[str], Coroutine[Any, Any, Transcript]]) -> Transcript:
    """Play a coroutine in a loop of each kind; it is given a name of its own for what it makes."""
    return [asyncio.run(scenario("asyncio")), uvloop.run(scenario("uvloop"))]


async def outcome(call: Awaitable[Any]) -> Any:
    """What a call gives, or the name of its error."""
    try:
        return await call
    except sl.KafkaError as error:
        return error.name


@side_by_side
def test_what_is_sent_together_comes_back_in_order(bootstrap: str, _tools: Tools) -> Transcript:
    async def play(loop: str) -> Transcript:
        found = {}
        async with sl.connect(bootstrap) as client, client.async_admin() as admin:
            for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
                topic = (await admin.create_topic(f"async-{loop}-{codec}", partitions=2)).name
                async with client.async_producer(compression_type=codec, linger_ms=5) as producer:
                    sends = [
                        producer.send(topic, f"value {n}" * 20, key=str(n), partition=n % 2, headers={"h": b"%d" % n})
                        for n in range(400)
                    ]
                    sent = [(known.partition, known.offset) for known in await asyncio.gather(*sends)]
                options = {"auto_offset_reset": "earliest", "stop_at_end": True}
                async with client.async_consumer(topic, **options) as consumer:  # type: ignore[arg-type]
                    read = [(m.partition, m.offset, m.key, m.headers) async for m in consumer]
                found[codec] = [sent == [(n % 2, n // 2) for n in range(400)], sorted(read)]
        return [found["none"], [found[codec] == found["none"] for codec in found]]

    return run(play)


@side_by_side
def test_a_topic_that_nobody_made_is_made_by_the_first_sends(bootstrap: str, _tools: Tools) -> Transcript:
    async def play(loop: str) -> Transcript:
        async with sl.connect(bootstrap) as client, client.async_producer() as producer:
            sent = [producer.send(f"async-new-{loop}", str(n)) for n in range(100)]
            offsets = [known.offset for known in await asyncio.gather(*sent)]
            table = pa.table({"key": ["a", "b"], "value": [1, 2]})
            rows = await producer.send_table(f"async-new-{loop}", table, key="key", value="value")
            return [offsets, [rows.rows, rows.partitions], await producer.partitions_for(f"async-new-{loop}")]

    return run(play)


@side_by_side
def test_a_group_shares_commits_and_leaves(bootstrap: str, _tools: Tools) -> Transcript:
    async def play(loop: str) -> Transcript:
        topic, group, told = f"async-group-{loop}", f"async-group-{loop}", []
        async with sl.connect(bootstrap) as client, client.async_admin() as admin:
            await admin.create_topic(topic, partitions=4)
            async with client.async_producer() as producer:
                await asyncio.gather(*[producer.send(topic, str(n), partition=n % 4) for n in range(40)])
            options = {"group_id": group, "auto_offset_reset": "earliest", "enable_auto_commit": False}
            async with client.async_consumer(**options) as first:  # type: ignore[arg-type]

                async def assigned(partitions: list[sl.TopicPartition]) -> None:
                    told.append(["assigned", len(partitions)])

                async def revoked(partitions: list[sl.TopicPartition]) -> None:
                    await first.commit()
                    told.append(["revoked", len(partitions)])

                first.subscribe([topic], on_assign=assigned, on_revoke=revoked)
                seen: list[sl.Message] = []
                while len(seen) < 40:
                    seen += await first.poll(timeout=None)
                async with client.async_consumer(**options) as second:  # type: ignore[arg-type]
                    second.subscribe([topic])

                    async def until_two(consumer: sl.AsyncConsumer) -> None:
                        while len(consumer.assignment()) != 2:
                            seen.extend(await consumer.poll(timeout=0.05))

                    await asyncio.gather(until_two(first), until_two(second))
                    [described] = await admin.describe_groups([group])
                    shares = sorted(len(member.assignment) for member in described.members)
                refused = await outcome(admin.delete_groups([group]))
            committed = {p.partition: known.offset for p, known in (await admin.list_offsets(group)).items()}
            await admin.delete_groups([group])
            return [told[:2], shares, refused, committed, sorted(int(m.value or b"") for m in seen)]

    return run(play)


@side_by_side
def test_a_cancelled_wait_loses_nothing(bootstrap: str, _tools: Tools) -> Transcript:
    async def play(loop: str) -> Transcript:
        topic = f"async-cancelled-{loop}"
        seen: list[int] = []
        async with sl.connect(bootstrap) as client:
            await client.async_admin().create_topic(topic)
            async with (
                client.async_producer(linger_ms=0) as producer,
                client.async_consumer(topic, group_id=topic, auto_offset_reset="earliest") as consumer,
            ):

                async def one() -> None:
                    seen.append(int((await anext(consumer)).value or b""))

                for number in range(100):
                    task = asyncio.create_task(one())
                    sent = producer.send(topic, str(number))
                    if number % 3 == 0:
                        await sent
                    for _ in range(number % 5):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                while len(seen) < 90:
                    await one()
            async with client.async_consumer(topic, group_id=topic) as consumer:
                while len(seen) < 100:
                    await one()
        return [seen == list(range(100)), len(seen)]

    return run(play)


@side_by_side
def test_errors_have_the_same_names(bootstrap: str, _tools: Tools) -> Transcript:
    async def play(loop: str) -> Transcript:
        topic = f"async-errors-{loop}"
        async with sl.connect(bootstrap) as client, client.async_admin() as admin:
            await admin.create_topic(topic, max_message_bytes=1000)
            async with client.async_producer() as producer:
                large = await outcome(producer.send(topic, bytes(5000)))
                fine = (await producer.send(topic, b"v")).offset
            return {
                "large": large,
                "fine": fine,
                "again": await outcome(admin.create_topic(topic)),
                "name": await outcome(admin.create_topic("not a name")),
                "missing": await outcome(admin.describe_topics(["never-made"])),
                "config": await outcome(admin.alter_configs(topic=topic, set={"retention.ms": "soon"})),
                "group": await outcome(admin.delete_groups(["never-met"])),
                "records": await outcome(admin.delete_records({(topic, 0): 99})),
            }

    return run(play)
