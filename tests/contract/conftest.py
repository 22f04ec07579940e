"""Workers as processes, the model of those inside a test, the topics of one test, and a proxy before the broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka_env import KafkaEnv
from tests.proxy import Network, Proxy, proxied_broker
from tests.small_models import options
from tests.worker_process import Start, workers
from worker.classifier import Classifier, load
from worker.commands.broker.embedded import Broker

Proxied = tuple[Broker, Proxy]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts workers; none outlives the test."""
    with workers(tmp_path) as start:
        yield start


@pytest.fixture
def scene(bootstrap_servers: str) -> KafkaEnv:
    """One input topic of three partitions, and the outputs' of as many."""
    made = KafkaEnv(bootstrap_servers, "demo")
    made.create()
    return made


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """The bundled model, as a worker loads it."""
    return load(options("demo"), lambda _: None)


@pytest.fixture(scope="session")
def proxied() -> Iterator[Proxied]:
    """A Kafka of its own, and the proxy before it."""
    with proxied_broker() as both:
        yield both


@pytest.fixture
def proxy(proxied: Proxied) -> Iterator[Proxy]:
    """It passes everything on, until the test says otherwise."""
    yield proxied[1]
    proxied[1].rules = []
    proxied[1].network = Network()
    proxied[1].forgotten.clear()


@pytest.fixture
def proxied_scene(proxied: Proxied) -> KafkaEnv:
    """Topics of one partition; the test's own clients go around the proxy."""
    made = KafkaEnv(proxied[0].bootstrap_servers, "demo", inputs=(1,), partitions=1)
    made.create()
    return made
