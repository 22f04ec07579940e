"""A read_committed reader of topics, in no group: nothing is joined, nothing committed, nothing disturbed."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.errors import KafkaFatalError
from worker.kafka.clients import client
from worker.kafka.login import Login
from worker.kafka.topics import ANSWER_MS_MAX, partition_counts

CHUNK_RECORDS = 20
"""Two chunks are in memory at a time; larger ones are no faster."""
SLICE_S = 0.1

_DENIED = "grant this user READ on it"


@contextmanager
def open_reader(
    client_config: Mapping[str, Any], topics: Sequence[str], *, since_ms: int | None = None
) -> Iterator[Consumer]:
    """A reader of all partitions, from the first record whose time is ``since_ms``, or from the beginning.

    Raises:
        KafkaFatalError: No broker answers, it doesn't let us in, or a topic is not there or not ours to see.
    """
    told: list[KafkaError] = []
    config: dict[str, Any] = {
        "log_level": 0,
        **client_config,
        "group.id": "reader",  # librdkafka wants a name; nothing is committed under it
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 50,
        # Originals may be large, and a shell in the pod of a worker has little memory.
        "queued.max.messages.kbytes": 16_384,
        "fetch.max.bytes": 16_777_216,
        "fetch.queue.backoff.ms": 20,  # the default, 1000, stalls for a second each time that the queue was full
        "error_cb": told.append,
    }
    reader = client(Consumer, config)
    try:
        counts = partition_counts(reader, told, Login.of(config), ANSWER_MS_MAX)
        if faults := [_why_not(reader, name) for name in topics if name not in counts]:
            raise KafkaFatalError("\n".join(faults))
        places = [
            TopicPartition(name, number, OFFSET_BEGINNING) for name in topics for number in range(counts[name])
        ]
        reader.assign(places if since_ms is None else _places_at(reader, places, since_ms))
        yield reader
    finally:
        reader.close()


def to_the_end(reader: Consumer, silence_ms_max: int) -> Iterator[Message]:
    """Every record up to each partition's end: where an open transaction begins, if there is one.

    Raises:
        KafkaFatalError: We may not read, or nothing has come for so long.
    """
    left = {(at.topic, at.partition) for at in reader.assignment()}
    deadline = time.monotonic() + silence_ms_max / 1000
    while left:
        messages = reader.consume(CHUNK_RECORDS, SLICE_S)
        if messages:
            deadline = time.monotonic() + silence_ms_max / 1000
        elif time.monotonic() > deadline:
            raise KafkaFatalError(f"Nothing comes from {len(left)} partitions that are not at their end.")
        for message in messages:
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin so
                left.discard((message.topic(), message.partition()))
            elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise KafkaFatalError(f"Kafka does not let us read {message.topic()}: {_DENIED}.")
            # librdkafka looks for the coordinator of any group that is named; we need none.
            elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED and not error.retriable():
                raise KafkaFatalError(f"The topics can't be read: {error.str()}.")


def place_of(message: Message) -> tuple[str, int, int]:
    """Topic, partition and offset of a record that was read."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None  # noqa: S101, PT018 - only of errors
    return topic, partition, offset


def _why_not(reader: Consumer, topic: str) -> str:
    """Why a topic is not in sight; a consumer's question makes no topic."""
    error = reader.list_topics(topic, timeout=ANSWER_MS_MAX / 1000).topics[topic].error
    if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return f"There or not, {topic} is hidden from whoever may not read it: {_DENIED}."
    return f"Not there: {topic}. moderation-worker topics create makes it."


def _places_at(reader: Consumer, places: Sequence[TopicPartition], since_ms: int) -> list[TopicPartition]:
    """Where the first records of that time stand, or the end; one question to each broker."""
    asked = [TopicPartition(at.topic, at.partition, since_ms) for at in places]
    try:
        found = reader.offsets_for_times(asked, timeout=ANSWER_MS_MAX / 1000)
        fault = next((at.error for at in found if at.error is not None), None)
    except KafkaException as error:
        fault = error.args[0]
    if fault is not None:
        raise KafkaFatalError(f"The offsets of that time can't be had: {fault.str()}.")
    return found
