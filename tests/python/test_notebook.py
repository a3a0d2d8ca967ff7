"""What a notebook shows of things: small tables in plain HTML."""

import re
from xml.etree import ElementTree

import strandline as sl


def shown(thing: object) -> tuple[str, list[list[str]], str]:
    """The sentence, the table's rows, and what stands below, of well-formed HTML."""
    html: str = thing._repr_html_()  # type: ignore[attr-defined]
    root = ElementTree.fromstring(f"<html>{html}</html>")
    sentences = [element.text or "" for element in root.findall("div")]
    rows = [[cell.text or "" for cell in row] for row in root.iter("tr")]
    return sentences[0], rows, " ".join(sentences[1:])


def test_a_topic_shows_its_partitions(cluster: sl.Cluster) -> None:
    topic = cluster.create_topic("shown", partitions=2)
    with cluster.producer() as producer:
        for number in range(1200):
            producer.send("shown", str(number), partition=1)
    sentence, rows, _ = shown(topic)
    assert sentence == repr(topic)
    assert rows == [
        ["partition", "from", "to", "records", "leader", "in sync"],
        ["0", "0", "0", "0", "1", "1"],
        ["1", "0", "1,200", "1,200", "1", "1"],
    ]
    topic.delete()
    assert shown(topic) == ("Topic 'shown': not there", [], "")


def test_a_cluster_shows_its_topics() -> None:
    with sl.Cluster() as cluster:
        assert shown(cluster) == (repr(cluster), [], "")
        for number in range(22):
            cluster.create_topic(f"t{number:02}", partitions=3)
        with cluster.producer() as producer:
            producer.send("t01", "v")
        _, rows, rest = shown(cluster)
        assert rows[:3] == [["topic", "partitions", "records"], ["t00", "3", "0"], ["t01", "3", "1"]]
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
