"""aiokafka: asyncio, and older versions of many requests."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from support.compare import Transcript, side_by_side
from support.tools import Tools
from support.topics import create, fill


def run(scenario: Callable[[], Coroutine[Any, Any, Transcript]]) -> Transcript:
    """Play a coroutine in a loop of its own."""
    return asyncio.run(scenario())


async def outcome(call: Coroutine[Any, Any, Any]) -> Any:
    """What a call gives, or the name of its error."""
    try:
        return await call
    except KafkaError as error:
        return type(error).__name__


@side_by_side
def test_every_codec_there_and_back(bootstrap: str, _tools: Tools) -> Transcript:
    async def play() -> Transcript:
        found = {}
        for codec in (None, "gzip", "snappy", "lz4", "zstd"):
            for idempotent in (False, True):
                topic = create(bootstrap, f"ai-{codec}-{idempotent}")
                settings = {"compression_type": codec, "enable_idempotence": idempotent, "linger_ms": 20}
                async with AIOKafkaProducer(bootstrap_servers=bootstrap, **settings) as producer:
                    sent = [
                        await producer.send(topic, b"value %d " % n * 20, key=b"%d" % n, headers=[("h", b"%d" % n)])
                        for n in range(50)
                    ]
                    offsets = [(await future).offset for future in sent]
                consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
                async with consumer:
                    messages = [await asyncio.wait_for(consumer.getone(), 20) for _ in range(50)]
                whole = all(m.value == b"value %d " % n * 20 and m.key == b"%d" % n for n, m in enumerate(messages))
                found[topic] = [offsets == list(range(50)), [m.offset for m in messages] == offsets, whole]
        return found

    return run(play)


@side_by_side
def test_a_group_joins_commits_and_leaves(bootstrap: str, _tools: Tools) -> Transcript:
    async def play() -> Transcript:
        topic = create(bootstrap, "ai-group", 4)
        fill(bootstrap, topic, 10)

        def join() -> AIOKafkaConsumer:
            return AIOKafkaConsumer(
                topic,
                bootstrap_servers=bootstrap,
                group_id="ai-group",
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                heartbeat_interval_ms=300,
            )

        async def settle(*shares: int) -> None:
            for _ in range(600):
                if [len(c.assignment()) for c in consumers] == list(shares):
                    return
                await asyncio.sleep(0.05)
            raise TimeoutError(f"the group did not settle: {[len(c.assignment()) for c in consumers]}, not {shares}")

        consumers = [join()]
        await consumers[0].start()
        await settle(4)
        consumers.append(join())
        await consumers[1].start()
        await settle(2, 2)
        partition = TopicPartition(topic, 0)
        owner = next(c for c in consumers if partition in c.assignment())
        read = [(await asyncio.wait_for(owner.getone(partition), 20)).offset for _ in range(4)]
        await owner.commit()
        await owner.commit({partition: (4, "a note")})
        committed = await owner.committed(partition)
        await consumers.pop(0).stop()
        await settle(4)
        found = [read, committed, await consumers[0].committed(partition)]
        await consumers.pop().stop()
        return found

    return run(play)


@side_by_side
def test_offsets_times_and_seeks(bootstrap: str, _tools: Tools) -> Transcript:
    async def play() -> Transcript:
        topic = create(bootstrap, "ai-times", 1)
        fill(bootstrap, topic, 20)
        partition = TopicPartition(topic, 0)
        async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
            consumer.assign([partition])
            times = await consumer.offsets_for_times({partition: 1_600_000_004_500})
            found: dict[str, object] = {
                "beginning": (await consumer.beginning_offsets([partition]))[partition],
                "end": (await consumer.end_offsets([partition]))[partition],
                "times": [times[partition].offset, times[partition].timestamp],
            }
            consumer.seek(partition, 15)
            message = await asyncio.wait_for(consumer.getone(), 20)
            found["after a seek"] = [message.offset, message.timestamp, message.timestamp_type]
            await consumer.seek_to_beginning(partition)
            found["from the start"] = len((await consumer.getmany(timeout_ms=5000))[partition])
            return found

    return run(play)


@side_by_side
def test_the_admin_client(bootstrap: str, _tools: Tools) -> Transcript:
    async def play() -> Transcript:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()

        async def create_topic(**kwargs: Any) -> object:
            told = await admin.create_topics([NewTopic("ai-admin", 2, 1)], **kwargs)
            return [error[:2] for error in told.topic_errors]

        async def delete_topic() -> object:
            return (await admin.delete_topics(["ai-admin"])).topic_error_codes

        found = {
            "try": await outcome(create_topic(validate_only=True)),
            "create": await outcome(create_topic()),
            "again": await outcome(create_topic()),
            "listed": "ai-admin" in await admin.list_topics(),
            "described": [
                [t["topic"], t["error_code"], len(t["partitions"])] for t in await admin.describe_topics(["ai-admin"])
            ],
            "delete": await outcome(delete_topic()),
            "delete again": await outcome(delete_topic()),
        }
        await admin.close()
        return found

    return run(play)
