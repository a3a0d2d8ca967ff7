"""Scans as transcripts, and the records that they are made over."""

from confluent_kafka import Producer

from strandline import Scan

from .topics import at

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
FIRST = 1_600_000_000_000

Headers = list[tuple[str, bytes | None]]


def told(value: object) -> object:
    """A value as JSON has it: bytes as text, where they are one."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, list):
        return [told(item) for item in value]
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def rows(scan: Scan) -> list[object]:
    """The rows of a scan."""
    return [told(list(row.values())) for row in scan.to_pyarrow().to_pylist()]


def kinds(n: int) -> tuple[bytes | None, bytes | None, Headers | None]:
    """A key, a value and headers: null, empty, short, long, in turn."""
    key = (None, b"", b"k%d" % n, b"a key that is longer than twelve bytes")[n % 4]
    value = (b"v%d" % n, None, b"", b"value %d " % n * 20, b"\x00\xff\xfe")[n % 5]
    headers: Headers | None = ([("a", b"1"), ("a", None), ("", b"")], None, [("n", b"%d" % n)])[n % 3]
    return key, value, headers


def produce(bootstrap: str, topic: str, codec: str, count: int, partitions: int = 1) -> None:
    """Produce `count` records of all kinds, a second apart, over the partitions in turn."""
    producer = Producer({**at(bootstrap), "compression.type": codec, "linger.ms": 50})
    for n in range(count):
        key, value, headers = kinds(n)
        producer.produce(topic, value, key, partition=n % partitions, timestamp=FIRST + 1000 * n, headers=headers)
    assert producer.flush(30) == 0


def transact(bootstrap: str, topic: str) -> None:
    """A transaction that is committed, one that is aborted, plain records between them, and one that stays open."""
    plain = Producer(at(bootstrap))
    for turn, end in enumerate(("commit", "abort", "open")):
        producer = Producer({**at(bootstrap), "transactional.id": f"{topic}-{end}"})
        producer.init_transactions(30)
        producer.begin_transaction()
        for n in range(3):
            producer.produce(topic, f"{end} {n}".encode(), timestamp=FIRST + turn)
        assert producer.flush(30) == 0
        plain.produce(topic, f"plain {turn}".encode(), timestamp=FIRST + turn)
        assert plain.flush(30) == 0
        if end == "commit":
            producer.commit_transaction(30)
        elif end == "abort":
            producer.abort_transaction(30)
        else:
            OPEN.append(producer)


# Producers whose transaction is open: to forget one would end it.
OPEN: list[Producer] = []
