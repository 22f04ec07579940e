"""Run the command `replay` on a test's topics, and read its copies."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Message, Producer

from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, headers_of
from tests.worker_process import WorkerProcess, workers
from worker.kafka.topic_reader import open_reader, read_to_end
from worker.records import Topic

COMMAND = (sys.executable, "-m", "worker", "replay")


def replay(scene: KafkaEnv, *arguments: str) -> tuple[int, str]:
    return scene.run_command("replay", *arguments)


@contextmanager
def running(folder: Path, scene: KafkaEnv, *arguments: str) -> Iterator[WorkerProcess]:
    with workers(folder, (*COMMAND, *arguments), name="replay") as start:
        yield start(scene.environ())


def read(scene: KafkaEnv, topic: str) -> list[Message]:
    with open_reader(scene.client, [topic]) as reader:
        return list(read_to_end(reader, KAFKA_S_MAX * 1000))


def place(message: Message) -> str:
    """Return where the original is, as the headers of a copy say."""
    headers = dict(headers_of(message))
    parts = (headers[f"moderation.source.{name}"] for name in ("topic", "partition", "offset"))
    return ":".join(part.decode() for part in parts if part is not None)


def places(scene: KafkaEnv, ends: Sequence[int]) -> list[str]:
    [topic] = scene.inputs
    return sorted(f"{topic}:{number}:{offset}" for number, end in enumerate(ends) for offset in range(end))


def two_workers_write(scene: KafkaEnv, arrays: dict[int, bytes]) -> None:
    """Write dead letters of elements of two arrays in turn, in the open transactions of two workers.

    So it is when the dead-letter topic has fewer partitions than the input topic.

    Args:
        scene: The topics.
        arrays: The arrays, by input partition; each is at offset 7.
    """
    [topic] = scene.inputs
    producers = [Producer({**scene.client, "transactional.id": f"{scene.group}.{at}"}) for at in arrays]
    for producer in producers:
        producer.init_transactions(KAFKA_S_MAX)
        producer.begin_transaction()
    for item in range(4):
        for producer, (partition, array) in zip(producers, arrays.items(), strict=True):
            headers: list[tuple[str, str | bytes | None]] = [
                ("moderation.error.reason", b"no_text"),
                ("moderation.source.topic", topic.encode()),
                ("moderation.source.partition", str(partition).encode()),
                ("moderation.source.offset", b"7"),
                ("moderation.source.item", str(item).encode()),
            ]
            producer.produce(scene.outputs[Topic.DEAD_LETTER], array, b"key", partition=0, headers=headers)
            assert producer.flush(KAFKA_S_MAX) == 0
    for producer in producers:
        producer.commit_transaction(KAFKA_S_MAX)
