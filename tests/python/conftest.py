"""What the tests of the package share: a cluster, and topics of one's own."""

import itertools
from collections.abc import Callable, Iterator

import pytest

import strandline as sl


@pytest.fixture(scope="session")
def cluster() -> Iterator[sl.Cluster]:
    """One broker for all tests that hurt nobody."""
    with sl.Cluster() as cluster:
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


_ALL = itertools.count()
