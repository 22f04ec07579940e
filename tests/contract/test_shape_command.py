"""`shape` on a topic of a real Kafka: it reads the newest records, and joins no group."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.conftest import Topics
from worker.errors import ExitCode

pytestmark = pytest.mark.kafka


def shape(servers: str, *arguments: str) -> tuple[int, str]:
    """Return the exit code, and what the command printed on both streams."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
    done = subprocess.run(
        [sys.executable, "-m", "worker", "shape", *arguments],
        cwd=Path(__file__).parents[2],
        env=bare | {"WORKER_KAFKA__BOOTSTRAP_SERVERS": servers},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout.decode()


def test_the_newest_records_of_a_topic_are_tried_and_guessed(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics]
) -> None:
    topic, servers = fresh_topics(partitions=2).input, bootstrap_servers
    producer = Producer({"bootstrap.servers": servers})
    for number in range(40):
        event = {"type": "m.room.message", "event_id": f"${number}", "content": {"body": f"hello {number}"}}
        producer.produce(topic, json.dumps(event).encode(), partition=0)
    producer.produce(topic, None, b"key", partition=0)
    producer.produce(topic, b"not JSON", partition=0)
    assert producer.flush(30) == 0
    code, printed = shape(servers, "try", "matrix", "--topic", topic, "--last", "5")
    assert code == ExitCode.OTHER
    assert "events 5: 3 judged, 1 skipped, 1 refused" in printed
    assert f"{topic}[0]@39" in printed.replace("\n", "")
    assert "hello 36" not in printed
    code, printed = shape(servers, "guess", "--topic", topic)
    assert code == ExitCode.DONE
    assert "best: WORKER_INPUT__SHAPE=matrix" in printed


def test_a_topic_without_a_record_is_named(bootstrap_servers: str, fresh_topics: Callable[..., Topics]) -> None:
    topic = fresh_topics(partitions=1).input
    for arguments in (("try", "plain"), ("guess",)):
        code, printed = shape(bootstrap_servers, *arguments, "--topic", topic)
        assert code == ExitCode.CONFIGURATION
        assert f"the topic {topic} holds no record: name a topic with events, or a file" in printed
