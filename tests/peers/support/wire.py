"""The wire by hand: frames, primitive types and record batches, so that a scenario can send what no client would."""

import socket
import struct
import time
from collections.abc import Iterable
from typing import Any

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS, CREATE_TOPICS = 0, 1, 2, 3, 18, 19


def i8(value: int) -> bytes:
    """One byte."""
    return struct.pack(">b", value)


def i16(value: int) -> bytes:
    """Two bytes."""
    return struct.pack(">h", value)


def i32(value: int) -> bytes:
    """Four bytes."""
    return struct.pack(">i", value)


def i64(value: int) -> bytes:
    """Eight bytes."""
    return struct.pack(">q", value)


def string(text: str | None) -> bytes:
    """A string with a length of two bytes; -1 for null."""
    return i16(-1) if text is None else i16(len(text.encode())) + text.encode()


def compact(text: str) -> bytes:
    """A compact string, shorter than 127 bytes."""
    return bytes([len(text.encode()) + 1]) + text.encode()


def array(items: Iterable[bytes]) -> bytes:
    """An array with a length of four bytes."""
    items = list(items)
    return i32(len(items)) + b"".join(items)


def request(api: int, version: int, body: bytes = b"", *, correlation: int = 7, flexible: bool = False) -> bytes:
    """A request without its length in front."""
    return i16(api) + i16(version) + i32(correlation) + string("peer") + (b"\0" if flexible else b"") + body


class Reader:
    """Takes a reply apart."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        """The next bytes; an error where there are fewer."""
        taken, self.data = self.data[:count], self.data[count:]
        if len(taken) != count:
            raise ValueError(f"the reply ends {count - len(taken)} bytes too early")
        return taken

    def i8(self) -> int:
        """One byte."""
        return int(struct.unpack(">b", self.take(1))[0])

    def i16(self) -> int:
        """Two bytes."""
        return int(struct.unpack(">h", self.take(2))[0])

    def i32(self) -> int:
        """Four bytes."""
        return int(struct.unpack(">i", self.take(4))[0])

    def i64(self) -> int:
        """Eight bytes."""
        return int(struct.unpack(">q", self.take(8))[0])

    def uvarint(self) -> int:
        """An unsigned varint."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def string(self) -> str | None:
        """A string, or null."""
        count = self.i16()
        return None if count < 0 else self.take(count).decode()


class Connection:
    """A connection that frames are written to and read from."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=5)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._socket.sendall(data)

    def end(self) -> None:
        """Tell that no more will be written."""
        self._socket.shutdown(socket.SHUT_WR)

    def send(self, *frames: bytes) -> None:
        """Write frames, each behind its length, in one go."""
        self.write(b"".join(i32(len(frame)) + frame for frame in frames))

    def read(self, seconds: float = 5) -> bytes | str:
        """The next frame, or what came in its stead: `closed` or `silence`."""
        head = self._read(4, seconds)
        if isinstance(head, str):
            return head
        return self._read(struct.unpack(">i", head)[0], seconds)

    def _read(self, count: int, seconds: float) -> bytes | str:
        data, deadline = b"", time.monotonic() + seconds
        while len(data) < count:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                piece = self._socket.recv(count - len(data))
            except TimeoutError:
                return "silence"
            except ConnectionError:
                return "closed"
            if not piece:
                return "closed"
            data += piece
        return data


def ask(bootstrap: str, *frames: bytes, seconds: float = 5) -> bytes | str:
    """Send frames on a connection of their own and read one reply."""
    with Connection(bootstrap) as connection:
        connection.send(*frames)
        return connection.read(seconds)


_CRC = []
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = (_value >> 1) ^ (0x82F63B78 if _value & 1 else 0)
    _CRC.append(_value)


def crc32c(data: bytes) -> int:
    """The CRC-32C of bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _CRC[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def varint(value: int) -> bytes:
    """A zigzag varint."""
    rest, out = (value << 1) ^ (value >> 63), b""
    while rest > 127:
        out, rest = out + bytes([rest & 127 | 128]), rest >> 7
    return out + bytes([rest])


def record(offset: int, key: bytes | None, value: bytes | None, timestamp: int = 0) -> bytes:
    """A record of a batch of magic 2, without headers."""
    body = b"\0" + varint(timestamp) + varint(offset)
    for field in (key, value):
        body += varint(-1) if field is None else varint(len(field)) + field
    body += varint(0)
    return varint(len(body)) + body


def batch(records: list[bytes], **change: Any) -> bytes:
    """A record batch of magic 2; `change` sets a field to what it should not be."""
    now = change.get("timestamp", int(time.time() * 1000))
    count = change.get("count", len(records))
    after_crc = i16(change.get("attributes", 0)) + i32(change.get("last_offset_delta", len(records) - 1))
    after_crc += i64(now) + i64(change.get("max_timestamp", now))
    after_crc += i64(change.get("producer_id", -1)) + i16(change.get("producer_epoch", -1))
    after_crc += i32(change.get("sequence", -1)) + i32(count)
    after_crc += change.get("payload", b"".join(records))
    crc = change.get("crc", crc32c(after_crc))
    body = i32(change.get("leader_epoch", -1)) + i8(change.get("magic", 2)) + struct.pack(">I", crc) + after_crc
    return i64(change.get("base_offset", 0)) + i32(change.get("length", len(body))) + body


def produce(topic: str, records: bytes | None, *, partition: int = 0, acks: int = -1, version: int = 7) -> bytes:
    """The body of a Produce of version 3 to 8, or 0 to 2."""
    field = i32(-1) if records is None else i32(len(records)) + records
    topics = array([string(topic) + array([i32(partition) + field])])
    return (string(None) if version >= 3 else b"") + i16(acks) + i32(10_000) + topics


def produced(reply: bytes | str) -> object:
    """What a reply to Produce 7 says: partition, error, base offset, whether it was stamped, log start offset."""
    if isinstance(reply, str):
        return reply
    reader = Reader(reply)
    reader.i32()
    found = []
    for _ in range(reader.i32()):
        reader.string()
        for _ in range(reader.i32()):
            found.append([reader.i32(), reader.i16(), reader.i64(), reader.i64() != -1, reader.i64()])
    reader.i32()
    assert not reader.data, f"{len(reader.data)} bytes too many"
    return found
