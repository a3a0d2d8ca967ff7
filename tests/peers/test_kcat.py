"""kcat from Debian, which carries librdkafka 2.0."""

import json

from support.compare import Transcript, side_by_side
from support.tools import Tools
from support.topics import create, fill


@side_by_side
def test_metadata_is_listed(bootstrap: str, tools: Tools) -> Transcript:
    topic = create(bootstrap, "kc-list", 2)
    told = json.loads(tools.kcat("-b", bootstrap, "-L", "-J", "-t", topic).ok().out)
    unknown = tools.kcat("-b", bootstrap, "-L", "-t", "kc-none", "-X", "allow.auto.create.topics=false")
    return [
        [told["controllerid"], [broker["id"] for broker in told["brokers"]], told["topics"]],
        [unknown.code, [line for line in unknown.lines if line.startswith("topic ")]],
    ]


@side_by_side
def test_produced_and_consumed_again(bootstrap: str, tools: Tools) -> Transcript:
    found = {}
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic = create(bootstrap, f"kc-{codec}")
        lines = "".join(f"k{n}:value {n} {'x' * 50}\n" for n in range(100)).encode()
        arguments = ("-K:", "-H", "a=1", "-H", "a=2", "-z", codec)
        produced = tools.kcat("-b", bootstrap, "-P", "-t", topic, *arguments, stdin=lines).ok()
        form = "%t %p %o %k %s %h\n"
        consumed = tools.kcat("-b", bootstrap, "-C", "-t", topic, "-e", "-q", "-o", "beginning", "-f", form).ok()
        found[codec] = [produced.out, len(consumed.lines), consumed.lines[0], consumed.lines[-1]]
    return found


@side_by_side
def test_where_consuming_begins(bootstrap: str, tools: Tools) -> Transcript:
    topic = create(bootstrap, "kc-where")
    fill(bootstrap, topic, 20)

    def consume(*arguments: str) -> list[str]:
        ran = tools.kcat("-b", bootstrap, "-C", "-t", topic, "-p", "0", "-e", "-q", "-f", "%o %T %k %s\n", *arguments)
        return ran.ok().lines

    return {
        "two": consume("-o", "5", "-c", "2"),
        "three from the end": consume("-o", "-3"),
        "between two times": consume("-o", "s@1600000003000", "-o", "e@1600000006000"),
        "the end": consume("-o", "end"),
    }


@side_by_side
def test_offsets_are_queried(bootstrap: str, tools: Tools) -> Transcript:
    topic = create(bootstrap, "kc-query")
    fill(bootstrap, topic, 20)
    found = [
        tools.kcat("-b", bootstrap, "-Q", "-t", f"{topic}:0:{when}").ok().lines for when in (-1, -2, 1_600_000_003_500)
    ]
    return [*found, tools.kcat("-b", bootstrap, "-Q", "-t", "kc-query-none:0:-1").code]


@side_by_side
def test_a_group_consumes(bootstrap: str, tools: Tools) -> Transcript:
    topic = create(bootstrap, "kc-group", 2)
    fill(bootstrap, topic, 20)
    settings = ("-X", "auto.offset.reset=earliest", "-q", "-f", "%o %s\n")
    first = tools.kcat("-b", bootstrap, "-G", "kc-group", "-c", "5", *settings, topic).ok()
    rest = tools.kcat("-b", bootstrap, "-G", "kc-group", "-e", *settings, topic).ok()
    return [first.lines, rest.lines[-1], len(rest.lines)]
