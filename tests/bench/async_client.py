"""What an asyncio client reaches when many sends are awaited together. Prints one line of JSON: sends a second.

async_client.py CLIENT BOOTSTRAP COUNT LOOP [SIZE]

CLIENT is `strandline` or `aiokafka`, LOOP `asyncio` or `uvloop`, BOOTSTRAP a broker's address, or `-` for a
`strandline.Cluster()` in the same process. The clock runs from the first send until the last record's place is known to
whoever awaits it; a tenth of the sends goes before to warm up.
"""

import asyncio
import json
import sys
import time
import uuid

import uvloop

import strandline as sl

# For both: nothing is lost or doubled, and no record waits long for company.
LINGER, BATCH = 5, 128 << 10


async def ours(bootstrap: str, topic: str, values: list[bytes], count: int) -> float:
    """The seconds that our producer takes, as its documentation shows it."""
    options = {"acks": "all", "linger_ms": LINGER, "batch_size": BATCH}
    async with sl.connect(bootstrap) as client, client.async_producer(**options) as producer:  # type: ignore[arg-type]
        await producer.partitions_for(topic)
        start = time.perf_counter()
        found = await asyncio.gather(*[producer.send(topic, values[n & 255]) for n in range(count)])
        seconds = time.perf_counter() - start
    assert sorted(metadata.offset for metadata in found if metadata.offset is not None) == list(range(count))
    return seconds


async def theirs(bootstrap: str, topic: str, values: list[bytes], count: int) -> float:
    """The seconds that aiokafka takes, as its documentation shows it."""
    from aiokafka import AIOKafkaProducer

    options = {"acks": "all", "enable_idempotence": True, "linger_ms": LINGER, "max_batch_size": BATCH}
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, **options) as producer:
        await producer.partitions_for(topic)
        start = time.perf_counter()
        found = await asyncio.gather(*[await producer.send(topic, values[n & 255]) for n in range(count)])
        seconds = time.perf_counter() - start
    assert sorted(metadata.offset for metadata in found) == list(range(count))
    return seconds


def main(client: str, bootstrap: str, count: int, loop: str, size: int = 100) -> dict[str, float]:
    """Measure one client."""
    run = uvloop.run if loop == "uvloop" else asyncio.run
    values = [bytes([n]) * size for n in range(256)]
    cluster = sl.Cluster() if bootstrap == "-" else None
    try:
        address = cluster.bootstrap_servers if cluster else bootstrap
        for share in (max(count // 10, 1), count):
            topic = f"async-{uuid.uuid4().hex}"
            with sl.connect(address) as ends:
                ends.create_topic(topic)
            seconds = run((ours if client == "strandline" else theirs)(address, topic, values, share))
        return {"send": count / seconds}
    finally:
        if cluster:
            cluster.close()


if __name__ == "__main__":
    which, where, number, kind, *sizes = sys.argv[1:]
    print(json.dumps(main(which, where, int(number), kind, *map(int, sizes))))
