"""Coalesced alerts on a real Kafka: raids, idle partitions, workers that are killed, brokers with a small limit."""

import json
import time
import zlib
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.check_command import run_check, settings_for
from tests.conftest import new_topic_names
from tests.kafka_env import KafkaEnv
from tests.worker_process import Start, eventually
from worker.commands.broker.embedded import running_broker
from worker.errors import ExitCode
from worker.records import Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RAID = next(text for number in count() if zlib.crc32((text := f"raid {number}").encode()) % 10 == 0)
"""A text that the stub model flags."""
WINDOW_S = 3


def with_policy(
    scene: KafkaEnv, folder: Path, name: str = "a", *, window_s: int = WINDOW_S, **changes: str
) -> dict[str, str]:
    """Return the environment of a worker with a policy that coalesces alerts."""
    policy = folder / "policy.yaml"
    policy.write_text(
        "schema: policy/1\nlevels: [flagged]\nthresholds: {default: {flagged: 0.5}}\n"
        f"alerts: {{coalesce: {{by: [channel_id, text], window_s: {window_s}}}}}\n"
    )
    environ = scene.environ(name, POLICY__PATH=str(policy), KAFKA__SESSION_TIMEOUT_MS="6000", **changes)
    del environ["WORKER_POLICY__THRESHOLD"]
    return environ


def raid(size: int, channel: str = "c") -> list[bytes | None]:
    return [json.dumps({"text": RAID, "channel_id": channel}).encode()] * size


def alerts(scene: KafkaEnv) -> list[dict[str, Any]]:
    return [json.loads(message.value() or b"") for message in scene.read(Topic.ALERT)]


def counted(scene: KafkaEnv) -> int:
    return sum(alert["repeat"]["count"] for alert in alerts(scene) if "repeat" in alert)


def assert_clean(scene: KafkaEnv) -> None:
    ledger = scene.ledger()
    assert ledger.clean, (str(ledger), ledger.examples)
    assert ledger.verdicts == ledger.inputs == ledger.alerts + ledger.counted


def test_a_raid_is_one_alert_and_a_summary_once_the_partition_is_idle(
    scene: KafkaEnv, start_stub: Start, tmp_path: Path
) -> None:
    worker = start_stub(with_policy(scene, tmp_path))
    scene.send_to(0, raid(200))
    eventually(lambda: counted(scene) == 199, lambda: worker.said, seconds_max=30)
    alert, summary = alerts(scene)
    assert summary["repeat"]["of"] == alert["alert_id"]
    assert (summary["repeat"]["first_offset"], summary["repeat"]["last_offset"]) == (1, 199)
    scene.send_to(0, raid(2))
    eventually(lambda: counted(scene) == 200, lambda: worker.said, seconds_max=30)
    worker.drain()
    assert_clean(scene)


def test_a_window_survives_the_death_of_its_worker(scene: KafkaEnv, start_stub: Start, tmp_path: Path) -> None:
    environ = with_policy(scene, tmp_path, window_s=20)
    worker = start_stub(environ)
    for _ in range(3):
        scene.send_to(0, raid(10))
        scene.wait_until_caught_up(worker)
        worker.kill()
        worker = start_stub(environ)
    scene.send_to(0, raid(10))
    scene.wait_until_caught_up(worker)
    assert len(alerts(scene)) == 1
    eventually(lambda: counted(scene) == 39, lambda: worker.said, seconds_max=60)
    assert len(alerts(scene)) == 2
    worker.drain()
    assert_clean(scene)


def test_windows_go_over_to_a_worker_that_joins(scene: KafkaEnv, start_stub: Start, tmp_path: Path) -> None:
    first = start_stub(with_policy(scene, tmp_path, "a", window_s=15))
    scene.send(raid(30))
    scene.wait_until_caught_up(first)
    second = start_stub(with_policy(scene, tmp_path, "b", window_s=15))
    second.wait_for("reading from: ")
    scene.send(raid(30))
    scene.wait_until_caught_up(first, second)
    assert len(alerts(scene)) == 3, "one for each partition"
    eventually(lambda: counted(scene) == 57, lambda: first.said + second.said, seconds_max=60)
    for worker in (first, second):
        worker.drain()
    assert_clean(scene)


def test_an_alert_topic_that_refuses_the_summary_ends_the_worker_and_loses_no_count(
    scene: KafkaEnv, start_stub: Start, tmp_path: Path
) -> None:
    environ = with_policy(scene, tmp_path)
    worker = start_stub(environ)
    scene.send_to(0, raid(5))
    scene.wait_until_caught_up(worker)
    scene.limit(Topic.ALERT, 100)
    worker.wait_for("refuses an alert that summarises counted messages", seconds_max=60)
    eventually(lambda: worker.exit_code == ExitCode.KAFKA, lambda: worker.said, seconds_max=30)
    scene.limit(Topic.ALERT, 1_000_000)
    worker = start_stub(environ)
    eventually(lambda: counted(scene) == 4, lambda: worker.said, seconds_max=60)
    worker.drain()
    assert_clean(scene)


def test_check_finds_a_broker_with_a_small_limit_and_the_worker_goes_on_with_fewer_windows(
    start_stub: Start, tmp_path: Path
) -> None:
    with running_broker(extra_properties={"offset.metadata.max.bytes": "200"}) as broker:
        scene = KafkaEnv(broker.bootstrap_servers, "demo")
        scene.create()
        environ = with_policy(scene, tmp_path)
        topics = new_topic_names()
        topics.create(scene.client, partitions=1)
        settings = settings_for(
            broker.bootstrap_servers, topics, WORKER_POLICY__PATH=environ["WORKER_POLICY__PATH"]
        )
        outcome = run_check(settings, tmp_path)
        assert outcome.line("metadata of committed offsets").startswith("!")
        assert "offset.metadata.max.bytes is 200 on broker 1" in outcome.screen
        worker = start_stub(environ)
        scene.send_to(0, [one for channel in range(20) for one in raid(3, f"channel {channel}")])
        scene.wait_until_caught_up(worker)
        refusals = worker.said.count("refuses the metadata of an offset")
        assert 0 < refusals <= 6
        began_s = time.monotonic()
        eventually(lambda: scene.ledger().clean, lambda: worker.said, seconds_max=30)
        assert time.monotonic() - began_s < 30
        worker.drain()
        assert worker.said.count("refuses the metadata of an offset") == refusals
        assert_clean(scene)


def test_check_finds_room_for_the_windows_with_the_default_limit(
    bootstrap_servers: str, scene: KafkaEnv, tmp_path: Path
) -> None:
    environ = with_policy(scene, tmp_path)
    topics = new_topic_names()
    topics.create(scene.client, partitions=1)
    settings = settings_for(bootstrap_servers, topics, WORKER_POLICY__PATH=environ["WORKER_POLICY__PATH"])
    assert run_check(settings, tmp_path).line("metadata of committed offsets").startswith("✓")
