"""Measure how much memory a real worker needs for a family of heavy inputs."""

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.heavy import MEGABYTE, Heavy
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv
from tests.small_models import make_model
from tests.worker_process import Start, WorkerProcess

LIMITS = {"max.message.bytes": str(20 * MEGABYTE)}
PATIENT = {
    "DEAD_LETTER__INPUT_SHARE_MAX": "1",
    "DEAD_LETTER__MODEL_SHARE_MAX": "1",
    "KAFKA__SESSION_TIMEOUT_MS": "45000",  # the test stops the worker for a while
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The memory and time of one worker.

    Attributes:
        idle_bytes: Resident memory before the first message, in bytes.
        above_bytes: Peak of resident memory above ``idle_bytes``, in bytes.
        seconds: Time from the first message to the last commit.
    """

    idle_bytes: int
    above_bytes: int
    seconds: float


def tiny_model(folder: Path) -> Path:
    """Create a model that scores long texts fast, so that the preparer alone limits how fast memory fills."""
    return make_model(
        folder,
        "qwen2",
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )


def memory_bytes(worker: WorkerProcess, name: str) -> int:
    """Return a figure of /proc/PID/status in bytes."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    [kilobytes] = re.findall(rf"{name}:\s+(\d+) kB", status)
    return int(kilobytes) * 1024


def peak_above_idle(
    scene: KafkaEnv, start: Start, families: Sequence[Heavy], count: int, changes: Mapping[str, str] = {}
) -> Peak:
    """Send messages of these families in turn to a stopped worker, let it go on, and wait for the commits."""
    [(topic, partitions)] = scene.inputs.items()
    admin = AdminClient(scene.client)
    admin.create_topics([NewTopic(topic, partitions, config=LIMITS)])[topic].result(KAFKA_S_MAX)
    scene.create()
    worker = start(scene.environ(**{**PATIENT, **changes}))
    worker.wait_for("reading from")
    Path(f"/proc/{worker.pid}/clear_refs").write_text("5")  # reset the peak
    idle_bytes = memory_bytes(worker, "VmRSS")
    os.kill(worker.pid or 0, signal.SIGSTOP)
    try:
        produce(scene, families, count)
    finally:
        os.kill(worker.pid or 0, signal.SIGCONT)
    began = time.monotonic()
    scene.wait_until_caught_up(worker)
    seconds = time.monotonic() - began
    above_bytes = memory_bytes(worker, "VmHWM") - idle_bytes
    worker.drain()
    return Peak(idle_bytes=idle_bytes, above_bytes=above_bytes, seconds=seconds)


def produce(scene: KafkaEnv, families: Sequence[Heavy], count: int) -> None:
    """Send messages of these families in turn to the input topic."""
    [(topic, partitions)] = scene.inputs.items()
    limits = {"message.max.bytes": 20 * MEGABYTE, "queue.buffering.max.kbytes": 256_000}
    producer = Producer({**scene.client, **limits})
    taken: list[object] = []
    for number in range(count):
        heavy = families[number % len(families)]
        producer.produce(
            topic,
            heavy.value(number),
            heavy.key,
            partition=number % partitions,
            headers=heavy.headers,
            on_delivery=lambda error, _: taken.append(error),
        )
        if number % 1000 == 999:
            assert producer.flush(60) == 0
    assert producer.flush(60) == 0
    assert taken == [None] * count
