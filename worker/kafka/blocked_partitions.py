"""Partitions that another producer's open transaction blocks. Pure, except for the log lines.

A read_committed reader reads up to the last stable offset: the first offset of the oldest open transaction. While
that transaction is open, records gather behind it. A transaction that no producer ends may hang for ever
(KAFKA-12671).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from worker.kafka.log_interval import LogInterval
from worker.kafka.stall_detection import PartitionLag
from worker.records import Partition

log = logging.getLogger(__name__)

_LOG_AGAIN_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedPartition:
    """One blocked partition.

    Attributes:
        last_stable_offset: The offset at which the open transaction begins.
        messages: Offsets from there to the high watermark. Some of them may be control records.
        age_ms: How long the last stable offset has not moved.
    """

    last_stable_offset: int
    messages: int
    age_ms: int


class BlockedPartitionDetector:
    """Finds the partitions that an open transaction has blocked for too long.

    Args:
        warn_after_ms: How long a transaction may be open.
    """

    def __init__(self, warn_after_ms: int) -> None:
        self._warn_after_ms = warn_after_ms
        self._since: dict[Partition, tuple[int, int]] = {}  # the last stable offset, and when it was first seen

    def blocked(self, now_ms: int, lags: Mapping[Partition, PartitionLag]) -> dict[Partition, BlockedPartition]:
        """Return the blocked partitions among those of ``lags``."""
        since = {}
        for partition, lag in lags.items():
            if lag.progress.position >= lag.last_stable_offset < lag.high_watermark:
                offset, at_ms = self._since.get(partition, (-1, now_ms))
                since[partition] = (lag.last_stable_offset, at_ms if offset == lag.last_stable_offset else now_ms)
        self._since = since
        return {
            partition: BlockedPartition(
                last_stable_offset=offset,
                messages=lags[partition].high_watermark - offset,
                age_ms=now_ms - at_ms,
            )
            for partition, (offset, at_ms) in since.items()
            if now_ms - at_ms >= self._warn_after_ms
        }


class BlockedPartitionLog:
    """Logs the blocked partitions once a minute, and the partitions that are no longer blocked."""

    def __init__(self) -> None:
        self._intervals: dict[Partition, LogInterval] = {}  # of the partitions that were logged as blocked

    def update(
        self,
        now_ms: int,
        blocked: Mapping[Partition, BlockedPartition],
        lags: Mapping[Partition, PartitionLag],
    ) -> None:
        """Log what has changed.

        Args:
            now_ms: The time.
            blocked: The partitions that are blocked now.
            lags: All partitions about which the brokers have answered. Of the others nothing is known.
        """
        for partition in sorted(self._intervals.keys() - blocked.keys()):
            del self._intervals[partition]
            if partition in lags:
                log.info("%s is no longer blocked by an open transaction", partition)
        for partition, block in sorted(blocked.items(), key=lambda one: one[0]):
            if self._intervals.setdefault(partition, LogInterval(_LOG_AGAIN_MS)).due(now_ms):
                log.warning(
                    "%s is blocked at offset %d by another producer's open transaction: %d messages wait behind it "
                    "for %d s. Find the producer with kafka-transactions.sh find-hanging and describe, end it, or "
                    "use abort",
                    partition,
                    block.last_stable_offset,
                    block.messages,
                    block.age_ms // 1000,
                )
