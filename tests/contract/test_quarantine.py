"""One bad producer on a real Kafka: its partition waits, and the other partitions are judged."""

import signal
import urllib.error
import urllib.request

import pytest

from tests.kafka_env import KafkaEnv, chat
from tests.worker_process import Start, WorkerProcess, eventually
from worker.commands.broker.node import HOST, free_ports
from worker.errors import ExitCode
from worker.records import Partition, Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 4
BAD = 2
GARBAGE = b"\x00\x01 not a chat message"


@pytest.fixture
def scene(bootstrap_servers: str) -> KafkaEnv:
    scene = KafkaEnv(bootstrap_servers, "demo", inputs=(PARTITIONS,), partitions=PARTITIONS)
    scene.create()
    return scene


def bad_partition(scene: KafkaEnv) -> Partition:
    return Partition(next(iter(scene.inputs)), BAD)


def is_judged_except(scene: KafkaEnv, bad: Partition | None) -> bool:
    committed = scene.committed()
    return all(committed.get(one, 0) == end for one, end in scene.input_ends().items() if one != bad)


def wait_until_judged(scene: KafkaEnv, worker: WorkerProcess, *, except_for: Partition | None) -> None:
    worker.wait_until(lambda: is_judged_except(scene, except_for))


def readyz(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as unready:  # the status is renewed once a second, so it may be old
        return str(unready.read().decode())


@pytest.mark.parametrize("protocol", [{}, {"KAFKA__PARTITION_ASSIGNMENT_STRATEGY": "cooperative-sticky"}])
def test_a_bad_producer_stops_only_its_own_partition_until_the_release(
    scene: KafkaEnv, start_stub: Start, protocol: dict[str, str]
) -> None:
    [port] = free_ports(1)
    for number in range(PARTITIONS):
        scene.send_to(number, [chat(f"message {one} of {number}") for one in range(24)])
    scene.send_to(BAD, [GARBAGE] * 26)
    worker = start_stub(scene.environ(HEALTH__PORT=str(port), **protocol))
    bad = bad_partition(scene)
    worker.wait_for(f"{bad} goes into quarantine: 26 of the last 50 records")
    for number in range(PARTITIONS):
        scene.send_to(number, [chat(f"later message {one} of {number}") for one in range(100)])
    wait_until_judged(scene, worker, except_for=bad)
    assert scene.committed().get(bad, 0) <= 24 + 25, "the batch that exceeds the bound is not committed"
    eventually(lambda: f"1 in quarantine, too many dead letters: {bad}" in readyz(port), lambda: "", seconds_max=10)
    worker.send(signal.SIGHUP)
    wait_until_judged(scene, worker, except_for=None)
    eventually(lambda: "quarantine" not in readyz(port), lambda: "", seconds_max=10)
    worker.drain()
    ledger = scene.ledger()
    assert ledger.clean, ledger.examples
    assert len(scene.read(Topic.DEAD_LETTER)) == 26


def test_a_partition_whose_last_messages_are_readable_again_is_released_automatically(
    scene: KafkaEnv, start_stub: Start
) -> None:
    scene.send_to(BAD, [GARBAGE] * 501)
    scene.send_to(0, [chat("one")])
    worker = start_stub(scene.environ())
    worker.wait_for("goes into quarantine")
    scene.send_to(BAD, [chat(f"message {one}") for one in range(100)])
    worker.wait_for(f"{bad_partition(scene)}: released")
    wait_until_judged(scene, worker, except_for=None)
    worker.drain()
    ledger = scene.ledger()
    assert ledger.clean, ledger.examples
    assert len(scene.read(Topic.DEAD_LETTER)) == 501


def test_two_workers_go_on_whichever_of_them_has_the_bad_partition(scene: KafkaEnv, start_stub: Start) -> None:
    scene.send_to(BAD, [GARBAGE] * 100)
    running = [start_stub(scene.environ(name)) for name in "ab"]
    eventually(
        lambda: any("goes into quarantine" in one.said for one in running), lambda: running[0].said, seconds_max=60
    )
    for number in range(PARTITIONS):
        scene.send_to(number, [chat(f"message {one} of {number}") for one in range(200)])
    for one in running:
        wait_until_judged(scene, one, except_for=bad_partition(scene))
    for one in running:
        one.send(signal.SIGHUP)
    for one in running:
        wait_until_judged(scene, one, except_for=None)
        one.drain()
    ledger = scene.ledger()
    assert ledger.clean, ledger.examples


def test_a_worker_with_only_bad_partitions_ends_to_protect_data(scene: KafkaEnv, start_stub: Start) -> None:
    for number in range(PARTITIONS):
        scene.send_to(number, [GARBAGE] * 100)
    worker = start_stub(scene.environ())
    assert worker.end() == ExitCode.PROTECTED
    assert "All partitions of this worker are in quarantine" in worker.said
    assert not scene.read(Topic.VERDICT, Topic.DEAD_LETTER)
