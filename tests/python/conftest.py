"""What the tests of the package share: a cluster, and topics of one's own."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Literal, TypeAlias, TypeVar

import pytest
import uvloop

import strandline as sl

T = TypeVar("T")
Isolation: TypeAlias = Literal["thread", "process"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[sl.Cluster]:
    """One broker for all tests that hurt nobody."""
    with sl.Cluster() as cluster:
        yield cluster


@pytest.fixture(params=["thread", "process"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    """How brokers are run: no test sees a difference."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def three(isolation: Isolation) -> Iterator[sl.Cluster]:
    """Three brokers that notice quickly who is gone."""
    with sl.Cluster(
        brokers=3,
        isolation=isolation,
        broker_session_timeout_ms=2000,
        broker_heartbeat_interval_ms=500,
        replica_lag_time_max_ms=2000,
    ) as cluster:
        yield cluster


@pytest.fixture
def new_topic(cluster: sl.Cluster) -> Callable[..., sl.Topic]:
    """Makes topics whose names nobody else has."""
    numbers = itertools.count()

    def make(partitions: int = 1, **configs: object) -> sl.Topic:
        return cluster.create_topic(f"topic-{next(_ALL)}-{next(numbers)}", partitions=partitions, **configs)

    return make


@pytest.fixture
def topic(new_topic: Callable[..., sl.Topic]) -> sl.Topic:
    """A topic of one partition that no other test uses."""
    return new_topic()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, T]], T]:
    """Runs a coroutine in a new event loop, and fails rather than hang."""

    def run(main: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            return await asyncio.wait_for(main, 60)

        if request.param == "uvloop":
            return uvloop.run(bounded())
        return asyncio.run(bounded())

    return run


_ALL = itertools.count()
