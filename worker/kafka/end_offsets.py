"""Asks the brokers, at an interval, where the logs of partitions end. Never waits for an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import IsolationLevel, KafkaException

from worker.kafka.offset_queries import OffsetQueries, offset_of
from worker.kafka.ownership import Ownership
from worker.records import Partition

if TYPE_CHECKING:
    from concurrent.futures import Future

# With round trips of 3 s an answer takes 6 s: first the leaders, then the offsets. The bound is not longer, because
# a partition without a leader delays the answers for all other partitions until then.
_ANSWER_S_MAX = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOffsets:
    """Where the log of a partition ends, as its leader answered.

    Attributes:
        last_stable_offset: The end for a read_committed reader.
        high_watermark: The end for a read_uncommitted reader; 0 if the leader did not answer.
    """

    last_stable_offset: int
    high_watermark: int


class EndOffsetQuery:
    """Asks for the end offsets of the owned partitions.

    A client of its own asks: on the consumer's connections a question would wait behind a fetch.

    Args:
        config: librdkafka's properties.
        interval_ms: Time from one question to the next.
    """

    def __init__(self, config: Mapping[str, Any], *, interval_ms: int) -> None:
        self._queries = OffsetQueries(config, answer_s_max=_ANSWER_S_MAX)
        self._interval_ms = interval_ms
        self._asked_at_ms: int | None = None
        self._last_stable_offsets: Mapping[Partition, Future[Any]] = {}
        self._high_watermarks: Mapping[Partition, Future[Any]] = {}

    def answers(self, now_ms: int, owned: Ownership) -> dict[Partition, EndOffsets] | None:
        """Return new answers, each one only once, or ask if it is time to ask.

        Args:
            now_ms: The time.
            owned: The partitions to ask about. Each poll calls this method, so ``owned`` is read only when it is
                time to ask.

        Returns:
            The end offsets, without the partitions whose leader did not answer. None: there are no new answers.
        """
        if self._last_stable_offsets:
            return self._take_answers()
        if self._asked_at_ms is None or now_ms - self._asked_at_ms >= self._interval_ms:
            partitions = owned.partitions
            if partitions:
                self._asked_at_ms = now_ms
                self._ask(partitions)
        return None

    def _take_answers(self) -> dict[Partition, EndOffsets] | None:
        stable, high = self._last_stable_offsets, self._high_watermarks
        if not all(answer.done() for answers in (stable, high) for answer in answers.values()):
            return None
        self._last_stable_offsets, self._high_watermarks = {}, {}
        return {
            partition: EndOffsets(last_stable_offset=offset, high_watermark=offset_of(high[partition]) or 0)
            for partition, answer in stable.items()
            if (offset := offset_of(answer)) is not None
        }

    def _ask(self, partitions: Sequence[Partition]) -> None:
        try:
            # A transaction that ends between the two answers makes a partition look blocked until the next answers.
            stable = self._queries.latest(partitions, IsolationLevel.READ_COMMITTED)
            self._high_watermarks = self._queries.latest(partitions, IsolationLevel.READ_UNCOMMITTED)
        except KafkaException:
            return  # the next question comes after the interval
        self._last_stable_offsets = stable
