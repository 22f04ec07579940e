"""Commands over a link with round trips longer than a second: they need more time, and work."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.in_process_worker import joined_worker
from tests.kafka_env import KafkaEnv
from tests.pages import ROOT
from tests.proxy import Network, Proxy
from worker.classifier import Classifier
from worker.commands.broker.embedded import Broker
from worker.errors import KafkaFatalError
from worker.records import Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def run(command: str, environ: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
    return subprocess.run(
        [sys.executable, "-m", "worker", *command.split()],
        cwd=folder,
        env={**bare, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def one_partition(proxied: tuple[Broker, Proxy], proxy: Proxy) -> tuple[KafkaEnv, dict[str, str]]:
    """Return topics that the test creates without the proxy, and the settings of commands that use the proxy."""
    scene = KafkaEnv(proxied[0].bootstrap_servers, "demo", inputs=(1,), partitions=1)
    return scene, scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address)


def send_a_foreign_dead_letter(scene: KafkaEnv) -> None:
    producer = Producer(scene.client)
    producer.produce(scene.outputs[Topic.DEAD_LETTER], b"from another program")
    assert producer.flush(10) == 0


def end_for_a_missing_topic(scene: KafkaEnv, environ: dict[str, str], classifier: Classifier) -> None:
    [topic] = scene.inputs
    with joined_worker(environ, classifier) as worker:
        with pytest.raises(KafkaFatalError, match=rf"{topic}' does not exist") as refusal:
            worker.turn_until(lambda: False, seconds_max=60)
        assert f"WORKER_KAFKA__INPUT_TOPICS ({topic})" in str(refusal.value)


def test_every_command_works_over_a_slow_link_and_a_worker_without_its_topic_ends(
    proxied: tuple[Broker, Proxy], proxy: Proxy, classifier: Classifier, tmp_path: Path
) -> None:
    # All commands run together: `check` alone needs about fifty round trips, one after another.
    topics, environ = one_partition(proxied, proxy)
    topics.create()
    without_input, environ_without_input = one_partition(proxied, proxy)
    without_input.create(without=list(without_input.inputs))
    proxy.network = Network(delay_ms=510)  # each way
    # Without the model: it sends nothing over the link, and takes as long as everything else.
    checked_environ = {**environ, "WORKER_MODEL__PATH": str(tmp_path / "none")}
    with ThreadPoolExecutor() as threads:
        checking = threads.submit(run, "check", checked_environ, tmp_path)
        creating = threads.submit(run, "topics create --partitions 1", environ, tmp_path)
        end_for_a_missing_topic(without_input, environ_without_input, classifier)
        checked, again = checking.result(), creating.result()
    assert again.stdout.count("exists ") == 4, again.stderr
    marks = {line[0] for line in checked.stdout.splitlines() if line[0] != " " and "model" not in line}
    assert marks == {"✓"}, checked.stdout + checked.stderr
    assert "✓ backlog: messages: 0" in checked.stdout


def test_topics_are_created_and_dead_letters_are_read_over_a_link_with_round_trips_of_three_seconds(
    proxied: tuple[Broker, Proxy], proxy: Proxy, tmp_path: Path
) -> None:
    topics, environ = one_partition(proxied, proxy)
    topics.create()
    send_a_foreign_dead_letter(topics)
    _, environ_of_none = one_partition(proxied, proxy)
    proxy.network = Network(delay_ms=1_500)
    with ThreadPoolExecutor() as threads:
        creating = threads.submit(run, "topics create --partitions 1", environ_of_none, tmp_path)
        letters = run("dead-letters", environ, tmp_path)
        created = creating.result()
    assert created.returncode == 0, created.stderr
    assert created.stdout.count("created ") == 4
    assert letters.returncode == 0, letters.stderr
    assert "foreign: 1." in letters.stdout
