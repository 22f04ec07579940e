"""An input topic that was deleted and created again is a new log: each of its messages is judged once."""

import logging
import time
from collections import Counter

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # exported at run time

from tests.in_process_worker import InProcessWorker, joined_worker
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat
from worker.classifier import Classifier
from worker.errors import DataProtectionError
from worker.records import Topic

pytestmark = pytest.mark.kafka

OLD, NEW = 500, 800
GROUPS = {
    "roundrobin": {},
    "cooperative-sticky": {"KAFKA__PARTITION_ASSIGNMENT_STRATEGY": "cooperative-sticky"},
    "consumer": {"KAFKA__GROUP_PROTOCOL": "consumer"},
}


@pytest.fixture
def scene(bootstrap_servers: str) -> KafkaEnv:
    made = KafkaEnv(bootstrap_servers, "demo", inputs=(1,), partitions=1)
    made.create()
    return made


def produce(scene: KafkaEnv, name: str, count: int) -> None:
    """Send messages with the keys ``name-0``, ``name-1`` and so on, with a client that knows no earlier topic."""
    producer = Producer(scene.client)
    for number in range(count):
        producer.produce(next(iter(scene.inputs)), chat(name), key=f"{name}-{number}", partition=0)
    assert producer.flush(KAFKA_S_MAX) == 0


def delete(scene: KafkaEnv) -> None:
    admin = AdminClient(scene.client)
    admin.delete_topics(list(scene.inputs))[next(iter(scene.inputs))].result(KAFKA_S_MAX)


def create(scene: KafkaEnv) -> None:
    """Create the topic as soon as the brokers have deleted the old one."""
    topic, partitions = next(iter(scene.inputs.items()))
    admin = AdminClient(scene.client)
    deadline = time.monotonic() + KAFKA_S_MAX
    while True:
        try:
            admin.create_topics([NewTopic(topic, partitions)])[topic].result(KAFKA_S_MAX)
        except KafkaException:
            assert time.monotonic() < deadline
        else:
            return


def judged(scene: KafkaEnv) -> Counter[str]:
    """Return the number of verdicts for each message, by its key."""
    return Counter((message.key() or b"").decode() for message in scene.read(Topic.VERDICT))


def turning(worker: InProcessWorker, seconds: float) -> None:
    until = time.monotonic() + seconds
    worker.turn_until(lambda: time.monotonic() >= until)


def assert_each_judged_once(scene: KafkaEnv) -> None:
    expected = Counter([f"old-{number}" for number in range(OLD)] + [f"new-{number}" for number in range(NEW)])
    found = judged(scene)
    assert found == expected, (len(expected - found), "missing", len(found - expected), "doubled")


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("gap_s", [0, 0.2, 1, 5])
def test_each_message_of_a_recreated_topic_is_judged_once(
    gap_s: float, group: str, scene: KafkaEnv, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    environ = scene.environ(POLICY__THRESHOLD="1", **GROUPS[group])
    with caplog.at_level(logging.INFO), joined_worker(environ, classifier) as worker:
        produce(scene, "old", OLD)
        worker.turn_until_judged(OLD)
        delete(scene)
        turning(worker, gap_s)
        create(scene)
        produce(scene, "new", NEW)
        worker.turn_until(lambda: scene.committed() == scene.input_ends())
    assert_each_judged_once(scene)
    assert "was deleted and created again: its id was " in caplog.text


def test_a_worker_that_was_down_does_not_use_an_offset_of_the_deleted_topic(
    scene: KafkaEnv, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    environ, admin = scene.environ(POLICY__THRESHOLD="1"), AdminClient(scene.client)
    with joined_worker(environ, classifier) as worker:
        produce(scene, "old", OLD)
        worker.turn_until_judged(OLD)
    asked = [ConsumerGroupTopicPartitions(scene.group)]
    answer = admin.list_consumer_group_offsets(asked)[scene.group].result(KAFKA_S_MAX)
    kept = next(iter(answer.topic_partitions or ()))
    delete(scene)
    create(scene)
    produce(scene, "new", NEW)
    # The coordinator deletes the offsets of a deleted topic. A tool that copies offsets may restore them.
    scene.set_offset(kept.offset, kept.metadata or "")
    with caplog.at_level(logging.WARNING), joined_worker(environ, classifier) as worker:
        worker.turn_until(lambda: scene.committed() == scene.input_ends())
    assert_each_judged_once(scene)
    assert "[0] starts at offset 0, by WORKER_KAFKA__AUTO_OFFSET_RESET; the topic was deleted" in caplog.text


def test_a_recreated_topic_ends_the_worker_if_the_reset_is_error(scene: KafkaEnv, classifier: Classifier) -> None:
    produce(scene, "old", 1)
    with joined_worker(scene.environ(), classifier) as worker:
        worker.turn_until_judged(1)
    with joined_worker(scene.environ(KAFKA__AUTO_OFFSET_RESET="error"), classifier) as worker:
        worker.turn_until(lambda: len(worker.session.status().positioned) == 1)
        delete(scene)
        create(scene)
        produce(scene, "new", 2)
        with pytest.raises(
            DataProtectionError, match=r"the topic was deleted and created again: its id was .* and is "
        ):
            turning(worker, 60)
