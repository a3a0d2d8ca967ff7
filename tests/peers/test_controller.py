"""Who clients are told is the controller: librdkafka's admin client sends its changes there, and waits for it."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

import strandline as sl
from support.topics import at

Isolation: TypeAlias = Literal["thread", "process"]


def active_controller(cluster: sl.Cluster) -> int:
    """Who leads the metadata quorum, as our own command line tells."""
    command = [sys.executable, "-m", "strandline", "cluster", "status", "--json", "-b", cluster.bootstrap_servers]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    status: dict[str, Any] = json.loads(told)
    return int(status["controller"])


def of_another(cluster: sl.Cluster, active: int) -> str:
    """Where a broker is that is not the active controller."""
    servers = cluster.bootstrap_servers.split(",")
    return servers[(active + 1) % len(servers)]


def of_itself(cluster: sl.Cluster, active: int) -> str:
    """Where the active controller is."""
    return cluster.bootstrap_servers.split(",")[active]


def created_after_a_kill(admin: AdminClient, topic: str) -> None:
    """Make a topic, of a client that need not have seen yet that its connection to the killed broker has ended."""
    for _ in range(2):
        try:
            admin.create_topics([NewTopic(topic, 3, 2)])[topic].result(60)
            return
        except KafkaException as failure:
            # It had sent the request to the broker that was gone, and does not ask anybody else of itself.
            if failure.args[0].code() != KafkaError._TRANSPORT:
                raise
    raise AssertionError("the second request went to the killed broker as well")


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("asked", [of_another, of_itself])
def test_an_admin_client_goes_on_when_the_active_controller_was_killed(
    isolation: Isolation, asked: Callable[[sl.Cluster, int], str]
) -> None:
    with sl.Cluster(brokers=3, isolation=isolation) as cluster:
        cluster.wait_healthy()
        active = active_controller(cluster)
        # All timeouts are librdkafka's own: a request may take a minute.
        admin = AdminClient(at(asked(cluster, active)))
        told = admin.describe_cluster().result(60)
        ids = {broker.id for broker in cluster.brokers}
        assert {node.id for node in told.nodes} == ids
        assert told.controller.id in ids
        admin.create_topics([NewTopic("before", 3, 3)])["before"].result(60)

        cluster.brokers[active].kill()
        created_after_a_kill(admin, "after")
        told = admin.describe_cluster().result(60)
        assert told.controller.id in ids - {active}
        assert active_controller(cluster) in ids - {active}
        admin.delete_topics(["before"])["before"].result(60)

        cluster.brokers[active].start()
        cluster.wait_healthy()
        assert {node.id for node in admin.describe_cluster().result(60).nodes} == ids
