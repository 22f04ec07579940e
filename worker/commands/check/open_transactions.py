"""Input partitions that another producer's open transaction blocks."""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # theirs to export

from worker.commands.check.report import Doubtful
from worker.kafka.blocked_partitions import BlockedPartition
from worker.records import Partition

WATCH_S = 5
"""A producer that is well ends a transaction sooner: Kafka Streams commits every 0.1 s."""


def find_blocks(
    admin: AdminClient, partitions: Sequence[Partition], *, answer_s: float
) -> dict[Partition, BlockedPartition]:
    """Give the partitions whose last stable offset stays behind the high watermark; wait only if one is behind.

    Raises:
        KafkaException: There was no answer for one of them.
    """
    first = _stable_ends(admin, partitions, answer_s)
    if not _behind(first, _high_watermarks(admin, partitions, answer_s)):
        return {}
    time.sleep(WATCH_S)
    later = _stable_ends(admin, partitions, answer_s)
    behind = _behind(later, _high_watermarks(admin, partitions, answer_s))
    return {
        one: BlockedPartition(last_stable_offset=later[one], messages=messages, age_ms=WATCH_S * 1000)
        for one, messages in behind.items()
        if later[one] == first[one]
    }


def doubt(blocks: Mapping[Partition, BlockedPartition], servers: str) -> Doubtful:
    """Say what is blocked, and how to find who blocks it."""
    what = (
        f"{at} is blocked at offset {block.last_stable_offset} by another producer's open transaction, "
        f"which did not end within {block.age_ms // 1000} s; messages behind it: {block.messages}"
        for at, block in blocks.items()
    )
    commands = (
        f"kafka-transactions.sh --bootstrap-server {servers} describe-producers --topic {at.topic} "
        f"--partition {at.number}"
        for at in blocks
    )
    return Doubtful("\n".join(what), "\n".join(commands))


def _behind(stable: Mapping[Partition, int], high: Mapping[Partition, int]) -> dict[Partition, int]:
    return {one: high[one] - offset for one, offset in stable.items() if offset < high[one]}


def _stable_ends(admin: AdminClient, partitions: Sequence[Partition], answer_s: float) -> dict[Partition, int]:
    return _ends(admin, partitions, answer_s, IsolationLevel.READ_COMMITTED)


def _high_watermarks(admin: AdminClient, partitions: Sequence[Partition], answer_s: float) -> dict[Partition, int]:
    return _ends(admin, partitions, answer_s, IsolationLevel.READ_UNCOMMITTED)


def _ends(
    admin: AdminClient, partitions: Sequence[Partition], answer_s: float, level: IsolationLevel
) -> dict[Partition, int]:
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call] # theirs to type
    asked = {TopicPartition(*one): latest for one in partitions}
    answers = admin.list_offsets(asked, isolation_level=level, request_timeout=answer_s)
    return {Partition(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}
