"""Names partitions in the log that no broker leads, or whose leader does not answer."""

import logging
from collections.abc import Collection

from worker.records import Partition

log = logging.getLogger(__name__)

_TELL_MS = 1_000  # an election takes less
_TELL_AGAIN_MS = 30_000


class Silence:
    """Since when which partitions have been without a leader that answers."""

    def __init__(self) -> None:
        self._since_ms: dict[Partition, int] = {}
        self._told_ms: dict[Partition, int] = {}

    def note(self, now_ms: int, partition: Partition, *, silent: bool) -> None:
        """Notes what was just heard of the partition's leader."""
        if silent:
            self._since_ms.setdefault(partition, now_ms)
        elif partition in self._since_ms:
            del self._since_ms[partition]
            if self._told_ms.pop(partition, None) is not None:
                log.info("%s has a leader again, or another worker", partition)

    def tell(self, now_ms: int, ours: Collection[Partition]) -> None:
        """Logs the partitions that it is time to name, and forgets those that are not ours any more."""
        for partition in self._since_ms.keys() - ours:
            self.note(now_ms, partition, silent=False)
        due = [
            partition
            for partition, since_ms in self._since_ms.items()
            if now_ms - since_ms >= _TELL_MS
            and (partition not in self._told_ms or now_ms - self._told_ms[partition] >= _TELL_AGAIN_MS)
        ]
        if due:
            self._told_ms.update(dict.fromkeys(due, now_ms))
            longest_s = (now_ms - min(self._since_ms[partition] for partition in due)) // 1000
            log.warning(
                "no leader answers for %s, for up to %d s by now: not read. All other partitions are read. Look at "
                "the brokers that hold these partitions' replicas",
                ", ".join(map(str, sorted(due))),
                longest_s,
            )
