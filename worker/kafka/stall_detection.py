"""Partitions that do not move: which of them are stalled, and which places may be committed without a record. Pure.

librdkafka can leave an assigned partition unfetched for ever (its issue 5586), while the member's heartbeats go on,
so that nobody takes the partition over. PartitionProgress is the position, which also passes what is never
delivered (the control records of transactions), against the end that a read_committed reader can reach: the high
watermark would also count what stands behind another producer's open transaction, and call the healthy stalled.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.kafka.ownership import PartitionProgress
from worker.records import Partition

_TURNOVERS_MIN = 2  # the first may have begun before the suspicion


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """Where one of our partitions stands.

    Attributes:
        progress: How far it has come.
        end: The next offset that a read_committed reader can't reach yet, as a broker said when it was asked.
        fetched_end: The high watermark, as the last fetch brought it; negative: none did.
        high: The high watermark, as a broker said when it was asked; 0: it did not say.
    """

    progress: PartitionProgress
    last_stable_offset: int
    fetched_end: int
    high_watermark: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suspicion:
    position: int
    since_ms: int
    turnovers: float


def idle_offsets(lags: Mapping[Partition, PartitionLag]) -> dict[Partition, int]:
    """What to commit of partitions that are idle and caught up, behind control records that nobody is handed.

    Without it their lag stays at 1, and an autoscaler that goes by lag never reaches zero.
    """
    return {
        partition: at.position
        for partition, lag in lags.items()
        if not (at := lag.progress).in_hand and at.committed < at.position >= lag.last_stable_offset
    }


class StallDetector:
    """Which partitions have been standing still for too long.

    Args:
        patience_ms: How long one may stand still although there is something to read.
    """

    def __init__(self, stall_timeout_ms: int) -> None:
        self._stall_timeout_ms = stall_timeout_ms
        self._suspicions: dict[Partition, _Suspicion] = {}

    def find(self, now_ms: int, turnovers: float, lags: Mapping[Partition, PartitionLag]) -> dict[Partition, int]:
        """The stalled partitions, each with its position.

        Args:
            now_ms: The time.
            turnovers: How often what librdkafka had fetched has been consumed to the end, in all: a record may wait
                there behind those of busier partitions for longer than our patience.
            lags: Of all partitions that are ours now.
        """
        fresh = {
            partition: _Suspicion(position=lag.progress.position, since_ms=now_ms, turnovers=turnovers)
            for partition, lag in lags.items()
            if not lag.progress.in_hand and lag.progress.position < lag.last_stable_offset
        }
        self._suspicions = {
            partition: known
            if (known := self._suspicions.get(partition)) and known.position == suspicion.position
            else suspicion
            for partition, suspicion in fresh.items()
        }
        return {
            partition: suspicion.position
            for partition, suspicion in self._suspicions.items()
            if now_ms - suspicion.since_ms >= self._stall_timeout_ms
            and turnovers - suspicion.turnovers >= _TURNOVERS_MIN
        }

    def forget(self) -> None:
        """Begins anew: nothing was read for a while, on purpose, or because of a quota."""
        self._suspicions.clear()
