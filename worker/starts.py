"""Where partitions start: what the group has committed, or what the settings say where that is missing or gone."""

import logging
from collections.abc import Collection

from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.errors import Protected
from worker.ownership import Reset, start
from worker.records import Partition

log = logging.getLogger(__name__)


def find_starts(
    consumer: Consumer,
    partitions: Collection[Partition],
    overtaken: Collection[Partition],
    reset: Reset,
    timeout_s: float,
) -> tuple[dict[Partition, int], dict[Partition, int]]:
    """Asks the brokers.

    Args:
        consumer: A member of the group.
        partitions: What to start.
        overtaken: Of these, those whose committed offset a fetch has found to be out of range.
        reset: What the settings want without a committed offset.
        timeout_s: Of each question.

    Returns:
        The committed starts, and those that were chosen and must be committed before the first record: the answer
        must not depend on who asks, and when.

    Raises:
        KafkaException: No answer; ask again.
        Protected: There is no position, and the settings want none chosen.
    """
    committed: dict[Partition, int] = {}
    chosen: dict[Partition, int] = {}
    for answer in consumer.committed([TopicPartition(*one) for one in sorted(partitions)], timeout=timeout_s):
        if answer.error is not None:
            raise KafkaException(answer.error)
        partition = Partition(answer.topic, answer.partition)
        if answer.offset >= 0 and partition not in overtaken:
            committed[partition] = answer.offset
        else:
            chosen[partition] = _choose(
                consumer, partition, answer.offset if answer.offset >= 0 else None, reset, timeout_s
            )
    return committed, chosen


def _choose(consumer: Consumer, partition: Partition, committed: int | None, reset: Reset, timeout_s: float) -> int:
    low, high = consumer.get_watermark_offsets(TopicPartition(*partition), timeout=timeout_s, cached=False)
    timed = None
    if reset.time_ms is not None and committed is None:
        asked = TopicPartition(*partition, reset.time_ms)
        timed = consumer.offsets_for_times([asked], timeout=timeout_s)[0].offset
    begin = start(committed, low=low, high=high, timed=timed, reset=reset)
    if begin is None:
        raise Protected(
            f"{partition} has no usable committed offset (committed: {committed}, available: {low} to {high}) "
            "and WORKER_KAFKA__AUTO_OFFSET_RESET is error: set it to earliest, or to a time, to go on"
        )
    if committed is not None:
        log.error("%s: offsets %d to %d are gone (retention): not judged", partition, committed, begin)
    return begin
