"""`check` and the input: the backlog, and partitions that an open transaction blocks."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition

from tests.check_command import CHAT, KAFKA_S_MAX, committed_reader, run_check, send, settings_for
from tests.conftest import Topics
from worker.errors import ExitCode

pytestmark = pytest.mark.kafka


@pytest.fixture
def open_transaction(bootstrap_servers: str) -> Iterator[Callable[[str], None]]:
    """Leaves a transaction open in the first partition of a topic, until the test ends."""
    producers: list[Producer] = []

    def leave(topic: str) -> None:
        producer = Producer({"bootstrap.servers": bootstrap_servers, "transactional.id": f"{topic}.open"})
        producers.append(producer)
        producer.init_transactions(KAFKA_S_MAX)
        producer.begin_transaction()
        for _ in range(50):
            producer.produce(topic, CHAT, partition=0)
        assert producer.flush(KAFKA_S_MAX) == 0

    yield leave
    for producer in producers:
        producer.abort_transaction(KAFKA_S_MAX)


def test_a_partition_that_an_open_transaction_blocks_is_doubtful(
    bootstrap_servers: str,
    fresh_topics: Callable[..., Topics],
    open_transaction: Callable[[str], None],
    tmp_path: Path,
) -> None:
    topics = fresh_topics(partitions=2)
    send(bootstrap_servers, topics.input, committed=3)
    send(bootstrap_servers, topics.input, committed=3, partition=1)
    open_transaction(topics.input)
    outcome = run_check(settings_for(bootstrap_servers, topics), tmp_path)
    line = outcome.line("open transactions in the input")
    assert line.startswith("!")
    assert f"{topics.input}[0] is blocked at offset 8 by another producer's open transaction" in line
    assert line.endswith("messages behind it: 50")
    assert f"describe-producers --topic {topics.input} --partition 0" in outcome.screen
    assert f"--topic {topics.input} --partition 1" not in outcome.screen
    assert "messages: 16 at most" in outcome.line("backlog")  # no record of the open transaction is readable
    assert outcome.code is ExitCode.MODEL  # only because the model is missing


def test_the_backlog_starts_at_the_group_s_offsets_and_the_check_does_not_change_them(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topics = fresh_topics(partitions=1)
    send(bootstrap_servers, topics.input, committed=5)
    settings = settings_for(bootstrap_servers, topics, WORKER_KAFKA__AUTO_OFFSET_RESET="error")
    consumer = committed_reader(bootstrap_servers, settings["WORKER_KAFKA__GROUP_ID"])
    consumer.commit(offsets=[TopicPartition(topics.input, 0, 10)], asynchronous=False)
    outcome = run_check(settings, tmp_path)
    assert "messages: 2 at most" in outcome.line("backlog")  # the log has 12 offsets: 10 messages and 2 markers
    (after,) = consumer.committed([TopicPartition(topics.input, 0)], timeout=KAFKA_S_MAX)
    consumer.close()
    assert after.offset == 10


def test_a_partition_without_an_offset_is_wrong_if_the_settings_choose_no_start(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topics = fresh_topics(partitions=1)
    outcome = run_check(settings_for(bootstrap_servers, topics, WORKER_KAFKA__AUTO_OFFSET_RESET="error"), tmp_path)
    assert outcome.code is ExitCode.KAFKA
    assert outcome.line("backlog").startswith("✗")
    assert "WORKER_KAFKA__AUTO_OFFSET_RESET" in outcome.screen


def test_a_start_at_a_time_does_not_count_older_messages(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topics = fresh_topics(partitions=1)
    send(bootstrap_servers, topics.input, committed=5)
    late = "2099-01-01T00:00:00Z"
    outcome = run_check(settings_for(bootstrap_servers, topics, WORKER_KAFKA__AUTO_OFFSET_RESET=late), tmp_path)
    assert outcome.line("backlog") == "✓ backlog: messages: 0"
