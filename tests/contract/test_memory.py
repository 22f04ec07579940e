"""The memory of a real worker on a real Kafka is bounded for every kind and rate of messages."""

from pathlib import Path

import pytest

from tests.heavy import HEAVY, MEGABYTE
from tests.kafka_env import KafkaEnv
from tests.memory import peak_above_idle, tiny_model
from tests.worker_process import Start

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

FAMILIES = ("emoji", "one emoji and letters", "lone surrogates", "combining marks", "long ids", "100,000 headers")
"""The families of ``tests.heavy`` that needed the most memory while the worker counted only the messages."""


def test_64_megabytes_of_the_most_expensive_messages_take_at_most_400(
    bootstrap_servers: str, start: Start, tmp_path: Path
) -> None:
    scene = KafkaEnv(bootstrap_servers, str(tiny_model(tmp_path / "model")), inputs=(4,), partitions=4)
    peak = peak_above_idle(scene, start, [HEAVY[name] for name in FAMILIES], 72)
    assert peak.above_bytes < 400 * MEGABYTE, peak
    ledger = scene.ledger()
    assert ledger.clean, ledger
    assert ledger.verdicts + ledger.dead_letters == 72
