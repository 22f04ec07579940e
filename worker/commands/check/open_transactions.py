"""Input partitions that another producer's open transaction blocks."""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import IsolationLevel

from worker.commands.check.report import Doubtful
from worker.kafka.blocked_partitions import BlockedPartition
from worker.kafka.offset_queries import OffsetQueries
from worker.records import Partition

WATCH_S = 5
"""A healthy producer ends a transaction sooner: Kafka Streams commits every 0.1 s."""


def find_blocked(queries: OffsetQueries, partitions: Sequence[Partition]) -> dict[Partition, BlockedPartition]:
    """Return the partitions whose last stable offset stays below the high watermark; wait only if one is below.

    Raises:
        KafkaException: No broker answered for one of the partitions.
    """
    first, messages = _ends(queries, partitions)
    if not any(messages.values()):
        return {}
    time.sleep(WATCH_S)
    later, messages = _ends(queries, partitions)
    return {
        one: BlockedPartition(last_stable_offset=later[one], messages=messages[one], age_ms=WATCH_S * 1000)
        for one in partitions
        if messages[one] and later[one] == first[one]
    }


def blocked_item(blocked: Mapping[Partition, BlockedPartition], servers: str) -> Doubtful:
    """Return the item that says what is blocked, and how to find the producer that blocks it."""
    what = (
        f"{at} is blocked at offset {block.last_stable_offset} by another producer's open transaction, "
        f"which did not end within {block.age_ms // 1000} s; messages behind it: {block.messages}"
        for at, block in blocked.items()
    )
    commands = (
        f"kafka-transactions.sh --bootstrap-server {servers} describe-producers --topic {at.topic} "
        f"--partition {at.number}"
        for at in blocked
    )
    return Doubtful("\n".join(what), "\n".join(commands))


def _ends(
    queries: OffsetQueries, partitions: Sequence[Partition]
) -> tuple[dict[Partition, int], dict[Partition, int]]:
    """Return the last stable offsets, and the number of offsets from there to the high watermark."""
    answers = queries.latest(partitions), queries.latest(partitions, IsolationLevel.READ_UNCOMMITTED)
    stable, high = ({one: at.result().offset for one, at in answer.items()} for answer in answers)
    return stable, {one: max(0, high[one] - stable[one]) for one in partitions}
