"""What a read_committed reader finds on a real cluster, in the ledger's terms."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # theirs to export

from schemas.dead_letter import PREFIX
from worker.errors import KafkaRefused
from worker.ledger import Input, Place, Seen
from worker.records import Partition, Topic

CHUNK_RECORDS = 1000
SLICE_S = 0.1


def read_topics(
    client_config: Mapping[str, Any],
    *,
    inputs: Sequence[str],
    outputs: Mapping[Topic, str],
    silence_ms_max: int = 30_000,
) -> tuple[list[Input], list[Seen]]:
    """Everything in the topics, from the first record to the end, for ``ledger.audit``.

    Waits until no transaction is open on them: what stands behind an open one can't be read yet, and would be
    taken for lost.

    Args:
        client_config: librdkafka's properties: servers and security.
        inputs: The input topics.
        outputs: The names of our topics.
        silence_ms_max: How long to wait for a transaction to end, and for a next record.

    Raises:
        KafkaRefused: A transaction stays open, a topic is missing, or the cluster does not answer.
    """
    kinds = {name: topic for topic, name in outputs.items()}
    with open_reader(client_config, [*inputs, *kinds]) as reader:
        _await_no_open_transaction(client_config, reader.assignment(), silence_ms_max)
        given, seen = [], []
        for message in _to_the_end(reader, silence_ms_max):
            topic, partition, offset = _stands(message)
            if topic in kinds:
                seen.append(as_seen(message, kinds[topic]))
            else:
                given.append(
                    Input(partition=Partition(topic, partition), offset=offset, tombstone=message.value() is None)
                )
        return given, seen


@contextmanager
def open_reader(client_config: Mapping[str, Any], topics: Sequence[str]) -> Iterator[Consumer]:
    """A read_committed reader of all partitions from their beginning, in no group.

    Raises:
        KafkaRefused: A topic is not there.
    """
    reader = Consumer(
        {
            "log_level": 0,
            **client_config,
            "group.id": "reader",  # librdkafka wants a name; nothing is committed under it
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
        }
    )
    try:
        known = reader.list_topics(timeout=10).topics
        missing = [name for name in topics if name not in known]
        if missing:
            raise KafkaRefused(f"Not there: {', '.join(missing)}. moderation-worker topics create makes them.")
        reader.assign(
            [TopicPartition(name, p, OFFSET_BEGINNING) for name in topics for p in known[name].partitions]
        )
        yield reader
    finally:
        reader.close()


def as_seen(message: Message, topic: Topic) -> Seen:
    """A record of an output topic, in the ledger's terms."""
    _, partition, offset = _stands(message)
    source: Place | None
    flagged = False
    try:
        if topic is Topic.DEAD_LETTER:
            headers: Any = dict(message.headers() or ())
            where = {name: headers[f"{PREFIX}source.{name}"].decode() for name in ("topic", "partition", "offset")}
        else:
            body = orjson.loads(message.value() or b"")
            where, flagged = body["source"], body.get("flagged") is True
        source = Partition(where["topic"], int(where["partition"])), int(where["offset"])
    except (AttributeError, KeyError, TypeError, ValueError):
        source = None  # not ours: the ledger calls it foreign
    return Seen(topic=topic, source=source, partition=partition, offset=offset, flagged=flagged)


def _to_the_end(reader: Consumer, silence_ms_max: int) -> Iterator[Message]:
    """Every record up to each partition's end."""
    left = {(at.topic, at.partition) for at in reader.assignment()}
    deadline = time.monotonic() + silence_ms_max / 1000
    while left:
        messages = reader.consume(CHUNK_RECORDS, SLICE_S)
        if messages:
            deadline = time.monotonic() + silence_ms_max / 1000
        elif time.monotonic() > deadline:
            raise KafkaRefused(f"Nothing comes from {len(left)} partitions that are not at their end.")
        for message in messages:
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin so
                left.discard((message.topic(), message.partition()))
            elif not error.retriable():
                raise KafkaRefused(f"The topics can't be read: {error.str()}.")


def _await_no_open_transaction(
    client_config: Mapping[str, Any], partitions: Sequence[TopicPartition], silence_ms_max: int
) -> None:
    """Returns once read_committed and read_uncommitted readers see the same ends."""
    admin = AdminClient({"log_level": 0, **client_config})
    deadline = time.monotonic() + silence_ms_max / 1000
    while True:
        readable = _ends(admin, partitions, IsolationLevel.READ_COMMITTED)
        written = _ends(admin, partitions, IsolationLevel.READ_UNCOMMITTED)
        open_ones = sorted(at for at in written if written[at] > readable[at])
        if not open_ones:
            return
        if time.monotonic() > deadline:
            raise KafkaRefused(f"A transaction is still open on {', '.join(map(str, open_ones))}.")
        time.sleep(SLICE_S)


def _ends(admin: AdminClient, partitions: Sequence[TopicPartition], level: IsolationLevel) -> dict[Partition, int]:
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call] # theirs to type
    answers = admin.list_offsets(dict.fromkeys(partitions, latest), isolation_level=level, request_timeout=10)
    try:
        return {Partition(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}
    except KafkaException as error:
        raise KafkaRefused(f"The topics' ends can't be had: {error.args[0].str()}.") from error


def _stands(message: Message) -> tuple[str, int, int]:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None  # noqa: S101, PT018 - only of errors
    return topic, partition, offset
