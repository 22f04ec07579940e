"""`run --until-end` judges what is in the input at the start, and ends: nothing is lost, nothing twice."""

import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat
from tests.worker_process import STUB_COMMAND, Start, eventually, workers
from worker.errors import DataProtectionError, ExitCode
from worker.kafka.input_ends import QUARANTINE_MS_MAX, InputEnds
from worker.records import Partition

pytestmark = pytest.mark.kafka

SLOW = {"BATCH__RECORDS_MAX": "2"}  # the stub takes 20 ms for a batch
QUICK = {"KAFKA__SESSION_TIMEOUT_MS": "6000"}


@pytest.fixture
def start_until_end(tmp_path: Path) -> Iterator[Start]:
    """Starts `run --until-end` with a stub for the model."""
    with workers(tmp_path, (*STUB_COMMAND, "--until-end"), name="until-end") as start:
        yield start


def judged(scene: KafkaEnv) -> int:
    return sum(scene.committed().values())


def assert_all_judged_once(scene: KafkaEnv) -> None:
    ledger = scene.ledger()
    assert ledger.clean, (str(ledger), ledger.examples)
    assert ledger.verdicts == ledger.inputs > 0
    assert scene.committed() == scene.input_ends()


def test_after_kill_9_in_the_middle_a_second_run_judges_the_rest_and_ends_with_exit_code_0(
    scene: KafkaEnv, start_until_end: Start
) -> None:
    scene.send([chat(f"message {number}") for number in range(600)])
    changes = {**SLOW, "KAFKA__GROUP_INSTANCE_ID": scene.group}  # a static member need not wait for the dead one
    first = start_until_end(scene.environ(**changes))
    first.wait_until(lambda: judged(scene) > 100)
    first.kill()
    assert judged(scene) < 600
    second = start_until_end(scene.environ(**changes))
    assert second.end() == ExitCode.DONE, second.said
    assert "the group has committed everything before the ends that the input had at the start" in second.said
    assert_all_judged_once(scene)


def test_a_worker_judges_the_partitions_of_another_worker_that_was_killed_before_it_ends(
    bootstrap_servers: str, start_until_end: Start
) -> None:
    scene = KafkaEnv(bootstrap_servers, "demo", inputs=(4,), partitions=4)
    scene.create()
    scene.send([chat(f"message {number}") for number in range(1200)])
    pair = [start_until_end(scene.environ(name, **SLOW, **QUICK)) for name in ("a", "b")]
    for worker in pair:
        worker.wait_for("reading from: ")
    eventually(lambda: judged(scene) > 300, lambda: pair[0].said + pair[1].said, seconds_max=60)
    pair[0].kill()
    assert pair[1].end() == ExitCode.DONE, pair[1].said
    assert_all_judged_once(scene)


def test_messages_that_come_later_do_not_keep_the_worker_running(scene: KafkaEnv, start_until_end: Start) -> None:
    scene.send([chat(f"early {number}") for number in range(300)])
    ends = scene.input_ends()
    with scene.stream(text="late"):
        worker = start_until_end(scene.environ())
        assert worker.end() == ExitCode.DONE, worker.said
    committed = scene.committed()
    assert all(committed[partition] >= end for partition, end in ends.items())
    ledger = scene.ledger_of_committed()
    assert ledger.clean, (str(ledger), ledger.examples)


def test_an_empty_input_and_an_input_that_is_judged_already_end_the_worker_straight_away(
    scene: KafkaEnv, start_until_end: Start
) -> None:
    empty = start_until_end(scene.environ())
    assert empty.end() == ExitCode.DONE, empty.said
    assert "none, the input is empty" in empty.said
    scene.send([chat(f"message {number}") for number in range(30)])
    for _ in range(2):
        worker = start_until_end(scene.environ())
        assert worker.end() == ExitCode.DONE, worker.said
    assert "drained: 0 messages" in worker.said
    assert_all_judged_once(scene)


def test_an_input_that_ends_with_the_marker_of_a_transaction_has_an_end_that_can_be_reached(
    scene: KafkaEnv, start_until_end: Start
) -> None:
    producer = Producer({**scene.client, "transactional.id": f"{scene.group}.input"})
    producer.init_transactions(KAFKA_S_MAX)
    producer.begin_transaction()
    for number in range(30):
        producer.produce(next(iter(scene.inputs)), chat(f"message {number}"), partition=number % 2)
    producer.commit_transaction(KAFKA_S_MAX)
    worker = start_until_end(scene.environ())
    assert worker.end() == ExitCode.DONE, worker.said
    ledger = scene.ledger()
    assert (ledger.clean, ledger.verdicts) == (True, 30), (str(ledger), ledger.examples)


def test_a_signal_before_the_end_is_not_reported_as_success(scene: KafkaEnv, start_until_end: Start) -> None:
    scene.send([chat(f"message {number}") for number in range(600)])
    worker = start_until_end(scene.environ(**SLOW))
    worker.wait_until(lambda: judged(scene) > 0)
    worker.send(signal.SIGTERM)
    assert worker.end() == ExitCode.OTHER, worker.said
    assert ": drained: " in worker.said
    ledger = scene.ledger_of_committed()
    assert (ledger.clean, ledger.verdicts) == (True, judged(scene)), (str(ledger), ledger.examples)


def input_ends(scene: KafkaEnv) -> InputEnds:
    return InputEnds(scene.client, group_id=scene.group, topics=list(scene.inputs))


def update_until_known(ends: InputEnds) -> None:
    times = count(step=1_000)
    eventually(
        lambda: ends.update(next(times), ()) or ends.left is not None, lambda: "no answer", seconds_max=KAFKA_S_MAX
    )


def test_partitions_in_quarantine_end_the_worker_with_the_exit_code_that_protects_data(scene: KafkaEnv) -> None:
    scene.send([chat("message")] * 2)
    ends = input_ends(scene)
    update_until_known(ends)
    assert ends.left is not None
    [first, second] = sorted(ends.left)
    assert not ends.update(10_000_000, {first})
    assert not ends.update(20_000_000, {first})  # the other one is not in quarantine, so there is work left
    assert not ends.update(30_000_000, {first, second})
    with pytest.raises(DataProtectionError, match="WORKER_DEAD_LETTER__INPUT_SHARE_MAX=1"):
        ends.update(30_000_000 + QUARANTINE_MS_MAX, {first, second})
    ends.close()


def test_an_end_that_a_recreated_topic_cannot_reach_is_an_error(scene: KafkaEnv) -> None:
    [topic] = scene.inputs
    scene.send_to(0, [chat("message")] * 20)
    ends = input_ends(scene)
    update_until_known(ends)
    assert ends.left == {Partition(topic, 0): 20}
    admin = AdminClient(scene.client)
    admin.delete_topics([topic])[topic].result(KAFKA_S_MAX)
    eventually(
        lambda: topic not in admin.list_topics(timeout=KAFKA_S_MAX).topics, lambda: topic, seconds_max=KAFKA_S_MAX
    )
    scene.create()
    times = count(10_000_000, 1_000)

    def until_error() -> None:
        eventually(lambda: ends.update(next(times), ()), lambda: "no error", seconds_max=3 * KAFKA_S_MAX)

    with pytest.raises(DataProtectionError, match=r"ended at offset 20 .* ends at offset 0 now"):
        until_error()
    ends.close()
