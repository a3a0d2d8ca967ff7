"""The pytest plugin: what its fixtures are, for each client, and what its options, its marker and its report do."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, Producer
from kafka import KafkaConsumer, KafkaProducer

import strandline as sl
from strandline.testing import KafkaTopic, TopicFactory

pytest_plugins = ["pytester"]


def test_our_own_clients(kafka_topic: KafkaTopic, kafka_producer: sl.Producer, kafka_consumer: sl.Consumer) -> None:
    kafka_producer.send(kafka_topic, key="UA", value="119.00").result()
    assert [(message.key, message.value) for message in kafka_consumer] == [(b"UA", b"119.00")]
    assert kafka_topic.topic.scan(value="utf8").to_pyarrow()["value"].to_pylist() == ["119.00"]


def test_confluent_kafka(kafka_bootstrap: str, kafka_topic: KafkaTopic) -> None:
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    producer.produce(kafka_topic, key="UA", value="119.00")
    assert producer.flush(30) == 0
    settings = {"bootstrap.servers": kafka_bootstrap, "group.id": "prices", "auto.offset.reset": "earliest"}
    with Consumer(settings) as consumer:
        consumer.subscribe([kafka_topic])
        message = consumer.poll(30)
    assert (message.key(), message.value()) == (b"UA", b"119.00")


def test_aiokafka(kafka_bootstrap: str, kafka_topic: KafkaTopic) -> None:
    async def there_and_back() -> bytes | None:
        async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
            await producer.send_and_wait(kafka_topic, b"119.00")
        async with AIOKafkaConsumer(
            kafka_topic, bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest"
        ) as consumer:
            return (await asyncio.wait_for(consumer.getone(), 30)).value

    assert asyncio.run(there_and_back()) == b"119.00"


def test_kafka_python(kafka_bootstrap: str, kafka_topic: KafkaTopic) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap)
    producer.send(kafka_topic, b"119.00").get(timeout=30)
    producer.close()
    consumer = KafkaConsumer(kafka_topic, bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest")
    assert next(consumer).value == b"119.00"
    consumer.close()


def test_faststream(kafka_bootstrap: str, kafka_topic_factory: TopicFactory) -> None:
    faststream = pytest.importorskip("faststream.kafka")
    orders, bills = kafka_topic_factory("orders"), kafka_topic_factory("bills")

    async def serve() -> None:
        billed = asyncio.Event()
        broker = faststream.KafkaBroker(kafka_bootstrap)

        @broker.subscriber(orders, auto_offset_reset="earliest")
        @broker.publisher(bills)
        async def bill(order: str) -> str:
            return f"{order}: 119.00"

        @broker.subscriber(bills, auto_offset_reset="earliest")
        async def seen(_bill: str) -> None:
            billed.set()

        async with broker:
            await broker.start()
            await broker.publish("UA 1545", orders)
            await asyncio.wait_for(billed.wait(), 30)

    asyncio.run(serve())
    assert [message.value for message in bills.messages()] == [b"UA 1545: 119.00"]


def test_a_topic_is_a_name_that_tells_the_test(kafka_topic: KafkaTopic, kafka_topic_factory: TopicFactory) -> None:
    assert kafka_topic == kafka_topic.name == "test_a_topic_is_a_name_that_tells_the_test"
    assert type(kafka_topic.name) is type(f"{kafka_topic}") is str
    assert kafka_topic_factory() == f"{kafka_topic}-2"
    dead = kafka_topic_factory("dead", partitions=2, config={"retention.ms": 1000})
    assert dead == f"{kafka_topic}-dead"
    assert (dead.topic.partitions, dead.topic.configs()["retention.ms"].value) == (2, "1000")


@pytest.mark.parametrize("carrier", ["UA/1", "ä" * 300])
def test_a_parameter_makes_no_name_that_kafka_refuses(kafka_topic: KafkaTopic, carrier: str) -> None:
    assert re.fullmatch(r"[\w-]{1,249}", kafka_topic, re.ASCII), carrier


def test_topics_are_gone_after_their_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_one(kafka_producer, kafka_topic):
            kafka_producer.send(kafka_topic, "not flushed by the test")

        def test_two(kafka_cluster, kafka_topic):
            assert kafka_cluster.admin().list_topics() == [kafka_topic]
            kafka_topic.topic.delete()

        def test_three(kafka_cluster):
            assert kafka_cluster.admin().list_topics() == []
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=3)


def test_options_are_those_of_pyproject(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        strandline_config = ["num.partitions=5", "log.retention.ms = 60000"]
        strandline_topic_config = ["cleanup.policy=compact"]
        strandline_topic_partitions = 3
        """
    )
    pytester.makepyfile(
        """
        def test_it(kafka_cluster, kafka_topic, kafka_topic_factory):
            configs = kafka_cluster.admin().describe_configs(broker=1)
            assert configs["num.partitions"].value == "5"
            assert configs["log.retention.ms"].value == "60000"
            assert kafka_topic.topic.partitions == 3
            assert kafka_topic.topic.configs()["cleanup.policy"].value == "compact"
            other = kafka_topic_factory(partitions=1, config={"cleanup.policy": "delete"}).topic
            assert (other.partitions, other.configs()["cleanup.policy"].value) == (1, "delete")
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("strandline_config = ['num.partitions']", "strandline_config: 'num.partitions' is not KEY=VALUE"),
        (
            "strandline_topic_partitions = 'two'",
            "strandline_topic_partitions is 'two': it must be a number, at least 1",
        ),
        ("strandline_config = ['num.partition=1']", "InvalidConfigError: *num.partition*"),
    ],
)
def test_an_option_that_makes_no_sense_is_told(pytester: pytest.Pytester, option: str, sentence: str) -> None:
    pytester.makepyprojecttoml(f"[tool.pytest.ini_options]\n{option}")
    pytester.makepyfile("def test_it(kafka_topic): pass")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(f"*{sentence}*")


def test_the_marker_asks_for_another_cluster_and_topic(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def of(cluster):
            return cluster.admin().describe_configs(broker=1)["num.partitions"].value

        SEEN = []

        @pytest.mark.kafka(config={"num.partitions": 7}, topic_config={"retention.ms": 5000}, partitions=2)
        class TestMarked:
            def test_class(self, kafka_topic, kafka_cluster, kafka_bootstrap):
                assert of(kafka_cluster) == "7"
                assert kafka_bootstrap == kafka_cluster.bootstrap_servers == kafka_topic.cluster.bootstrap_servers
                assert kafka_topic.topic.partitions == 2
                assert kafka_topic.topic.configs()["retention.ms"].value == "5000"
                SEEN.append(kafka_bootstrap)

            @pytest.mark.kafka(partitions=4)
            def test_nearest_wins(self, kafka_topic, kafka_bootstrap):
                assert kafka_topic.topic.partitions == 4
                SEEN.append(kafka_bootstrap)

        def test_plain(kafka_cluster, kafka_topic):
            assert of(kafka_cluster) == "1"
            assert kafka_topic.topic.partitions == 1

        @pytest.mark.parametrize("kafka_cluster", [{"num.partitions": 8}, {"num.partitions": 9}], indirect=True)
        def test_parameters(kafka_cluster):
            assert of(kafka_cluster) in "89"

        def test_equal_configs_share_a_cluster():
            assert len(SEEN) == 2 and len(set(SEEN)) == 1
        """
    )
    result = pytester.runpytest_subprocess("-v", "-p", "no:randomly")
    result.assert_outcomes(passed=6)
    # The marker leaves the names as they are.
    result.stdout.fnmatch_lines("*::test_class PASSED*")


def test_the_marker_gives_a_test_a_clock_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import datetime as dt
        import pytest

        SEEN = []

        @pytest.mark.kafka(clock="manual")
        @pytest.mark.parametrize("number", range(2))
        def test_moved(kafka_cluster, kafka_bootstrap, kafka_producer, kafka_topic, number):
            assert kafka_cluster.clock.now < dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=1)
            kafka_producer.send(kafka_topic, "of last week").result()
            kafka_cluster.clock.advance("8d")
            assert kafka_topic.messages() == []
            SEEN.append(kafka_bootstrap)

        def test_not_moved(kafka_cluster, kafka_bootstrap):
            SEEN.append(kafka_bootstrap)
            assert len(set(SEEN)) == 3
            with pytest.raises(RuntimeError):
                kafka_cluster.clock.advance("8d")
        """
    )
    pytester.runpytest_subprocess("-p", "no:randomly").assert_outcomes(passed=3)


def test_a_marker_that_makes_no_sense_is_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.kafka(brokers=3)
        def test_wrong(kafka_topic): pass
        """
    )
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines("*pytest.mark.kafka does not take brokers=: it takes config={...}*")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.kafka(config={"num.partitions": 7})
        def test_hidden(request):
            request.getfixturevalue("kafka_topic")
        """
    )
    pytester.runpytest_subprocess().stdout.fnmatch_lines("*name one, instead of looking it up*")


def test_what_lay_in_the_topics_of_a_failed_test_is_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_passes(kafka_producer, kafka_topic):
            kafka_producer.send(kafka_topic, "of another test").result()

        @pytest.mark.kafka(partitions=2)
        def test_fails(kafka_cluster, kafka_producer, kafka_topic):
            for number in range(30):
                kafka_producer.send(kafka_topic, f"value {number}", key=f"k{number}", partition=1)
            kafka_producer.send("made-by-the-app", b"\\x00\\xff", headers={"h": b"1"})
            kafka_producer.send("made-by-the-app", "x" * 1000)
            kafka_producer.flush()
            assert False

        @pytest.fixture
        def broken(kafka_topic):
            raise RuntimeError("broken")

        def test_has_no_setup(broken):
            pass

        def test_has_nothing_to_do_with_it():
            assert False
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*Kafka topics of this test*",
            "test_fails: 30 records in 2 partitions",
            "  partition 1, the last 20 of 30",
            "    offset 10  *key='k10'  value='value 10'",
            "    offset 29  *key='k29'  value='value 29'",
            "made-by-the-app: 2 records in 1 partition",
            "  partition 0",
            "    offset 0  *key=None  value=b'?x00?xff'  headers=h=b'1'",
            "    offset 1  *key=None  value='xxx*... (1,000 bytes)",
        ]
    )
    text = result.stdout.str()
    assert text.count("Kafka topics of this test") == 2
    assert "test_has_no_setup: 0 records in 1 partition" in text
    assert "of another test" not in text
    assert "offset 9 " not in text


def test_a_cluster_that_the_test_closed_is_told_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(kafka_cluster, kafka_topic):
            kafka_cluster.close()
            assert False
        """
    )
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines("*could not be listed: *closed*")


def test_workers_have_clusters_of_their_own(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile(
        """
        import os
        import pytest

        @pytest.mark.parametrize("number", range(6))
        def test_it(kafka_cluster, kafka_topic, kafka_producer, kafka_consumer, number):
            kafka_producer.send(kafka_topic, str(number)).result()
            assert [message.value for message in kafka_consumer] == [b"%d" % number]
            assert kafka_cluster.admin().list_topics() == [kafka_topic]
            print("WORKER", os.environ["PYTEST_XDIST_WORKER"], kafka_cluster.bootstrap_servers)
            assert number < 5
        """
    )
    result = pytester.runpytest_subprocess("-n", "2", "-rP")
    result.assert_outcomes(passed=5, failed=1)
    found = set(re.findall(r"WORKER (gw\d) (\S+)", result.stdout.str()))
    assert len(found) == len({worker for worker, _ in found}) == len({address for _, address in found}) == 2
    # The report comes through from the worker.
    result.stdout.fnmatch_lines(["*Kafka topics of this test*", "test_it-5: 1 record in 1 partition"])


def test_who_asks_for_no_fixture_loads_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            assert "pytest_strandline" in sys.modules
            assert not [name for name in sys.modules if name.startswith("strandline")]
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
    pytester.runpytest_subprocess("--markers").stdout.fnmatch_lines("@pytest.mark.kafka(config={}, *")


def test_it_is_documented_where_people_look() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "--fixtures", "-p", "no:cacheprovider", __file__],
        capture_output=True,
        text=True,
        check=True,
    )
    for fixture in ("kafka_bootstrap", "kafka_cluster", "kafka_consumer", "kafka_producer", "kafka_topic"):
        assert re.search(rf"^{fixture}\b.*\n    \w", told.stdout, re.MULTILINE), told.stdout


def test_the_readme_is_true(pytester: pytest.Pytester) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme.split("### In pytest\n")[1].split("\n### ")[0]
    python = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    [toml] = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    # A marker stands alone at the end.
    marked = "def test_marked(kafka_topic):\n    assert kafka_topic.topic.partitions == 2\n"
    pytester.makepyfile("import pytest\n" + "\n\n".join(python) + marked)
    pytester.runpytest_subprocess().assert_outcomes(passed=len(python))
    pytester.makepyprojecttoml(toml)
    pytester.makepyfile("def test_it(kafka_topic):\n    assert kafka_topic.topic.partitions == 4")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
