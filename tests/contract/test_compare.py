"""`compare` reads two verdict topics of a real Kafka, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.conftest import Topics
from tests.stored_verdicts import stored_verdict
from worker.cli import main
from worker.errors import ExitCode


@pytest.mark.kafka
def test_two_verdict_topics_are_compared_by_the_input_record(
    bootstrap_servers: str,
    fresh_topics: Callable[..., Topics],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = (fresh_topics(partitions=2).verdicts for _ in range(2))
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    for offset in range(200):
        for number, topic in enumerate((old, new)):
            score = 0.9 if offset % 10 == number else 0.1
            verdict = stored_verdict(offset, {"hate": score})
            # The two workers read the input in different orders, so the records lie in other partitions.
            producer.produce(topic, json.dumps(verdict), partition=(offset + number) % 2)
    assert producer.flush(10) == 0
    monkeypatch.setenv("WORKER_KAFKA__BOOTSTRAP_SERVERS", bootstrap_servers)
    report = tmp_path / "report.json"
    assert main(["compare", old, new, "--since", "1h", "--json", str(report)]) is ExitCode.DONE
    document = json.loads(report.read_bytes())
    assert document["joined"] == 200
    assert document["flags"] == {"both": 0, "only_a": 20, "only_b": 20, "neither": 160}
