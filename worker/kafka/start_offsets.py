"""Find where partitions start: at the group's committed offset, or where the settings say if that is not usable.

The requests are made for many partitions together, and nothing waits for an answer: ``find`` takes the answers that
have come. A partition whose leader does not answer delays no other partition. There are two requests:

1. for all waiting partitions: the committed offsets, from the group's coordinator, and the topics' ids and leaders;
2. only where the committed offset is missing or not usable: the range of the log, one request for each leader.

The committed offsets are requested at read_committed. While a transaction that contains one of them is open, the
coordinator gives no answer, and the request is repeated. So the answer is what was really committed, even after a
commit whose answer was lost.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, TopicPartition

from worker.errors import DataProtectionError
from worker.kafka.commit_metadata import MetadataLimit, decode_metadata
from worker.kafka.leaderless import LeaderlessPartitions
from worker.kafka.offset_lookups import OffsetLookups
from worker.kafka.offset_queries import OffsetQueries, leader_of, topic_id_of
from worker.kafka.offset_reset import OffsetReset, start_offset
from worker.kafka.ownership import PartitionProgress
from worker.kafka.pending_offsets import PendingOffsets
from worker.kafka.regression import RegressionDetector
from worker.kafka.start_confirmation import StartConfirmation
from worker.kafka.start_queries import CommittedQuery, OffsetRange, RangeQuery
from worker.kafka.topic_check import TopicCheck
from worker.kafka.topic_ids import IdCheck, TopicIds
from worker.kafka.truncation import TruncationDetector
from worker.records import Partition

log = logging.getLogger(__name__)

_ASK_AGAIN_MS = 100
_ASK_AGAIN_MS_MAX = 1_000
_WITHOUT_START_MS_MIN = 5_000  # a coordinator that is still loading may say that there is no committed offset


@dataclass(slots=True)
class FoundStarts:
    """What the answers since the last call have shown.

    Attributes:
        committed: Starts that the group has committed.
        chosen: Starts that the settings chose. Commit these before the first record is read, so that a later lookup
            has the same result.
        states: The states that were committed with the offsets of partitions. A chosen start keeps the state: what
            it says about earlier records is still to be published. A partition without a state is missing.
        recreated: Topics that were deleted and created again.
        errors: Errors that brokers answered.
        notes: What the chosen starts skip, as a level and a text for the log, once they are committed.
    """

    committed: dict[Partition, int] = field(default_factory=dict)
    chosen: dict[Partition, int] = field(default_factory=dict)
    states: dict[Partition, str] = field(default_factory=dict)
    recreated: list[str] = field(default_factory=list)
    errors: list[KafkaError] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)


class StartOffsets:
    """Finds the start of each waiting partition, and checks the topics' ids every few seconds.

    Args:
        config: librdkafka's properties, for the clients that ask.
        group_id: The consumer group.
        reset: Where to start without a committed offset.

    Attributes:
        ids: The ids of the topics.
        metadata: How much metadata the broker takes with an offset.
        confirmation: The answers that the first transaction of each partition must confirm.
    """

    def __init__(self, config: Mapping[str, Any], *, group_id: str, reset: OffsetReset) -> None:
        self.ids = TopicIds()
        self.metadata = MetadataLimit()
        self._queries = OffsetQueries(config, group_id=group_id)
        self.confirmation = StartConfirmation(config, group_id, self._queries.renew_consumers)
        self._reset = reset
        self._lookups = OffsetLookups(_ASK_AGAIN_MS, _ASK_AGAIN_MS_MAX)
        self._open: list[CommittedQuery | RangeQuery] = []
        self._leaderless = LeaderlessPartitions()
        self._pending = PendingOffsets()
        self._without_start_ms: dict[Partition, int] = {}  # since when there is no start that the settings allow
        self._truncation = TruncationDetector(group_id)
        self._regression = RegressionDetector(group_id)
        self._topic_check = TopicCheck(self._queries, self.ids, self._leaderless)

    def forget(self, partitions: Collection[Partition]) -> None:
        """Drop the lookups of these partitions. Their answers would describe an earlier assignment or position.

        1. p waits, and a request is sent: the group has committed 5.
        2. p is revoked. Another worker judges 5 to 9 and commits 10.
        3. p is assigned to this worker again, and waits.
        4. The answer to step 1 comes. Reading from 5 would judge 5 to 9 twice.

        The same happens with a rewind after a commit whose answer was lost. Step 2 and the rewind both forget p. So
        the answer in step 4 belongs to no lookup, and a new request is sent for p.
        """
        self._lookups.forget(partitions)
        self.confirmation.forget(partitions)

    def taken_away(self, partitions: Collection[Partition]) -> None:
        """Drop everything about partitions that were revoked or lost, except what this process has committed."""
        self.forget(partitions)
        for partition in partitions:
            self._without_start_ms.pop(partition, None)

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """Note offsets that this worker has committed. Their starts are confirmed."""
        self.confirmation.forget(offsets)
        for partition, offset in offsets.items():
            self._regression.committed(partition, self.ids.current(partition.topic), offset)

    def find(self, now_ms: int, waiting: Collection[Partition], out_of_range: Collection[Partition]) -> FoundStarts:
        """Take the answers that have come, and send the requests that are due. Never wait.

        Args:
            now_ms: The time.
            waiting: The partitions that need a start. Call this only while the outcome of every transaction of this
                worker is known.
            out_of_range: Those of the waiting partitions whose committed offset a fetch has found out of range.

        Raises:
            DataProtectionError: A partition has no committed offset and the settings say not to choose one, its log
                was truncated, or its committed offset is behind one that this worker has committed.
        """
        found = FoundStarts()
        queries, self._open = self._open, []
        for query in queries:
            if not query.done:
                self._open.append(query)
            elif isinstance(query, CommittedQuery):
                self._take_committed(now_ms, query, out_of_range, found)
            else:
                self._take_ranges(now_ms, query, found)
        answered = found.committed.keys() | found.chosen.keys()
        if due := self._lookups.due(now_ms, (one for one in waiting if one not in answered)):
            self._ask_committed(now_ms, due)
        self._pending.log_due(now_ms, waiting)
        return found

    def check_topics(
        self,
        now_ms: int,
        assigned: Callable[[], Collection[Partition]],
        progress: Callable[[], Mapping[Partition, PartitionProgress]],
    ) -> list[str]:
        """Return the topics that were deleted and created again, as ``TopicCheck.run`` finds them."""
        return self._topic_check.run(now_ms, assigned, progress)

    def recreation_message(
        self, topic: str, progress: Mapping[Partition, PartitionProgress], backlog: Mapping[Partition, int]
    ) -> str:
        """Return the log line about a topic that was deleted and created again."""
        known = [messages for partition, messages in backlog.items() if partition.topic == topic]
        judged = self._topic_check.judged_since(topic, progress)
        return self.ids.recreation_message(topic, sum(known) if known else None, judged)

    def close(self) -> None:
        """Close the clients that ask. Wait about one second at most."""
        self._queries.close()
        self.confirmation.close()

    # ---- the first request: committed offsets ------------------------------------------------------------------

    def _ask_committed(self, now_ms: int, partitions: Collection[Partition]) -> None:
        query = CommittedQuery(
            lookup=self._lookups.ask(partitions),
            asked_ms=now_ms,
            partitions=partitions,
            topics=self._queries.describe_topics({partition.topic for partition in partitions}),
            offsets=self._queries.committed(partitions),
        )
        self._open.append(query)

    def _take_committed(
        self, now_ms: int, query: CommittedQuery, out_of_range: Collection[Partition], found: FoundStarts
    ) -> None:
        """Use the committed offsets that are usable. Ask for the ranges of the other partitions."""
        answer = query.answer()
        found.errors += answer.errors
        checks = {topic: self.ids.check(topic, topic_id_of(one)) for topic, one in answer.topics.items()}
        found.recreated += [topic for topic, check in checks.items() if check is IdCheck.CHANGED]
        current = self._lookups.current(query.lookup, query.partitions)
        self._pending.note(current, query.asked_ms if answer.is_pending else None)
        by_leader: dict[int, dict[Partition, TopicPartition]] = {}
        for partition in current:
            committed = answer.offsets.get(partition)
            if committed is not None and committed.error is not None:
                found.errors.append(committed.error)
                committed = None
            if committed is None or checks.get(partition.topic) is not IdCheck.SAME:
                self._lookups.again(now_ms, partition)
                continue
            metadata = self.metadata.decode(partition, committed.metadata)
            topic_id = self.ids.current(partition.topic)
            if self._regression.is_suspected(now_ms, partition, committed.offset, metadata, topic_id=topic_id):
                self._queries.renew_consumers()
                self._lookups.again(now_ms, partition)
                continue
            self.confirmation.expect(committed)
            leader = leader_of(answer.topics[partition.topic], partition)
            self._leaderless.note(now_ms, partition, has_leader=leader is not None)
            if partition not in out_of_range and self._is_usable(partition, committed):
                found.committed[partition] = committed.offset
                self._without_start_ms.pop(partition, None)
                if metadata.state:
                    found.states[partition] = metadata.state
                self._lookups.forget([partition])
            elif leader is None:
                self._lookups.again(now_ms, partition)
            else:
                by_leader.setdefault(leader, {})[partition] = committed
        for together in by_leader.values():
            self._ask_ranges(query.lookup, together)

    def _is_usable(self, partition: Partition, committed: TopicPartition) -> bool:
        """Return whether the group has committed an offset, and in the log that the topic has now."""
        return committed.offset >= 0 and not self._old_id(partition, committed)

    def _old_id(self, partition: Partition, committed: TopicPartition) -> str:
        """Return the id of the deleted log that the offset belongs to; empty if the log was not replaced."""
        topic, committed_under = partition.topic, decode_metadata(committed.metadata).topic_id
        if committed.offset < 0 or not self.ids.is_of_this_log(topic, committed_under):
            return committed_under or ", ".join(sorted(self.ids.replaced(topic)))
        return ""

    # ---- the second request: the range of the log --------------------------------------------------------------

    def _ask_ranges(self, lookup: int, committed: Mapping[Partition, TopicPartition]) -> None:
        """Ask one leader for the ranges of its partitions."""
        old_ids = {one: old_id for one, at in committed.items() if (old_id := self._old_id(one, at))}
        usable = {one: at.offset for one, at in committed.items() if self._is_usable(one, at)}
        without = [one for one in committed if one not in usable]
        at_ms = self._reset.time_ms
        query = RangeQuery(
            lookup=lookup,
            committed={one: usable.get(one) for one in committed},
            states={one: state for one, at in committed.items() if (state := decode_metadata(at.metadata).state)},
            old_ids=old_ids,
            low=self._queries.earliest(committed),
            # A start at the end must not skip an open transaction. A committed offset may lie inside one.
            high={
                **self._queries.latest(without),
                **self._queries.latest(usable, IsolationLevel.READ_UNCOMMITTED),
            },
            timed={} if at_ms is None else self._queries.for_timestamp(without, at_ms),
        )
        self._open.append(query)

    def _take_ranges(self, now_ms: int, query: RangeQuery, found: FoundStarts) -> None:
        for partition in self._lookups.current(query.lookup, query.committed):
            committed, offsets = query.committed[partition], query.answer(partition)
            self._leaderless.note(now_ms, partition, has_leader=offsets is not None)
            if offsets is None or self._truncation.is_suspected(now_ms, partition, committed, high=offsets.high):
                self._lookups.again(now_ms, partition)
                continue
            start = self._choose(now_ms, query, partition, offsets, found)
            if start is None:
                self._lookups.again(now_ms, partition)
                continue
            found.chosen[partition] = start
            if state := query.states.get(partition):
                found.states[partition] = state
            self._lookups.forget([partition])

    def _choose(
        self, now_ms: int, query: RangeQuery, partition: Partition, offsets: OffsetRange, found: FoundStarts
    ) -> int | None:
        """Return the start that the settings choose, and note what it skips; None: ask again.

        Raises:
            DataProtectionError: The settings say not to choose a start, for ``_WITHOUT_START_MS_MIN``.
        """
        committed = query.committed[partition]
        start = start_offset(committed, low=offsets.low, high=offsets.high, timed=offsets.timed, reset=self._reset)
        recreated = ""
        if old_id := query.old_ids.get(partition):
            new_id = self.ids.current(partition.topic)
            recreated = f"; the topic was deleted and created again: its id was {old_id} and is {new_id}"
        if start is None:
            if now_ms - self._without_start_ms.setdefault(partition, now_ms) < _WITHOUT_START_MS_MIN:
                return None
            raise DataProtectionError(
                f"{partition} has no usable committed offset (committed: {committed}, available: {offsets.low} to "
                f"{offsets.high}{recreated}) and WORKER_KAFKA__AUTO_OFFSET_RESET is error: set it to earliest, or "
                "to a time, to go on"
            )
        if recreated:
            text = f"{partition} starts at offset {start}, by WORKER_KAFKA__AUTO_OFFSET_RESET{recreated}. "
            found.notes.append((logging.WARNING, text + "The group's committed offset belongs to the deleted log"))
        if committed is not None and start != committed:
            text = f"{partition}: retention has deleted offsets {committed} to {start - 1} before they were judged"
            found.notes.append((logging.ERROR, text))
        return start
