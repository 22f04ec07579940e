"""The policy file changes while messages flow, on a real Kafka."""

import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Message

from tests.kafka_env import KafkaEnv, chat
from tests.meanwhile import meanwhile
from tests.worker_process import Start
from worker.errors import ExitCode
from worker.records import Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

MESSAGES_MIN = 5000
AT_ONCE = 20
CHANGES = 10
BASE = "schema: policy/1\nversion: v{number}\nlevels: [flag]\nthresholds: {{default: {{flag: 0.{number}}}}}\n"
UNSCORED = "exempt: [{name: bots, when: {user_id: bot}, score: false}]\n"
WRONG = "schema: policy/1\nlevels: [flag]\nthresholds: {default: {flag: 2}}\n"


def policy(number: int) -> str:
    """Return a policy. Every second one leaves the messages of a user unscored."""
    return BASE.format(number=number) + UNSCORED * (number % 2)


def number_of(verdict: Any) -> int:
    return int(verdict["policy"]["version"].removeprefix("v"))


def transactions(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Yield the records of each transaction in each partition. Its control record leaves a gap in the offsets."""
    partitions: defaultdict[tuple[str | None, int | None], list[Message]] = defaultdict(list)
    for message in messages:
        partitions[message.topic(), message.partition()].append(message)
    for records in partitions.values():
        start = 0
        for index, (one, other) in enumerate(pairwise(records), 1):
            if (other.offset() or 0) > (one.offset() or 0) + 1:
                yield records[start:index]
                start = index
        yield records[start:]


def assert_versions(outputs: Sequence[Message]) -> None:
    """Assert that each transaction has one version, that all versions occur, and that none comes back."""
    versions: dict[str, set[int]] = defaultdict(set)
    mixed = []
    for records in transactions(outputs):
        documents = [orjson.loads(record.value() or b"") for record in records]
        found = {(number_of(document), document["judged_at"]) for document in documents}
        if len(found) > 1:
            mixed.append(found)
        for number, judged_at in found:
            versions[judged_at].add(number)
    assert mixed == []
    # The worker judges a transaction in one moment, so this also compares the partitions of a transaction.
    assert {judged_at: numbers for judged_at, numbers in versions.items() if len(numbers) > 1} == {}
    in_order = [*map(min, (versions[judged_at] for judged_at in sorted(versions)))]
    assert in_order == sorted(in_order)
    assert set(in_order) == set(range(CHANGES + 1)), "every version has decided about some message"
    assert len(versions) > CHANGES


def assert_unscored(verdicts: Sequence[Message]) -> None:
    """Assert that the messages of the user bot are unscored by the versions that say so, and by no other."""
    last = defaultdict[int | None, int](int)
    for message in verdicts:
        verdict = orjson.loads(message.value() or b"")
        number = number_of(verdict)
        assert number >= last[message.partition()]
        last[message.partition()] = number
        is_unscored = number % 2 == 1 and verdict["user_id"] == "bot"
        assert verdict.get("outcome") == ("exempt" if is_unscored else None), verdict
        assert (verdict["input"]["tokens"] == 0) is is_unscored


def test_each_transaction_has_one_version_and_versions_never_go_back(
    scene: KafkaEnv, start_stub: Start, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(policy(0))
    worker = start_stub(scene.environ(POLICY__PATH=str(file), POLICY__THRESHOLD="", BATCH__RECORDS_MAX="64"))
    sent = 0

    def send() -> None:
        nonlocal sent
        numbers = range(sent, sent + AT_ONCE)
        scene.send([chat(f"{number}", user_id="u" if number % 5 else "bot") for number in numbers])
        sent += AT_ONCE

    def wait_for_outputs() -> None:
        before = scene.readable()
        worker.wait_until(lambda: scene.readable() > before)

    with meanwhile(send, every_s=0.05):
        for change in range(1, CHANGES + 1):
            wait_for_outputs()  # the present version has decided
            if change % 3 == 0:
                file.write_text(WRONG)
                worker.wait_for(f"{file}:3:30: thresholds.default.flag: got 2; wants a number from 0 to 1, or off")
            if change == 5:
                file.unlink()
                worker.wait_for("can't be read (No such file")
            file.write_text(policy(change))
            if change % 2:
                worker.send(signal.SIGHUP)
            worker.wait_for(f"the policy v{change} takes effect in place of v{change - 1}")
        wait_for_outputs()
        worker.wait_until(lambda: sent >= MESSAGES_MIN)
    scene.wait_until_caught_up(worker)
    worker.drain()
    assert (ledger := scene.ledger()).clean, ledger

    verdicts = scene.read(Topic.VERDICT)
    assert len(verdicts) == sent
    assert_versions([*verdicts, *scene.read(Topic.ALERT)])
    assert_unscored(verdicts)


def test_a_worker_with_a_wrong_policy_file_names_all_faults_and_ends(
    scene: KafkaEnv, start_stub: Start, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(WRONG + "alerts: {level: remove}\nunknown: 1\n")
    worker = start_stub(scene.environ(POLICY__PATH=str(file), POLICY__THRESHOLD=""))
    assert worker.end() == ExitCode.CONFIGURATION
    for fault in ("3:30: thresholds", "4:17: alerts.level: unknown level 'remove'", "5:1: unknown key 'unknown'"):
        assert f"{file}:{fault}" in worker.said


def test_the_settings_that_a_policy_file_replaces_must_be_unset(
    scene: KafkaEnv, start_stub: Start, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text(policy(0))
    environ = scene.environ(POLICY__PATH=str(tmp_path / "policy.yaml"), POLICY__VERSION="x", ALERT__TEXT="full")
    worker = start_stub(environ)
    assert worker.end() == ExitCode.CONFIGURATION
    for name in ("POLICY__THRESHOLD", "POLICY__VERSION", "ALERT__TEXT"):
        assert f"WORKER_{name}: got" in worker.said
    assert "wants no value with WORKER_POLICY__PATH" in worker.said
