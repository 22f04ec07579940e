"""Workers that are killed, join, leave, or share a transactional id: nothing is lost or doubled."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.kafka_env import KafkaEnv, chat
from tests.worker_process import Start, WorkerProcess, eventually
from worker.errors import ExitCode

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RECOVERY_S_MAX = 3
QUICK = {"KAFKA__SESSION_TIMEOUT_MS": "6000"}  # so a heartbeat every 1.2 s, which reports a rebalance
BUSY = {"BATCH__RECORDS_MAX": "2"}  # the stub takes 20 ms for a batch: at 75 messages a second it is busy
UP = "worker.running: moderation-worker "


def assert_clean(scene: KafkaEnv) -> None:
    ledger = scene.ledger()
    assert ledger.clean, (str(ledger), ledger.examples)
    assert ledger.verdicts == ledger.inputs > 0


def judged(scene: KafkaEnv) -> int:
    """Return the sum of the group's committed offsets."""
    return sum(scene.committed().values())


def beyond(scene: KafkaEnv, count: int) -> Callable[[], bool]:
    """Return a function that tells whether the group has judged more than ``count`` messages."""
    return lambda: judged(scene) > count


def kill_in_mid_transaction(scene: KafkaEnv, worker: WorkerProcess) -> None:
    """Stop the worker repeatedly until one stop finds an open transaction. Then kill the worker."""

    def is_in_transaction() -> bool:
        worker.send(signal.SIGSTOP)
        # Ten looks: one look may find a commit that was sent and whose markers are just being written.
        if all(scene.is_mid_transaction() for _ in range(10)):
            return True
        worker.send(signal.SIGCONT)
        return False

    worker.wait_until(is_in_transaction)
    worker.kill()
    assert scene.is_mid_transaction()


@pytest.mark.parametrize(("static", "kills"), [(True, 2), (False, 1)])
def test_a_worker_killed_in_the_middle_of_a_transaction_soon_judges_again(
    scene: KafkaEnv, start_stub: Start, *, static: bool, kills: int
) -> None:
    session_s = 15 if static else 6
    changes = {"BATCH__COMMIT_MS_MAX": "0", "KAFKA__SESSION_TIMEOUT_MS": str(1000 * session_s)}
    if static:
        changes["KAFKA__GROUP_INSTANCE_ID"] = scene.group
    with scene.stream():
        worker = start_stub(scene.environ(**changes))
        worker.wait_until(beyond(scene, 0))
        for _ in range(kills):
            kill_in_mid_transaction(scene, worker)
            killed_s, before = time.monotonic(), judged(scene)
            worker = start_stub(scene.environ(**changes))
            worker.wait_for(UP)
            session_left_s = 0 if static else max(0, killed_s + session_s - time.monotonic())
            worker.wait_until(beyond(scene, before), seconds_max=session_left_s + RECOVERY_S_MAX)
    scene.wait_until_caught_up(worker)
    worker.drain()
    assert_clean(scene)


@pytest.mark.parametrize(
    "changes",
    [
        {"KAFKA__PARTITION_ASSIGNMENT_STRATEGY": "roundrobin", **QUICK},
        {"KAFKA__PARTITION_ASSIGNMENT_STRATEGY": "cooperative-sticky", **QUICK},
        {"KAFKA__GROUP_PROTOCOL": "consumer"},
    ],
    ids=lambda changes: next(iter(changes.values())),
)
def test_two_workers_share_the_partitions_while_a_third_joins_and_leaves(
    bootstrap_servers: str, start_stub: Start, changes: dict[str, str]
) -> None:
    scene = KafkaEnv(bootstrap_servers, "demo", inputs=(6,), partitions=6)
    scene.create()
    reads = f"reading from: {next(iter(scene.inputs))}"
    # Small batches keep the device busy, so that a rebalance finds work there.
    with scene.stream(per_second=150):
        stay = [start_stub(scene.environ(name, **BUSY, **changes)) for name in ("a", "b")]
        for worker in stay:
            worker.wait_for(reads)
        third = start_stub(scene.environ("c", **BUSY, **changes))
        third.wait_for(reads)
        before = judged(scene)
        third.wait_until(beyond(scene, before + 200))
        third.drain()
        before = judged(scene)
        eventually(beyond(scene, before + 200), lambda: stay[0].said + stay[1].said, seconds_max=60)
    scene.wait_until_caught_up(*stay)
    for worker in stay:
        assert "revoked: " in worker.said
        worker.drain()
    assert not third.said.count("drained: 0 messages")
    assert_clean(scene)


def test_a_first_signal_finishes_the_batch_on_the_device_and_a_second_signal_ends_the_process_immediately(
    bootstrap_servers: str, start: Start
) -> None:
    scenes = [KafkaEnv(bootstrap_servers, "demo", inputs=(1,), partitions=1) for _ in range(2)]
    for scene in scenes:
        scene.create()
        scene.send([chat(f"{number} " + "word " * 700) for number in range(400)])  # equal texts are scored once
    # A batch takes seconds.
    slow = {"BATCH__RECORDS_MAX": "20", "BATCH__TOKENS_MAX": "15000"}
    once, twice = (start(scene.environ(**slow)) for scene in scenes)
    for scene, worker in zip(scenes, (once, twice), strict=True):
        worker.wait_until(beyond(scene, 0))
    before = judged(scenes[0])
    once.send(signal.SIGTERM)
    twice.send(signal.SIGINT)
    twice.send(signal.SIGTERM)
    assert twice.end() == ExitCode.OTHER, twice.said
    assert "drained" not in twice.said
    assert once.end() == ExitCode.DONE, once.said
    assert ": drained: " in once.said
    assert before < judged(scenes[0]) < 400
    for scene in scenes:
        ledger = scene.ledger_of_committed()
        assert ledger.clean, (str(ledger), ledger.examples)
        assert ledger.verdicts == judged(scene)


def test_one_of_two_workers_with_the_same_transactional_id_stops_and_says_how_to_start_a_second_worker(
    scene: KafkaEnv, start_stub: Start
) -> None:
    environ = scene.environ()
    name = environ["WORKER_KAFKA__TRANSACTIONAL_ID"]
    with scene.stream():
        pair = [start_stub(environ), start_stub(environ)]
        eventually(
            lambda: any(worker.exit_code is not None for worker in pair), lambda: pair[0].said, seconds_max=60
        )
        fenced, survivor = sorted(pair, key=lambda worker: worker.exit_code is None)
        assert fenced.exit_code == ExitCode.KAFKA, fenced.said
        assert f"the transactional id {name!r}" in fenced.said
        assert f"WORKER_KAFKA__TRANSACTIONAL_ID={name}-2 moderation-worker run" in fenced.said
    scene.wait_until_caught_up(survivor)
    survivor.drain()
    assert_clean(scene)
