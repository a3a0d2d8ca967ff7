"""Kafka's own command-line tools."""

from support.compare import Transcript, side_by_side
from support.tools import Tools


@side_by_side
def test_topics_are_made_told_changed_and_deleted(bootstrap: str, tools: Tools) -> Transcript:
    def topics(*args: str) -> object:
        ran = tools.java("topics", "--bootstrap-server", bootstrap, *args)
        return ran.code, ran.out, ran.err

    return [
        topics("--create", "--topic", "jt", "--partitions", "3", "--config", "retention.ms=1000"),
        topics("--list"),
    ]
