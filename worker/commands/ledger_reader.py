"""Read topics of a real cluster at read_committed, for the audit of ``ledger``."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import orjson
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message

from schemas.dead_letter import PREFIX
from worker.commands.ledger import ObservedInput, ObservedOutput, ObservedRepeat
from worker.errors import KafkaFatalError
from worker.kafka.headers import headers_of
from worker.kafka.offset_queries import OffsetQueries
from worker.kafka.topic_reader import CONSUME_S, open_reader, read_to_end, topic_partition_offset
from worker.moderation.shapes import ReadRecord
from worker.records import Partition, Skipped, Topic

_LEADER_CHANGES = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
"""Answers for a partition that has just got its first leader or another one. They end by themselves."""


def read_topics(
    client_config: Mapping[str, Any],
    *,
    inputs: Sequence[str],
    outputs: Mapping[Topic, str],
    silence_ms_max: int = 30_000,
    read: ReadRecord | None = None,
) -> tuple[list[ObservedInput], list[ObservedOutput]]:
    """Read all records of the topics, for ``ledger.audit``.

    Wait first until no transaction is open on them. A reader can't read the records after the start of an open
    transaction, so the audit would count them as lost.

    Args:
        client_config: librdkafka's properties: servers and security.
        inputs: The input topics.
        outputs: The names of the output topics.
        silence_ms_max: Longest wait for the end of a transaction, and for the next record, in milliseconds.
        read: How the worker reads an input, so that the audit knows skipped records and arrays; None if each input
            is one message or a tombstone.

    Raises:
        KafkaFatalError: A transaction stays open, a topic is missing, or the cluster does not answer.
    """
    kinds = {name: topic for topic, name in outputs.items()}
    with open_reader(client_config, [*inputs, *kinds]) as reader:
        partitions = [Partition(at.topic, at.partition) for at in reader.assignment()]
        with closing(OffsetQueries(client_config, group_id="reader")) as queries:
            _await_no_open_transaction(queries, partitions, silence_ms_max)
        found_inputs, found_outputs = [], []
        for message in read_to_end(reader, silence_ms_max):
            topic, partition, offset = topic_partition_offset(message)
            if topic in kinds:
                found_outputs.append(observed_output(message, kinds[topic]))
            else:
                found_inputs.append(observed_input(message, Partition(topic, partition), offset, read))
        return found_inputs, found_outputs


def observed_input(message: Message, partition: Partition, offset: int, read: ReadRecord | None) -> ObservedInput:
    """Return a record of an input topic as the audit needs it."""
    value = message.value()
    reading = None if read is None or value is None else read(value, headers_of(message) or ())
    if isinstance(reading, tuple):
        items = [number for number, item in enumerate(reading) if not isinstance(item, Skipped)]
        return ObservedInput(partition=partition, offset=offset, items=items)
    is_silent = value is None or isinstance(reading, Skipped)
    return ObservedInput(partition=partition, offset=offset, tombstone=is_silent)


def observed_output(message: Message, topic: Topic) -> ObservedOutput:
    """Return a record of an output topic as the audit needs it.

    Its ``key`` is the channel: a worker whose summaries are audited coalesces by the channel, alone or with further
    fields.
    """
    _, partition, offset = topic_partition_offset(message)
    body: dict[str, Any] = {}
    item, repeat = None, None
    try:
        if topic is Topic.DEAD_LETTER:
            headers: Any = dict(headers_of(message) or ())
            where = {name: headers[f"{PREFIX}source.{name}"].decode() for name in ("topic", "partition", "offset")}
            if (number := headers.get(f"{PREFIX}source.item")) is not None:
                where["item"] = number
        else:
            body = orjson.loads(message.value() or b"")
            where = body["source"]
            if "repeat" in body:
                said = body["repeat"]
                repeat = ObservedRepeat(said["of"], said["count"], said["first_offset"], said["last_offset"])
        source = Partition(where["topic"], int(where["partition"])), int(where["offset"])
        item = int(where["item"]) if "item" in where else None
    except (AttributeError, KeyError, TypeError, ValueError):
        source, body = None, {}  # not a record of the worker: the ledger calls it foreign
    # A policy may withhold the alert of a flagged message.
    flagged = body.get("flagged") is True and not body.keys() & {"exempt", "allowed"}
    return ObservedOutput(
        topic=topic,
        source=source,
        partition=partition,
        offset=offset,
        flagged=flagged,
        item=item,
        truncated=topic is Topic.VERDICT and body.get("input", {}).get("truncated") is True,
        alert_id=body.get("alert_id"),
        key=body.get("channel_id"),
        repeat=repeat,
    )


def _await_no_open_transaction(
    queries: OffsetQueries, partitions: Sequence[Partition], silence_ms_max: int
) -> None:
    """Wait until each last stable offset equals the high watermark."""
    deadline = time.monotonic() + silence_ms_max / 1000
    while True:
        last_stable = _end_offsets(queries, partitions, IsolationLevel.READ_COMMITTED, deadline)
        high_watermarks = _end_offsets(queries, partitions, IsolationLevel.READ_UNCOMMITTED, deadline)
        blocked = sorted(one for one in partitions if high_watermarks[one] > last_stable[one])
        if not blocked:
            return
        if time.monotonic() > deadline:
            raise KafkaFatalError(
                f"A transaction is still open on {', '.join(map(str, blocked))} after {silence_ms_max // 1000} s: "
                "end the producer that opened it, or wait until its transaction times out."
            )
        time.sleep(CONSUME_S)


def _end_offsets(
    queries: OffsetQueries, partitions: Sequence[Partition], level: IsolationLevel, deadline: float
) -> dict[Partition, int]:
    """Return the ends of partitions. Ask again until the deadline while a partition has a new leader or none."""
    while True:
        try:
            return {one: answer.result().offset for one, answer in queries.latest(partitions, level).items()}
        except KafkaException as error:
            failure = error.args[0]
        if failure.code() not in _LEADER_CHANGES or time.monotonic() > deadline:
            raise KafkaFatalError(f"Kafka did not tell the end offsets: {failure.str()}.")
        time.sleep(CONSUME_S)
