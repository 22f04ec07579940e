"""Looks after partitions from which nothing comes: because there is nothing, or because something is wrong.

How far a read_committed reader could read is asked of the brokers now and then, and nobody waits for the answer. It
is asked by a client of its own: on the consumer's connections it would wait behind a fetch that waits for messages.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # theirs to export

from worker.errors import DataProtectionError
from worker.kafka.blocked_partitions import BlockedPartition, BlockedPartitionDetector
from worker.kafka.offset_queries import offset_of
from worker.kafka.ownership import Ownership, PartitionProgress
from worker.kafka.stall_detection import PartitionLag, StallDetector, idle_offsets
from worker.records import Partition

if TYPE_CHECKING:
    from concurrent.futures import Future

log = logging.getLogger(__name__)

# With round trips of 3 s an answer takes 6 s: the leaders, then their ends. A partition without a leader holds up
# the answers for all others until then, so it is not longer.
_ANSWER_S_MAX = 10.0
_AGAIN_MS = 60_000
_KNOWN_MS_MAX = 30_000  # an answer that is older says nothing about now


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the session is to do.

    Attributes:
        idle: Places to commit: these partitions have nothing more to read.
        stalled: Partitions that do not move: the group is to be joined anew.
    """

    idle: Mapping[Partition, int]
    stalled: Sequence[Partition]


class PartitionMonitor:
    """The watch over quiet partitions.

    Args:
        config: librdkafka's properties, for the client that asks.
        end_offset_interval_ms: How often it asks.
        stall_timeout_ms: How long a partition may stand still although there is something to read.
        queued_records: How many records of a partition librdkafka fetches ahead (``queued.min.messages``).
        blocked_warning_ms: How long another producer's transaction may be open without a warning.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        end_offset_interval_ms: int,
        stall_timeout_ms: int,
        queued_records: int,
        blocked_warning_ms: int,
    ) -> None:
        self._end_offsets = EndOffsetQuery(config, every_ms=end_offset_interval_ms)
        self._backlog: dict[Partition, int] = {}
        self._answered_ms = 0
        self._stall_detector = StallDetector(stall_timeout_ms)
        self._rejoined_at: dict[Partition, int] = {}  # stalled partitions, where they stood
        self._turnovers = 0.0
        self._queued_records = queued_records
        self._blocked = Reports(blocked_warning_ms)

    def backlog(self, now_ms: int) -> Mapping[Partition, int]:
        """Messages that could be read and were not committed when the brokers answered last, by partition.

        Without those whose leader did not answer; empty when the last answers are too old to say anything. Both
        counts are of one moment: the place of now against an end of then would make a backlog too small.
        """
        return self._backlog if now_ms - self._answered_ms <= _KNOWN_MS_MAX else {}

    def blocked(self, now_ms: int) -> Mapping[Partition, BlockedPartition]:
        """Partitions that another producer's open transaction blocks; empty when the last answers are too old."""
        return self._blocked.found if now_ms - self._answered_ms <= _KNOWN_MS_MAX else {}

    def observe(self, records: int, partitions: int) -> None:
        """A poll gave so many records, of so many partitions that are fetched."""
        self._turnovers += records / (self._queued_records * max(1, partitions)) if records else 1

    def reset(self) -> None:
        """Nothing is read, on purpose, because of a quota, or from a new client: nothing is stalled yet."""
        self._stall_detector.forget()

    def look(self, now_ms: int, consumer: Consumer, owned: Ownership) -> Findings | None:
        """What follows from new answers of the brokers; None: there are none at the moment. Never waits.

        Raises:
            DataProtectionError: A partition does not move, and joining anew was no remedy.
        """
        ends = self._end_offsets.ends(now_ms, owned)
        if ends is None:
            return None
        lags = _lags(consumer, owned.progress, ends)
        self._blocked.look(now_ms, lags)
        self._answered_ms = now_ms
        self._backlog = {one: max(0, at.last_stable_offset - at.progress.committed) for one, at in lags.items()}
        stalled = self._stall_detector.find(now_ms, self._turnovers, lags)
        again = {one for one, position in stalled.items() if self._rejoined_at.get(one) == position}
        # When a fetch of the new client has come as far, there was nothing in it: compaction left nothing.
        if hopeless := [one for one in sorted(again) if lags[one].fetched_end < lags[one].last_stable_offset]:
            raise DataProtectionError(
                f"{', '.join(map(str, hopeless))} does not move, and joining the group again was no remedy: there "
                "are messages to read, and no fetch brings them. Look at the partition's leader and at this "
                "worker's connection to it, and start again."
            )
        self._rejoined_at |= stalled
        return Findings(idle=idle_offsets(lags), stalled=sorted(stalled.keys() - again))


class Reports:
    """The log lines about partitions that another producer's open transaction blocks.

    Args:
        blocked_warning_ms: How long a transaction may be open without a warning.

    Attributes:
        found: What was blocked at the last look.
    """

    def __init__(self, blocked_warning_ms: int) -> None:
        self.found: Mapping[Partition, BlockedPartition] = {}
        self._blocks = BlockedPartitionDetector(blocked_warning_ms)
        self._logged_ms: dict[Partition, int] = {}

    def look(self, now_ms: int, lags: Mapping[Partition, PartitionLag]) -> None:
        """Log what is blocked, once a minute, and what is blocked no longer."""
        blocked = self.found = self._blocks.find(now_ms, lags)
        for partition in sorted(self._logged_ms.keys() - blocked.keys()):
            del self._logged_ms[partition]
            if partition in lags:
                log.info("%s is no longer blocked by an open transaction", partition)
        for partition, block in sorted(blocked.items(), key=lambda one: one[0]):
            if now_ms - self._logged_ms.get(partition, now_ms - _AGAIN_MS) >= _AGAIN_MS:
                self._logged_ms[partition] = now_ms
                _warn(partition, block)


def _warn(partition: Partition, block: BlockedPartition) -> None:
    log.warning(
        "%s is blocked at offset %d by another producer's open transaction: %d messages wait behind it for %d s. "
        "Find the producer with kafka-transactions.sh find-hanging and describe, end it, or use abort",
        partition,
        block.last_stable_offset,
        block.messages,
        block.age_ms // 1000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOffsets:
    """Where a partition ends.

    Attributes:
        stable: For a read_committed reader: the last stable offset.
        high: For a read_uncommitted reader: the high watermark.
    """

    last_stable_offset: int
    high_watermark: int


class EndOffsetQuery:
    """The ends of partitions, no older than some seconds while the brokers answer.

    Args:
        config: librdkafka's properties.
        every_ms: How often to ask.
    """

    def __init__(self, config: Mapping[str, Any], *, every_ms: int) -> None:
        self._config = config
        self._every_ms = every_ms
        self._admin: AdminClient | None = None
        self._asked: dict[Partition, tuple[Future[Any], Future[Any]]] = {}  # stable, high
        self._asked_at_ms: int | None = None

    def ends(self, now_ms: int, owned: Ownership) -> dict[Partition, EndOffsets] | None:
        """New answers, each given once; None: there are none at the moment. Never waits.

        Args:
            now_ms: The time.
            owned: What to ask about next; looked at only when it is time to ask, for each poll comes by here.
        """
        if self._asked:
            if not all(answer.done() for answers in self._asked.values() for answer in answers):
                return None
            asked, self._asked = self._asked, {}
            found = {
                one: (offset_of(last_stable_offset), offset_of(high_watermark))
                for one, (last_stable_offset, high_watermark) in asked.items()
            }
            return {
                partition: EndOffsets(last_stable_offset=last_stable_offset, high_watermark=high_watermark or 0)
                for partition, (last_stable_offset, high_watermark) in found.items()
                if last_stable_offset is not None
            }
        due = self._asked_at_ms is None or now_ms - self._asked_at_ms >= self._every_ms
        if due and (partitions := owned.partitions):
            self._asked_at_ms = now_ms
            self._ask(partitions)
        return None

    def _ask(self, partitions: Sequence[Partition]) -> None:
        if self._admin is None:
            self._admin = AdminClient({"log_level": 0, **self._config})
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call] # theirs to type
        try:
            # The stable end is asked for first: what is committed in between does not look blocked for long.
            last_stable_offset, high_watermark = (
                self._admin.list_offsets(
                    {TopicPartition(*partition): latest for partition in partitions},
                    isolation_level=level,
                    request_timeout=_ANSWER_S_MAX,
                )
                for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
            )
        except KafkaException:
            return  # asked again in a while
        self._asked = {
            Partition(at.topic, at.partition): (answer, high_watermark[at])
            for at, answer in last_stable_offset.items()
        }


def _lags(
    consumer: Consumer, progress: Mapping[Partition, PartitionProgress], ends: Mapping[Partition, EndOffsets]
) -> dict[Partition, PartitionLag]:
    """Where the partitions stand whose ends are known; asks no broker."""
    return {
        partition: PartitionLag(
            progress=at,
            last_stable_offset=ends[partition].last_stable_offset,
            high_watermark=ends[partition].high_watermark,
            fetched_end=consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1],
        )
        for partition, at in progress.items()
        if partition in ends
    }
