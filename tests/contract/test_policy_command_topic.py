"""`policy try` and `policy check` on a topic of a real Kafka: they read what is committed, and join no group."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.conftest import Topics
from tests.kafka_env import group_ids
from tests.stored_verdicts import stored_verdict
from worker.errors import ExitCode

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
POLICY = """\
schema: policy/1
levels: [review]
thresholds:
  default: {review: 0.5}
  hate: {review: 0.3}
rules: [{name: kids, when: {channel_id: "kids-*"}, thresholds: {hate: {review: 0.1}}}]
"""
HOUR_MS = 3_600_000


def policy(folder: Path, servers: str, topic: str, *arguments: str) -> tuple[int, str]:
    """Return the exit code, and what the command printed on both streams."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
    kafka = {"WORKER_KAFKA__BOOTSTRAP_SERVERS": servers, "WORKER_KAFKA__VERDICT_TOPIC": topic}
    done = subprocess.run(
        [sys.executable, "-m", "worker", "policy", *arguments],
        cwd=folder,
        env={**bare, **kafka, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout.decode()


def test_committed_verdicts_since_a_time_are_decided_again(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topic, servers = fresh_topics(partitions=2).verdicts, bootstrap_servers
    now_ms = time.time_ns() // 1_000_000
    (tmp_path / "policy.yaml").write_text(POLICY)
    producer = Producer({"bootstrap.servers": servers, "transactional.id": f"{topic}-test"})
    producer.init_transactions(30)
    for commits, first in ((True, 0), (False, 100)):
        producer.begin_transaction()
        for number in range(first, first + 40):
            age_ms = HOUR_MS * (number % 4)  # none, one, two or three hours
            value = json.dumps(stored_verdict(number, {"hate": 0.4})).encode()
            producer.produce(topic, value, partition=number % 2, timestamp=now_ms - age_ms)
        producer.flush(30)  # an abort would drop what is not sent yet
        (producer.commit_transaction if commits else producer.abort_transaction)(30)
    code, printed = policy(tmp_path, servers, topic, "try", "policy.yaml", "--since", "90m", "--json")
    assert code == ExitCode.DONE, printed
    report = json.loads(printed)
    assert report["verdicts"]["read"] == 20
    assert report["flagged"] == {"before": 0, "after": 20, "newly_flagged": 20, "newly_passed": 0}
    code, printed = policy(tmp_path, servers, topic, "check", "policy.yaml", "--since", "90m")
    assert code == ExitCode.DONE, printed
    assert "channel_id: 'kids-*' matches nothing in these verdicts" in printed
    assert "reader" not in group_ids(servers)  # librdkafka's name for a client without a group


def test_a_topic_that_does_not_exist_is_an_error_that_names_it(bootstrap_servers: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    code, printed = policy(tmp_path, bootstrap_servers, "no-such-topic", "try", "policy.yaml", "--since", "1h")
    assert code == ExitCode.KAFKA
    assert "Topic no-such-topic does not exist" in printed
