"""Where a worker starts to read, on a real Kafka, if the committed offset is deleted or missing."""

import logging
import threading
import time

import orjson
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined] # exported at run time

from tests.in_process_worker import forward_of, joined_worker
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat, headers_of
from worker.classifier import Classifier
from worker.errors import DataProtectionError, ExitCode
from worker.records import Topic

pytestmark = pytest.mark.kafka

log = logging.getLogger(__name__)

IMPATIENT = '{"consumer.topic.metadata.refresh.interval.ms": "200"}'  # by default five minutes


@pytest.fixture
def scene(bootstrap_servers: str) -> KafkaEnv:
    made = KafkaEnv(bootstrap_servers, "demo", inputs=(1,), partitions=1)
    made.create()
    return made


def delete_before(scene: KafkaEnv, offset: int) -> None:
    """Delete the records below the offset immediately, as retention does later."""
    admin = AdminClient(scene.client)
    for answer in admin.delete_records([TopicPartition(next(iter(scene.inputs)), 0, offset)]).values():
        answer.result(KAFKA_S_MAX)


def test_a_group_whose_offset_retention_has_deleted_goes_on_at_the_first_available_message(
    scene: KafkaEnv, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    with joined_worker(scene.environ(), classifier) as worker:
        scene.send([chat("before")] * 2)
        worker.turn_until_judged(2)
    scene.send([chat("lost to retention")] * 3 + [chat("after")] * 2)
    delete_before(scene, 5)
    with caplog.at_level(logging.ERROR), joined_worker(scene.environ(), classifier) as worker:
        worker.turn_until_judged(2)
    assert "retention has deleted offsets 2 to 4 before they were judged" in caplog.text
    assert scene.committed() == scene.input_ends()
    assert scene.ledger().lost == 0


def test_a_group_whose_offset_retention_has_deleted_stops_if_the_reset_is_error(
    scene: KafkaEnv, classifier: Classifier
) -> None:
    with joined_worker(scene.environ(), classifier) as worker:
        scene.send([chat("before")] * 2)
        worker.turn_until_judged(2)
    scene.send([chat("lost to retention")] * 3)
    delete_before(scene, 5)
    with (
        joined_worker(scene.environ(KAFKA__AUTO_OFFSET_RESET="error"), classifier) as worker,
        pytest.raises(
            DataProtectionError, match=r"committed: 2, available: 5 to 5.*WORKER_KAFKA__AUTO_OFFSET_RESET"
        ) as refusal,
    ):
        worker.turn_until_judged(1)
    assert refusal.value.exit_code is ExitCode.PROTECTED
    assert set(scene.committed().values()) == {2}


def test_a_committed_offset_beyond_the_end_stops_the_worker_before_it_judges_anything_again(
    scene: KafkaEnv, classifier: Classifier
) -> None:
    scene.send([chat("judged before the log was truncated")] * 10)
    [topic] = scene.inputs
    scene.set_offset(1010)
    with (
        joined_worker(scene.environ(KAFKA__AUTO_OFFSET_RESET="earliest"), classifier) as worker,
        pytest.raises(
            DataProtectionError, match=r"has committed offset 1010, but the log ends at 10: it was trunc"
        ) as refusal,
    ):
        worker.turn_until_judged(1)
    assert refusal.value.exit_code is ExitCode.PROTECTED
    assert f"--group {scene.group} --topic {topic}:0 --reset-offsets --execute" in str(refusal.value)
    assert "earliest" not in str(refusal.value)
    assert "retention" not in str(refusal.value)
    assert set(scene.committed().values()) == {1010}
    assert scene.readable() == 0


@pytest.mark.parametrize(
    "group",
    [{"KAFKA__GROUP_PROTOCOL": "consumer"}, {"KAFKA__PARTITION_ASSIGNMENT_STRATEGY": "roundrobin"}],
    ids=str,
)
def test_two_hundred_new_partitions_do_not_delay_an_iteration_of_the_loop(
    group: dict[str, str], scene: KafkaEnv, classifier: Classifier
) -> None:
    [topic] = scene.inputs
    longest_s = 0.0
    with joined_worker(scene.environ(KAFKA__PROPERTIES=IMPATIENT, **group), classifier) as worker:
        scene.send([chat("before")])
        worker.turn_until_judged(1)
        admin = AdminClient(scene.client)
        admin.create_partitions([NewPartitions(topic, 201)])[topic].result(KAFKA_S_MAX)
        scene.inputs[topic] = 201
        producer = Producer(scene.client)
        for number in range(201):
            producer.produce(topic, chat("after"), partition=number)
        assert producer.flush(KAFKA_S_MAX) == 0
        deadline = time.monotonic() + 60
        while worker.loop.totals.records < 202:
            began = time.monotonic()
            assert began < deadline, worker.loop.totals
            worker.loop.turn()
            longest_s = max(longest_s, time.monotonic() - began)
    log.info("the longest turn took %.2f s", longest_s)
    assert longest_s < 10, "the bound of /livez is 30 s"
    assert scene.ledger().clean


def test_a_timestamp_of_minus_one_counts_as_missing(scene: KafkaEnv, classifier: Classifier) -> None:
    producer = Producer(scene.client)
    producer.produce(next(iter(scene.inputs)), chat("from a producer without a clock"), partition=0, timestamp=-1)
    producer.produce(next(iter(scene.inputs)), b"not JSON", partition=0, timestamp=-1)
    assert producer.flush(KAFKA_S_MAX) == 0
    with joined_worker(scene.environ(), classifier) as worker:
        worker.turn_until_judged(2)
    [verdict] = scene.read(Topic.VERDICT)
    assert orjson.loads(verdict.value() or b"")["source"]["timestamp_ms"] is None
    [dead_letter] = scene.read(Topic.DEAD_LETTER)
    assert "moderation.source.timestamp_ms" not in dict(headers_of(dead_letter))


def test_a_busy_worker_loses_only_what_retention_has_deleted(
    scene: KafkaEnv, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()
    properties = '{"consumer.queued.min.messages": "1", "consumer.fetch.message.max.bytes": "4096"}'
    text = "x" * 2000
    with (
        caplog.at_level(logging.ERROR),
        forward_of(classifier, lambda _ids, _hidden: done.wait(60)),
        joined_worker(scene.environ(BATCH__RECORDS_MAX="1", KAFKA__PROPERTIES=properties), classifier) as worker,
    ):
        for number in range(60):
            scene.send([chat(f"{text} {number}")])  # one batch each: a fetch returns whole batches
        worker.turn_until(lambda: worker.loop._in_flight.records >= 4)  # noqa: SLF001 - full: it pauses soon
        delete_before(scene, 50)
        done.set()
        worker.turn_until(lambda: scene.committed() == scene.input_ends())
    ledger = scene.ledger()
    assert ledger.lost == ledger.doubled == 0  # of the records that the topic still has
    assert "retention has deleted offsets " in caplog.text


@pytest.mark.parametrize("start", ["earliest", "2020-01-01T00:00:00Z"])
def test_a_partition_that_is_added_to_a_running_worker_is_judged_from_its_first_message(
    start: str, scene: KafkaEnv, classifier: Classifier
) -> None:
    topic = next(iter(scene.inputs))
    environ = scene.environ(KAFKA__AUTO_OFFSET_RESET=start, KAFKA__PROPERTIES=IMPATIENT)
    with joined_worker(environ, classifier) as worker:
        scene.send([chat("before")])
        worker.turn_until_judged(1)
        admin = AdminClient(scene.client)
        admin.create_partitions([NewPartitions(topic, 2)])[topic].result(KAFKA_S_MAX)
        scene.inputs[topic] = 2
        producer = Producer(scene.client)  # the older producer does not know the new partition yet
        for number in range(4):
            producer.produce(topic, chat("after"), partition=number % 2)
        assert producer.flush(KAFKA_S_MAX) == 0
        worker.turn_until_judged(5)
        assert len(worker.session.status().positioned) == 2
    assert scene.ledger().clean
