"""Check every few seconds whether a topic was recreated, and which partitions have no leader.

Nothing waits for an answer: a poll sends the request, and a later poll takes the answers.
"""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from worker.kafka.leaderless import LeaderlessPartitions
from worker.kafka.offset_queries import OffsetQueries, leader_of, topic_id_of
from worker.kafka.ownership import PartitionProgress
from worker.kafka.topic_ids import IdCheck, JudgedSinceCheck, TopicIds
from worker.records import Partition

if TYPE_CHECKING:
    from concurrent.futures import Future

CHECK_MS = 5_000


class TopicCheck:
    """The periodic comparison of topic ids and leaders.

    Args:
        queries: Asks the brokers.
        ids: The known topic ids.
        leaderless: The partitions without a leader.
    """

    def __init__(self, queries: OffsetQueries, ids: TopicIds, leaderless: LeaderlessPartitions) -> None:
        self._queries = queries
        self._ids = ids
        self._leaderless = leaderless
        self._judged = JudgedSinceCheck()
        self._asked_ms = 0
        self._answers: Mapping[str, Future[Any]] = {}

    def run(
        self,
        now_ms: int,
        assigned: Callable[[], Collection[Partition]],
        progress: Callable[[], Mapping[Partition, PartitionProgress]],
    ) -> list[str]:
        """Ask about the topics when it is time, or take the answers. Return the recreated topics. Never wait.

        Args:
            now_ms: The time.
            assigned: Returns all partitions of this worker. Called only when needed.
            progress: Returns the progress of the partitions that are read. Called only when needed.
        """
        if self._answers:
            return self._take_answers(now_ms, assigned) if all(one.done() for one in self._answers.values()) else []
        if now_ms - self._asked_ms >= CHECK_MS and (partitions := assigned()):
            self._asked_ms = now_ms
            self._answers = self._queries.describe_topics({partition.topic for partition in partitions})
            self._judged.begin_check(committed_offsets(progress()))
        return []

    def judged_since(self, topic: str, progress: Mapping[Partition, PartitionProgress]) -> int:
        """Return how many messages of the topic this worker has judged since the id was last found unchanged."""
        return self._judged.count(topic, committed_offsets(progress))

    def _take_answers(self, now_ms: int, assigned: Callable[[], Collection[Partition]]) -> list[str]:
        answers, self._answers = self._answers, {}
        topics = {topic: answer.result() for topic, answer in answers.items() if answer.exception() is None}
        partitions = assigned()
        for partition in partitions:
            if (description := topics.get(partition.topic)) is not None:
                has_leader = leader_of(description, partition) is not None
                self._leaderless.note(now_ms, partition, has_leader=has_leader)
        self._leaderless.log_due(now_ms, partitions)
        checks = {topic: self._ids.check(topic, topic_id_of(answer)) for topic, answer in topics.items()}
        for topic, check in checks.items():
            if check is IdCheck.SAME:
                self._judged.same_id(topic)
        return [topic for topic, check in checks.items() if check is IdCheck.CHANGED]


def committed_offsets(progress: Mapping[Partition, PartitionProgress]) -> dict[Partition, int]:
    """Return the committed offset of each partition."""
    return {partition: at.committed for partition, at in progress.items()}
