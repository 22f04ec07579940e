"""Log the partitions whose committed offsets an open transaction of another producer withholds."""

import logging
from collections.abc import Collection, Iterable

from worker.kafka.log_interval import LogInterval
from worker.records import Partition

log = logging.getLogger(__name__)

_LOG_AFTER_MS = 5_000  # an ordinary transaction takes less
_LOG_AGAIN_MS = 30_000


class PendingOffsets:
    """The partitions that wait for a transaction to end."""

    def __init__(self) -> None:
        self._since_ms: dict[Partition, int] = {}
        self._interval = LogInterval(_LOG_AGAIN_MS)

    def note(self, partitions: Iterable[Partition], asked_ms: int | None) -> None:
        """Note the coordinator's answer about the committed offsets of these partitions.

        Args:
            partitions: The partitions that the request was about.
            asked_ms: When the request was made, if a transaction withholds the offsets; None: the offsets came.
        """
        for partition in partitions:
            if asked_ms is None:
                self._since_ms.pop(partition, None)
            else:
                self._since_ms.setdefault(partition, asked_ms)

    def log_due(self, now_ms: int, waiting: Collection[Partition]) -> None:
        """Log the cause if a line is due. Forget the partitions that no longer wait."""
        self._since_ms = {one: since_ms for one, since_ms in self._since_ms.items() if one in waiting}
        if not self._since_ms:
            self._interval.reset()
            return
        waited_ms = now_ms - min(self._since_ms.values())
        if waited_ms < _LOG_AFTER_MS or not self._interval.due(now_ms):
            return
        log.warning(
            "waiting for the committed offsets of %s, for %d s so far: another producer's open transaction "
            "contains them, probably that of an earlier worker with another WORKER_KAFKA__TRANSACTIONAL_ID. The "
            "brokers abort the transaction once it is older than its transaction.timeout.ms (the earlier worker's "
            "WORKER_KAFKA__TRANSACTION_TIMEOUT_MS). Give each worker one transactional id that stays the same over "
            "restarts. Then the restarted worker ends the transaction itself, and does not wait",
            ", ".join(map(str, sorted(self._since_ms))),
            waited_ms // 1000,
        )
