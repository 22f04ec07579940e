"""Names partitions in the log whose committed offsets an open transaction of another producer holds."""

import logging
from collections.abc import Collection, Iterable

from worker.records import Partition

log = logging.getLogger(__name__)

_TELL_MS = 5_000  # an ordinary transaction takes less
_TELL_AGAIN_MS = 30_000


class PendingOffsets:
    """Since when which partitions have waited for a transaction to end."""

    def __init__(self) -> None:
        self._since_ms: dict[Partition, int] = {}
        self._told_ms: int | None = None

    def note(self, partitions: Iterable[Partition], asked_ms: int | None) -> None:
        """Notes what the coordinator has just said about the offsets of these partitions.

        Args:
            partitions: Those that were asked about.
            asked_ms: Since when a transaction has held back the answer, at least; None: they were answered.
        """
        for partition in partitions:
            if asked_ms is None:
                self._since_ms.pop(partition, None)
            else:
                self._since_ms.setdefault(partition, asked_ms)

    def tell(self, now_ms: int, waiting: Collection[Partition]) -> None:
        """Logs the cause when it is time to, and forgets partitions that do not wait any more."""
        self._since_ms = {one: since_ms for one, since_ms in self._since_ms.items() if one in waiting}
        if not self._since_ms:
            self._told_ms = None
            return
        waited_ms = now_ms - min(self._since_ms.values())
        if waited_ms < _TELL_MS or (self._told_ms is not None and now_ms - self._told_ms < _TELL_AGAIN_MS):
            return
        self._told_ms = now_ms
        log.warning(
            "waiting for the committed offsets of %s, for %d s by now: another producer's open transaction holds "
            "them, probably that of an earlier worker with another WORKER_KAFKA__TRANSACTIONAL_ID. The brokers end "
            "it once it is older than its transaction.timeout.ms (WORKER_KAFKA__TRANSACTION_TIMEOUT_MS of that "
            "worker). Give each worker one transactional id that stays the same when it is restarted: then it ends "
            "the transaction itself, and does not wait",
            ", ".join(map(str, sorted(self._since_ms))),
            waited_ms // 1000,
        )
