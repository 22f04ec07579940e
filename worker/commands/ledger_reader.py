"""What a read_committed reader finds on a real cluster, in the ledger's terms."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from confluent_kafka import IsolationLevel, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # theirs to export

from schemas.dead_letter import PREFIX
from worker.commands.ledger import InputPosition, ObservedInput, ObservedOutput
from worker.errors import KafkaFatalError
from worker.kafka.headers import headers_of
from worker.kafka.metadata import ANSWER_MS_MAX
from worker.kafka.reading import CONSUME_S, open_reader, read_to_end, topic_partition_offset
from worker.records import Partition, Topic


def read_topics(
    client_config: Mapping[str, Any],
    *,
    inputs: Sequence[str],
    outputs: Mapping[Topic, str],
    silence_ms_max: int = 30_000,
) -> tuple[list[ObservedInput], list[ObservedOutput]]:
    """Everything in the topics, from the first record to the end, for ``ledger.audit``.

    Waits until no transaction is open on them: what stands behind an open one can't be read yet, and would be
    taken for lost.

    Args:
        client_config: librdkafka's properties: servers and security.
        inputs: The input topics.
        outputs: The names of our topics.
        silence_ms_max: How long to wait for a transaction to end, and for a next record.

    Raises:
        KafkaFatalError: A transaction stays open, a topic is missing, or the cluster does not answer.
    """
    kinds = {name: topic for topic, name in outputs.items()}
    with open_reader(client_config, [*inputs, *kinds]) as reader:
        _await_no_open_transaction(client_config, reader.assignment(), silence_ms_max)
        given, seen = [], []
        for message in read_to_end(reader, silence_ms_max):
            topic, partition, offset = topic_partition_offset(message)
            if topic in kinds:
                seen.append(observed_output(message, kinds[topic]))
            else:
                given.append(
                    ObservedInput(
                        partition=Partition(topic, partition), offset=offset, tombstone=message.value() is None
                    )
                )
        return given, seen


def observed_output(message: Message, topic: Topic) -> ObservedOutput:
    """A record of an output topic, in the ledger's terms."""
    _, partition, offset = topic_partition_offset(message)
    source: InputPosition | None
    flagged = False
    try:
        if topic is Topic.DEAD_LETTER:
            headers: Any = dict(headers_of(message) or ())
            where = {name: headers[f"{PREFIX}source.{name}"].decode() for name in ("topic", "partition", "offset")}
        else:
            body = orjson.loads(message.value() or b"")
            where, flagged = body["source"], body.get("flagged") is True
        source = Partition(where["topic"], int(where["partition"])), int(where["offset"])
    except (AttributeError, KeyError, TypeError, ValueError):
        source = None  # not ours: the ledger calls it foreign
    return ObservedOutput(topic=topic, source=source, partition=partition, offset=offset, flagged=flagged)


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
            raise KafkaFatalError(f"A transaction is still open on {', '.join(map(str, open_ones))}.")
        time.sleep(CONSUME_S)


def _ends(admin: AdminClient, partitions: Sequence[TopicPartition], level: IsolationLevel) -> dict[Partition, int]:
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call] # theirs to type
    answers = admin.list_offsets(
        dict.fromkeys(partitions, latest), isolation_level=level, request_timeout=ANSWER_MS_MAX / 1000
    )
    try:
        return {Partition(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}
    except KafkaException as error:
        raise KafkaFatalError(f"The topics' ends can't be had: {error.args[0].str()}.") from error
