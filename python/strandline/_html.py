"""How clusters, topics, scans, groups and messages look in a notebook: a sentence and a small table, plain HTML.

Whatever comes from outside, names, keys and values, is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from strandline.errors import KafkaError

if TYPE_CHECKING:
    from strandline._strandline import Admin, Client, Cluster, Message, Topic
    from strandline.group import Group, Lag
    from strandline.scan import Scan
    from strandline.types import GroupDescription, TimeSpan, TopicDescription

# More than this is for a query, not for a look.
_ROWS = 20


# The heights that a line of text has for a sparkline; nothing at all has none.
_BARS = "▁▂▃▄▅▆▇█"
# About how much of a key or a value is shown.
_BYTES = 200


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
        admin = cluster.admin()
        topics = admin.describe_topics()
        sizes = _sizes(admin, topics)
        shown = topics[:_ROWS]
        names = [(topic.name, partition.partition) for topic in shown for partition in topic.partitions]
        starts, ends = admin.earliest_offsets(names), admin.latest_offsets(names)
    except KafkaError:
        return _page(repr(cluster), (), ())
    counts: dict[str, int] = {}
    for name, end in ends.items():
        counts[name.topic] = counts.get(name.topic, 0) + end - starts[name]
    rows = [
        (
            topic.name,
            len(topic.partitions),
            counts.get(topic.name, 0),
            _size(sum(sizes.get((topic.name, known.partition), 0) for known in topic.partitions)),
        )
        for topic in shown
    ]
    # The rest is counted, and not asked for.
    rest = [("", 0, 0, "")] * (len(topics) - len(shown))
    return _page(repr(cluster), ("topic", "partitions", "records", "size"), [*rows, *rest])


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
        described = topic.describe()
        starts, ends = topic.earliest_offsets(), topic.latest_offsets()
        sizes = _sizes(admin, [described])
        rate = sparkline(topic.records_over_time(24))
    except KafkaError:
        return _page(repr(topic), (), ())
    rows = [
        (
            known.partition,
            start,
            end,
            end - start,
            _size(sizes.get((described.name, known.partition), 0)),
            known.leader,
            ", ".join(map(str, known.isr)),
        )
        for known, start, end in zip(described.partitions, starts, ends, strict=False)
    ]
    return _page(repr(topic), ("partition", "from", "to", "records", "size", "leader", "in sync"), rows, rate)


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
        members, lag = group.describe().members, group.lag()
    except KafkaError:
        return _page(repr(group), (), ())
    readers = {name: member.client_id for member in members for name in member.assignment}
    rows = [
        (name.topic, name.partition, *_place(lag.get(name)), readers.get(name, "")) for name in sorted({*lag, *readers})
    ]
    return _page(repr(group), ("topic", "partition", "committed", "end", "lag", "client"), rows)


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
