"""The command `prove` as a user starts it, on the user's own Kafka."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from confluent_kafka.admin import AdminClient

from tests.kafka_env import group_ids
from worker.commands.prove.client_quotas import set_fetch_quota
from worker.errors import KafkaFatalError

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def run(folder: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
    return subprocess.run(
        [sys.executable, "-m", "worker", "prove", *options],
        cwd=folder,
        env={**environ, **{f"WORKER_{name}": value for name, value in settings.items()}},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_proof_holds_and_leaves_nothing_behind(bootstrap_servers: str, tmp_path: Path) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    ended = run(
        tmp_path,
        *("--seconds", "5", "--seed", "29", "--per-second", "200", "--picture", "timeline.svg"),
        KAFKA__BOOTSTRAP_SERVERS=bootstrap_servers,
        KAFKA__SESSION_TIMEOUT_MS="3000",
        KAFKA__TRANSACTION_TIMEOUT_MS="3000",
        KAFKA__MAX_POLL_INTERVAL_MS="3000",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "lost 0, doubled 0, out of order 0; alerts " in ended.stdout
    assert "in neither or both 0; faults " in ended.stdout
    assert "✗" not in ended.stdout
    assert "another producer's transaction stays open" in ended.stdout
    assert "the input topic is deleted" not in ended.stdout  # the cluster may have other users
    assert "<svg" in (tmp_path / "timeline.svg").read_text()
    result = orjson.loads((tmp_path / "timeline.json").read_bytes())
    assert result["holds"] is True
    assert result["seed"] == 29
    assert not [name for name in admin.list_topics(timeout=10).topics if name.startswith("moderation-proof-")]
    assert not [group for group in group_ids(bootstrap_servers) if group.startswith("moderation-proof-")]


def test_a_quota_that_the_broker_refuses_is_an_error_with_the_reason(bootstrap_servers: str) -> None:
    host, port = bootstrap_servers.split(",", maxsplit=1)[0].rsplit(":", 1)
    set_fetch_quota((host, int(port)), "test-prove", 1000)
    set_fetch_quota((host, int(port)), "test-prove", None)
    with pytest.raises(KafkaFatalError, match=r"client id 'test-prove' can't be set: .+ \(error code \d+\)"):
        set_fetch_quota((host, int(port)), "test-prove", -1)


def test_wrong_settings_are_reported_before_anything_is_created(tmp_path: Path) -> None:
    ended = run(tmp_path, KAFKA__SESSION_TIMEOUT_MS="soon")
    assert ended.returncode == 2
    assert "WORKER_KAFKA__SESSION_TIMEOUT_MS" in ended.stderr
