"""Three brokers that stop one after another. All topics have three replicas. The worker or its restart goes on."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.kafka_env import KafkaEnv, chat
from tests.meanwhile import meanwhile
from tests.worker_process import Start, WorkerProcess, eventually
from worker.commands.broker.embedded import QUICK_RETURN, Broker, running_broker
from worker.commands.broker.node import Node
from worker.errors import ExitCode
from worker.records import Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

log = logging.getLogger(__name__)

ROUNDS = int(os.environ.get("TEST_BROKER_ROUNDS", "1"))
RECOVERY_S_MAX = 60
LOOK_AGAIN_S = 0.2
IDLE_S_MAX = 30


@pytest.fixture(scope="module")
def brokers() -> Iterator[Broker]:
    """Three brokers. Each test leaves all of them running."""
    with running_broker(nodes=3, extra_properties=QUICK_RETURN) as three:
        yield three


@pytest.fixture
def scene(brokers: Broker) -> KafkaEnv:
    made = KafkaEnv(brokers.bootstrap_servers, "demo")
    made.create()
    return made


class Orchestrator:
    """Restarts the worker when it ends as documented: a call into librdkafka hung."""

    def __init__(self, start: Start, scene: KafkaEnv) -> None:
        self._start = start
        self._scene = scene
        # A static member: the restarted worker gets the partitions immediately.
        self._environ = scene.environ(KAFKA__GROUP_INSTANCE_ID=scene.group, KAFKA__SESSION_TIMEOUT_MS="10000")
        self._worker: WorkerProcess = start(self._environ)
        self._verdicts = 0
        self.restarts = 0

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Return once ``done`` returns True."""

        def done_meanwhile() -> bool:
            code = self._worker.exit_code
            if code is not None:
                assert code == ExitCode.KAFKA, self._worker.said
                assert " does not return" in self._worker.said, self._worker.said
                self.restarts += 1
                self._worker = self._start(self._environ)
            return done()

        began_s = time.monotonic()
        eventually(
            done_meanwhile, lambda: f"{self._scene.ledger()}; {self._worker.said}", seconds_max=RECOVERY_S_MAX
        )
        log.info("after %.1f s and %d restarts so far", time.monotonic() - began_s, self.restarts)

    def wait_for_verdicts(self, more: int) -> None:
        """Return once there are ``more`` verdicts more than at the last call."""
        enough = self._verdicts + more

        def there() -> bool:
            self._verdicts = max(self._verdicts, verdicts(self._scene))
            return self._verdicts >= enough

        self.wait_until(there)


def verdicts(scene: KafkaEnv) -> int:
    """Count the verdicts with a new client each time: an old client may keep the metadata of a stopped broker."""
    time.sleep(LOOK_AGAIN_S)
    reader = Consumer({**scene.client, "group.id": "reader"})
    try:
        places = [TopicPartition(scene.outputs[Topic.VERDICT], number) for number in range(scene.partitions)]
        return sum(reader.get_watermark_offsets(place, timeout=5)[1] for place in places)
    except KafkaException:
        return 0  # at the moment a partition has no leader
    finally:
        reader.close()


@contextmanager
def killed(node: Node) -> Iterator[None]:
    """Kill one broker. Start it again at the end of the block, also after a failure, for the next test."""
    node.kill()
    try:
        yield
    finally:
        node.start()


def wait_until_in_sync(brokers: Broker) -> None:
    """Return once all replicas of all partitions are in sync."""
    admin = AdminClient({"bootstrap.servers": brokers.bootstrap_servers, "log_level": 0})

    def in_sync() -> bool:
        with suppress(KafkaException):
            topics = admin.list_topics(timeout=1).topics.values()
            partitions = [partition for topic in topics for partition in topic.partitions.values()]
            return all(len(partition.isrs) == len(partition.replicas) for partition in partitions)
        return False

    eventually(in_sync, str, seconds_max=60)


def test_an_idle_worker_judges_immediately_after_the_brokers_were_restarted_one_by_one(
    brokers: Broker, scene: KafkaEnv, start_stub: Start
) -> None:
    # An idle producer can hang: its next send_offsets_to_transaction would never return.
    worker = start_stub(scene.environ())
    for _ in range(ROUNDS):
        scene.send([chat("before")])
        worker.wait_until(lambda: scene.ledger().clean)
        for node in brokers.nodes:
            node.stop()
            node.start()
            wait_until_in_sync(brokers)
        scene.send([chat("after")])
        sent_s = time.monotonic()
        worker.wait_until(lambda: scene.ledger().clean, seconds_max=IDLE_S_MAX)
        log.info("judged after %.1f s", time.monotonic() - sent_s)


def test_a_loaded_worker_goes_on_while_the_brokers_are_killed_one_by_one(
    brokers: Broker, scene: KafkaEnv, start_stub: Start
) -> None:
    orchestrator = Orchestrator(start_stub, scene)
    with scene.stream(per_second=100):
        orchestrator.wait_for_verdicts(1)
        for node in ROUNDS * brokers.nodes:
            with killed(node):
                orchestrator.wait_for_verdicts(100)
            wait_until_in_sync(brokers)
    orchestrator.wait_until(lambda: scene.ledger().clean)


def test_a_loaded_worker_judges_the_other_partitions_while_one_has_no_leader(
    brokers: Broker, start_stub: Start
) -> None:
    scene = KafkaEnv(brokers.bootstrap_servers, "demo")
    [topic] = scene.inputs
    scene.create(without=[topic])
    scene.spread([node.number for node in brokers.nodes])  # no further replicas: the partition stops with its node
    orchestrator = Orchestrator(start_stub, scene)
    for node in ROUNDS * brokers.nodes[-1:]:
        with stream_with_waiting_producer(scene):
            orchestrator.wait_for_verdicts(1)
            with killed(node):
                orchestrator.wait_for_verdicts(100)
            wait_until_in_sync(brokers)
        orchestrator.wait_until(lambda: scene.ledger().clean)


@contextmanager
def stream_with_waiting_producer(scene: KafkaEnv) -> Iterator[None]:
    """Send 100 messages a second. Those for a partition without a leader wait in the producer."""
    producer, numbers = Producer(scene.client), count()
    [(topic, partitions)] = scene.inputs.items()

    def feed() -> None:
        number = next(numbers)
        producer.produce(topic, chat(f"message {number}"), partition=number % partitions)
        producer.poll(0)

    try:
        with meanwhile(feed, every_s=0.01):
            yield
    finally:
        assert producer.flush(RECOVERY_S_MAX) == 0
