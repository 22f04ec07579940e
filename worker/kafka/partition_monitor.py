"""Watches the owned partitions: the backlog, idle offsets, stalled partitions, blocked partitions.

The brokers are asked at an interval where the logs end (``end_offsets.py``). Every answer goes to the pure
decisions: ``stall_detection.py`` and ``blocked_partitions.py``. The session carries the decisions out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from worker.errors import DataProtectionError
from worker.kafka.blocked_partitions import BlockedPartition, BlockedPartitionDetector, BlockedPartitionLog
from worker.kafka.end_offsets import EndOffsetQuery, EndOffsets
from worker.kafka.ownership import Ownership, PartitionProgress
from worker.kafka.stall_detection import PartitionLag, StallDetector, idle_offsets
from worker.records import Partition

_VALID_MS = 30_000  # an older answer says nothing about now


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFindings:
    """What the session must do after new answers of the brokers.

    Attributes:
        idle_offsets: Offsets to commit for partitions that have nothing more to read.
        stalled: Partitions that do not move: the session must join the group again.
    """

    idle_offsets: Mapping[Partition, int]
    stalled: Sequence[Partition]


class PartitionMonitor:
    """Compares the progress of the owned partitions with the ends of their logs.

    Args:
        end_offsets: Asks the brokers for the ends.
        stall_detector: Decides which partitions are stalled.
        blocked_warning_ms: How long another producer's transaction may be open without a warning.
    """

    def __init__(
        self, end_offsets: EndOffsetQuery, stall_detector: StallDetector, *, blocked_warning_ms: int
    ) -> None:
        self._end_offsets = end_offsets
        self._stall_detector = stall_detector
        self._blocked_detector = BlockedPartitionDetector(blocked_warning_ms)
        self._blocked_log = BlockedPartitionLog()
        self._answered_ms = 0
        self._lags: Mapping[Partition, PartitionLag] = {}
        self._blocked: Mapping[Partition, BlockedPartition] = {}

    def backlog(self, now_ms: int) -> Mapping[Partition, int]:
        """Return, by partition, the readable messages that were not committed at the time of the last answers.

        The result is empty if the last answers are too old. A partition whose leader did not answer is missing.
        Both offsets are of one moment: the committed offset of now and an earlier end would give too small a
        backlog.
        """
        if self._is_outdated(now_ms):
            return {}
        return {one: max(0, at.last_stable_offset - at.progress.committed) for one, at in self._lags.items()}

    def blocked(self, now_ms: int) -> Mapping[Partition, BlockedPartition]:
        """Return the partitions that an open transaction blocks; none if the last answers are too old."""
        return {} if self._is_outdated(now_ms) else self._blocked

    def observe_poll(self, records: int, partitions: int) -> None:
        """Note the number of records that a poll returned, and the number of partitions that it fetched."""
        self._stall_detector.observe_poll(records, partitions)

    def reset(self) -> None:
        """Restart the detection of stalls: reading was paused, was throttled, or began with a new client."""
        self._stall_detector.reset()

    def check(self, now_ms: int, consumer: Consumer, owned: Ownership) -> PartitionFindings | None:
        """Return what follows from new answers of the brokers; None if there are no new answers. Never waits.

        Raises:
            DataProtectionError: A partition does not move, although this worker has joined the group again.
        """
        ends = self._end_offsets.answers(now_ms, owned)
        if ends is None:
            return None
        self._answered_ms = now_ms
        self._lags = _lags(consumer, owned.progress, ends)
        self._blocked = self._blocked_detector.blocked(now_ms, self._lags)
        self._blocked_log.update(now_ms, self._blocked, self._lags)
        stalled = self._stall_detector.stalled(now_ms, self._lags)
        if stalled.unrecoverable:
            raise DataProtectionError(
                f"{', '.join(map(str, stalled.unrecoverable))} does not move, and joining the group again did not "
                "help: there are messages to read, but no fetch returns them. Check the partition's leader and the "
                "connection to the leader, then start this worker again."
            )
        return PartitionFindings(idle_offsets=idle_offsets(self._lags), stalled=stalled.to_rejoin)

    def _is_outdated(self, now_ms: int) -> bool:
        return now_ms - self._answered_ms > _VALID_MS


def _lags(
    consumer: Consumer, progress: Mapping[Partition, PartitionProgress], ends: Mapping[Partition, EndOffsets]
) -> dict[Partition, PartitionLag]:
    """Return the lags of the owned partitions whose ends are known; asks no broker."""
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
