"""The two requests about the starts of partitions, and their answers as plain data."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from worker.kafka.offset_queries import OffsetsPending, offset_of
from worker.records import Partition

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedAnswer:
    """The brokers' answer to a ``CommittedQuery``.

    Attributes:
        offsets: The group's committed offsets; empty if the coordinator gave none.
        topics: Descriptions of the topics; a topic without an answer is missing.
        errors: The errors of all answers that failed.
        is_pending: An open transaction contains one of the offsets, so the coordinator gave none.
    """

    offsets: Mapping[Partition, TopicPartition]
    topics: Mapping[str, Any]
    errors: Sequence[KafkaError]
    is_pending: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedQuery:
    """The first request: the committed offsets of partitions, and the descriptions of their topics.

    Attributes:
        lookup: The number of the lookup (``OffsetLookups``).
        asked_ms: When the request was made.
        partitions: The partitions that the request is about.
        offsets: The future with the committed offsets.
        topics: The futures with the descriptions, by topic.
    """

    lookup: int
    asked_ms: int
    partitions: Collection[Partition]
    offsets: "Future[Any]"
    topics: Mapping[str, "Future[Any]"]

    @property
    def done(self) -> bool:
        """Whether all answers have come."""
        return self.offsets.done() and all(topic.done() for topic in self.topics.values())

    def answer(self) -> CommittedAnswer:
        """Return the answer. Call this only when it is ``done``."""
        failures = [one.exception() for one in (self.offsets, *self.topics.values())]
        committed = [] if self.offsets.exception() else self.offsets.result()
        return CommittedAnswer(
            offsets={Partition(at.topic, at.partition): at for at in committed},
            topics={topic: one.result() for topic, one in self.topics.items() if not one.exception()},
            errors=[failure.args[0] for failure in failures if isinstance(failure, KafkaException)],
            is_pending=isinstance(failures[0], OffsetsPending),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetRange:
    """The offsets that a partition's leader gave.

    Attributes:
        low: The first available offset.
        high: The end of the log. For a partition with a committed offset it is the high watermark. For one without,
            it is the last stable offset: a start at the end must not skip an open transaction.
        timed: The first offset for the time in the settings; -1 if no record has this time or a later one; None if
            the settings name no time.
    """

    low: int
    high: int
    timed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeQuery:
    """The second request: the offset ranges of partitions that have the same leader.

    Attributes:
        lookup: The number of the lookup (``OffsetLookups``).
        committed: The committed offset of each partition; None if there is no usable one.
        states: The states that were committed with the offsets. A partition without a state is missing.
        old_ids: By partition, the topic id of the deleted log to which the committed offset belongs.
            Partitions whose topic was not recreated are missing.
        low: The futures with the first available offsets.
        high: The futures with the ends.
        timed: The futures with the offsets for the time in the settings.
    """

    lookup: int
    committed: Mapping[Partition, int | None]
    states: Mapping[Partition, str]
    old_ids: Mapping[Partition, str]
    low: Mapping[Partition, "Future[Any]"]
    high: Mapping[Partition, "Future[Any]"]
    timed: Mapping[Partition, "Future[Any]"]

    @property
    def done(self) -> bool:
        """Whether all answers have come."""
        return all(answer.done() for kind in (self.low, self.high, self.timed) for answer in kind.values())

    def answer(self, partition: Partition) -> OffsetRange | None:
        """Return the partition's range, or None if its leader did not answer. Call this only when ``done``."""
        low, high = offset_of(self.low[partition]), offset_of(self.high[partition])
        if low is None or high is None:
            return None
        if partition not in self.timed:
            return OffsetRange(low=low, high=high, timed=None)
        timed = offset_of(self.timed[partition], least=-1)
        return None if timed is None else OffsetRange(low=low, high=high, timed=timed)
