"""Partitions that do not move: which of them are stalled, and which idle offsets to commit. Pure.

librdkafka can leave an assigned partition unfetched for ever (its issue 5586). The heartbeats of the member go on,
so the group does not give the partition to another worker.

Progress is the position compared with the last stable offset. The position also passes offsets that no reader is
given: the control records of transactions. Rejected: the high watermark as the end. It also counts records behind
another producer's open transaction, and healthy partitions would look stalled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.kafka.ownership import PartitionProgress
from worker.records import Partition

_TURNOVERS_MIN = 2  # the first one may have begun before the partition stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """The progress of a partition, and the end of its log.

    Attributes:
        progress: How far this worker has come.
        last_stable_offset: The first offset that a read_committed reader cannot reach yet, by a broker's answer.
        fetched_end: The high watermark in the last fetch response; negative if there was no fetch response.
        high_watermark: The high watermark, by a broker's answer; 0 if the broker did not answer.
    """

    progress: PartitionProgress
    last_stable_offset: int
    fetched_end: int
    high_watermark: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StalledPartitions:
    """Partitions that have stood still for too long, by what helps.

    Attributes:
        to_rejoin: Partitions that a new client may be able to fetch.
        unrecoverable: Partitions that a new client did not fetch either.
    """

    to_rejoin: Sequence[Partition]
    unrecoverable: Sequence[Partition]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standstill:
    position: int
    since_ms: int
    turnovers: float


def idle_offsets(lags: Mapping[Partition, PartitionLag]) -> dict[Partition, int]:
    """Return the offsets to commit for idle partitions that were read up to the end, past control records.

    Without these commits the lag of such a partition stays at 1, and an autoscaler that follows the lag never
    scales to zero.
    """
    return {
        partition: at.position
        for partition, lag in lags.items()
        if not (at := lag.progress).has_uncommitted and at.committed < at.position >= lag.last_stable_offset
    }


class StallDetector:
    """Finds the partitions that stand still although there are records to read.

    Args:
        stall_timeout_ms: How long a partition may stand still.
        queued_records: How many records of a partition librdkafka fetches ahead (``queued.min.messages``).
    """

    def __init__(self, stall_timeout_ms: int, *, queued_records: int) -> None:
        self._stall_timeout_ms = stall_timeout_ms
        self._queued_records = queued_records
        self._turnovers = 0.0
        self._standstills: dict[Partition, _Standstill] = {}
        self._rejoined_at: dict[Partition, int] = {}  # the positions of stalled partitions before the last rejoin

    def observe_poll(self, records: int, partitions: int) -> None:
        """Count how often the worker has consumed all that librdkafka had fetched ahead: the turnovers.

        A record may wait in librdkafka's queue behind records of busier partitions for longer than the timeout.
        Two turnovers have passed every record that was in the queue.

        Args:
            records: How many records a poll returned. A poll without records is a whole turnover.
            partitions: How many partitions librdkafka fetches.
        """
        self._turnovers += records / (self._queued_records * max(1, partitions)) if records else 1

    def reset(self) -> None:
        """Forget since when partitions stand still: reading was paused, throttled, or began with a new client."""
        self._standstills.clear()

    def stalled(self, now_ms: int, lags: Mapping[Partition, PartitionLag]) -> StalledPartitions:
        """Return the stalled partitions; each one counts as rejoined from now on.

        Args:
            now_ms: The time.
            lags: The lags of all owned partitions whose end is known.
        """
        positions = self._stalled_positions(now_ms, lags)
        again = {one for one, position in positions.items() if self._rejoined_at.get(one) == position}
        # If the new client's fetches have reached the end, compaction has left nothing to read: not an error.
        unrecoverable = [one for one in sorted(again) if lags[one].fetched_end < lags[one].last_stable_offset]
        self._rejoined_at |= positions
        return StalledPartitions(to_rejoin=sorted(positions.keys() - again), unrecoverable=unrecoverable)

    def _stalled_positions(self, now_ms: int, lags: Mapping[Partition, PartitionLag]) -> dict[Partition, int]:
        behind = {
            partition: _Standstill(position=lag.progress.position, since_ms=now_ms, turnovers=self._turnovers)
            for partition, lag in lags.items()
            if not lag.progress.has_uncommitted and lag.progress.position < lag.last_stable_offset
        }
        self._standstills = {
            partition: known
            if (known := self._standstills.get(partition)) and known.position == new.position
            else new
            for partition, new in behind.items()
        }
        return {
            partition: standstill.position
            for partition, standstill in self._standstills.items()
            if now_ms - standstill.since_ms >= self._stall_timeout_ms
            and self._turnovers - standstill.turnovers >= _TURNOVERS_MIN
        }
