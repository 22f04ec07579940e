"""A worker that restarts with another transactional id waits for its own old transaction, and logs that."""

import logging

import pytest
from confluent_kafka import KafkaException, Producer

from tests.in_process_worker import joined_worker
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat
from tests.proxy import Network, Proxy
from worker.classifier import Classifier
from worker.kafka import offset_queries
from worker.kafka.offset_queries import OffsetQueries
from worker.records import Partition

pytestmark = pytest.mark.kafka

CAUSE = "another producer's open transaction contains them"


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator that withholds offsets is asked for 2 s instead of 10 s."""
    monkeypatch.setattr(offset_queries, "COMMITTED_S_MAX", 2.0)


@pytest.fixture
def dead(scene: KafkaEnv) -> Producer:
    """The producer of a killed worker. Its open transaction contains an offset of partition 0."""
    return scene.begin_transaction("dead", 1)


def test_the_log_names_the_waiting_partitions_and_the_open_transaction(
    scene: KafkaEnv, dead: Producer, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    [topic] = scene.inputs
    scene.send([chat("message")] * 6)
    with caplog.at_level(logging.WARNING), joined_worker(scene.environ("new"), classifier) as worker:
        worker.turn_until(lambda: CAUSE in caplog.text)
        [line] = [line for line in caplog.messages if CAUSE in line]
        assert f"the committed offsets of {topic}[0], {topic}[1], {topic}[2], for " in line
        assert "WORKER_KAFKA__TRANSACTIONAL_ID" in line
        assert "transaction.timeout.ms" in line
        assert worker.loop.totals.records == 0
        dead.abort_transaction(KAFKA_S_MAX)
        worker.turn_until_judged(6)
    assert scene.ledger().clean


def test_a_silent_coordinator_is_not_taken_for_an_open_transaction(proxied_scene: KafkaEnv, proxy: Proxy) -> None:
    partition = Partition(next(iter(proxied_scene.inputs)), 0)
    queries = OffsetQueries({"bootstrap.servers": proxy.address}, group_id=proxied_scene.group)
    assert queries.committed([partition]).result(60)[0].error is None
    proxy.network = Network(holds_requests=True)
    failure = queries.committed([partition]).exception(60)
    proxy.network = Network()
    queries.close()
    assert isinstance(failure, KafkaException), failure
