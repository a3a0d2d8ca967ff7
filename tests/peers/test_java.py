"""Kafka's own command-line tools, and so its Java clients."""

import json
import re
import threading
from pathlib import Path

from support.compare import Stage, Transcript, side_by_side
from support.tools import Ran, Tools
from support.topics import create, fill

# What follows these are words of the broker's own; the error itself, where it is told, stays.
WORDS = re.compile(r"(Error while executing topic command|org\.apache\.kafka\.common\.errors\.\w+) ?: .*")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def said(ran: Ran) -> tuple[int, list[str]]:
    """What a tool said: its code and its lines, cells apart by one blank, without ids, addresses and error texts."""
    text = UUID.sub("UUID", ran.out + ran.err)
    text = re.sub(r"TopicId: \S{22}", "TopicId: ID", re.sub(r"127\.0\.0\.1:\d+", "HOST:PORT", text))
    # Apache Kafka writes this one into the cluster's own config when it formats.
    text = re.sub(r"min\.insync\.replicas=1,?", "", text)
    rows = [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("\tat ")]
    rows = [re.sub(r"^\[20\d\d-[^]]*\] ", "", row) for row in rows]
    return ran.code, [re.sub(WORDS, r"\1", row) for row in rows]


@side_by_side
def test_topic_command(bootstrap: str, tools: Tools) -> Transcript:
    def topics(*args: str) -> tuple[int, list[str]]:
        return said(tools.java("topics", "--bootstrap-server", bootstrap, *args))

    listed = tools.java("topics", "--bootstrap-server", bootstrap, "--list")
    found = {
        "create": topics("--create", "--topic", "jt", "--partitions", "3", "--config", "retention.ms=100000"),
        "again": topics("--create", "--topic", "jt"),
        "if not there": topics("--create", "--topic", "jt", "--if-not-exists"),
        "a dot": topics("--create", "--topic", "jt.dot"),
        "a bad name": topics("--create", "--topic", "j t"),
        "a bad config": topics("--create", "--topic", "jt-bad", "--config", "retention.ms=soon"),
        "an unknown config": topics("--create", "--topic", "jt-bad", "--config", "no.such.key=1"),
        "too many replicas": topics("--create", "--topic", "jt-bad", "--replication-factor", "3"),
        "describe": topics("--describe", "--topic", "jt"),
        "describe what is not": topics("--describe", "--topic", "jt-none"),
        "grow": topics("--alter", "--topic", "jt", "--partitions", "5"),
        "shrink": topics("--alter", "--topic", "jt", "--partitions", "2"),
        "describe again": topics("--describe", "--topic", "jt"),
        "under-replicated": topics("--describe", "--topic", "jt", "--under-replicated-partitions"),
        "with configs": topics("--describe", "--topic", "jt", "--topics-with-overrides"),
        "delete": topics("--delete", "--topic", "jt"),
        "delete again": topics("--delete", "--topic", "jt"),
    }
    after = tools.java("topics", "--bootstrap-server", bootstrap, "--list")
    found["listed"] = ["jt" in listed.lines, "jt" in after.lines, "jt.dot" in after.lines]
    return found


@side_by_side
def test_config_command(bootstrap: str, tools: Tools) -> Transcript:
    create(bootstrap, "jc")

    def configs(*args: str) -> tuple[int, list[str]]:
        return said(tools.java("configs", "--bootstrap-server", bootstrap, *args))

    topic = ("--entity-type", "topics", "--entity-name", "jc")
    return {
        "at first": configs("--describe", *topic),
        "add": configs("--alter", *topic, "--add-config", "retention.ms=1000,cleanup.policy=[compact,delete]"),
        "after": configs("--describe", *topic),
        "unknown": configs("--alter", *topic, "--add-config", "no.such.key=1"),
        "no number": configs("--alter", *topic, "--add-config", "retention.ms=soon"),
        "delete": configs("--alter", *topic, "--delete-config", "retention.ms"),
        "delete what is not set": configs("--alter", *topic, "--delete-config", "segment.ms"),
        "at last": configs("--describe", *topic),
        "broker": configs("--describe", "--entity-type", "brokers", "--entity-name", "1"),
        "broker, set": configs(
            "--alter", "--entity-type", "brokers", "--entity-name", "1", "--add-config", "log.retention.ms=1234567"
        ),
        "broker, fixed": configs(
            "--alter", "--entity-type", "brokers", "--entity-name", "1", "--add-config", "num.partitions=7"
        ),
        "broker, back": configs(
            "--alter", "--entity-type", "brokers", "--entity-name", "1", "--delete-config", "log.retention.ms"
        ),
    }


@side_by_side
def test_console_producer_and_consumer(bootstrap: str, tools: Tools) -> Transcript:
    found = {}
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic = create(bootstrap, f"jcon-{codec}")
        lines = "".join(f"h:{n}\tkey {n}\tvalue {n}\n" for n in range(20))
        properties = [f"--reader-property={p}" for p in ("parse.key=true", "parse.headers=true")]
        produced = tools.java(
            "console-producer",
            *("--bootstrap-server", bootstrap, "--topic", topic, "--compression-codec", codec, *properties),
            stdin=lines,
        )
        shown = ("print.key", "print.offset", "print.partition", "print.headers")
        consumed = tools.java(
            "console-consumer",
            *("--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning", "--max-messages", "20"),
            *("--timeout-ms", "15000", *(f"--formatter-property={p}=true" for p in shown)),
        )
        found[codec] = [said(produced), consumed.code, consumed.lines[0], consumed.lines[-1], len(consumed.lines)]
    group = ("--bootstrap-server", bootstrap, "--topic", "jcon-none", "--group", "jcon", "--timeout-ms", "15000")
    begin = ("--command-property", "auto.offset.reset=earliest")
    found["group"] = tools.java("console-consumer", *group, "--max-messages", "5", *begin).lines
    found["group goes on"] = tools.java("console-consumer", *group, "--max-messages", "5", *begin).lines
    found["from an offset"] = tools.java(
        "console-consumer",
        *("--bootstrap-server", bootstrap, "--topic", "jcon-none", "--partition", "0", "--offset", "17"),
        *("--max-messages", "3", "--timeout-ms", "15000"),
    ).lines
    found["acks 0"] = said(
        tools.java(
            "console-producer",
            *("--bootstrap-server", bootstrap, "--topic", "jcon-none"),
            *("--command-property", "acks=0", "--command-property", "enable.idempotence=false"),
            stdin="one\ntwo\n",
        )
    )
    return found


@side_by_side
def test_performance_tools(bootstrap: str, tools: Tools) -> Transcript:
    create(bootstrap, "jperf", 3)
    produced = tools.java(
        "producer-perf",
        *("--topic", "jperf", "--num-records", "20000", "--record-size", "100", "--throughput", "-1"),
        *("--bootstrap-server", bootstrap),
    )
    consumed = tools.java(
        "consumer-perf",
        *("--topic", "jperf", "--num-records", "20000", "--bootstrap-server", bootstrap, "--group", "jperf"),
    )
    rows = [row.split(", ") for row in consumed.lines if re.match(r"20\d\d-", row)]
    return [
        [produced.code, re.findall(r"^20000 records sent", produced.out, re.MULTILINE)],
        [consumed.code, [[float(row[2]) > 1.8, int(float(row[4])) >= 20_000] for row in rows]],
    ]


@side_by_side
def test_verifiable_tools(bootstrap: str, tools: Tools) -> Transcript:
    create(bootstrap, "jver", 2)
    produced = tools.java_alone(
        "verifiable-producer",
        *("--bootstrap-server", bootstrap, "--topic", "jver", "--max-messages", "500", "--repeating-keys", "10"),
    )
    consumed = tools.java_alone(
        "verifiable-consumer",
        *("--bootstrap-server", bootstrap, "--topic", "jver", "--group-id", "jver", "--max-messages", "500"),
        "--reset-policy=earliest",
    )
    sent = [json.loads(line) for line in produced.lines]
    got = [json.loads(line) for line in consumed.lines if line.startswith("{")]
    last: dict[str, int] = {}
    for event in got:
        if event["name"] == "offsets_committed":
            last |= {f"{o['topic']}-{o['partition']}": o["offset"] for o in event["offsets"]}
    success = sorted(
        [event["partition"], event["offset"]] for event in sent if event["name"] == "producer_send_success"
    )
    kept = [event for event in sent if event["name"] == "tool_data"]
    names = sorted({event["name"] for event in got})
    counts = [sum(1 for p, _ in success if p == n) for n in (0, 1)]
    dense = all([o for p, o in success if p == n] == list(range(counts[n])) for n in (0, 1))
    return [
        [produced.code, len(success), counts, dense, [[e["sent"], e["acked"]] for e in kept]],
        [consumed.code, names, sum(e["count"] for e in got if e["name"] == "records_consumed"), last],
    ]


@side_by_side
def test_consumer_group_command(bootstrap: str, tools: Tools) -> Transcript:
    topic = create(bootstrap, "jg", 2)
    fill(bootstrap, topic, 30)
    fill(bootstrap, topic, 10, partition=1)

    def groups(*args: str) -> tuple[int, list[str]]:
        return said(tools.java("groups", "--bootstrap-server", bootstrap, *args))

    def reset(*args: str) -> tuple[int, list[str]]:
        code, rows = groups("--reset-offsets", "--group", "jg", "--topic", topic, *args)
        return code, sorted(rows)

    consumed = tools.java(
        "console-consumer",
        *("--bootstrap-server", bootstrap, "--topic", topic, "--group", "jg", "--max-messages", "40"),
        *("--timeout-ms", "15000", "--command-property", "auto.offset.reset=earliest"),
    )
    listed = tools.java("groups", "--bootstrap-server", bootstrap, "--list", "--state")
    return {
        "consumed": len(consumed.lines),
        "listed": [line.split() for line in listed.lines if line.startswith("jg ")],
        "describe": groups("--describe", "--group", "jg"),
        "state": groups("--describe", "--group", "jg", "--state"),
        "members": groups("--describe", "--group", "jg", "--members"),
        "what is not": groups("--describe", "--group", "jg-none"),
        "to the beginning, tried": reset("--to-earliest", "--dry-run"),
        "to the beginning": reset("--to-earliest", "--execute"),
        "to an offset": reset("--to-offset", "7", "--execute"),
        "by some": reset("--shift-by", "-3", "--execute"),
        "past the end": reset("--to-offset", "1000", "--execute"),
        "to a time": reset("--to-datetime", "2020-09-13T12:26:44.500", "--execute"),
        "describe after": groups("--describe", "--group", "jg", "--offsets"),
        "delete offsets": groups("--delete-offsets", "--group", "jg", "--topic", f"{topic}:1"),
        "describe at last": groups("--describe", "--group", "jg"),
        "delete": groups("--delete", "--group", "jg"),
        "delete again": groups("--delete", "--group", "jg"),
    }


@side_by_side
def test_consumer_group_command_while_one_consumes(bootstrap: str, tools: Tools) -> Transcript:
    topic = create(bootstrap, "jg-live", 2)
    fill(bootstrap, topic, 5)
    consuming = threading.Thread(
        target=tools.java_alone,
        args=(
            *("verifiable-consumer", "--bootstrap-server", bootstrap, "--topic", topic, "--group-id", "jg-live"),
            *("--max-messages", "6", "--reset-policy=earliest"),
        ),
    )
    consuming.start()
    found: dict[str, object] = {}

    def groups(*args: str) -> Ran:
        return tools.java("groups", "--bootstrap-server", bootstrap, *args)

    while "Stable" not in (state := groups("--describe", "--group", "jg-live", "--state")).out:
        assert consuming.is_alive(), state
    # The coordinator's address and the group's, then what is the same everywhere.
    found["state"] = said(state)
    found["members"] = said(groups("--describe", "--group", "jg-live", "--members", "--verbose"))
    found["reset"] = said(groups("--reset-offsets", "--group", "jg-live", "--topic", topic, "--to-latest", "--execute"))
    found["delete"] = said(groups("--delete", "--group", "jg-live"))
    fill(bootstrap, topic, 1)
    consuming.join(30)
    assert not consuming.is_alive()
    return found


@side_by_side
def test_get_offsets_and_delete_records(bootstrap: str, tools: Tools) -> Transcript:
    topic = create(bootstrap, "jo", 2)
    fill(bootstrap, topic, 30)

    def offsets(*args: str) -> tuple[int, list[str]]:
        return said(tools.java("get-offsets", "--bootstrap-server", bootstrap, *args))

    def delete(partition: int, offset: int) -> tuple[int, list[str]]:
        asked = {"version": 1, "partitions": [{"topic": topic, "partition": partition, "offset": offset}]}
        # The scenario is played against both brokers at once, each with a file of its own.
        path = tools.scratch(f"delete-{bootstrap.rpartition(':')[2]}.json")
        path.write_text(json.dumps(asked))
        arguments = ("--bootstrap-server", bootstrap, "--offset-json-file", str(path))
        return said(tools.java("delete-records", *arguments))

    return {
        "latest": offsets("--topic", topic),
        "earliest": offsets("--topic", topic, "--time", "earliest"),
        "greatest": offsets("--topic", topic, "--time", "max-timestamp"),
        "local": offsets("--topic", topic, "--time", "earliest-local"),
        "tiered": offsets("--topic", topic, "--time", "latest-tiered"),
        "at a time": offsets("--topic", topic, "--time", "1600000003500"),
        "of one": offsets("--topic-partitions", f"{topic}:1"),
        "of none": offsets("--topic", "jo-none"),
        "delete": delete(0, 12),
        "delete past the end": delete(0, 1000),
        "earliest after": offsets("--topic", topic, "--time", "earliest"),
    }


@side_by_side
def test_log_dirs_command(bootstrap: str, tools: Tools) -> Transcript:
    topic = create(bootstrap, "jl", 2)
    fill(bootstrap, topic, 10)
    ran = tools.java("log-dirs", "--bootstrap-server", bootstrap, "--describe", "--topic-list", topic)
    told = json.loads(next(line for line in ran.lines if line.startswith("{")))
    return [
        ran.code,
        [line for line in ran.lines if not line.startswith("{")],
        [
            [
                broker["broker"],
                directory["error"],
                Path(directory["logDir"]).is_dir(),
                sorted([p["partition"], p["size"] > 0, p["offsetLag"], p["isFuture"]] for p in directory["partitions"]),
            ]
            for broker in told["brokers"]
            for directory in broker["logDirs"]
        ],
    ]


@side_by_side
def test_metadata_quorum_command(bootstrap: str, tools: Tools) -> Transcript:
    def quorum(*args: str) -> Ran:
        return tools.java("metadata-quorum", "--bootstrap-server", bootstrap, *args)

    status, replication = quorum("describe", "--status").ok(), quorum("describe", "--replication").ok()
    told = dict(line.split(":", 1) for line in status.lines if ":" in line)
    header, *rows = [line.split() for line in replication.lines if line.strip()]
    unknown = quorum("remove-controller", "--controller-id", "77", "--controller-directory-id", "A" * 22)
    return [
        list(told),
        told["LeaderId"].strip(),
        int(told["LeaderEpoch"]) > 0 and int(told["HighWatermark"]) > 0,
        told["MaxFollowerLag"].strip(),
        [voter["id"] for voter in json.loads(told["CurrentVoters"])],
        told["CurrentObservers"].strip(),
        header,
        [[row[0], int(row[2]) > 0, row[3], row[-1]] for row in rows],
        # Its words differ: the voters of that Apache Kafka are named in its configuration, and cannot go.
        unknown.code,
    ]


def test_what_we_advertise_is_what_kafka_serves(stage: Stage) -> None:
    ranges: dict[str, dict[str, str]] = {}
    for broker in stage.brokers:
        ran = stage.tools.java("api-versions", "--bootstrap-server", broker.bootstrap).ok()
        rows = re.findall(r"^\s*(\w+)\(\d+\): (.*?) \[usable", ran.out, re.MULTILINE)
        assert rows, ran.out
        ranges[broker.name] = dict(rows)
        assert not re.search(r"UNSUPPORTED(?! )", "".join(ranges[broker.name].values()))
    kafka, ours = ranges.get("Apache Kafka"), ranges.get("strandline")
    if kafka is None or ours is None:
        print(ranges)
        return
    other = {name: f"{versions}, and Apache Kafka {kafka.get(name)}" for name, versions in ours.items()}
    wrong = [f"{name}: we say {other[name]}" for name in ours if ours[name] != kafka.get(name)]
    assert not wrong, "\n".join(wrong)
