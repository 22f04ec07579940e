"""Quotas of a real Kafka: they make a worker slow, and the worker logs that."""

import subprocess
from collections.abc import Callable

import pytest

from tests.in_process_worker import joined_worker
from tests.kafka_env import KafkaEnv, chat
from tests.kafka_tools import install_tools
from worker.classifier import Classifier

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

END_OFFSET_INTERVAL_MS = 100
STALL_TIMEOUT_MS = 500

Limited = Callable[[int, str], tuple[KafkaEnv, dict[str, str]]]


@pytest.fixture(scope="module")
def limited(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Limited:
    """Return a function that makes input partitions and a quota, and returns the variables of the worker."""
    tools = tmp_path_factory.mktemp("tools")
    install_tools(tools)

    def limit(partitions: int, quota: str) -> tuple[KafkaEnv, dict[str, str]]:
        scene = KafkaEnv(bootstrap_servers, "demo", inputs=(partitions,), partitions=2)
        scene.create()
        client_id = f"throttled-{scene.group}"
        configs = [str(tools / "kafka-configs.sh"), "--bootstrap-server", bootstrap_servers, "--alter"]
        of = ["--entity-type", "clients", "--entity-name", client_id]
        subprocess.run([*configs, "--add-config", quota, *of], check=True, timeout=120)
        return scene, scene.environ(KAFKA__CLIENT_ID=client_id)

    return limit


@pytest.mark.parametrize(
    ("byte_rate", "judged"),
    [
        pytest.param(20_000, 480, id="short delays"),
        pytest.param(5_000, 120, id="delays longer than the stall timeout"),
    ],
)
def test_a_fetch_quota_makes_a_worker_slow_and_is_not_a_stall(
    byte_rate: int, judged: int, limited: Limited, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    scene, environ = limited(12, f"consumer_byte_rate={byte_rate}")
    # 40 kB for each partition. A fetch response may hold 11 s of the rate: a larger batch is never sent.
    scene.send([chat("good morning " * 80)] * 480)
    with joined_worker(
        environ, classifier, end_offset_interval_ms=END_OFFSET_INTERVAL_MS, stall_timeout_ms=STALL_TIMEOUT_MS
    ) as worker:
        worker.turn_until(lambda: len(worker.session.status().positioned) == 12)
        invalidations = worker.session.invalidations
        worker.turn_until_judged(judged)
        assert worker.session.invalidations == invalidations
        assert worker.session.status().throttled_s["consumer"] > 1
    assert [line for line in caplog.messages if "throttles this consumer" in line and scene.group in line]
    assert scene.ledger().doubled == 0


def test_a_produce_quota_is_logged_and_its_delays_are_counted(
    limited: Limited, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    scene, environ = limited(2, "producer_byte_rate=10000")
    scene.send([chat(f"good morning number {number}") for number in range(800)])
    # Small transactions end in time in spite of the delays.
    with joined_worker({**environ, "WORKER_BATCH__RECORDS_MAX": "50"}, classifier) as worker:
        worker.turn_until_judged(800)
        scene.send([chat("and another one")])
        worker.turn_until_judged(801)
        assert worker.session.status().throttled_s["producer"] > 0
        assert worker.session.status().throttled_s["consumer"] == 0
    assert [line for line in caplog.messages if "Raise producer_byte_rate" in line and scene.group in line]
    assert scene.ledger().clean
