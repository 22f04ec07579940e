"""Partitions that another producer's open transaction blocks. Pure.

A read_committed reader reads up to the last stable offset. It stands still there while a transaction that began
there is open, and messages gather behind it. A transaction that nobody ends may hang for ever (KAFKA-12671).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.kafka.stall_detection import PartitionLag
from worker.records import Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedPartition:
    """One blocked partition.

    Attributes:
        last_stable_offset: The last stable offset.
        messages: Offsets from there to the high watermark; a few may be control records.
        age_ms: How long it has been seen so.
    """

    last_stable_offset: int
    messages: int
    age_ms: int


class BlockedPartitionDetector:
    """Which partitions are blocked for too long.

    Args:
        patience_ms: How long a transaction may be open before it counts.
    """

    def __init__(self, warn_after_ms: int) -> None:
        self._warn_after_ms = warn_after_ms
        self._since: dict[Partition, tuple[int, int]] = {}  # the last stable offset, and since when

    def find(self, now_ms: int, lags: Mapping[Partition, PartitionLag]) -> dict[Partition, BlockedPartition]:
        """Give the blocked partitions of these."""
        since = {}
        for partition, lag in lags.items():
            if lag.progress.position >= lag.last_stable_offset < lag.high_watermark:
                offset, at_ms = self._since.get(partition, (-1, now_ms))
                since[partition] = (lag.last_stable_offset, at_ms if offset == lag.last_stable_offset else now_ms)
        self._since = since
        return {
            partition: BlockedPartition(
                last_stable_offset=offset, messages=lags[partition].high_watermark - offset, age_ms=now_ms - at_ms
            )
            for partition, (offset, at_ms) in since.items()
            if now_ms - at_ms >= self._warn_after_ms
        }
