"""How clusters, topics, scans, groups and messages look in a notebook: a sentence and a small table, plain HTML.

Whatever comes from outside, names, keys and values, is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from html import escape
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from strandline.errors import KafkaError, RequestTimedOutError

if TYPE_CHECKING:
    from strandline._strandline import Admin, Client, Cluster, Message, Topic
    from strandline.group import Group, Lag
    from strandline.scan import Scan
    from strandline.types import GroupDescription, PartitionStatus, TimeSpan, TopicDescription, TopicStatus

_T = TypeVar("_T")

# How long a look at something may take, in seconds.
PATIENCE = 5.0
# More than this is for a query, not for a look.
_ROWS = 20


# The heights that a line of text has for a sparkline; nothing at all has none.
_BARS = "▁▂▃▄▅▆▇█"
# About how much of a key or a value is shown.
_BYTES = 200


def in_time(ask: Callable[[], _T]) -> _T:
    """Ask a cluster, and wait no longer than whoever looks at a notebook would; raise what `ask` raises.

    The clients' calls go on for a minute where nobody answers. The thread that waits for one is left to that, and ends.
    """
    answer: Future[_T] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=work, name="strandline-look", daemon=True).start()
    if not wait([answer], PATIENCE).done:
        raise RequestTimedOutError(f"no answer within {PATIENCE:g} s")
    return answer.result()


def _page(sentence: str, heads: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> str:
    rows = list(rows)
    told = f"<div>{escape(sentence)}</div>" + (f"<div>{escape(note)}</div>" if note else "")
    if not rows:
        return told
    cells = ["".join(f"<th>{escape(head)}</th>" for head in heads)]
    cells += ["".join(f"<td>{escape(_text(cell))}</td>" for cell in row) for row in rows[:_ROWS]]
    table = "".join(f"<tr>{row}</tr>" for row in cells)
    more = f"<div>and {len(rows) - _ROWS:,} more</div>" if len(rows) > _ROWS else ""
    return f"{told}<table>{table}</table>{more}"


def _text(cell: object) -> str:
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} bytes"
    value, unit = size / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if value < 999.95:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}"


def sparkline(spans: Sequence[TimeSpan]) -> str:
    """Draw how many records came when, as a line of text between the two moments."""
    if not spans:
        return ""
    most = max(span.records for span in spans) or 1
    # The least that there is can be seen.
    bars = (_BARS[-(-span.records * (len(_BARS) - 1) // most)] if span.records else " " for span in spans)
    first, last = (f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (spans[0].start, spans[-1].end))
    return f"{first} |{''.join(bars)}| {last}"


def cluster(cluster: Cluster | Client) -> str:
    """Show a cluster's topics, with what they hold."""
    try:
        rows = in_time(lambda: _topics(cluster.admin()))
    except KafkaError:
        return _page(repr(cluster), (), ())
    return _page(repr(cluster), ("topic", "partitions", "records", "size"), rows)


def _topics(admin: Admin) -> list[tuple[object, ...]]:
    topics = admin.describe_topics()
    sizes = _sizes(admin, topics)
    shown = topics[:_ROWS]
    names = [(topic.name, partition.partition) for topic in shown for partition in topic.partitions]
    starts, ends = admin.earliest_offsets(names), admin.latest_offsets(names)
    counts: dict[str, int] = {}
    for name, end in ends.items():
        counts[name.topic] = counts.get(name.topic, 0) + end - starts[name]
    rows: list[tuple[object, ...]] = [
        (
            topic.name,
            len(topic.partitions),
            counts.get(topic.name, 0),
            _size(sum(sizes.get((topic.name, known.partition), 0) for known in topic.partitions)),
        )
        for topic in shown
    ]
    # The rest is counted, and not asked for.
    return rows + [()] * (len(topics) - len(shown))


def _sizes(admin: Admin, topics: Sequence[TopicDescription]) -> dict[tuple[str, int], int]:
    """Ask how many bytes the leader of each partition holds."""
    leaders = {(topic.name, known.partition): known.leader for topic in topics for known in topic.partitions}
    return {
        (replica.topic, replica.partition): replica.size
        for log_dir in admin.describe_log_dirs()
        for replica in log_dir.replicas
        if not replica.is_future and leaders.get((replica.topic, replica.partition)) == log_dir.broker
    }


def topic(topic: Topic, admin: Admin) -> str:
    """Show a topic's partitions, their offsets, sizes, leaders and who is in sync, and when its records came."""
    try:
        rows, rate = in_time(lambda: (_partition_rows(topic, admin), sparkline(topic.records_over_time(24))))
    except KafkaError:
        return _page(repr(topic), (), ())
    return _page(repr(topic), ("partition", "from", "to", "records", "size", "leader", "in sync"), rows, rate)


def _partition_rows(topic: Topic, admin: Admin) -> list[tuple[object, ...]]:
    [described] = admin.describe_topics([topic.name])
    starts, ends = topic.earliest_offsets(), topic.latest_offsets()
    sizes = _sizes(admin, [described])
    return [
        (
            known.partition,
            start,
            end,
            end - start,
            _size(sizes.get((described.name, known.partition), 0)),
            known.leader,
            ", ".join(map(str, known.isr)),
        )
        # Partitions may be added between the questions.
        for known, start, end in zip(described.partitions, starts, ends, strict=False)
    ]


_STATUS = ("partition", "leader", "epoch", "replicas", "in sync", "from", "to", "behind")


def status(status: TopicStatus) -> str:
    """Show who holds each partition of a topic, and who of them is behind."""
    return _page(_status_sentence(status), _STATUS, map(_status_row, status.partitions))


def status_text(status: TopicStatus) -> str:
    """Say the same in lines of text."""
    rows = [_STATUS, *(tuple(map(_text, _status_row(known))) for known in status.partitions[:_ROWS])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_STATUS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = [f"and {len(status.partitions) - _ROWS:,} more"] if len(status.partitions) > _ROWS else []
    return "\n  ".join([_status_sentence(status), *lines, *more])


def _status_sentence(status: TopicStatus) -> str:
    count = len(status.partitions)
    replicas = max((len(known.replicas) for known in status.partitions), default=0)
    late = sum(not known.in_sync for known in status.partitions)
    alone = sum(known.leader is None for known in status.partitions)
    told = f"{late} of them not in sync" if late else "in sync"
    lost = f", {alone} without a leader" if alone else ""
    return f"Topic '{status.name}': {count} partition{'' if count == 1 else 's'}, replication {replicas}, {told}{lost}"


def _status_row(known: PartitionStatus) -> tuple[object, ...]:
    behind = (
        f"{broker}: {'unknown' if lag is None else _text(lag)}"
        for broker, lag in known.lag.items()
        if lag != 0 and broker != known.leader
    )
    return (
        known.partition,
        _or_none(known.leader),
        _or_none(known.leader_epoch),
        ", ".join(map(str, known.replicas)),
        ", ".join(map(str, known.isr)),
        _or_none(known.earliest_offset),
        _or_none(known.latest_offset),
        ", ".join(behind),
    )


def _or_none(number: int | None) -> object:
    return "none" if number is None else number


def scan(scan: Scan) -> str:
    """Show what a scan spans of each partition."""
    rows = [(partition, start, end, end - start) for partition, (start, end) in scan.ranges.items()]
    return _page(repr(scan), ("partition", "from", "to", "offsets"), rows)


def group(group: GroupDescription) -> str:
    """Show a group's members, and the partitions that they have."""
    count = len(group.members)
    sentence = f"Group '{group.group_id}': {group.state}, {count} member{'' if count == 1 else 's'}"
    rows = [
        (member.client_id, member.client_host, len(member.assignment), _partitions(member.assignment))
        for member in group.members
    ]
    return _page(sentence, ("client", "host", "partitions", "which"), rows)


def group_lag(group: Group) -> str:
    """Show where a group is in each partition, how far it is behind, and which member reads it."""
    try:
        described, lag = in_time(lambda: (group.describe(), group.lag()))
    except KafkaError as error:
        return _page(f"Group '{group.group_id}': {error}", (), ())
    members = described.members
    readers = {name: member.client_id for member in members for name in member.assignment}
    rows = [
        (name.topic, name.partition, *_place(lag.get(name)), readers.get(name, "")) for name in sorted({*lag, *readers})
    ]
    sentence = group._told(described, lag)
    return _page(sentence, ("topic", "partition", "committed", "end", "lag", "client"), rows)


def _place(lag: Lag | None) -> tuple[object, object, object]:
    return ("", "", "") if lag is None else (lag.committed, lag.end, lag.records)


def message(message: Message) -> str:
    """Show the parts of a message; bytes as text, where they are one."""
    rows = [("timestamp", _moment(message)), ("key", _bytes(message.key)), ("value", _bytes(message.value))]
    rows += [(f"header {key}", _bytes(value)) for key, value in message.headers]
    sentence = f"Message of {message.topic}, partition {message.partition}, offset {message.offset:,}"
    return _page(sentence, ("", ""), rows)


def _moment(message: Message) -> str:
    try:
        moment = message.datetime
    except (OverflowError, ValueError):
        # A producer may write any number.
        return str(message.timestamp)
    return "none" if moment is None else moment.isoformat(sep=" ", timespec="milliseconds")


def _bytes(value: bytes | None) -> str:
    if value is None:
        return "null"
    more = "" if len(value) <= _BYTES else f"... ({_size(len(value))})"
    shown = value[:_BYTES]
    try:
        text = shown.decode()
    except UnicodeDecodeError as error:
        # The cut may go through a character.
        if not more or error.start < _BYTES - 3:
            return f"{shown!r}{more}"
        text = shown[: error.start].decode()
    readable = all(character.isprintable() or character in "\n\t" for character in text)
    return f"{text}{more}" if readable else f"{shown!r}{more}"


def _partitions(assignment: Sequence[tuple[str, int]]) -> str:
    by_topic: dict[str, list[str]] = {}
    for name, partition in assignment:
        by_topic.setdefault(name, []).append(str(partition))
    return "; ".join(f"{name} {', '.join(partitions)}" for name, partitions in by_topic.items())
