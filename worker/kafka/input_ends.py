"""For ``run --until-end``: where the input ended at the start, and whether the group has committed up to there.

The answer is about the group, not about this worker, because several workers may share the work. Rejected: "this
worker's own partitions are committed". It is wrong in this sequence:

1. Two workers have two partitions each. The first one finishes and ends.
2. The second one is killed. Nobody reads its partitions any more, and the first one has ended with exit code 0.

So a worker goes on until the group has committed the ends of all partitions, also of those that it has never owned.
In the sequence above the first worker takes the partitions over. Exit code 0 then means the same for each worker:
nothing before the ends is uncommitted. Only the group's committed offsets count. The coordinator gives them without
the offsets of open transactions, so a commit that may still be aborted does not count.

A thread of its own asks, so the owner never waits. Without ``--until-end`` nothing here runs.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import IsolationLevel, KafkaException

from worker.errors import DataProtectionError
from worker.kafka.background import BackgroundThread
from worker.kafka.log_interval import LogInterval
from worker.kafka.offset_queries import OffsetQueries, OffsetsPending, offset_of
from worker.records import Partition

if TYPE_CHECKING:
    from concurrent.futures import Future

log = logging.getLogger(__name__)

_INTERVAL_MS = 500
_LOG_MS = 30_000
QUARANTINE_MS_MAX = 60_000
"""How long to wait when everything that is left is in quarantine. The worker checks such a partition after 10 s and
again after 20 s."""


class _NoAnswerError(Exception):
    """A broker that has just gone gave no offset."""


class InputEnds:
    """The ends of the input partitions that the group has not committed yet.

    Args:
        config: librdkafka's properties for the clients that ask.
        group_id: The consumer group.
        topics: The input topics.
    """

    def __init__(self, config: Mapping[str, Any], *, group_id: str, topics: Sequence[str]) -> None:
        self._topics = topics
        self._queries = OffsetQueries(config, group_id=group_id)
        self._thread = BackgroundThread("input-ends")
        self._left: Mapping[Partition, int] | None = None
        self._answer: Future[Mapping[Partition, int]] | None = None
        self._asked_ms: int | None = None
        self._quarantined_since_ms: int | None = None
        self._warnings = LogInterval(_LOG_MS)

    @property
    def left(self) -> Mapping[Partition, int] | None:
        """The ends that are not committed yet, by partition; None while the ends are not known."""
        return self._left

    @property
    def are_committed(self) -> bool:
        """Whether the group has committed everything before the ends."""
        return self._left is not None and not self._left

    def update(self, now_ms: int, quarantined: Collection[Partition]) -> bool:
        """Return ``are_committed`` after the newest answer of the brokers. Ask again if it is time; never wait.

        Args:
            now_ms: The time.
            quarantined: The partitions of this worker that are in quarantine.

        Raises:
            DataProtectionError: The ends can't be reached: a log is shorter now, or only partitions in quarantine
                are left.
        """
        if self._answer is None:
            if self._asked_ms is None or now_ms - self._asked_ms >= _INTERVAL_MS:
                self._asked_ms = now_ms
                self._answer = self._thread.submit(partial(self._ask, self._left))
        elif self._answer.done():
            self._take(now_ms, self._answer)
            self._answer = None
        self._refuse_to_wait_for_quarantine(now_ms, quarantined)
        return self.are_committed

    def close(self) -> None:
        """Close the clients."""
        self._thread.close()
        self._queries.close()

    def _take(self, now_ms: int, answer: "Future[Mapping[Partition, int]]") -> None:
        try:
            left = answer.result()
        except (KafkaException, OffsetsPending, _NoAnswerError) as error:
            if self._warnings.due(now_ms):
                log.warning(
                    "the brokers did not say where the input (%s) ends, or what the group has committed (%s): "
                    "asking again",
                    ", ".join(self._topics),
                    str(error) or "an open transaction contains the offsets",
                )
            return
        if self._left is None:
            self._asked_ms = None  # the next question, about the committed offsets, need not wait
            ends = ", ".join(f"{partition}@{end}" for partition, end in sorted(left.items()))
            log.info("judging until the group has committed these offsets: %s", ends or "none, the input is empty")
        self._left = left

    def _ask(self, left: Mapping[Partition, int] | None) -> Mapping[Partition, int]:
        """Return the ends; once they are known, those that are left. This runs on the thread, and waits."""
        if left is None:
            return self._ends()
        committed = {Partition(at.topic, at.partition): at.offset for at in self._queries.committed(left).result()}
        left = {partition: end for partition, end in left.items() if committed[partition] < end}
        high = self._queries.latest(left, IsolationLevel.READ_UNCOMMITTED)
        for partition, answer in high.items():
            answer.exception()  # waits for the answer
            now = offset_of(answer)
            if now is not None and now < left[partition]:
                raise DataProtectionError(
                    f"{partition} ended at offset {left[partition]} when this worker started, and ends at offset "
                    f"{now} now: the log was truncated, or the topic was deleted and created again. Start this "
                    "worker again, then it judges up to the end that the log has now."
                )
        return left

    def _ends(self) -> Mapping[Partition, int]:
        """Return the last stable offset of each partition that has offsets to read."""
        topics = [answer.result() for answer in self._queries.describe_topics(self._topics).values()]
        partitions = [Partition(topic.name, one.id) for topic in topics for one in topic.partitions]
        low = {one: answer.result().offset for one, answer in self._queries.earliest(partitions).items()}
        end = {one: answer.result().offset for one, answer in self._queries.latest(partitions).items()}
        if unknown := [one for one in partitions if min(low[one], end[one]) < 0]:
            raise _NoAnswerError(f"no answer for {', '.join(map(str, unknown))}")
        return {one: end[one] for one in partitions if end[one] > low[one]}

    def _refuse_to_wait_for_quarantine(self, now_ms: int, quarantined: Collection[Partition]) -> None:
        if not self._left or not set(quarantined).issuperset(self._left):
            self._quarantined_since_ms = None
            return
        if self._quarantined_since_ms is None:
            self._quarantined_since_ms = now_ms
        if now_ms - self._quarantined_since_ms >= QUARANTINE_MS_MAX:
            raise DataProtectionError(
                f"everything up to the end is judged, except {', '.join(map(str, sorted(self._left)))}: in "
                "quarantine, because too many records would be dead letters (a line above has the reason). Correct "
                "the cause, or let them become dead letters with WORKER_DEAD_LETTER__INPUT_SHARE_MAX=1, and start "
                "this worker again."
            )
