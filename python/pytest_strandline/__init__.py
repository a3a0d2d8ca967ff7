"""The pytest plugin: a real Kafka broker, in this process, as a fixture.

pytest finds it by itself. Importing it costs nothing that can be felt: strandline is loaded, and the broker started,
when a test first asks for a fixture.

| fixture | scope | what it is |
|---|---|---|
| `kafka_cluster` | session | a `strandline.Cluster` |
| `kafka_bootstrap` | session | its address for any client, "127.0.0.1:port" |
| `kafka_topic` | test | a new topic, a `strandline.testing.KafkaTopic`: a `str` that is its name |
| `kafka_topic_factory` | test | makes more topics of this test: `kafka_topic_factory("dead-letters", partitions=2)` |
| `kafka_producer` | test | a `strandline.Producer` with `linger.ms` 0: a test waits for each of its records |
| `kafka_consumer` | test | a `strandline.Consumer` of `kafka_topic`, from its start; iterating ends at its end |

Options, for `[tool.pytest.ini_options]` in pyproject.toml: `strandline_config` (a list of KEY=VALUE, the broker's
keys), `strandline_topic_config` (the same for the topics of the fixtures) and `strandline_topic_partitions`.

`@pytest.mark.kafka(config={...}, topic_config={...}, partitions=n)` asks for another cluster, or another topic, for one
test, a class or a module; what it says adds to the options. Tests whose clusters have the same config share one. With
`clock="manual"` a test has a cluster to itself, whose time it moves: `kafka_cluster.clock.advance("7d")`.

Under pytest-xdist each worker has clusters of its own. When a test fails, what lay in its topics is a section of the
report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from strandline import Cluster, Consumer, Producer
    from strandline.testing import Clusters, ClusterSpec, KafkaTopic, TopicFactory


class _Run:
    """What one run of pytest has: its clusters, and whose topics are whose."""

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters
        # The topics that were there before the test that runs now.
        self.before: set[str] = set()
        self.factories: dict[str, TopicFactory] = {}


_RUN = pytest.StashKey[_Run]()
_TOPICS = "Kafka topics of this test"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of pyproject.toml."""
    parser.addini("strandline_config", "broker keys of kafka_cluster: a list of KEY=VALUE", type="linelist")
    parser.addini("strandline_topic_config", "topic keys of kafka_topic: a list of KEY=VALUE", type="linelist")
    parser.addini("strandline_topic_partitions", "how many partitions kafka_topic has (default: 1)", default="1")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "kafka(config={}, topic_config={}, partitions=n, clock='system'): the broker and topic keys, by Kafka's names, "
        "the partitions and the clock ('system' or 'manual') that this test's Kafka fixtures have",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for another cluster that one."""
    if "kafka_cluster" not in metafunc.fixturenames:
        return
    asked = _asked(metafunc.definition)
    if asked["config"] or asked["clock"]:
        # A hidden parameter leaves the test's name as it is; pytest has them since 8.4.
        name = getattr(pytest, "HIDDEN_PARAM", "kafka")
        # A cluster whose clock is moved is of no use to another test.
        scope: Literal["function", "session"] = "function" if asked["clock"] == "manual" else "session"
        spec = _spec(metafunc.definition)
        metafunc.parametrize("kafka_cluster", [spec], indirect=True, ids=[name], scope=scope)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note which topics are not this test's."""
    run = item.config.stash.get(_RUN, None)
    cluster = run and _uses_kafka(item) and run.clusters.running(_spec(item))
    if run:
        run.before = set(cluster.admin().list_topics()) if cluster else set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what lay in the topics of a test that failed."""
    made = yield
    run = item.config.stash.get(_RUN, None)
    if run and made.failed and made.when != "teardown":
        told = _topics_of(item, run)
        if told:
            made.sections.append((_TOPICS, told))
    return made


@pytest.fixture(scope="session")
def _kafka_run(pytestconfig: pytest.Config) -> Iterator[_Run]:
    """What this run of pytest has of Kafka."""
    from strandline.testing import Clusters

    with Clusters() as clusters:
        run = pytestconfig.stash[_RUN] = _Run(clusters)
        yield run
        del pytestconfig.stash[_RUN]


@pytest.fixture(scope="session")
def kafka_cluster(request: pytest.FixtureRequest, _kafka_run: _Run) -> Iterator[Cluster]:
    """A Kafka cluster in this process, a `strandline.Cluster`; a parameter may be a dict of the broker's keys."""
    asked = getattr(request, "param", None)
    spec = _default_spec(request.config)
    spec = spec.but(asked) if isinstance(asked, dict) else asked or spec
    yield _kafka_run.clusters.get(spec)
    # The others are kept for the tests to come.
    if spec.clock == "manual":
        _kafka_run.clusters.stop(spec)


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka_cluster: Cluster) -> str:
    """The address of `kafka_cluster`, for any Kafka client."""
    return kafka_cluster.bootstrap_servers


@pytest.fixture
def kafka_topic_factory(
    request: pytest.FixtureRequest, kafka_cluster: Cluster, _kafka_run: _Run
) -> Iterator[TopicFactory]:
    """Make topics of this test: call it with a suffix for the name, `partitions` and `config`, all optional."""
    from strandline.testing import TopicFactory

    node = request.node
    asked = _asked(node)
    if (asked["config"] or asked["clock"]) and "kafka_cluster" not in _params(node):
        pytest.fail(
            f"{node.nodeid}: the marker asks for another cluster, and the test names no Kafka fixture "
            "among its arguments: name one, instead of looking it up by request.getfixturevalue()",
            pytrace=False,
        )
    config = {**_pairs(request.config, "strandline_topic_config"), **asked["topic_config"]}
    partitions = asked["partitions"] or _partitions(request.config)
    factory = _kafka_run.factories[node.nodeid] = TopicFactory(kafka_cluster, node.name, partitions, config)
    yield factory
    del _kafka_run.factories[node.nodeid]
    factory.close()


@pytest.fixture
def kafka_topic(kafka_topic_factory: TopicFactory) -> KafkaTopic:
    """A new topic, whose name tells the test; it is a `str`, so that any Kafka client takes it."""
    return kafka_topic_factory()


# The producer is closed before the topics are deleted, so that what it still holds has somewhere to go.
@pytest.fixture
def kafka_producer(kafka_cluster: Cluster, kafka_topic_factory: TopicFactory) -> Iterator[Producer]:
    """A producer, closed after the test. It does not linger: a test waits for each of its records."""
    with kafka_cluster.producer(linger_ms=0) as producer:
        yield producer


@pytest.fixture
def kafka_consumer(kafka_cluster: Cluster, kafka_topic: KafkaTopic) -> Iterator[Consumer]:
    """A consumer of this test's `kafka_topic`, from its start; iterating ends at its end, `poll(timeout=...)` waits."""
    with kafka_cluster.consumer(kafka_topic, auto_offset_reset="earliest", stop_at_end=True) as consumer:
        yield consumer


def _uses_kafka(item: pytest.Item) -> bool:
    return "kafka_cluster" in getattr(item, "fixturenames", ())


def _params(item: pytest.Item) -> dict[str, Any]:
    """What the test's fixtures are given."""
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def _asked(node: pytest.Item) -> dict[str, Any]:
    """What the markers of a test, of its class and of its module ask for; the nearest wins."""
    asked: dict[str, Any] = {"config": {}, "topic_config": {}, "partitions": None, "clock": None}
    for marker in node.iter_markers("kafka"):
        wrong = [f"{name}=" for name in marker.kwargs if name not in asked] + [repr(value) for value in marker.args]
        if wrong:
            pytest.fail(
                f"{node.nodeid}: pytest.mark.kafka does not take {', '.join(wrong)}: it takes config={{...}}, "
                "topic_config={...}, partitions=n and clock='manual'",
                pytrace=False,
            )
        for name in ("config", "topic_config"):
            asked[name] = {**marker.kwargs.get(name, {}), **asked[name]}
        for name in ("partitions", "clock"):
            asked[name] = asked[name] or marker.kwargs.get(name)
    return asked


def _default_spec(config: pytest.Config) -> ClusterSpec:
    from strandline.testing import ClusterSpec

    return ClusterSpec().but(_pairs(config, "strandline_config"))


def _spec(item: pytest.Item) -> ClusterSpec:
    """What the test's cluster is like."""
    default = _default_spec(item.config)
    given = _params(item).get("kafka_cluster")
    if isinstance(given, dict):
        return default.but(given)
    asked = _asked(item)
    return given or default.but(asked["config"], asked["clock"])


def _pairs(config: pytest.Config, option: str) -> dict[str, str]:
    """Read an option of KEY=VALUE lines."""
    pairs = {}
    for line in config.getini(option):
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            pytest.fail(f"{option}: {line!r} is not KEY=VALUE", pytrace=False)
        pairs[key.strip()] = value.strip()
    return pairs


def _partitions(config: pytest.Config) -> int:
    text = str(config.getini("strandline_topic_partitions"))
    if not text.isdecimal() or int(text) < 1:
        pytest.fail(f"strandline_topic_partitions is {text!r}: it must be a number, at least 1", pytrace=False)
    return int(text)


def _topics_of(item: pytest.Item, run: _Run) -> str:
    """Tell what lies in the topics that a test made, or that were made by what it called."""
    from strandline.errors import KafkaError
    from strandline.testing import report

    factory = run.factories.get(item.nodeid)
    # It is not there where its setup failed.
    cluster = factory.cluster if factory else getattr(item, "funcargs", {}).get("kafka_cluster")
    if not cluster:
        return ""
    topics = [topic.name for topic in factory.made] if factory else []
    try:
        topics += sorted(set(cluster.admin().list_topics()) - run.before)
    except KafkaError as error:
        return f"could not be listed: {error}"
    return report(cluster, topics)
