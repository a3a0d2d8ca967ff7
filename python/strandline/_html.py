"""How clusters, topics, scans and groups look in a notebook: a sentence and a small table, plain HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from strandline.errors import KafkaError

if TYPE_CHECKING:
    from strandline._strandline import Cluster, Topic
    from strandline.scan import Scan
    from strandline.types import GroupDescription

# More than this is for a query, not for a look.
_ROWS = 20


def _page(sentence: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    rows = list(rows)
    told = f"<div>{escape(sentence)}</div>"
    if not rows:
        return told
    cells = ["".join(f"<th>{escape(head)}</th>" for head in heads)]
    cells += ["".join(f"<td>{escape(_text(cell))}</td>" for cell in row) for row in rows[:_ROWS]]
    table = "".join(f"<tr>{row}</tr>" for row in cells)
    more = f"<div>and {len(rows) - _ROWS:,} more</div>" if len(rows) > _ROWS else ""
    return f"{told}<table>{table}</table>{more}"


def _text(cell: object) -> str:
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)


def cluster(cluster: Cluster) -> str:
    """Show a cluster's topics, with what they hold."""
    try:
        admin = cluster.admin()
        topics = admin.describe_topics()
        shown = topics[:_ROWS]
        names = [(topic.name, partition.partition) for topic in shown for partition in topic.partitions]
        starts, ends = admin.earliest_offsets(names), admin.latest_offsets(names)
    except KafkaError:
        return _page(repr(cluster), (), ())
    counts: dict[str, int] = {}
    for name, end in ends.items():
        counts[name.topic] = counts.get(name.topic, 0) + end - starts[name]
    rows = [(topic.name, len(topic.partitions), counts.get(topic.name, 0)) for topic in shown]
    # The rest is counted, and not asked for.
    rest = [("", 0, 0)] * (len(topics) - len(shown))
    return _page(repr(cluster), ("topic", "partitions", "records"), [*rows, *rest])


def topic(topic: Topic) -> str:
    """Show a topic's partitions: their offsets, who leads them, who is in sync."""
    try:
        described = topic.describe().partitions
        starts, ends = topic.earliest_offsets(), topic.latest_offsets()
    except KafkaError:
        return _page(repr(topic), (), ())
    rows = [
        (known.partition, start, end, end - start, known.leader, ", ".join(map(str, known.isr)))
        for known, start, end in zip(described, starts, ends, strict=True)
    ]
    return _page(repr(topic), ("partition", "from", "to", "records", "leader", "in sync"), rows)


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


def _partitions(assignment: Sequence[tuple[str, int]]) -> str:
    by_topic: dict[str, list[str]] = {}
    for name, partition in assignment:
        by_topic.setdefault(name, []).append(str(partition))
    return "; ".join(f"{name} {', '.join(partitions)}" for name, partitions in by_topic.items())
