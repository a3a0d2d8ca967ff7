"""Frames that no client would send, and some that old ones do: who answers, and who hangs up."""

import time

from support import wire
from support.compare import Transcript, side_by_side
from support.tools import Tools
from support.topics import create, fill, wake_groups
from support.wire import Connection, Reader, array, ask, batch, i8, i16, i32, i64, record, request, string


def answered(reply: bytes | str, *kinds: str) -> object:
    """The first fields of a reply (`i16`, `i32` ...), its correlation id first; or what came in its stead."""
    if isinstance(reply, str):
        return reply
    reader = Reader(reply)
    return [reader.i32(), *(getattr(reader, kind)() for kind in kinds)]


def api_versions(version: int) -> bytes:
    body = wire.compact("peer") + wire.compact("1.0") + b"\0" if version >= 3 else b""
    return request(wire.API_VERSIONS, version, body, flexible=version >= 3)


@side_by_side
def test_api_versions_of_every_version(bootstrap: str, _tools: Tools) -> Transcript:
    found = {}
    for version in range(5):
        reply = ask(bootstrap, api_versions(version))
        assert isinstance(reply, bytes), reply
        reader = Reader(reply)
        head = [reader.i32(), reader.i16()]
        count = reader.i32() if version < 3 else reader.uvarint() - 1
        keys = []
        for _ in range(count):
            keys.append([reader.i16(), reader.i16(), reader.i16()])
            if version >= 3:
                assert reader.uvarint() == 0
        throttle = reader.i32() if version >= 1 else None
        tags = []
        for _ in range(reader.uvarint() if version >= 3 else 0):
            tags.append(reader.uvarint())
            reader.take(reader.uvarint())
        own = [key for key in keys if key[0] == wire.API_VERSIONS]
        # Which features there are differs as long as ours are fewer; the tags that carry them stand or fall with that.
        in_order = keys == sorted(keys) and tags == sorted(tags)
        found[str(version)] = [head, own, in_order, throttle, len(reader.data)]
    return found


@side_by_side
def test_api_versions_of_an_unknown_version(bootstrap: str, _tools: Tools) -> Transcript:
    reply = ask(bootstrap, request(wire.API_VERSIONS, 99, b"whatever", flexible=True))
    assert isinstance(reply, bytes), reply
    reader = Reader(reply)
    head = [reader.i32(), reader.i16()]
    keys = [[reader.i16(), reader.i16(), reader.i16()] for _ in range(reader.i32())]
    return [head, keys, len(reader.data)]


@side_by_side
def test_api_versions_refuses_a_software_name_that_is_none(bootstrap: str, _tools: Tools) -> Transcript:
    body = wire.compact("-?-") + wire.compact("1.0") + b"\0"
    return answered(ask(bootstrap, request(wire.API_VERSIONS, 3, body, flexible=True)), "i16")


@side_by_side
def test_keys_and_versions_that_are_not_served(bootstrap: str, _tools: Tools) -> Transcript:
    return {
        "unknown key": ask(bootstrap, request(999, 0)),
        "negative key": ask(bootstrap, request(-1, 0)),
        "LeaderAndIsr": ask(bootstrap, request(4, 7)),
        "Metadata 99": ask(bootstrap, request(wire.METADATA, 99, flexible=True)),
        "Metadata -1": ask(bootstrap, request(wire.METADATA, -1)),
        "Fetch 3": ask(bootstrap, request(wire.FETCH, 3, i32(-1) + i32(0) + i32(0) + i32(1000) + array([]))),
        "ListOffsets 0": ask(bootstrap, request(wire.LIST_OFFSETS, 0, i32(-1) + array([]))),
        "CreateTopics 1": ask(bootstrap, request(wire.CREATE_TOPICS, 1, array([]) + i32(1000) + i8(0))),
    }


@side_by_side
def test_produce_of_the_versions_that_are_advertised_but_gone(bootstrap: str, _tools: Tools) -> Transcript:
    create(bootstrap, "wire-old")
    found = {}
    for version in (0, 1, 2):
        body = wire.produce("wire-old", batch([record(0, None, b"v")]), version=version)
        reply = ask(bootstrap, request(wire.PRODUCE, version, body))
        found[str(version)] = reply if isinstance(reply, str) else reply.hex()
    return found


@side_by_side
def test_frames_that_are_none(bootstrap: str, _tools: Tools) -> Transcript:
    def raw(data: bytes, *, end: bool = False) -> object:
        with Connection(bootstrap) as connection:
            connection.write(data)
            if end:
                connection.end()
            reply = connection.read(3)
            return reply if isinstance(reply, str) else reply.hex()

    return {
        "over the limit": raw(i32(200 << 20) + b"\0" * 64),
        "negative length": raw(i32(-1) + b"\0" * 64),
        "empty frame": raw(i32(0)),
        "http": raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        "a header cut short": raw(i32(3) + b"\0\x12\0"),
        "a client id past the end": raw(i32(12) + i16(18) + i16(0) + i32(1) + i16(500) + b"ab"),
        "half a frame, then the end": raw(i32(100) + b"\0" * 50, end=True),
        "noise": raw(i32(40) + bytes(range(200, 240))),
    }


@side_by_side
def test_bodies_that_do_not_parse(bootstrap: str, _tools: Tools) -> Transcript:
    bad = i16(3) + b"a\xff\xfe"
    cut = i16(5) + b"\xf0\x9f\x8c\xc3z"  # the beginnings of two characters
    wake_groups(bootstrap)
    return {
        "Metadata cut short": ask(bootstrap, request(wire.METADATA, 4, i32(2) + string("a"))),
        "a count past the end": ask(bootstrap, request(wire.METADATA, 4, i32(1_000_000_000))),
        "a string past the end": ask(bootstrap, request(wire.METADATA, 4, i32(1) + i16(30_000) + b"abc")),
        "bytes too many": answered(ask(bootstrap, request(wire.METADATA, 4, array([]) + i8(0) + b"more"))),
        "an unknown tag": answered(
            ask(bootstrap, request(wire.METADATA, 9, b"\x01\0\0\0" + b"\x01\x63\x03abc", flexible=True))
        ),
        "the same tag twice": answered(
            ask(bootstrap, request(wire.METADATA, 9, b"\x01\0\0\0" + b"\x02\x63\x01a\x63\x01b", flexible=True))
        ),
        "null where it may stand": answered(ask(bootstrap, request(wire.METADATA, 4, i32(-1) + i8(0)))),
        "a count below null's": answered(ask(bootstrap, request(wire.METADATA, 4, i32(-2) + i8(0)))),
        "null where it may not": ask(bootstrap, request(wire.METADATA, 0, i32(-1))),
        "below it where it may not": ask(bootstrap, request(wire.METADATA, 0, i32(-2))),
        "a name that is null": ask(bootstrap, request(wire.METADATA, 4, i32(1) + i16(-1) + i8(0))),
        "a name below null": ask(bootstrap, request(wire.METADATA, 4, i32(1) + i16(-2) + i8(0))),
        "a client id below null": answered(
            ask(bootstrap, i16(wire.METADATA) + i16(4) + i32(7) + i16(-2) + array([]) + i8(0))
        ),
        "a client id that is no text": answered(
            ask(bootstrap, i16(wire.METADATA) + i16(4) + i32(7) + bad + array([]) + i8(0))
        ),
        "records below null": wire.produced(
            ask(
                bootstrap,
                request(wire.PRODUCE, 7, i16(-1) * 2 + i32(99) + array([string("x") + array([i32(0) + i32(-2)])])),
            )
        ),
        "a group that is no text": answered(ask(bootstrap, request(12, 0, bad + i32(1) + string("m"))), "i16"),
        "groups that are no text": [
            answered(ask(bootstrap, request(42, 0, array([text]))), "i32", "i32", "string", "i16")
            for text in (bad, cut)
        ],
    }


@side_by_side
def test_batches_that_are_damaged(bootstrap: str, _tools: Tools) -> Transcript:
    create(bootstrap, "wire-batch")
    one = [record(0, b"k", b"v")]
    two = [record(0, b"k", b"v"), record(1, b"k", b"w")]
    good = batch(one)
    legacy = i64(0) + i32(14 + 4) + i32(0) + i8(0) + i8(0) + i32(-1) + i32(4) + b"data"
    # Records that are null are left out: Apache Kafka never answers them, which nobody could want.
    cases = {
        "good": good,
        "good again": good,
        "wrong crc": batch(one, crc=1),
        "magic 3": batch(one, magic=3),
        "magic 1": batch(one, magic=1),
        "magic 0": legacy,
        "magic -1": batch(one, magic=-1),
        "length too long": batch(one, length=5000),
        "length too short": batch(one, length=20),
        "length negative": batch(one, length=-3),
        "count too high": batch(one, count=5, last_offset_delta=4),
        "count too low": batch(two, count=1, last_offset_delta=0),
        "count negative": batch(one, count=-1),
        "count of none": batch([], count=0, last_offset_delta=-1),
        "last offset delta off": batch(two, last_offset_delta=5),
        "base offset not 0": batch(one, base_offset=77),
        "offsets with a gap": batch([record(0, b"k", b"v"), record(2, b"k", b"w")], last_offset_delta=2, count=2),
        "record past its batch": batch([b"\x7f" + record(0, b"k", b"v")], count=1, last_offset_delta=0),
        "unknown codec": batch(one, attributes=6),
        "codec that is not so": batch(one, attributes=1),
        "control batch": batch(one, attributes=0x20),
        "transactional without id": batch(one, attributes=0x10),
        "empty": b"",
        "two batches": good + good,
        "a batch and a half": good + good[:30],
        "in the future": batch(one, timestamp=int(time.time() * 1000) + 7_200_000),
        "before time": batch(one, timestamp=-5, max_timestamp=-5),
        "no timestamp": batch(one, timestamp=-1, max_timestamp=-1),
        "good at the end": good,
    }
    found = {}
    for name, records in cases.items():
        found[name] = wire.produced(ask(bootstrap, request(wire.PRODUCE, 7, wire.produce("wire-batch", records))))
    # To these Apache Kafka says UNKNOWN_SERVER_ERROR: that they are refused is what counts.
    for name in ("unknown codec", "codec that is not so"):
        found[name] = ["refused" if error else "taken" for _, error, *_ in found[name]]
    return found


@side_by_side
def test_produce_to_where_nothing_is(bootstrap: str, _tools: Tools) -> Transcript:
    create(bootstrap, "wire-where", 2)
    wake_groups(bootstrap)
    good = batch([record(0, b"k", b"v")])

    def produce(topic: str, partition: int = 0, acks: int = -1) -> object:
        body = wire.produce(topic, good, partition=partition, acks=acks)
        return wire.produced(ask(bootstrap, request(wire.PRODUCE, 7, body)))

    return {
        "unknown topic": produce("wire-nowhere"),
        "unknown partition": produce("wire-where", 9),
        "negative partition": produce("wire-where", -1),
        "a name that is none": produce("no/such name"),
        "an empty name": produce(""),
        "internal": produce("__consumer_offsets"),
        "acks 1": produce("wire-where", 1, acks=1),
        "acks 2": produce("wire-where", 0, acks=2),
        "acks -2": produce("wire-where", 0, acks=-2),
    }


@side_by_side
def test_sequences_of_an_idempotent_producer(bootstrap: str, _tools: Tools) -> Transcript:
    create(bootstrap, "wire-sequence")
    error = -1
    while error in (-1, 14):  # COORDINATOR_LOAD_IN_PROGRESS: the first block of ids is on its way
        reply = ask(bootstrap, request(22, 0, string(None) + i32(60_000)))
        assert isinstance(reply, bytes), reply
        reader = Reader(reply)
        correlation, throttle, error = reader.i32(), reader.i32(), reader.i16()
        producer, epoch = reader.i64(), reader.i16()
    found: list[object] = [correlation, throttle, error, epoch]

    def send(sequence: int, count: int = 1, producer_id: int = producer, producer_epoch: int = epoch) -> None:
        records = [record(n, None, b"v") for n in range(count)]
        data = batch(records, producer_id=producer_id, producer_epoch=producer_epoch, sequence=sequence)
        reply = ask(bootstrap, request(wire.PRODUCE, 7, wire.produce("wire-sequence", data)))
        found.append([sequence, count, producer_epoch, wire.produced(reply)])

    for sequence in (0, 0, 1, 1, 3, 2, 3, 4, 5, 6, 7, 2, 1, 0):
        send(sequence)
    send(8, 3)
    send(8, 2)
    send(9)
    send(11, producer_epoch=epoch + 1)
    send(0, producer_epoch=epoch + 1)
    send(1, producer_epoch=epoch)
    send(5, producer_id=producer + 1_000_000)
    send(-1, producer_id=producer + 1_000_001)
    send(0, producer_id=producer + 1_000_002, producer_epoch=-1)
    return found


@side_by_side
def test_pipelined_requests_are_answered_in_their_order(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "wire-pipeline")
    wait = i32(-1) + i32(400) + i32(1) + i32(1 << 20) + i8(0)
    fetch = wait + array([string(topic) + array([i32(0) + i64(0) + i32(1 << 20)])])
    slow = request(wire.FETCH, 4, fetch, correlation=1)
    quick = [request(wire.API_VERSIONS, 0, correlation=n) for n in range(2, 30)]
    metadata = request(wire.METADATA, 4, array([]) + i8(0), correlation=30)
    data = request(wire.PRODUCE, 7, wire.produce(topic, batch([record(0, None, b"v")])), correlation=31)
    with Connection(bootstrap) as connection:
        connection.send(slow, *quick, metadata, data)
        return [answered(connection.read()) for _ in range(31)]


@side_by_side
def test_produce_without_acks_is_not_answered(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "wire-silent")
    good, bad = batch([record(0, None, b"v")]), batch([record(0, None, b"v")], crc=1)
    after = request(wire.API_VERSIONS, 0, correlation=9)
    found = {}
    for name, body in {
        "good": wire.produce(topic, good, acks=0),
        "wrong crc": wire.produce(topic, bad, acks=0),
        "unknown topic": wire.produce("wire-silent-nowhere", good, acks=0),
        "unknown partition": wire.produce(topic, good, acks=0, partition=8),
    }.items():
        found[name] = answered(ask(bootstrap, request(wire.PRODUCE, 7, body), after), "i16")
    return found


@side_by_side
def test_fetch_at_its_edges(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "wire-fetch")
    fill(bootstrap, topic, 10)

    def fetch(
        offset: int = 0,
        *,
        name: str = topic,
        partition: int = 0,
        epoch: int = -1,
        session: int = 0,
        session_epoch: int = -1,
        max_bytes: int = 1 << 20,
        isolation: int = 0,
    ) -> object:
        one = i32(partition) + i32(epoch) + i64(offset) + i64(-1) + i32(1 << 20)
        head = i32(-1) + i32(100) + i32(1) + i32(max_bytes) + i8(isolation) + i32(session) + i32(session_epoch)
        body = head + array([string(name) + array([one])]) + array([]) + string("")
        reply = ask(bootstrap, request(wire.FETCH, 11, body))
        if isinstance(reply, str):
            return reply
        reader = Reader(reply)
        reader.i32()
        found: list[object] = [reader.i32(), reader.i16(), reader.i32() != 0]
        for _ in range(reader.i32()):
            reader.string()
            for _ in range(reader.i32()):
                row: list[object] = [reader.i32(), reader.i16(), reader.i64(), reader.i64(), reader.i64()]
                aborted = reader.i32()
                row += [aborted, reader.i32()]
                count = reader.i32()
                row.append("records" if count > 0 else count)
                reader.take(max(count, 0))
                found.append(row)
        assert not reader.data
        return found

    return {
        "whole": fetch(),
        "inside a batch": fetch(4),
        "at the end": fetch(10),
        "past the end": fetch(11),
        "negative": fetch(-1),
        "unknown topic": fetch(name="wire-fetch-nowhere"),
        "unknown partition": fetch(partition=7),
        "epoch behind": fetch(epoch=-2),
        "epoch now": fetch(epoch=0),
        "epoch ahead": fetch(epoch=9),
        "one byte still gives a batch": fetch(max_bytes=1),
        "read committed": fetch(isolation=1),
        "a new session": fetch(session_epoch=0),
        "a session that is not": fetch(session=12345, session_epoch=1),
        "a session closed that is not": fetch(session=12345, session_epoch=-1),
    }


@side_by_side
def test_list_offsets_at_its_edges(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "wire-offsets")
    fill(bootstrap, topic, 10)

    def offsets(timestamp: int, *, name: str = topic, partition: int = 0, epoch: int = -1, version: int = 5) -> object:
        one = i32(partition) + i32(epoch) + i64(timestamp)
        body = i32(-1) + i8(0) + array([string(name) + array([one])])
        reply = ask(bootstrap, request(wire.LIST_OFFSETS, version, body))
        if isinstance(reply, str):
            return reply
        reader = Reader(reply)
        reader.i32()
        assert (reader.i32(), reader.i32(), reader.string(), reader.i32()) == (0, 1, name, 1)
        return [reader.i32(), reader.i16(), reader.i64(), reader.i64(), reader.i32()]

    first = 1_600_000_000_000
    return {
        "latest": offsets(-1),
        "earliest": offsets(-2),
        "greatest timestamp, asked too early": offsets(-3),
        "unknown special": offsets(-99),
        "before all": offsets(0),
        "the first": offsets(first),
        "between": offsets(first + 4500),
        "the last": offsets(first + 9000),
        "after all": offsets(first + 9001),
        "unknown topic": offsets(-1, name="wire-offsets-nowhere"),
        "unknown partition": offsets(-1, partition=5),
        "epoch ahead": offsets(-1, epoch=5),
    }


@side_by_side
def test_create_topics_that_must_not_be(bootstrap: str, _tools: Tools) -> Transcript:
    wake_groups(bootstrap)

    def make(
        name: str, partitions: int = 1, replicas: int = 1, assignments: bytes = array([]), **config: str
    ) -> object:
        settings = array(string(key.replace("_", ".")) + string(value) for key, value in config.items())
        topic = string(name) + i32(partitions) + i16(replicas) + assignments + settings
        reply = ask(bootstrap, request(wire.CREATE_TOPICS, 4, array([topic]) + i32(5000) + i8(1)))
        if isinstance(reply, str):
            return reply
        reader = Reader(reply)
        reader.take(8)
        # Name, error, and whether words come with it: which words is each broker's own.
        return [[reader.string(), reader.i16(), reader.string() is not None] for _ in range(reader.i32())]

    def assigned(*rows: tuple[int, list[int]]) -> bytes:
        return array(i32(index) + array(i32(node) for node in nodes) for index, nodes in rows)

    return {
        "good, only tried": make("wire-create"),
        "tried, not made": make("wire-create"),
        "an empty name": make(""),
        "a dot": make("."),
        "a slash": make("a/b"),
        "too long": make("x" * 250),
        "no partitions": make("wire-create", 0),
        "partitions negative": make("wire-create", -3),
        "by the broker's defaults": make("wire-create", -1, -1),
        "too many replicas": make("wire-create", 1, 7),
        "no replicas": make("wire-create", 1, 0),
        "an unknown config": make("wire-create", no_such_key="1"),
        "a config that is no number": make("wire-create", retention_ms="soon"),
        "a config out of range": make("wire-create", segment_bytes="1"),
        "a config of no kind": make("wire-create", cleanup_policy="burn"),
        "assigned by hand": make("wire-create", -1, -1, assigned((0, [1]))),
        "assigned and counted": make("wire-create", 1, 1, assigned((0, [1]))),
        "assigned with a gap": make("wire-create", -1, -1, assigned((0, [1]), (2, [1]))),
        "assigned to nobody": make("wire-create", -1, -1, assigned((0, [55]))),
        "assigned twice": make("wire-create", -1, -1, assigned((0, [1, 1]))),
        "internal": make("__consumer_offsets"),
        "two names that collide": [create(bootstrap, "wire.collide"), make("wire_collide")],
    }
