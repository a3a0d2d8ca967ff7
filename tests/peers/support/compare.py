"""One scenario, two brokers, one transcript: how they are played and held against each other."""

import difflib
import json
import os
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from .brokers import Broker, Missing, tail
from .tools import Tools

# A value that JSON can write, of which nothing differs from run to run: no time, no id, no port.
Transcript = Any
Scenario = Callable[[str, Tools], Transcript]
T = TypeVar("T")


class Stage:
    """The brokers that play, and the tools they are played with."""

    def __init__(self, brokers: list[Broker], tools: Tools) -> None:
        self.brokers = brokers
        self.tools = tools

    def play(self, scenario: Scenario) -> None:
        """Run the scenario against every broker at once, and fail where the transcripts differ."""
        with ThreadPoolExecutor(len(self.brokers)) as pool:
            played = list(pool.map(lambda broker: self._transcript(scenario, broker), self.brokers))
        if broken := [outcome for outcome in played if isinstance(outcome, Broken)]:
            pytest.fail("\n".join(outcome.story for outcome in broken), pytrace=False)
        if len(played) == 1:
            print("\n" + "\n".join(lines(played[0])))
            return
        if played[0] != played[1]:
            pytest.fail(difference(played[0], played[1], *(broker.name for broker in self.brokers)), pytrace=False)

    def _transcript(self, scenario: Scenario, broker: Broker) -> Transcript:
        try:
            # Through JSON, so that tuples are lists and a key that is no string is seen now and not in a diff.
            return json.loads(json.dumps(scenario(broker.bootstrap, self.tools), default=_hex))
        except Missing:
            raise
        except Exception as error:
            return Broken(broker, error)


class Broken:
    """A scenario that did not come to its end."""

    def __init__(self, broker: Broker, error: Exception) -> None:
        # The frames of the clients are many and tell little: the scenario's own line says where it was.
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if "/tests/peers/test_" in frame.filename
        ]
        where = "".join(traceback.format_list(frames))
        log = f"the end of {broker.log}:\n{tail(broker.log, 10)}"
        self.story = f"against {broker.name}: {type(error).__name__}: {error}\n{where}{log}"


def _hex(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"a transcript cannot hold {type(value).__name__}")


def lines(transcript: Transcript, indent: str = "") -> list[str]:
    """The transcript as lines: short values on one, long ones unfolded."""
    text = json.dumps(transcript, ensure_ascii=False)
    if len(text) <= 100 or not isinstance(transcript, (list, dict)):
        return [indent + text]
    inner, found = indent + "  ", []
    if isinstance(transcript, list):
        for value in transcript:
            found += lines(value, inner)
        return [indent + "[", *found, indent + "]"]
    for key, value in transcript.items():
        first, *rest = lines(value, inner)
        found += [f"{inner}{json.dumps(key, ensure_ascii=False)}: {first.lstrip()}", *rest]
    return [indent + "{", *found, indent + "}"]


def difference(left: Transcript, right: Transcript, left_name: str, right_name: str) -> str:
    """The two transcripts as a diff."""
    diff = difflib.unified_diff(lines(left), lines(right), fromfile=left_name, tofile=right_name, lineterm="", n=4)
    return "the brokers do not agree:\n" + "\n".join(diff)


def side_by_side(scenario: Scenario) -> Callable[[Stage], None]:
    """Make a test of a scenario: a function of a bootstrap address and the tools that returns its transcript."""

    def test(stage: Stage) -> None:
        try:
            stage.play(scenario)
        except Missing as missing:
            absent(missing)

    test.__name__, test.__qualname__, test.__doc__ = scenario.__name__, scenario.__qualname__, scenario.__doc__
    test.__module__ = scenario.__module__
    return test


def absent(missing: Missing) -> None:
    """Skip the test that wants a peer which is not here; in CI, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"a peer is missing: {missing}", pytrace=False)
    pytest.skip(str(missing))


def present(start: Callable[[], T]) -> T:
    """Start a peer; where it is not on this machine, skip or fail the test."""
    try:
        return start()
    except Missing as missing:
        absent(missing)
        raise
