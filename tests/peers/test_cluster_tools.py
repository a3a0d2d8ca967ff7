"""Kafka's own tools against clusters of three: what they say of Apache Kafka's, they say of ours."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from support.compare import Transcript, difference, lines
from support.three_ours import NAMES, Kafka, Ours, Three, named
from support.tools import Tools
from support.topics import at, fill

Scenario = Callable[["Stand"], Transcript]


@pytest.fixture(scope="module")
def ours(folder: Path) -> Iterator[Ours]:
    ours = Ours(folder / "three-of-ours")
    yield ours
    ours.close()


class Stand:
    """A cluster, and the tools for it."""

    def __init__(self, three: Three, tools: Tools) -> None:
        self.three = three
        self.tools = tools

    def run(self, tool: str, *args: str, where: str = "--bootstrap-server") -> tuple[int, list[str]]:
        """What a tool said, with brokers by their names."""
        ran = self.tools.java(tool, where, self.three.bootstrap, *args)
        return ran.code, named(self.three, ran.out + ran.err)

    def topics(self, *args: str) -> tuple[int, list[str]]:
        return self.run("topics", *args)

    def nodes(self, places: str) -> list[int]:
        """The node ids of brokers by their names."""
        return [self.three.nodes[NAMES.index(name)] for name in places]

    def create(self, topic: str, *replicas: str) -> None:
        """A topic whose partitions have these replicas, by their names."""
        assignment = ",".join(":".join(map(str, self.nodes(places))) for places in replicas)
        code, said = self.topics("--create", "--topic", topic, "--replica-assignment", assignment)
        assert code == 0, said
        self.until(
            lambda: all(f"Leader: {places[0]}" in row for places, row in zip(replicas, self.rows(topic), strict=False))
        )

    def rows(self, topic: str) -> list[str]:
        """A topic's partitions, as the tool describes them."""
        return self.topics("--describe", "--topic", topic)[1][1:]

    def in_sync(self, topic: str) -> set[str]:
        """Who is in sync of a topic's first partition."""
        return set(re.findall(r"Isr: (\S*)", self.rows(topic)[0])[0].split(","))

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until a cluster has come to be so."""
        deadline = time.monotonic() + 60
        while not is_so():
            assert time.monotonic() < deadline, "it never came to be so"

    def plan(self, topic: str, *replicas: str) -> str:
        """A file that tells the reassignment tool where partitions are to be."""
        partitions = [
            {"topic": topic, "partition": index, "replicas": self.nodes(places)}
            for index, places in enumerate(replicas)
        ]
        path = self.tools.scratch(f"{topic}-{'-'.join(replicas)}-{self.three.nodes[0]}.json")
        path.write_text(json.dumps({"version": 1, "partitions": partitions}))
        return str(path)

    def replicas(self, pairs: str) -> list[str]:
        """Pairs of partition and broker, with brokers by their names."""
        names = dict(zip(map(str, self.three.nodes), NAMES, strict=True))
        found = (pair.split(":") for pair in pairs.split(",") if pair)
        return sorted(f"{partition}:{names[node]}" for partition, node in found)

    def reassign(self, *args: str) -> tuple[int, list[str]]:
        return self.run("reassign", *args)

    def strandline(self, *args: str) -> str:
        """What our own command line answers of this cluster."""
        command = [sys.executable, "-m", "strandline", *args, "-b", self.three.bootstrap]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture
def play(request: pytest.FixtureRequest, tools: Tools) -> Callable[[Scenario], None]:
    """Plays a scenario against both, and fails where the transcripts differ; `STRANDLINE_PEERS` may name one alone."""
    chosen = os.environ.get("STRANDLINE_PEERS", "both")
    clusters: list[Three] = []
    if chosen != "strandline":
        clusters.append(Kafka(request.getfixturevalue("three")))
    if chosen != "kafka":
        clusters.append(request.getfixturevalue("ours"))

    def play(scenario: Scenario) -> None:
        played = [json.loads(json.dumps(scenario(Stand(cluster, tools)))) for cluster in clusters]
        if len(played) == 1:
            print("\n" + "\n".join(lines(played[0])))
        elif played[0] != played[1]:
            pytest.fail(difference(*played, "Apache Kafka", "strandline"), pytrace=False)

    return play


def test_topics_are_described_while_a_broker_is_away(play: Callable[[Scenario], None]) -> None:
    def scenario(stand: Stand) -> Transcript:
        stand.create("away", "abc", "bca")
        stand.create("away-alone", "b")
        settings = ("--entity-type", "topics", "--entity-name", "away", "--add-config", "min.insync.replicas=2")
        found = {
            "configs": stand.run("configs", "--alter", *settings),
            "before": stand.topics("--describe", "--topic", "away"),
        }
        stand.three.stop(1)
        stand.until(lambda: stand.in_sync("away") == {"a", "c"})
        for option in ("under-replicated", "at-min-isr", "under-min-isr", "unavailable"):
            found[option] = stand.topics("--describe", "--topic", "away", f"--{option}-partitions")
        found["alone"] = stand.topics("--describe", "--topic", "away-alone", "--unavailable-partitions")
        stand.three.start(1)
        stand.until(lambda: not stand.topics("--describe", "--topic", "away", "--under-replicated-partitions")[1])
        found["after"] = [sorted(re.findall(r"Isr: (\S*)", row)[0].split(",")) for row in stand.rows("away")]
        return found

    play(scenario)


def test_who_left_below_the_minimum_stays_eligible(play: Callable[[Scenario], None]) -> None:
    def scenario(stand: Stand) -> Transcript:
        stand.create("eligible", "ab", "ba")
        stand.create("eligible-alone", "b")
        settings = ("--entity-type", "topics", "--entity-name", "eligible", "--add-config", "min.insync.replicas=2")
        assert stand.run("configs", "--alter", *settings)[0] == 0
        stand.three.stop(1)
        stand.until(lambda: all(re.findall(r"Isr: (\S*)", row) == ["a"] for row in stand.rows("eligible")))
        found = {"away": stand.rows("eligible"), "alone": stand.rows("eligible-alone")}
        stand.three.start(1)
        stand.until(lambda: not stand.topics("--describe", "--under-replicated-partitions", "--topic", "eligible")[1])
        stand.until(lambda: "Leader: b" in stand.rows("eligible-alone")[0])
        found["back"] = [
            re.findall(r"Elr: .*", row) for topic in ("eligible", "eligible-alone") for row in stand.rows(topic)
        ]
        # One for all brokers: it can be neither taken away nor be another one for one of them.
        one = ("--entity-type", "brokers", "--entity-name", str(stand.three.nodes[0]))
        alter = ("configs", "--alter", *one, "--add-config", "min.insync.replicas=2")
        found["one broker"] = [line for line in stand.run(*alter)[1] if "ELR" in line]
        every = ("configs", "--alter", "--entity-type", "brokers", "--entity-default")
        found["none"] = [
            line for line in stand.run(*every, "--delete-config", "min.insync.replicas")[1] if "ELR" in line
        ]
        return found

    play(scenario)


def test_features_are_raised_and_lowered(play: Callable[[Scenario], None]) -> None:
    name = "eligible.leader.replicas.version"

    def scenario(stand: Stand) -> Transcript:
        def level(wanted: int) -> object:
            # Apache Kafka answers before all of its brokers have heard of a change.
            def rows() -> list[str]:
                described = stand.run("features", "describe")[1]
                return [row.partition(" Epoch")[0] for row in described if name in row]

            stand.until(lambda: rows()[0].endswith(f": {wanted}"))
            return rows()

        def change(*args: str) -> tuple[int, list[str]]:
            code, said = stand.run("features", *args)
            return code, [re.sub(r"(Local controller|Broker) \d+", r"\1 ID", row) for row in said]

        def minimum() -> list[str]:
            said = stand.run("configs", "--describe", "--entity-type", "brokers", "--entity-default")[1]
            return [row.partition(" ")[0] for row in said if "min.insync.replicas" in row]

        def epoch() -> int:
            described = stand.run("features", "describe")[1]
            return int(next(re.findall(r"Epoch: (\d+)", row) for row in described if name in row)[0])

        found = {"first": level(1)}
        before = epoch()
        found["tried"] = change("disable", "--feature", name, "--dry-run")
        found["still on"] = level(1)
        found["off"] = change("disable", "--feature", name)
        found["is off"] = level(0)
        found["the minimum stays"] = minimum()
        every = ("configs", "--alter", "--entity-type", "brokers", "--entity-default")
        found["the minimum goes"] = stand.run(*every, "--delete-config", "min.insync.replicas")
        stand.until(lambda: not minimum())
        found["no downgrade"] = change("downgrade", "--feature", f"{name}=1")
        found["tried to raise"] = change("upgrade", "--feature", f"{name}=1", "--dry-run")
        found["still off"] = level(0)
        found["on"] = change("upgrade", "--feature", f"{name}=1")
        found["is on"] = level(1)
        stand.until(lambda: bool(minimum()))
        found["the minimum is back"] = minimum()
        found["once more"] = change("upgrade", "--feature", f"{name}=1")
        found["too high"] = change("upgrade", "--feature", f"{name}=2")
        found["unknown"] = change("upgrade", "--feature", "tides.version=1")
        found["all or none"] = change("downgrade", "--feature", f"{name}=0", "--feature", "tides.version=1")
        found["down"] = change("downgrade", "--feature", f"{name}=0", "--unsafe")
        found["is down"] = level(0)
        found["up again"] = change("upgrade", "--feature", f"{name}=1")
        found["epoch rises"] = epoch() > before
        return found

    play(scenario)


def test_partitions_are_reassigned(play: Callable[[Scenario], None]) -> None:
    def scenario(stand: Stand) -> Transcript:
        stand.create("moved", "ab", "bc")
        fill(stand.three.bootstrap, "moved", 200)
        wanted = stand.tools.scratch("to-move.json")
        wanted.write_text(json.dumps({"version": 1, "topics": [{"topic": "moved"}]}))
        brokers = ",".join(map(str, stand.three.nodes))
        options = ("--topics-to-move-json-file", str(wanted), "--broker-list", brokers)
        ran = stand.tools.java("reassign", "--bootstrap-server", stand.three.bootstrap, "--generate", *options)
        plan = stand.plan("moved", "ca", "bac")
        found = {"generate": [ran.code, ran.lines[0], ran.lines[2], len(json.loads(ran.lines[-1])["partitions"])]}
        found["execute"] = stand.reassign("--execute", "--reassignment-json-file", plan)
        stand.until(
            lambda: (
                not any(
                    "still in progress" in row
                    for row in stand.reassign("--verify", "--reassignment-json-file", plan)[1]
                )
            )
        )
        found["verify"] = stand.reassign("--verify", "--reassignment-json-file", plan)
        found["list"] = stand.reassign("--list")
        found["execute again"] = stand.reassign("--execute", "--reassignment-json-file", plan)
        found["cancel what is done"] = stand.reassign("--cancel", "--reassignment-json-file", plan)
        found["rows"] = [re.findall(r"Replicas: (\S+)", row) for row in stand.rows("moved")]
        found["end"] = stand.run("get-offsets", "--topic", "moved")
        return found

    play(scenario)


def test_a_reassignment_under_way_is_shown_and_cancelled(play: Callable[[Scenario], None]) -> None:
    def scenario(stand: Stand) -> Transcript:
        stand.create("stuck", "ab")
        stand.three.stop(2)
        # Kafka's own tool begins no move to a broker that is away.
        moving = stand.strandline(
            "topics", "reassign", "stuck", "--replicas", ",".join(map(str, stand.nodes("ac"))), "--json"
        )
        plan = stand.plan("stuck", "ac")
        told = json.loads(moving)
        found = {
            "ours": [
                told[name] == stand.nodes(places)
                for name, places in (("replicas", "acb"), ("adding", "c"), ("removing", "b"))
            ],
            "list": stand.reassign("--list"),
            # Nobody is there who could be told of throttles.
            "verify": stand.reassign("--verify", "--preserve-throttles", "--reassignment-json-file", plan),
            "describe": stand.topics("--describe", "--topic", "stuck"),
            "under-replicated": stand.topics("--describe", "--topic", "stuck", "--under-replicated-partitions"),
            "cancel": stand.reassign("--cancel", "--preserve-throttles", "--reassignment-json-file", plan),
            "list again": stand.reassign("--list"),
            "describe again": stand.topics("--describe", "--topic", "stuck"),
        }
        stand.three.start(2)
        return found

    play(scenario)


def test_a_reassignment_is_throttled(play: Callable[[Scenario], None]) -> None:
    def scenario(stand: Stand) -> Transcript:
        topic = "throttled"
        # Several times what a follower takes at once: the quota is exceeded long before all is there.
        slow, fast = "50000", "100000000"
        stand.create(topic, "ab")
        producer = Producer(at(stand.three.bootstrap))
        for _ in range(8):
            producer.produce(topic, bytes(500_000), partition=0)
        assert producer.flush(30) == 0
        plan = ("--reassignment-json-file", stand.plan(topic, "ac"))

        def throttles() -> dict[str, object]:
            entities = {"topic": ("topics", topic)}
            entities |= {name: ("brokers", str(node)) for name, node in zip(NAMES, stand.three.nodes, strict=True)}
            told: dict[str, object] = {}
            for name, (kind, entity) in entities.items():
                ran = stand.tools.java(
                    *("configs", "--bootstrap-server", stand.three.bootstrap),
                    *("--describe", "--entity-type", kind, "--entity-name", entity),
                ).ok()
                found = dict(re.findall(r"^(\S+\.throttled\.\w+)=(\S*)", "\n".join(ran.lines), re.M))
                if kind == "topics":
                    found = {key: stand.replicas(value) for key, value in found.items()}
                told[name] = found
            return told

        def settled(rate: str | None) -> object:
            # Apache Kafka answers before all of its brokers have heard of a change.
            stand.until(lambda: (f"'{rate}'" in str(throttles())) if rate else "throttled" not in str(throttles()))
            return throttles()

        def verify() -> object:
            return stand.reassign("--verify", *plan)

        found = {"execute": stand.reassign("--execute", *plan, "--throttle", slow), "set": settled(slow)}
        found["verify while it moves"] = verify()
        found["again"] = stand.reassign("--execute", *plan, "--throttle", fast)
        found["still set"] = throttles()
        found["faster"] = stand.reassign("--execute", "--additional", *plan, "--throttle", fast)
        stand.until(lambda: "still in progress" not in str(verify()))
        found["verify"] = verify()
        found["lifted"] = settled(None)

        # Back, by our own command.
        ours = ("topics", "reassign", topic)
        back = ("--replicas", ",".join(map(str, stand.nodes("ab"))))
        found["ours moves"] = len(stand.strandline(*ours, *back, "--throttle", slow).splitlines())
        found["ours set"] = settled(slow)
        found["ours verifies while it moves"] = len(stand.strandline(*ours, "--verify").splitlines())
        found["ours leaves it"] = throttles()
        found["ours is done"] = stand.strandline(*ours, *back, "--throttle", fast, "--wait")
        found["ours lifted"] = settled(None)
        stand.strandline(*ours, *back, "--throttle", fast)
        stand.until(lambda: stand.strandline(*ours, "--verify") == "")
        found["ours verified"] = settled(None)
        found["rows"] = [re.findall(r"Replicas: (\S+)", row) for row in stand.rows(topic)]
        return found

    play(scenario)


def test_leaders_are_elected(play: Callable[[Scenario], None]) -> None:
    def scenario(stand: Stand) -> Transcript:
        stand.create("led", "ab")
        preferred = ("--election-type", "preferred", "--topic", "led", "--partition", "0")
        found = {"not needed": stand.run("leader-election", *preferred)}
        stand.three.stop(0)
        found["not available"] = stand.run("leader-election", *preferred)
        stand.three.start(0)
        stand.until(lambda: stand.in_sync("led") == {"a", "b"})
        found["preferred"] = stand.run("leader-election", *preferred)
        found["led"] = [re.findall(r"Leader: \S+", row) for row in stand.rows("led")]
        unclean = ("--election-type", "unclean", "--topic", "led", "--partition", "0")
        found["unclean where one leads"] = stand.run("leader-election", *unclean)
        # b alone has all, and goes.
        stand.three.stop(0)
        stand.three.stop(1)
        stand.three.start(0)
        stand.until(lambda: "Leader: none" in stand.rows("led")[0])
        found["unclean"] = stand.run("leader-election", *unclean)
        found["led by the other"] = [re.findall(r"Leader: \S+|Isr: \S*", row) for row in stand.rows("led")]
        stand.three.start(1)
        stand.until(lambda: not stand.topics("--describe", "--unavailable-partitions")[1])
        return found

    play(scenario)


def test_brokers_tell_their_configs_and_versions(play: Callable[[Scenario], None]) -> None:
    def scenario(stand: Stand) -> Transcript:
        broker = ("--entity-type", "brokers", "--entity-name", str(stand.three.nodes[1]))
        everyone = ("--entity-type", "brokers", "--entity-default")

        def told(key: str, of: tuple[str, ...], there: bool = True) -> object:
            # Apache Kafka answers before all of its brokers have heard of a change.
            stand.until(lambda: (key in str(stand.run("configs", "--describe", *of))) == there)
            return stand.run("configs", "--describe", *of)

        found = {
            "alter": stand.run("configs", "--alter", *broker, "--add-config", "log.cleaner.threads=2"),
            "describe": told("log.cleaner.threads", broker),
            "alter all": stand.run("configs", "--alter", *everyone, "--add-config", "message.max.bytes=2000000"),
            "describe all": told("message.max.bytes", everyone),
            "delete": stand.run("configs", "--alter", *broker, "--delete-config", "log.cleaner.threads"),
            "delete all": stand.run("configs", "--alter", *everyone, "--delete-config", "message.max.bytes"),
            "describe none": told("message.max.bytes", everyone, there=False),
        }
        rate = "follower.replication.throttled.rate"
        found["throttle all"] = stand.run("configs", "--alter", *everyone, "--add-config", f"{rate}=5000")
        found["describe the throttle of all"] = told(rate, everyone)
        found["throttle one"] = stand.run("configs", "--alter", *broker, "--add-config", f"{rate}=7000")
        found["describe the throttle of one"] = told(rate, broker)
        for entity in (broker, everyone):
            stand.run("configs", "--alter", *entity, "--delete-config", rate)
            told(rate, entity, there=False)
        code, said = stand.run("api-versions")
        heads = sorted(row.replace("id: ", "replica ") for row in said if row.startswith("HOST:PORT"))
        found["versions"] = [code, len(heads), sum("Produce(0)" in row for row in said)]
        return found

    play(scenario)


def test_replicas_are_verified(play: Callable[[Scenario], None]) -> None:
    def scenario(stand: Stand) -> Transcript:
        stand.create("same", "abc", "bca")
        fill(stand.three.bootstrap, "same", 500)
        options = ("--broker-list", stand.three.bootstrap, "--topics-include", "same", "--report-interval-ms", "500")
        said = stand.tools.first_lines("replica-verification", *options, count=4)
        # The first line is about the beginning, the next ones about what was verified.
        return [re.sub(r"^.*?: ", "", row) for row in named(stand.three, "\n".join(said))[1:2]], [
            re.findall(r"max lag is (\d+)", row) for row in said[2:]
        ]

    play(scenario)


def test_a_broker_that_is_killed_is_seen_by_kafkas_tools(ours: Ours, tools: Tools) -> None:
    stand = Stand(ours, tools)
    stand.create("killed", "abc", "cab")
    ours.kill(2)
    stand.until(lambda: len(stand.topics("--describe", "--topic", "killed", "--under-replicated-partitions")[1]) == 2)
    assert [re.findall(r"Leader: (\S+)", row) for row in stand.rows("killed")] == [["a"], ["a"]]
    status = json.loads(stand.strandline("cluster", "status", "--json"))
    assert [broker["state"] for broker in status["brokers"]] == ["active", "active", "fenced"]
    assert status["counts"]["under_replicated"] >= 2
    ours.start(2)
    stand.until(lambda: not stand.topics("--describe", "--topic", "killed", "--under-replicated-partitions")[1])
