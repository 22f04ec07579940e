"""Detect that the group's committed offset is smaller than one that this process has committed itself. Pure.

Within one log the committed offset of a group never goes back while a member works. So a smaller answer comes from
a coordinator that has not loaded all commits (``start_confirmation``), or from a tool that set the offset back.
"""

from worker.errors import DataProtectionError
from worker.kafka.commit_metadata import CommitMetadata
from worker.records import Partition

BACK_MS_MIN = 30_000
"""A coordinator of a busy cluster may load for some seconds."""


class RegressionDetector:
    """Knows the newest offset of each partition that this process has committed.

    Args:
        group_id: The consumer group, for the error message.
    """

    def __init__(self, group_id: str) -> None:
        self._group_id = group_id
        self._newest: dict[Partition, tuple[str, int]] = {}
        self._since_ms: dict[Partition, int] = {}

    def committed(self, partition: Partition, topic_id: str, offset: int) -> None:
        """Note an offset that this process has committed.

        Args:
            partition: The partition.
            topic_id: The id of the topic; empty if the brokers give topics no ids. Then nothing can be detected,
                because the topic may have been deleted and created again.
            offset: The offset.
        """
        self._since_ms.pop(partition, None)
        if topic_id:
            self._newest[partition] = topic_id, offset

    def is_suspected(
        self, now_ms: int, partition: Partition, offset: int, metadata: CommitMetadata, *, topic_id: str
    ) -> bool:
        """Return whether the coordinator's answer seems to be an old one. If so, ask again.

        Args:
            now_ms: The time.
            partition: The partition.
            offset: The committed offset that the coordinator answered; negative: none.
            metadata: The metadata of the offset.
            topic_id: The id that the topic has now.

        Raises:
            DataProtectionError: The answers have seemed to be old for ``BACK_MS_MIN``.
        """
        known_id, newest = self._newest.get(partition, ("", 0))
        is_of_other_log = bool(metadata.topic_id) and metadata.topic_id != known_id
        if known_id != topic_id or not topic_id or (offset >= newest and not is_of_other_log):
            self._since_ms.pop(partition, None)
            return False
        if now_ms - self._since_ms.setdefault(partition, now_ms) < BACK_MS_MIN:
            return True
        raise DataProtectionError(
            f"{partition}: the group {self._group_id!r} (WORKER_KAFKA__GROUP_ID) has committed "
            f"{f'offset {offset}' if offset >= 0 else 'no offset'}, but this worker has committed offset {newest} "
            "before. From a smaller offset messages would be judged twice. If a person has set the offset back, "
            "start this worker again. If not, restart the broker that is the group's coordinator, look at the "
            "offset again (kafka-consumer-groups.sh --describe), and then start this worker"
        )
