"""Read topics at read_committed without joining or changing a consumer group."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from worker.errors import KafkaFatalError
from worker.kafka.clients import client
from worker.kafka.login import Login
from worker.kafka.metadata import ANSWER_MS_MAX, NoMetadataError, partition_counts, wait_for_metadata

CHUNK_RECORDS = 20
"""Two chunks are in memory at a time. Larger chunks were not faster."""
CONSUME_S = 0.1

_DENIED = "grant this user READ on the topic"


@contextmanager
def open_reader(
    client_config: Mapping[str, Any],
    topics: Sequence[str],
    *,
    since_ms: int | None = None,
    last: int | None = None,
    group_id: str = "reader",
) -> Iterator[Consumer]:
    """Give a consumer of all partitions of the topics.

    Args:
        client_config: librdkafka's properties: servers and security.
        topics: The topics to read.
        since_ms: Begin with the first record of this time or later. None means the beginning.
        last: Begin so that about this number of records is left, spread over the partitions. None means all.
        group_id: The group whose committed offsets the consumer can ask for. The consumer does not join the group.

    Raises:
        KafkaFatalError: No broker answered, a broker refused the login, or a topic is missing or hidden.
    """
    errors: list[KafkaError] = []
    config: dict[str, Any] = {
        "log_level": 0,
        **client_config,
        "group.id": group_id,  # librdkafka requires a name; this client commits nothing by itself
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 50,
        # Dead letters may be large, and a shell in a worker's pod has little memory.
        "queued.max.messages.kbytes": 16_384,
        "fetch.max.bytes": 16_777_216,
        "fetch.queue.backoff.ms": 20,  # the default of 1000 stops for a second each time the queue was full
        "error_cb": errors.append,
    }
    login = Login.of(config)
    reader = client(Consumer, config)
    try:
        counts = partition_counts(reader, errors, login, timeout_ms_max=ANSWER_MS_MAX)
        if missing := [name for name in topics if name not in counts]:
            raise KafkaFatalError("\n".join(_why_missing(reader, errors, login, name) for name in missing))
        beginnings = [
            TopicPartition(name, number, OFFSET_BEGINNING) for name in topics for number in range(counts[name])
        ]
        if last is not None:
            reader.assign(_offsets_before_end(reader, beginnings, last))
        else:
            reader.assign(beginnings if since_ms is None else _offsets_at(reader, beginnings, since_ms))
        yield reader
    finally:
        reader.close()


def read_to_end(reader: Consumer, silence_ms_max: int) -> Iterator[Message]:
    """Give all records up to the last stable offset of each partition.

    Args:
        reader: A consumer from ``open_reader``.
        silence_ms_max: How long to wait for the next record.

    Raises:
        KafkaFatalError: This user may not read a topic, or no record came within ``silence_ms_max``.
    """
    left = {(at.topic, at.partition) for at in reader.assignment()}
    deadline = time.monotonic() + silence_ms_max / 1000
    while left:
        messages = reader.consume(CHUNK_RECORDS, CONSUME_S)
        if messages:
            deadline = time.monotonic() + silence_ms_max / 1000
        elif time.monotonic() > deadline:
            names = ", ".join(f"{topic}[{number}]" for topic, number in sorted(left))
            raise KafkaFatalError(f"No record came for {silence_ms_max} ms, before the end of: {names}.")
        for message in messages:
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin so
                left.discard((message.topic(), message.partition()))
            else:
                raise_if_unreadable(message.topic(), error)


def raise_if_unreadable(topic: str | None, error: KafkaError) -> None:
    """Raise for an error that a reader got in place of a record, unless the error passes by itself.

    Raises:
        KafkaFatalError: The topic can't be read.
    """
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        raise KafkaFatalError(f"Kafka does not let this user read {topic}: {_DENIED}.")
    # librdkafka looks up the coordinator of any group that is named; a reader of records does not need it.
    if error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED and not error.retriable():
        raise KafkaFatalError(f"Reading the topics failed: {error.str()}.")


def records_left(reader: Consumer) -> int:
    """Return about how many records are between the reader's start and the ends of its partitions.

    Transactions have records of their own, so the true number is a little lower. Each partition gets one request.

    Args:
        reader: A consumer from ``open_reader`` that has read nothing yet.

    Raises:
        KafkaFatalError: A broker did not answer.
    """
    partitions = reader.assignment()
    starts = {OFFSET_BEGINNING: 0, OFFSET_END: sys.maxsize}
    return sum(
        max(0, high - max(low, starts.get(at.offset, at.offset)))
        for at, (low, high) in zip(partitions, _bounds(reader, partitions), strict=True)
    )


def topic_partition_offset(message: Message) -> tuple[str, int, int]:
    """Return topic, partition and offset of a record that was read."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None  # noqa: S101, PT018 - only of errors
    return topic, partition, offset


def partition_count(reader: Consumer, topic: str) -> int:
    """Return the number of partitions of a topic that is to be written.

    Raises:
        KafkaFatalError: No broker answered, or the topic is missing or hidden.
    """
    try:
        found = reader.list_topics(topic, timeout=ANSWER_MS_MAX / 1000).topics[topic]
    except KafkaException as failure:
        raise KafkaFatalError(
            f"No broker answers the question about topic {topic} ({failure.args[0].str()})."
        ) from failure
    if found.error is None:
        return len(found.partitions)
    if found.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        raise KafkaFatalError(
            f"This user may not see whether topic {topic} exists: grant this user WRITE on the topic."
        )
    raise KafkaFatalError(
        f"Topic {topic} does not exist: create it, for example with WORKER_KAFKA__INPUT_TOPICS={topic} "
        "moderation-worker topics create."
    )


def _why_missing(reader: Consumer, errors: Sequence[KafkaError], login: Login, topic: str) -> str:
    """Return why the metadata lacks a topic. A consumer's request for one topic does not create the topic."""
    try:
        error = wait_for_metadata(reader, errors, login, topic=topic).topics[topic].error
    except NoMetadataError as failure:
        raise KafkaFatalError(f"No broker answers the question about topic {topic} ({failure}).") from failure
    if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return f"This user may not see whether topic {topic} exists: {_DENIED}."
    return f"Topic {topic} does not exist: create it with moderation-worker topics create."


def _offsets_at(reader: Consumer, partitions: Sequence[TopicPartition], since_ms: int) -> list[TopicPartition]:
    """Return the offsets of the first records of this time or later. Each broker gets one request."""
    request = [TopicPartition(at.topic, at.partition, since_ms) for at in partitions]
    try:
        found = reader.offsets_for_times(request, timeout=ANSWER_MS_MAX / 1000)
        failure = next((at.error for at in found if at.error is not None), None)
    except KafkaException as error:
        failure = error.args[0]
    if failure is not None:
        raise KafkaFatalError(f"Kafka did not give the offsets for this time: {failure.str()}.")
    return found


def _offsets_before_end(
    reader: Consumer, partitions: Sequence[TopicPartition], records: int
) -> list[TopicPartition]:
    """Return offsets with about this number of records behind them. Each partition gets one request."""
    bounds = _bounds(reader, partitions)
    taken = shares([high - low for low, high in bounds], records)
    return [
        TopicPartition(at.topic, at.partition, high - count)
        for at, (_, high), count in zip(partitions, bounds, taken, strict=True)
    ]


def _bounds(reader: Consumer, partitions: Sequence[TopicPartition]) -> list[tuple[int, int]]:
    """Return the first offset of each partition, and the offset after its last record."""
    bounds = []
    for at in partitions:
        try:
            bounds.append(reader.get_watermark_offsets(at, ANSWER_MS_MAX / 1000))
        except KafkaException as error:
            raise KafkaFatalError(
                f"Kafka did not give the offsets of {at.topic}[{at.partition}]: {error.args[0].str()}."
            ) from error
    return bounds


def shares(available: Sequence[int], total: int) -> list[int]:
    """Return how many to take of each, as evenly as possible, so that the sum is the total or all there is."""
    taken = [0] * len(available)
    for place, (number, most) in enumerate(sorted(enumerate(available), key=lambda pair: pair[1])):
        taken[number] = min(most, (total - sum(taken)) // (len(available) - place))
    return taken
