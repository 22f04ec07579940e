"""Detect a truncated log: the group has committed an offset beyond the end of the partition's log. Pure."""

from worker.errors import DataProtectionError
from worker.kafka.offset_reset import is_truncated
from worker.records import Partition

TRUNCATED_MS_MIN = 5_000  # while a topic is being recreated, the two offsets may belong to two different logs


class TruncationDetector:
    """Detects partitions whose committed offset stays beyond the end of the log.

    Args:
        group_id: The consumer group, for the error message.
    """

    def __init__(self, group_id: str) -> None:
        self._group_id = group_id
        self._since_ms: dict[Partition, int] = {}

    def is_suspected(self, now_ms: int, partition: Partition, committed: int | None, *, high: int) -> bool:
        """Return whether the log may be truncated. If so, ask for both offsets again.

        Args:
            now_ms: The time.
            partition: The partition.
            committed: The group's committed offset, or None.
            high: The high watermark.

        Raises:
            DataProtectionError: The committed offset has been beyond the end for ``TRUNCATED_MS_MIN``.
        """
        if committed is None or not is_truncated(committed, high=high):
            self._since_ms.pop(partition, None)
            return False
        if now_ms - self._since_ms.setdefault(partition, now_ms) < TRUNCATED_MS_MIN:
            return True
        raise DataProtectionError(
            f"{partition}: the group {self._group_id!r} (WORKER_KAFKA__GROUP_ID) has committed offset {committed}, "
            f"but the log ends at {high}: it was truncated, by an unclean leader election, or because the topic "
            f"was restored or mirrored. Which messages from {high} on were judged is unknown. Stop all workers of "
            "the group and set its offset by hand: kafka-consumer-groups.sh --bootstrap-server ... --group "
            f"{self._group_id} --topic {partition.topic}:{partition.number} --reset-offsets --execute, with "
            f"--to-latest for the end ({high}), or with --to-datetime YYYY-MM-DDTHH:mm:SS.sss for a time. Then "
            "start the workers again"
        )
