"""Worker processes, the model for workers inside a test, the topics of a test, clusters, and a proxy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka_env import KafkaEnv
from tests.proxy import Network, Proxy, proxied_broker
from tests.session_clusters import PROTOCOLS, Cluster, FakeKafka, RealKafka
from tests.small_models import options
from tests.worker_process import STUB_COMMAND, Start, workers
from worker.classifier import Classifier, load
from worker.commands.broker.embedded import Broker
from worker.kafka.topics import TopicSpec, create_topics

Proxied = tuple[Broker, Proxy]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts workers. All of them are killed at the end of the test."""
    with workers(tmp_path) as start:
        yield start


@pytest.fixture
def start_stub(tmp_path: Path) -> Iterator[Start]:
    """Starts workers with a stub for the model, for tests in which the model has no part."""
    with workers(tmp_path, STUB_COMMAND, name="stub") as start:
        yield start


@pytest.fixture
def scene(bootstrap_servers: str) -> KafkaEnv:
    """One input topic and the output topics, with three partitions each."""
    made = KafkaEnv(bootstrap_servers, "demo")
    made.create()
    return made


@pytest.fixture
def copies(scene: KafkaEnv) -> str:
    """A topic for copies, with fewer partitions than the input."""
    topic = f"{scene.group}.copies"
    create_topics(scene.client, [TopicSpec(name=topic, partitions=2)])
    return topic


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """The bundled model, as a worker loads it."""
    return load(options("demo"), lambda _: None)


@pytest.fixture(scope="session")
def proxied() -> Iterator[Proxied]:
    """A Kafka for these tests only, and the proxy in front of it."""
    with proxied_broker() as both:
        yield both


@pytest.fixture
def proxy(proxied: Proxied) -> Iterator[Proxy]:
    """The proxy. It passes everything on until the test changes that."""
    yield proxied[1]
    proxied[1].rules = []
    proxied[1].network = Network()
    proxied[1].forgotten.clear()


@pytest.fixture
def proxied_scene(proxied: Proxied) -> KafkaEnv:
    """Topics of one partition. The test's own clients do not use the proxy."""
    made = KafkaEnv(proxied[0].bootstrap_servers, "demo", inputs=(1,), partitions=1)
    made.create()
    return made


@pytest.fixture(params=["fake", *PROTOCOLS])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two input partitions and a group: of the fake log, and of a real Kafka with each assignment strategy."""
    if request.param == "fake":
        yield FakeKafka()
        return
    topics = request.getfixturevalue("fresh_topics")(partitions=2)
    real = RealKafka(request.getfixturevalue("bootstrap_servers"), topics, request.param)
    yield real
    for session in real.sessions:
        session.close()
