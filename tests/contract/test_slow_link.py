"""Commands on a link whose round trip takes longer than a second: they take their time, and work."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.owner import owner
from tests.pages import ROOT
from tests.proxy import Network, Proxy
from tests.scene import Scene
from worker.classifier import Classifier
from worker.demo.broker import Broker
from worker.errors import KafkaRefused
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


@pytest.mark.parametrize("round_trip_ms", [1_200, 3_000])
def test_every_command_works_on_a_slow_link(
    round_trip_ms: int, proxied: tuple[Broker, Proxy], proxy: Proxy, tmp_path: Path
) -> None:
    scene = Scene(proxied[0].bootstrap_servers, "demo", inputs=(1,), partitions=1)
    environ = scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address)
    proxy.network = Network(delay_ms=round_trip_ms // 2)

    created = run("topics create --partitions 1", environ, tmp_path)
    assert created.returncode == 0, created.stderr
    assert created.stdout.count("created ") == 4

    producer = Producer(scene.client)
    producer.produce(scene.outputs[Topic.DEAD_LETTER], b"somebody's")
    assert producer.flush(10) == 0
    commands = ("topics create --partitions 1", "dead-letters", "check")
    with ThreadPoolExecutor() as threads:
        again, letters, checked = threads.map(lambda command: run(command, environ, tmp_path), commands)
    assert again.stdout.count("exists ") == 4, again.stderr
    assert letters.returncode == 0, letters.stderr
    assert "foreign: 1." in letters.stdout
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert {line[0] for line in checked.stdout.splitlines() if not line.startswith(" ")} == {"✓"}


def test_a_missing_input_topic_ends_a_worker_on_a_slow_link(
    proxied: tuple[Broker, Proxy], proxy: Proxy, classifier: Classifier
) -> None:
    scene = Scene(proxied[0].bootstrap_servers, "demo", inputs=(1,), partitions=1)
    [topic] = scene.inputs
    scene.create(without=[topic])
    proxy.network = Network(delay_ms=600)
    environ = scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address)
    with owner(environ, classifier) as worker:
        with pytest.raises(KafkaRefused, match=rf"{topic}' is not there") as refusal:
            worker.turn_until(lambda: False, seconds_max=60)
        assert f"WORKER_KAFKA__INPUT_TOPICS ({topic})" in str(refusal.value)
        proxy.network = Network()
