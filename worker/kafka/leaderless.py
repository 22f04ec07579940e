"""Log the partitions that no broker leads, or whose leader does not answer."""

import logging
from collections.abc import Collection

from worker.kafka.log_interval import LogInterval
from worker.records import Partition

log = logging.getLogger(__name__)

_LOG_AFTER_MS = 1_000  # an election takes less
_LOG_AGAIN_MS = 30_000


class LeaderlessPartitions:
    """The partitions without a leader that answers."""

    def __init__(self) -> None:
        self._since_ms: dict[Partition, int] = {}
        self._intervals: dict[Partition, LogInterval] = {}  # of the partitions that were logged

    def note(self, now_ms: int, partition: Partition, *, has_leader: bool) -> None:
        """Note whether the partition has a leader that answers."""
        if not has_leader:
            self._since_ms.setdefault(partition, now_ms)
        elif partition in self._since_ms:
            del self._since_ms[partition]
            if self._intervals.pop(partition, None) is not None:
                log.info("%s has a leader again, or is assigned to another worker", partition)

    def log_due(self, now_ms: int, assigned: Collection[Partition]) -> None:
        """Log the partitions for which a line is due. Forget those that are not assigned to this worker."""
        for partition in self._since_ms.keys() - assigned:
            self.note(now_ms, partition, has_leader=True)
        due = [
            partition
            for partition, since_ms in self._since_ms.items()
            if now_ms - since_ms >= _LOG_AFTER_MS
            and self._intervals.setdefault(partition, LogInterval(_LOG_AGAIN_MS)).due(now_ms)
        ]
        if due:
            longest_s = (now_ms - min(self._since_ms[partition] for partition in due)) // 1000
            log.warning(
                "no leader answers for %s, for up to %d s so far: the worker does not read these partitions, and "
                "reads all others. Check the brokers that hold their replicas",
                ", ".join(map(str, sorted(due))),
                longest_s,
            )
