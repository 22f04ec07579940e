"""Read the records at given offsets, at read_committed, without joining a group."""

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.commands.labels.stretches import Stretch, rounds
from worker.errors import KafkaFatalError
from worker.kafka.offset_queries import OffsetQueries, offset_of
from worker.kafka.topic_reader import (
    CHUNK_RECORDS,
    CONSUME_S,
    open_reader,
    raise_if_unreadable,
    topic_partition_offset,
)
from worker.records import Partition

SILENCE_S_MAX = 30.0
_NOT_THERE = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - librdkafka's own codes begin so
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
}


def logs_of(client_config: Mapping[str, Any], partitions: Collection[Partition]) -> dict[Partition, Stretch]:
    """Return the offsets that each partition has, up to the last stable offset. A partition may be missing.

    Raises:
        KafkaFatalError: A leader did not answer, or does not let this user see the topic.
    """
    queries = OffsetQueries(client_config)
    low, end = queries.earliest(partitions), queries.latest(partitions)
    found = {}
    for partition in partitions:
        answers = (low[partition], end[partition])
        error = next((one for answer in answers if (one := answer.exception()) is not None), None)
        if isinstance(error, KafkaException) and error.args[0].code() in _NOT_THERE:
            continue
        begin, last = map(offset_of, answers)
        if begin is None or last is None:
            raise KafkaFatalError(
                f"Kafka did not give the offsets of {partition} ({error or 'the leader has gone'}): grant this "
                "user READ on the topic, look at its leader, and run this command again."
            )
        found[partition] = Stretch(begin, last)
    queries.close()
    return found


def records_at(client_config: Mapping[str, Any], wanted: Mapping[Partition, Collection[int]]) -> Iterator[Message]:
    """Yield the records at these offsets. An offset without a record, such as that of an aborted one, yields none.

    Args:
        client_config: librdkafka's properties: servers and security.
        wanted: The offsets, which must be in the log.

    Raises:
        KafkaFatalError: A topic can't be read, or no record came for a while.
    """
    if not wanted:
        return
    with open_reader(client_config, sorted({partition.topic for partition in wanted})) as reader:
        for together in rounds(wanted):
            yield from (
                message
                for message in _stretches_of(reader, dict(together))
                if message.offset() in wanted[_partition(message)]
            )


def _stretches_of(reader: Consumer, left: dict[Partition, Stretch]) -> Iterator[Message]:
    beginnings = [TopicPartition(*partition, stretch.begin) for partition, stretch in left.items()]
    reader.assign(beginnings)
    reader.resume(beginnings)  # librdkafka keeps a partition paused that an earlier round has paused
    heard_s = time.monotonic()
    while left:
        messages = reader.consume(CHUNK_RECORDS, CONSUME_S)
        if messages:
            heard_s = time.monotonic()
        elif time.monotonic() - heard_s > SILENCE_S_MAX:
            names = ", ".join(map(str, sorted(left)))
            raise KafkaFatalError(
                f"No record came for {SILENCE_S_MAX:.0f} s, from: {names}. Look at their leaders."
            )
        for message in messages:
            error = message.error()
            is_end = error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's own
            if error is not None and not is_end:
                raise_if_unreadable(message.topic(), error)
                continue
            partition = _partition(message)
            if partition not in left:
                continue
            if not is_end:
                yield message
            if is_end or (message.offset() or 0) + 1 >= left[partition].end:
                del left[partition]
                reader.pause([TopicPartition(*partition)])


def _partition(message: Message) -> Partition:
    topic, number, _ = topic_partition_offset(message)
    return Partition(topic, number)
