"""What a notebook shows of things: small tables in plain HTML."""

import datetime as dt
import itertools
import re
import socket
from xml.etree import ElementTree

import pytest

import strandline as sl
from strandline._html import sparkline
from strandline.types import TimeSpan


def shown(thing: object) -> tuple[str, list[list[str]], str]:
    """The sentence, the table's rows, and what stands below, of well-formed HTML."""
    html: str = thing._repr_html_()  # type: ignore[attr-defined]
    root = ElementTree.fromstring(f"<html>{html}</html>")
    sentences = [element.text or "" for element in root.findall("div")]
    rows = [[cell.text or "" for cell in row] for row in root.iter("tr")]
    return sentences[0], rows, " ".join(sentences[1:])


def test_a_topic_shows_its_partitions_and_when_its_records_came(cluster: sl.Cluster) -> None:
    topic = cluster.create_topic("shown", partitions=2)
    heads = ["partition", "from", "to", "records", "size", "leader", "in sync"]
    assert shown(topic)[1:] == ([heads, *([str(p), "0", "0", "0", "0 bytes", "1", "1"] for p in range(2))], "")
    with cluster.producer() as producer:
        for number in range(1200):
            # Half of them in the first of 24 hours, the other half in the last but one.
            hour = 0 if number < 600 else 22
            producer.send("shown", str(number), partition=1, timestamp=f"2013-01-01T{hour:02}:30")
        producer.send("shown", "last", partition=0, timestamp="2013-01-02T00:29:59.999")
    sentence, rows, rate = shown(topic)
    assert sentence == repr(topic)
    assert rows[0] == heads
    assert [row[:4] + row[5:] for row in rows[1:]] == [
        ["0", "0", "1", "1", "1", "1"],
        ["1", "0", "1,200", "1,200", "1", "1"],
    ]
    assert [re.sub(r"[\d.]+", "n", row[4]) for row in rows[1:]] == ["n bytes", "n kB"]
    assert rate == "2013-01-01 00:30:00 |█                     █▂| 2013-01-02 00:30:00"
    topic.delete()
    assert shown(topic) == ("Topic 'shown': not there", [], "")


def test_records_are_counted_where_the_log_reaches_their_time(cluster: sl.Cluster, topic: sl.Topic) -> None:
    assert topic.records_over_time() == []
    with cluster.producer() as producer:
        for second in (5, 5, 9, 6, 14):
            producer.send(topic.name, "v", timestamp=second * 1000)
    spans = topic.records_over_time(5)
    assert [span.records for span in spans] == [2, 0, 2, 0, 1]
    assert (spans[0].start.timestamp(), spans[-1].end.timestamp()) == (5, 14.001)
    assert all(before.end == after.start for before, after in itertools.pairwise(spans))
    assert [span.records for span in topic.records_over_time(1)] == [5]
    for buckets in (0, 1001):
        with pytest.raises(ValueError, match=f"buckets is {buckets}: it must be 1 to 1000"):
            topic.records_over_time(buckets)
    topic.delete()
    with pytest.raises(sl.errors.UnknownTopicOrPartitionError):
        topic.records_over_time()


def test_a_cluster_shows_its_topics() -> None:
    with sl.Cluster() as cluster:
        assert shown(cluster) == (repr(cluster), [], "")
        for number in range(22):
            cluster.create_topic(f"t{number:02}", partitions=3)
        with cluster.producer() as producer:
            producer.send("t01", "v")
        size = f"{cluster.topic('t01').size} bytes"
        with sl.connect(cluster.bootstrap_servers) as client:
            for thing in (cluster, client):
                sentence, rows, rest = shown(thing)
                assert sentence == repr(thing)
                assert rows[:3] == [
                    ["topic", "partitions", "records", "size"],
                    ["t00", "3", "0", "0 bytes"],
                    ["t01", "3", "1", size],
                ]
                assert (len(rows), rest) == (21, "and 2 more")
    assert shown(cluster) == (repr(cluster), [], "")
    assert "closed" in repr(cluster)


def test_a_scan_shows_what_it_spans(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with cluster.producer() as producer:
        for number in range(5):
            producer.send(topic.name, str(number))
    scan = topic.scan(start=2)
    assert shown(scan) == (repr(scan), [["partition", "from", "to", "offsets"], ["0", "2", "5", "3"]], "")


def test_a_group_shows_its_members(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with cluster.consumer(topic.name, group_id="<b>&", client_id="reader") as consumer:
        while not consumer.assignment():
            consumer.poll(timeout=0.1)
        [group] = cluster.admin().describe_groups(["<b>&"])
        assert shown(group) == (
            "Group '<b>&': Stable, 1 member",
            [["client", "host", "partitions", "which"], ["reader", "/127.0.0.1", "1", f"{topic.name} 0"]],
            "",
        )
    assert re.search("&lt;b&gt;&amp;", group._repr_html_())


def test_a_group_tells_how_far_it_is_behind(cluster: sl.Cluster) -> None:
    topic = cluster.create_topic("lagging", partitions=3)
    with cluster.producer() as producer:
        for number in range(1500):
            producer.send(topic.name, str(number), partition=number % 2)
    admin = cluster.admin()
    group = cluster.group("<i>&")
    assert re.match("Group '<i>&': .*there is no group '<i>&'", repr(group))
    assert shown(group) == (repr(group), [], "")
    admin.alter_offsets("<i>&", {(topic.name, 0): 3, (topic.name, 1): 750})
    assert repr(group) == "Group '<i>&': Empty, 0 members, 2 partitions, 747 records behind"
    assert {name.partition: (*lag, lag.records) for name, lag in group.lag().items()} == {
        0: (3, 750, 747),
        1: (750, 750, 0),
    }
    with cluster.consumer(topic.name, group_id="<i>&", client_id="<reader>") as consumer:
        while not consumer.assignment():
            consumer.poll(timeout=0.1)
        sentence, rows, _ = shown(group)
        assert sentence.startswith("Group '<i>&': Stable, 1 member, ")
        assert rows[0] == ["topic", "partition", "committed", "end", "lag", "client"]
        assert [row[:2] + row[5:] for row in rows[1:]] == [["lagging", str(p), "<reader>"] for p in range(3)]
        assert rows[2][2:5] == ["750", "750", "0"]
        assert (group.describe().state, group.group_id) == ("Stable", "<i>&")
    topic.delete()
    assert group.lag() == {}
    with sl.Cluster() as gone:
        group = gone.group("g")
    assert repr(group) == "Group 'g': the cluster is closed"
    assert shown(group) == (repr(group), [], "")


def test_a_message_shows_its_parts(cluster: sl.Cluster, topic: sl.Topic) -> None:
    moment = dt.datetime(2013, 1, 1, 5, 15, tzinfo=dt.timezone.utc)
    sent = [
        {"key": "<b>UA</b>", "value": '{"gate": "5 & 6"}', "headers": [("<h>", b"1"), ("n", None)]},
        {"key": b"\x00\xff", "value": None},
        {"value": "é" * 150},
        {"value": b"\xff" * 1_000_000},
        {"value": "line\n" + chr(0x85) + chr(7)},
    ]
    cluster.admin().alter_configs(topic=topic.name, set={"max.message.bytes": 2_000_000})
    with cluster.producer(max_request_size=2_000_000) as producer:
        for record in sent:
            producer.send(topic.name, timestamp=moment, **record)
    with cluster.consumer(topic.name, auto_offset_reset="earliest", stop_at_end=True) as consumer:
        pages = [shown(message) for message in consumer]
    assert pages[0] == (
        f"Message of {topic.name}, partition 0, offset 0",
        [
            ["", ""],
            ["timestamp", "2013-01-01 05:15:00.000+00:00"],
            ["key", "<b>UA</b>"],
            ["value", '{"gate": "5 & 6"}'],
            ["header <h>", "1"],
            ["header n", "null"],
        ],
        "",
    )
    cells = [[row[1] for row in rows[2:4]] for _, rows, _ in pages[1:]]
    assert cells == [
        ["b'\\x00\\xff'", "null"],
        ["null", "é" * 100 + "... (300 bytes)"],
        ["null", "b'" + "\\xff" * 200 + "'... (1.0 MB)"],
        ["null", "b'line\\n\\xc2\\x85\\x07'"],
    ]


def test_a_sparkline_shows_the_least_and_leaves_nothing_empty() -> None:
    start = dt.datetime(2013, 1, 1, tzinfo=dt.timezone.utc)

    def drawn(*records: int) -> str:
        edges = [start + dt.timedelta(hours=hour) for hour in range(len(records) + 1)]
        return sparkline([TimeSpan(*edges[n : n + 2], count) for n, count in enumerate(records)]).split("|")[1]

    assert drawn(0, 1, 500, 1000) == " ▂▅█"
    assert drawn(7, 7) == "██"
    assert drawn(0, 0) == "  "
    assert sparkline([]) == ""


def test_a_look_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strandline._html.PATIENCE", 0.2)
    # It takes connections, and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = sl.connect(f"127.0.0.1:{silent.getsockname()[1]}")
        group = client.group("g")
        assert repr(group) == "Group 'g': no answer within 0.2 s"
        assert shown(group) == (repr(group), [], "")
        assert shown(client) == (repr(client), [], "")
        topic = client.topic("t")
        assert shown(topic) == ("Topic 't': no answer within 2 s", [], "")
