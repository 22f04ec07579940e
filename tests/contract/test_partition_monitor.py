"""Idle, stalled and blocked partitions on a real Kafka."""

import json
from functools import partial

import pytest
from confluent_kafka import Producer, TopicPartition

from tests.in_process_worker import InProcessWorker, joined_worker
from tests.kafka_env import KafkaEnv, chat
from worker.classifier import Classifier
from worker.loop_wiring import monotonic_ms
from worker.records import Partition

pytestmark = pytest.mark.kafka

END_OFFSET_INTERVAL_MS = 100
STALL_TIMEOUT_MS = 500

impatient_worker = partial(
    joined_worker, end_offset_interval_ms=END_OFFSET_INTERVAL_MS, stall_timeout_ms=STALL_TIMEOUT_MS
)


@pytest.fixture
def scene(bootstrap_servers: str) -> KafkaEnv:
    made = KafkaEnv(bootstrap_servers, "demo", inputs=(2,), partitions=2)
    made.create()
    return made


def upstream_of(scene: KafkaEnv) -> Producer:
    """Return a transactional producer of chat messages."""
    producer = Producer({**scene.client, "transactional.id": f"{scene.group}.upstream"})
    producer.init_transactions()
    return producer


def hang(worker: InProcessWorker, partition: int, scene: KafkaEnv) -> None:
    """Stop librdkafka from fetching a partition, without the session, as librdkafka's bug does."""
    consumer = worker.session._member.consumer  # noqa: SLF001 - the client library itself must fail here
    consumer.pause([TopicPartition(next(iter(scene.inputs)), partition)])


def test_the_lag_of_an_idle_worker_is_0_after_transactions_of_its_producers(
    scene: KafkaEnv, classifier: Classifier
) -> None:
    upstream = upstream_of(scene)
    topic = next(iter(scene.inputs))
    with impatient_worker(
        scene.environ(),
        classifier,
    ) as worker:
        for end in [upstream.commit_transaction, upstream.abort_transaction, upstream.commit_transaction]:
            upstream.begin_transaction()
            for partition in (0, 1):
                upstream.produce(topic, chat("good morning"), partition=partition)
            upstream.flush()
            end()
        worker.turn_until_judged(4)
        worker.turn_until(lambda: scene.committed() == scene.input_ends())
        worker.turn_until(lambda: (seen := worker.session.status()).backlog == dict.fromkeys(seen.positioned, 0))
        scene.send([chat("and"), chat("again")])
        worker.turn_until_judged(6)
    inputs = sum(scene.input_ends().values())
    assert inputs == 6 + 2 * 3 + 2  # a control record for each transaction and partition
    assert (scene.ledger().verdicts, scene.ledger().doubled) == (6, 0)


def test_an_open_transaction_of_a_producer_is_not_a_stall(scene: KafkaEnv, classifier: Classifier) -> None:
    upstream = upstream_of(scene)
    with impatient_worker(
        scene.environ(),
        classifier,
    ) as worker:
        scene.send([chat("before")] * 2)
        worker.turn_until_judged(2)
        invalidations, now = worker.session.invalidations, worker.session._clock()  # noqa: SLF001 - the session's time
        upstream.begin_transaction()
        upstream.produce(next(iter(scene.inputs)), chat("not yet"), partition=0)
        upstream.flush()
        worker.turn_until(lambda: worker.session._clock() > now + 5 * STALL_TIMEOUT_MS)  # noqa: SLF001 - as above
        upstream.commit_transaction()
        worker.turn_until_judged(3)
        assert worker.session.invalidations == invalidations


def test_a_partition_that_is_not_fetched_is_read_after_joining_the_group_again(
    scene: KafkaEnv, classifier: Classifier
) -> None:
    with impatient_worker(
        scene.environ(),
        classifier,
    ) as worker:
        scene.send([chat("before")] * 2)
        worker.turn_until_judged(2)
        hang(worker, 1, scene)
        scene.send([chat("after")] * 4)
        worker.turn_until_judged(6)
    assert scene.ledger().clean


@pytest.mark.parametrize(
    "properties",
    [
        {"queued.min.messages": 1},
        {"consumer.queued.min.messages": 1},
        {"queued.min.messages": 100_000, "consumer.queued.min.messages": 1},
    ],
    ids=" ".join,
)
def test_a_stalled_partition_is_found_although_librdkafka_has_fetched_another_partition_ahead(
    properties: dict[str, int], scene: KafkaEnv, classifier: Classifier
) -> None:
    environ = scene.environ(KAFKA__PROPERTIES=json.dumps(properties))
    speed = 1  # read by the clock below

    def clock() -> int:
        return monotonic_ms() * speed

    with impatient_worker(
        environ,
        classifier,
        clock=clock,
    ) as worker:
        scene.send([chat("before")] * 2)
        worker.turn_until_judged(2)
        worker.turn_until(
            lambda: len(worker.session.status().backlog) == 2
        )  # the first answer about a new topic is slow
        hang(worker, 1, scene)
        scene.send([chat("after")] * 4_000)
        while not worker.session.poll(records_max=1, wait_ms=5_000):
            pass  # the event of the partition's end comes first
        invalidations, returned = worker.session.invalidations, 0
        speed = 100  # the timeout of the stall passes in 5 ms
        # A poll with records is part of a turnover. Two turnovers are 40,000 records by default, and a few records
        # here. A poll without records is a whole turnover, so there must not be one.
        while worker.session.invalidations == invalidations:
            fetched = worker.session.poll(records_max=1, wait_ms=5_000)
            returned += len(fetched)
            assert fetched or worker.session.invalidations != invalidations
            assert returned < 1_000  # of the 2,000 that the partition has
            # The session asks where the partitions end, and never waits for the answer. This question takes as long
            # as an answer. Without it, a slow broker answers after the whole partition has been read.
            scene.input_ends()


def test_the_backlog_is_unknown_and_not_0_if_the_last_answers_are_too_old(
    scene: KafkaEnv, classifier: Classifier
) -> None:
    ahead_ms = 0  # read by the clock below
    with joined_worker(
        scene.environ(),
        classifier,
        clock=lambda: monotonic_ms() + ahead_ms,
        end_offset_interval_ms=END_OFFSET_INTERVAL_MS,
    ) as worker:
        worker.turn_until(lambda: len(worker.session.status().positioned) == 2)
        assert worker.session.status().backlog == {}  # no broker has answered yet
        worker.turn_until(lambda: (seen := worker.session.status()).backlog == dict.fromkeys(seen.positioned, 0))
        ahead_ms = 60_000  # as if no broker had answered since
        assert worker.session.status().backlog == {}
        worker.turn_until(lambda: len(worker.session.status().backlog) == 2)


def test_a_hanging_transaction_is_logged_and_the_messages_behind_it_are_judged_after_its_abort(
    scene: KafkaEnv, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = upstream_of(scene)
    topic = next(iter(scene.inputs))
    plain = Producer(scene.client)
    with (
        caplog.at_level("INFO"),
        impatient_worker(
            scene.environ(),
            classifier,
            blocked_warning_ms=500,
        ) as worker,
    ):
        scene.send([chat("before")] * 2)
        worker.turn_until_judged(2)
        upstream.begin_transaction()
        upstream.produce(topic, chat("never"), partition=0)
        upstream.flush()
        for number in range(100):
            plain.produce(topic, chat(f"behind {number}"), partition=0)
            plain.produce(topic, chat(f"free {number}"), partition=1)
        plain.flush()
        worker.turn_until_judged(102)
        worker.turn_until(lambda: any("is blocked at offset" in line for line in caplog.messages))
        [line] = [line for line in caplog.messages if "is blocked at offset" in line]
        assert "101 messages wait behind it" in line
        assert (
            sum(worker.session.status().backlog.values()) == 0
        )  # an autoscaler that follows the backlog starts no worker
        [(blocked, age_s)] = worker.session.status().blocked_s.items()
        assert (blocked, age_s >= 0.5) == (Partition(topic, 0), True)
        committed = scene.committed()[blocked]
        worker.turn_until(lambda: worker.session.status().blocked_s[blocked] > age_s)
        assert scene.committed()[blocked] == committed  # KEDA's excludePersistentLag depends on this
        upstream.abort_transaction()
        worker.turn_until_judged(202)
        worker.turn_until(lambda: any("is no longer blocked" in line for line in caplog.messages))
        assert worker.session.status().blocked_s == {}
    assert scene.ledger().doubled == 0
