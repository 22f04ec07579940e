"""Failures on a real Kafka: what the worker does and logs, and that no message is lost or doubled."""

import signal
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not exported there
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.in_process_worker import forward_of, joined_worker
from tests.kafka_env import KafkaEnv, chat
from tests.worker_process import STUB_COMMAND, Start, WorkerProcess, eventually, workers
from worker.classifier import Classifier
from worker.commands.broker.embedded import QUICK_RETURN, Broker, running_broker
from worker.errors import ExitCode, KafkaFatalError, ModelError
from worker.records import Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ENDS = pytest.mark.parametrize("end", [Broker.stop, Broker.kill])
MANY = 10_000
MEGABYTE = 2**20


@pytest.fixture
def scene(bootstrap_servers: str) -> KafkaEnv:
    return new_scene(bootstrap_servers)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """Return a broker for these tests alone, to stop and kill. Each test leaves the broker running."""
    with running_broker(extra_properties=QUICK_RETURN) as one:
        yield one


@pytest.fixture(scope="module")
def survivor(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaEnv, WorkerProcess]]:
    """Return a worker that survives every restart of its broker."""
    scene = new_scene(broker.bootstrap_servers)
    with workers(tmp_path_factory.mktemp("survivor"), STUB_COMMAND) as started:
        # With a shorter session timeout, two restarts in a row would cost the membership, and the test much time.
        worker = started(scene.environ(KAFKA__SESSION_TIMEOUT_MS="30000"))
        worker.wait_for("reading from")
        yield scene, worker


def new_scene(servers: str) -> KafkaEnv:
    scene = KafkaEnv(servers, "demo", inputs=(1,), partitions=1)
    scene.create()
    return scene


def wait_until_clean(scene: KafkaEnv, worker: WorkerProcess) -> None:
    """Wait by the ledger alone: a group client that was idle during a restart may hang, also the test's client."""

    def clean() -> bool:
        assert worker.exit_code is None, worker.said
        return scene.ledger().clean

    eventually(clean, lambda: f"{scene.ledger()}; {worker.said}", seconds_max=120)


def end_of_verdicts(scene: KafkaEnv) -> int:
    """Return the end offset, with a new client: a client from before a restart may be fenced for ever."""
    reader = Consumer({**scene.client, "group.id": "reader"})
    _, end = reader.get_watermark_offsets(TopicPartition(scene.outputs[Topic.VERDICT], 0), timeout=10)
    reader.close()
    return end


# ---- the broker stops ----------------------------------------------------------------------------------------


@ENDS
def test_an_idle_worker_goes_on_after_a_restart_of_its_broker(
    end: Callable[[Broker], None], survivor: tuple[KafkaEnv, WorkerProcess], broker: Broker
) -> None:
    # An idle producer hangs after a restart: its next send_offsets_to_transaction would never return.
    scene, worker = survivor
    scene.send([chat("before")])
    wait_until_clean(scene, worker)
    end(broker)
    broker.start()
    scene.send([chat("after")])
    wait_until_clean(scene, worker)


@ENDS
def test_a_loaded_worker_goes_on_after_a_restart_of_its_broker(
    end: Callable[[Broker], None], survivor: tuple[KafkaEnv, WorkerProcess], broker: Broker
) -> None:
    # Brokers of Kafka 4.3.0 to 4.4.0 may skip the markers of a transaction when they restart (KAFKA-20734). If
    # ``lost`` or ``doubled`` is the size of a batch, look in the broker's log for "Couldn't find leader endpoint".
    scene, worker = survivor
    before = end_of_verdicts(scene)
    scene.send([chat(f"message {number}") for number in range(MANY)])
    worker.wait_until(lambda: end_of_verdicts(scene) > before + 100)
    end(broker)
    broker.start()
    wait_until_clean(scene, worker)


def test_a_worker_stops_while_its_broker_is_down_and_the_next_worker_waits_for_the_broker(
    start_stub: Start, broker: Broker
) -> None:
    scene = new_scene(broker.bootstrap_servers)
    scene.send([chat("before")])
    # The broker is down when the first worker leaves, so only the session timeout removes the worker.
    first = start_stub(scene.environ(KAFKA__SESSION_TIMEOUT_MS="6000"))
    wait_until_clean(scene, first)
    broker.kill()
    first.wait_for("the client keeps trying")
    first.send(signal.SIGTERM)
    assert first.end(seconds_max=20) == ExitCode.DONE, first.said
    second = start_stub(scene.environ())
    second.wait_until(lambda: second.said.count("the client keeps trying") >= 2)
    broker.start()
    scene.send([chat("after")])
    wait_until_clean(scene, second)


def test_a_worker_that_is_outside_its_group_for_too_long_joins_again_with_a_new_client(
    start_stub: Start, broker: Broker
) -> None:
    scene = new_scene(broker.bootstrap_servers)
    scene.send([chat("before")])
    times = {"KAFKA__SESSION_TIMEOUT_MS": "6000", "KAFKA__MAX_POLL_INTERVAL_MS": "6000"}
    worker = start_stub(scene.environ("a", **times))
    wait_until_clean(scene, worker)
    broker.kill()
    worker.wait_until(lambda: worker.said.count("joining again with a new client") >= 2)
    broker.start()
    scene.send([chat("after")])
    wait_until_clean(scene, worker)


# ---- a transaction fails -----------------------------------------------------------------------------------------


def test_a_transaction_that_outlives_its_time_out_is_aborted_and_its_messages_are_judged_again(
    scene: KafkaEnv, classifier: Classifier
) -> None:
    stall = threading.Event()

    @contextmanager
    def watch(call: str) -> Iterator[None]:
        if call == "send_offsets_to_transaction" and stall.is_set():
            stall.clear()
            eventually(scene.is_mid_transaction, str, seconds_max=30)
            eventually(lambda: not scene.is_mid_transaction(), str, seconds_max=30)  # the broker has aborted it
        yield

    with joined_worker(scene.environ(KAFKA__TRANSACTION_TIMEOUT_MS="1000"), classifier, watch=watch) as worker:
        scene.send([chat("before")])
        worker.turn_until_judged(1)
        stall.set()
        scene.send([chat("after")])
        worker.turn_until_judged(2)
        assert worker.loop.totals.rewinds == 1
    assert scene.ledger().clean


# ---- a topic is deleted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["input", *Topic])
def test_the_error_names_a_topic_that_was_deleted(
    gone: Topic | str, scene: KafkaEnv, classifier: Classifier
) -> None:
    name = scene.outputs[gone] if isinstance(gone, Topic) else next(iter(scene.inputs))
    owed = [chat("good morning"), b"no JSON"]  # with a threshold of 0: one record for each output topic
    admin = AdminClient(scene.client)
    environ = scene.environ(
        POLICY__THRESHOLD="0",
        KAFKA__TRANSACTION_TIMEOUT_MS="3000",
        KAFKA__PROPERTIES='{"consumer.topic.metadata.propagation.max.ms": "1000"}',  # by default 30 s longer
    )
    with joined_worker(environ, classifier) as worker:
        scene.send(owed)
        worker.turn_until_judged(2)
        admin.delete_topics([name])[name].result()
        if gone != "input":
            scene.send(owed)
        with pytest.raises(KafkaFatalError) as refusal:
            worker.turn_until_judged(4)
    assert refusal.value.exit_code is ExitCode.KAFKA
    assert name in str(refusal.value)


# ---- the device --------------------------------------------------------------------------------------------------


def test_a_batch_that_takes_longer_than_every_time_out_costs_neither_the_membership_nor_a_rewind(
    scene: KafkaEnv, classifier: Classifier
) -> None:
    done = threading.Event()
    texts = [chat(f"message {number}") for number in range(10)]  # more than the in-flight limit
    times = {"KAFKA__MAX_POLL_INTERVAL_MS": "6000", "KAFKA__SESSION_TIMEOUT_MS": "6000"}
    with (
        forward_of(classifier, lambda _ids, _hidden: done.wait(60)),
        joined_worker(scene.environ(**times, BATCH__RECORDS_MAX="1"), classifier) as worker,
    ):
        worker.turn_until(lambda: bool(worker.session.status().positioned))
        invalidations = worker.session.invalidations
        scene.send(texts)
        slow_until = time.monotonic() + 8
        worker.turn_until(lambda: time.monotonic() >= slow_until)
        done.set()
        worker.turn_until_judged(10)
        assert worker.session.invalidations == invalidations
        assert worker.loop.totals.rewinds == 0
    assert scene.ledger().clean


@pytest.mark.parametrize("how", ["not a number", "an exception"])
def test_only_the_text_that_breaks_the_model_is_a_dead_letter(
    how: str, scene: KafkaEnv, classifier: Classifier
) -> None:
    bad = list(classifier.encode(["the bad one"])[0].tokens)

    def break_on_it(ids: torch.Tensor, hidden: torch.Tensor) -> None:
        row = ids[0].tolist()
        if not any(row[at : at + len(bad)] == bad for at in range(len(row))):
            return
        if how == "an exception":
            raise RuntimeError("a kernel")
        hidden.fill_(torch.nan)

    scene.send([chat("good one"), chat("the bad one"), chat("another good one"), chat("the sad one")])
    with forward_of(classifier, break_on_it), joined_worker(scene.environ(), classifier) as worker:
        worker.turn_until_judged(4)
    ledger = scene.ledger()
    assert ledger.clean
    assert (ledger.verdicts, ledger.dead_letters) == (3, 1)
    [letter] = scene.read(Topic.DEAD_LETTER)
    headers = dict(letter.headers() or ())
    assert letter.value() == chat("the bad one")
    assert headers["moderation.error.reason"] == b"model_failed"
    assert headers["moderation.source.offset"] == b"1"


def test_a_broken_device_ends_the_worker_and_nothing_is_committed(scene: KafkaEnv, classifier: Classifier) -> None:
    scene.send([chat("good morning"), b"no JSON", chat("good evening")])
    with (
        forward_of(classifier, lambda _ids, hidden: hidden.fill_(torch.nan)),
        joined_worker(scene.environ(), classifier) as worker,
        pytest.raises(ModelError, match="the device or its memory is broken") as refusal,
    ):
        worker.turn_until_judged(1)
    assert refusal.value.exit_code is ExitCode.MODEL
    assert scene.readable() == 0
    assert set(scene.committed().values()) <= {0}


# ---- memory ------------------------------------------------------------------------------------------------------


def test_huge_values_are_dead_letters_and_memory_is_bounded(scene: KafkaEnv, classifier: Classifier) -> None:
    topic = next(iter(scene.inputs))
    allow_huge_messages(scene, topic)
    done = threading.Event()
    scene.send([chat("the one that the device is busy with")])
    producer = Producer({**scene.client, "message.max.bytes": 20 * MEGABYTE})
    for _ in range(40):
        producer.produce(topic, chat("x" * 10 * MEGABYTE))
        assert producer.flush(30) == 0
    with (
        forward_of(classifier, lambda _ids, _hidden: done.wait(60)),
        joined_worker(scene.environ(), classifier) as worker,
    ):
        tracemalloc.start()
        full = time.monotonic() + 5
        worker.turn_until(lambda: time.monotonic() >= full)
        done.set()
        worker.turn_until_judged(41)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # At most 64 MB wait for the device, and one more poll takes what librdkafka has. All messages are 400 MB.
    assert peak_bytes < 200 * MEGABYTE
    assert scene.ledger().clean
    headers = [dict(letter.headers() or ()) for letter in scene.read(Topic.DEAD_LETTER)]
    assert [one["moderation.error.reason"] for one in headers] == [b"too_large"] * 40
    assert {one["moderation.error.truncated"] for one in headers} == {b"value"}


def allow_huge_messages(scene: KafkaEnv, topic: str) -> None:
    entry = ConfigEntry("max.message.bytes", str(20 * MEGABYTE), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient(scene.client)
    admin.incremental_alter_configs([resource])[resource].result()
