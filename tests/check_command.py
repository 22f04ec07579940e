"""Run the command `check` in this process, and read what it printed."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from rich.console import Console

from tests.conftest import Topics
from worker.commands.check.items import check
from worker.errors import ExitCode
from worker.settings import Need, load_settings

KAFKA_S_MAX = 10
CHAT = b'{"text":"hello"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one check.

    Attributes:
        code: The exit code.
        screen: What the check printed.
    """

    code: ExitCode
    screen: str

    def line(self, item: str) -> str:
        """Return the line of an item."""
        (found,) = [line for line in self.screen.splitlines() if line[2:].startswith(f"{item}:")]
        return found

    @property
    def marks(self) -> str:
        """The marks of all items, in order."""
        return "".join(line[0] for line in self.screen.splitlines() if not line.startswith(" "))


def settings_for(servers: str, topics: Topics, **changes: str) -> dict[str, str]:
    """Return the environment of a worker of these topics. Its group is new, and its model does not exist.

    To load a model takes time.
    """
    name = topics.input.removesuffix(".messages")
    return {
        "WORKER_KAFKA__BOOTSTRAP_SERVERS": servers,
        "WORKER_KAFKA__GROUP_ID": name,
        "WORKER_KAFKA__TRANSACTIONAL_ID": f"{name}.1",
        "WORKER_KAFKA__INPUT_TOPICS": topics.input,
        "WORKER_KAFKA__VERDICT_TOPIC": topics.verdicts,
        "WORKER_KAFKA__ALERT_TOPIC": topics.alerts,
        "WORKER_KAFKA__DEAD_LETTER_TOPIC": topics.dead_letters,
        "WORKER_MODEL__PATH": "/not/there",
        "WORKER_MODEL__THREADS": "1",
        **changes,
    }


def run_check(environ: Mapping[str, str], directory: Path) -> Outcome:
    """Run the check with these settings; ``directory`` is where it looks for a file .env."""
    screen = io.StringIO()
    code = check(
        lambda: load_settings(environ, {Need.KAFKA, Need.MODEL}, directory),
        Console(file=screen, highlight=False),
        lambda _: None,
    )
    return Outcome(code=code, screen=screen.getvalue())


def send(servers: str, topic: str, *, committed: int, partition: int = 0) -> None:
    """Send messages in a transaction that is committed, and the same number in one that is aborted."""
    producer = Producer({"bootstrap.servers": servers, "transactional.id": f"{topic}.feed"})
    producer.init_transactions(KAFKA_S_MAX)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for _ in range(committed):
            producer.produce(topic, CHAT, partition=partition)
        producer.flush(KAFKA_S_MAX)
        end(KAFKA_S_MAX)


def committed_reader(servers: str, group: str) -> Consumer:
    """Return a read_committed consumer that commits nothing by itself."""
    return Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        }
    )


def readable_records(servers: str, topic: str) -> int:
    """Return how many records a read_committed reader finds in a topic's first partition, which is not empty."""
    consumer = committed_reader(servers, "another-reader")
    consumer.assign([TopicPartition(topic, 0, 0)])
    count = 0
    while True:
        message = consumer.poll(KAFKA_S_MAX)
        assert message is not None
        if (error := message.error()) is not None:
            assert error.name() == "_PARTITION_EOF"
            break
        count += 1
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=KAFKA_S_MAX)
    consumer.close()
    assert end > 0
    return count
