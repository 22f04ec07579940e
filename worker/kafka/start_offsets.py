"""Where partitions start: what the group has committed, or what the settings say where that is missing or gone.

The brokers are asked for many partitions together, and nobody waits for an answer: ``find`` looks at what has come.
A partition whose leader does not answer holds up no other one. The questions are, in this order:

1. for all waiting partitions: the committed offsets, of the group's coordinator, and the topics' ids and leaders;
2. only where the committed offset is missing or can't be used: the range of the log, of each leader on its own.

The committed offsets are asked for at read_committed: while a transaction that holds one of them is not settled,
the coordinator gives no answer, and the partitions are asked for again. So what is answered is what was really
committed, also after a commit whose answer was lost.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition

from worker.errors import DataProtectionError
from worker.kafka.leaderless import Silence
from worker.kafka.offset_lookups import OffsetLookups
from worker.kafka.offset_queries import OffsetQueries, OffsetsPending, leader_of, offset_of, topic_id_of
from worker.kafka.offset_reset import OffsetReset, is_truncated, start_offset
from worker.kafka.ownership import PartitionProgress
from worker.kafka.pending_offsets import PendingOffsets
from worker.kafka.start_questions import CommittedQuestion, RangeQuestion
from worker.kafka.topic_ids import JudgedSince, Seen, TopicIds, stamped
from worker.records import Partition

if TYPE_CHECKING:
    from concurrent.futures import Future

log = logging.getLogger(__name__)

CHECK_MS = 5_000
TRUNCATED_MS_MIN = 5_000  # while a topic is created again, two answers may be about two logs
_ASK_AGAIN_MS = 100
_ASK_AGAIN_MS_MAX = 1_000


@dataclass(slots=True)
class Found:
    """What has been answered since the last look.

    Attributes:
        committed: Starts that the group has committed.
        chosen: Starts that the settings chose: commit them before the first record is read, so that the answer does
            not depend on when somebody asks.
        recreated: Topics that were deleted and created again.
        errors: What brokers answered instead.
    """

    committed: dict[Partition, int] = field(default_factory=dict)
    chosen: dict[Partition, int] = field(default_factory=dict)
    recreated: list[str] = field(default_factory=list)
    errors: list[KafkaError] = field(default_factory=list)


class StartOffsets:
    """Finds the start of each waiting partition, and compares the ids of the topics now and then.

    Args:
        config: librdkafka's properties, for the client that asks.
        group_id: The consumer group.
        reset: What the settings want without a committed offset.
    """

    def __init__(self, config: Mapping[str, Any], *, group_id: str, reset: OffsetReset) -> None:
        self.ids = TopicIds()
        self._reset = reset
        self._queries = OffsetQueries(config, group_id=group_id)
        self._lookups = OffsetLookups(_ASK_AGAIN_MS, _ASK_AGAIN_MS_MAX)
        self._questions: list[CommittedQuestion | RangeQuestion] = []
        self._silence = Silence()
        self._pending = PendingOffsets()
        self._judged = JudgedSince()
        self._truncated_since_ms: dict[Partition, int] = {}
        self._check: tuple[int, Mapping[str, Future[Any]]] = (0, {})

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drops the questions about these: the answers would be of another assignment, or of before a rewind.

        1. p waits, and is asked for: the group has committed 5;
        2. p is revoked; another worker judges 5 to 9 and commits 10;
        3. p is assigned again, and waits;
        4. the answer to step 1 comes. To read from 5 would judge 5 to 9 twice.

        The same holds for a rewind after a commit whose answer was lost. Step 2 and the rewind both forget p, so
        the answer of step 4 belongs to no question, and p is asked for anew.
        """
        self._lookups.forget(partitions)

    def find(self, now_ms: int, waiting: Collection[Partition], out_of_range: Collection[Partition]) -> Found:
        """Takes the answers that have come, and asks what is to be asked next. Never waits.

        Args:
            now_ms: The time.
            waiting: The partitions that want a start. Call this only when no transaction of ours is unsettled.
            out_of_range: Of these, those whose committed offset a fetch has found to be out of range.

        Raises:
            DataProtectionError: There is no position, and the settings want none chosen; or the log was truncated.
        """
        found = Found()
        questions, self._questions = self._questions, []
        for question in questions:
            if not question.done:
                self._questions.append(question)
            elif isinstance(question, CommittedQuestion):
                self._take_committed(now_ms, question, out_of_range, found)
            else:
                self._take_range(now_ms, question, found)
        answered = found.committed.keys() | found.chosen.keys()
        if due := self._lookups.due(now_ms, (one for one in waiting if one not in answered)):
            self._ask_committed(now_ms, due)
        self._pending.tell(now_ms, waiting)
        return found

    def close(self) -> None:
        """Ends the clients that ask; waits for about a second at most."""
        self._queries.close()

    def check_topics(
        self,
        now_ms: int,
        assigned: Callable[[], Collection[Partition]],
        progress: Callable[[], Mapping[Partition, PartitionProgress]],
    ) -> list[str]:
        """Compares the topics' ids with the known ones now and then, and names partitions without a leader.

        Args:
            now_ms: The time.
            assigned: Gives all partitions that are ours; called only when it is time.
            progress: Gives those that are read; called only when it is time.

        Returns:
            Topics that were deleted and created again.
        """
        asked_ms, answers = self._check
        if answers:
            if not all(answer.done() for answer in answers.values()):
                return []
            self._check = (asked_ms, {})
            known = {topic: answer.result() for topic, answer in answers.items() if answer.exception() is None}
            for partition in (ours := assigned()):
                if (description := known.get(partition.topic)) is not None:
                    self._silence.note(now_ms, partition, silent=leader_of(description, partition) is None)
            self._silence.tell(now_ms, ours)
            seen = {topic: self._see(topic, description) for topic, description in known.items()}
            for topic in (topic for topic, what in seen.items() if what is Seen.SAME):
                self._judged.same(topic)
            return [topic for topic, what in seen.items() if what is Seen.CHANGED]
        if now_ms - asked_ms >= CHECK_MS and (ours := assigned()):
            self._check = (now_ms, self._queries.describe_topics({partition.topic for partition in ours}))
            self._judged.ask(_committed(progress()))
        return []

    def recreation_message(
        self, topic: str, progress: Mapping[Partition, PartitionProgress], backlog: Mapping[Partition, int]
    ) -> str:
        """Returns what has happened to a topic that was created again, for the log."""
        known = [messages for partition, messages in backlog.items() if partition.topic == topic]
        return self.ids.recreation_message(
            topic, sum(known) if known else None, self._judged.count(topic, _committed(progress))
        )

    def _see(self, topic: str, description: Any) -> Seen:
        return self.ids.see(topic, topic_id_of(description))

    # ---- the first question ------------------------------------------------------------------------------------

    def _ask_committed(self, now_ms: int, partitions: Collection[Partition]) -> None:
        topics = self._queries.describe_topics({partition.topic for partition in partitions})
        offsets = self._queries.committed(partitions)
        self._questions.append(
            CommittedQuestion(now_ms, self._lookups.ask(partitions), partitions, offsets, topics)
        )

    def _take_committed(
        self, now_ms: int, question: CommittedQuestion, out_of_range: Collection[Partition], found: Found
    ) -> None:
        answers = [question.offsets, *question.topics.values()]
        failures = [answer.exception() for answer in answers if answer.exception() is not None]
        found.errors += [failure.args[0] for failure in failures if isinstance(failure, KafkaException)]
        topics = {topic: answer.result() for topic, answer in question.topics.items() if not answer.exception()}
        seen = {topic: self._see(topic, description) for topic, description in topics.items()}
        found.recreated += [topic for topic, what in seen.items() if what is Seen.CHANGED]
        committed: dict[Partition, TopicPartition] = {}
        is_pending = isinstance(question.offsets.exception(), OffsetsPending)
        if question.offsets.exception() is None:
            committed = {Partition(at.topic, at.partition): at for at in question.offsets.result()}
        ranges: dict[int, dict[Partition, int | None]] = {}
        gone: dict[Partition, str] = {}
        current = self._lookups.current(question.number, question.partitions)
        self._pending.note(current, question.asked_ms if is_pending else None)
        for partition in current:
            answer = committed.get(partition)
            if answer is not None and answer.error is not None:
                found.errors.append(answer.error)
            if answer is None or answer.error is not None or seen.get(partition.topic) is not Seen.SAME:
                self._lookups.again(now_ms, partition)
                continue
            if before := self._log_before(partition, answer):
                gone[partition] = before
            offset = answer.offset if answer.offset >= 0 and not before else None
            leader = leader_of(topics[partition.topic], partition)
            self._silence.note(now_ms, partition, silent=leader is None)
            if offset is not None and partition not in out_of_range:
                found.committed[partition] = offset
                self._lookups.forget([partition])
            elif leader is None:
                self._lookups.again(now_ms, partition)
            else:
                ranges.setdefault(leader, {})[partition] = offset
        for committed_there in ranges.values():
            self._ask_range(question.number, committed_there, gone)

    def _log_before(self, partition: Partition, answer: TopicPartition) -> str:
        """The id of the log that had the topic's name when the group committed; empty: it is still the same one."""
        topic = partition.topic
        if answer.offset < 0 or not self.ids.is_of_this_log(topic, answer.metadata):
            return stamped(answer.metadata) or ", ".join(sorted(self.ids.replaced(topic)))
        return ""

    # ---- the second question -----------------------------------------------------------------------------------

    def _ask_range(
        self, number: int, committed: Mapping[Partition, int | None], gone: Mapping[Partition, str]
    ) -> None:
        """Asks one leader."""
        without = [partition for partition, offset in committed.items() if offset is None]
        beyond = [partition for partition, offset in committed.items() if offset is not None]
        at_ms = self._reset.time_ms
        self._questions.append(
            RangeQuestion(
                number=number,
                committed=committed,
                gone=gone,
                low=self._queries.earliest(committed),
                # A start at the end must not skip an open transaction; a committed offset may lie behind its begin.
                high={
                    **self._queries.latest(without),
                    **self._queries.latest(beyond, IsolationLevel.READ_UNCOMMITTED),
                },
                timed={} if at_ms is None else self._queries.for_timestamp(without, at_ms),
            )
        )

    def _take_range(self, now_ms: int, question: RangeQuestion, found: Found) -> None:
        for partition in self._lookups.current(question.number, question.committed):
            committed = question.committed[partition]
            low, high = offset_of(question.low[partition]), offset_of(question.high[partition])
            timed = offset_of(question.timed[partition], least=-1) if partition in question.timed else None
            silent = low is None or high is None or (timed is None and partition in question.timed)
            self._silence.note(now_ms, partition, silent=silent)
            if low is None or high is None or silent or self._is_beyond(now_ms, partition, committed, high):
                self._lookups.again(now_ms, partition)
                continue
            begin = start_offset(committed, low=low, high=high, timed=timed, reset=self._reset)
            now = _recreated(self.ids.current(partition.topic), question.gone.get(partition, ""))
            if begin is None:
                raise DataProtectionError(
                    f"{partition} has no usable committed offset (committed: {committed}, available: {low} to "
                    f"{high}{now}) and WORKER_KAFKA__AUTO_OFFSET_RESET is error: set it to earliest, or to a time, "
                    "to go on"
                )
            if now:
                log.warning(
                    "%s starts at %d, where WORKER_KAFKA__AUTO_OFFSET_RESET says%s. What the group had committed "
                    "belongs to the log that is gone",
                    partition,
                    begin,
                    now,
                )
            if committed is not None and begin != committed:
                log.error("%s: offsets %d to %d are gone (retention): not judged", partition, committed, begin)
            found.chosen[partition] = begin
            self._lookups.forget([partition])

    def _is_beyond(self, now_ms: int, partition: Partition, committed: int | None, high: int) -> bool:
        """Whether the committed offset lies behind the end of the log; for some seconds it may be a mistake.

        Raises:
            DataProtectionError: It is none.
        """
        if committed is None or not is_truncated(committed, high=high):
            self._truncated_since_ms.pop(partition, None)
            return False
        if now_ms - self._truncated_since_ms.setdefault(partition, now_ms) < TRUNCATED_MS_MIN:
            return True
        group_id = self._queries.group_id
        raise DataProtectionError(
            f"{partition}: the group {group_id!r} (WORKER_KAFKA__GROUP_ID) has committed offset {committed}, but "
            f"the log ends at {high}: it was truncated, by an unclean leader election, or because the topic was "
            f"restored or mirrored. Nobody can tell which messages from {high} on were judged. Stop all workers of "
            "the group and set its offset by hand: kafka-consumer-groups.sh --bootstrap-server ... --group "
            f"{group_id} --topic {partition.topic}:{partition.number} --reset-offsets --execute, with --to-latest "
            f"for the end ({high}), or with --to-datetime YYYY-MM-DDTHH:mm:SS.sss for a time. Then start them again"
        )


def _committed(progress: Mapping[Partition, PartitionProgress]) -> dict[Partition, int]:
    return {partition: at.committed for partition, at in progress.items()}


def _recreated(topic_id: str, before: str) -> str:
    return f"; the topic was deleted and created again: its id was {before} and is {topic_id}" if before else ""
