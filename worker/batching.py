"""The queue before the device, when to commit, and backpressure. Pure: time is an argument.

Invariant: a batch is a prefix of the arrivals. So the next offset of each partition may be committed with the
batch. Nothing here sorts, skips or holds back a record. A record with nothing to score waits in the queue too.

``BatchQueue.take`` is the only way out of the queue. While the device is busy the queue grows, so load makes
batches larger without a timer. Rejected: a fixed waiting time, which would keep an idle device waiting; a queue for
each length of text, whose batches would not be prefixes of the arrivals.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from typing import NamedTuple

from worker.records import ConsumedRecord, PreparedRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchBounds:
    """What closes a batch.

    Attributes:
        records_max: Largest number of records, including records with nothing to score.
        tokens_max: Largest number of tokens to score; not less than the longest text has.
        wait_ms_max: Longest time for which the oldest record waits while the device is busy.
    """

    records_max: int
    tokens_max: int
    wait_ms_max: int


class TokenLoad(NamedTuple):
    """The work that waits for the device.

    Attributes:
        tokens: Tokens of the waiting records, and as many as are expected of the records without tokens yet.
        tokens_mean: Mean number of tokens of a record that arrived lately; 0 before the first record.
    """

    tokens: float
    tokens_mean: float


@dataclass(slots=True)
class _Arrivals:
    """Records that arrived together.

    Attributes:
        records: The records, in order.
        token_ends: For each record, the tokens of all records up to its end.
        arrived_ms: The time of their arrival.
        taken: Number of records that a batch has taken, from the front.
    """

    records: Sequence[PreparedRecord]
    token_ends: Sequence[int]
    arrived_ms: int
    taken: int = 0

    @property
    def tokens_taken(self) -> int:
        return self.token_ends[self.taken - 1] if self.taken else 0


class BatchQueue:
    """Records that wait for the device, in the order of their arrival.

    The tokens of a record are counted once, when it arrives. ``take`` then cuts lists instead of moving records.
    """

    def __init__(self, bounds: BatchBounds) -> None:
        self._bounds = bounds
        self._waiting: deque[_Arrivals] = deque()
        self._records = 0
        self._tokens = 0
        self._tokens_mean = 0.0  # of a record that arrived lately
        self._last_batch_since_ms = 0  # when the oldest record of the last batch arrived

    def load(self, unprepared: int) -> "TokenLoad":
        """Return how much work waits for the device.

        Args:
            unprepared: Number of records that were polled and have no tokens yet.
        """
        return TokenLoad(tokens=self._tokens + unprepared * self._tokens_mean, tokens_mean=self._tokens_mean)

    def __len__(self) -> int:
        """Return the number of waiting records."""
        return self._records

    def admit(self, records: Sequence[PreparedRecord], now_ms: int) -> None:
        """Append records to the queue."""
        before = self._tokens
        self._waiting.extend(self._arrivals(records, now_ms))
        if records:
            self._tokens_mean = (self._tokens_mean + (self._tokens - before) / len(records)) / 2

    def put_back(self, batch: Sequence[PreparedRecord]) -> None:
        """Put a batch back in front of the others, with the time of arrival of the last batch that was taken.

        Put back several batches in the opposite order. An older one then waits a little longer than it should.
        """
        self._waiting.extendleft(self._arrivals(batch, self._last_batch_since_ms))

    def _arrivals(self, records: Sequence[PreparedRecord], arrived_ms: int) -> list[_Arrivals]:
        """Count records, and return them as arrivals; nothing if there are none."""
        if not records:
            return []
        token_ends = list(accumulate([record.tokens_to_score for record in records]))
        self._records += len(records)
        self._tokens += token_ends[-1]
        return [_Arrivals(records, token_ends, arrived_ms)]

    def take(self, now_ms: int, wait_ms: int) -> list[PreparedRecord]:
        """Remove and return the next batch, if one is due: the longest prefix within the bounds.

        A batch is due when the queue fills it, or when the oldest record has waited for ``wait_ms``.

        Args:
            now_ms: The time.
            wait_ms: 0 while the device is idle, because waiting would gain nothing then.

        Returns:
            At least one record; empty when no batch is due.
        """
        if not self._is_due(now_ms, wait_ms):
            return []
        batch: list[PreparedRecord] = []
        tokens_left = self._bounds.tokens_max
        self._last_batch_since_ms = self._waiting[0].arrived_ms
        while self._waiting:
            arrivals = self._waiting[0]
            begin, tokens_before = arrivals.taken, arrivals.tokens_taken
            end = bisect_right(arrivals.token_ends, tokens_before + tokens_left, begin)
            if not batch:
                end = max(end, begin + 1)  # a batch has at least one record
            arrivals.taken = end = min(end, begin + self._bounds.records_max - len(batch))
            tokens_left -= arrivals.tokens_taken - tokens_before
            batch += arrivals.records[begin:end]
            if end < len(arrivals.records):
                break
            self._waiting.popleft()
        self._records -= len(batch)
        self._tokens -= self._bounds.tokens_max - tokens_left
        return batch

    @property
    def next_is_full(self) -> bool:
        """Whether the next batch has as many records as a batch may have, so that its tokens do not close it."""
        left, tokens = self._bounds.records_max, 0
        for arrivals in self._waiting:
            end = min(arrivals.taken + left, len(arrivals.records))
            tokens += arrivals.token_ends[end - 1] - arrivals.tokens_taken
            left -= end - arrivals.taken
            if not left:
                return tokens <= self._bounds.tokens_max
        return False

    def _is_due(self, now_ms: int, wait_ms: int) -> bool:
        if not self._waiting:
            return False
        is_full = self._records >= self._bounds.records_max or self._tokens >= self._bounds.tokens_max
        return is_full or now_ms - self._waiting[0].arrived_ms >= wait_ms

    def retain(self, wanted: Callable[[PreparedRecord], bool]) -> None:
        """Drop the records that are not wanted, in one pass; the order of the others stays."""
        waiting, self._waiting = self._waiting, deque()
        self._records = self._tokens = 0
        for arrivals in waiting:
            self.admit([one for one in arrivals.records[arrivals.taken :] if wanted(one)], arrivals.arrived_ms)


class CommitSchedule:
    """When the results that have come from the device are committed, and how many of them in one transaction.

    A transaction takes the owner's time, however few records it has. So while memory holds enough records for a
    full transaction, results wait until they fill it. With fewer records in memory a short pause is enough: then
    the owner has time to spare, and nobody waits behind the results.

    A broker's quota, or a slow link, may not let a large transaction end before its time-out, and the next attempt
    would be as large. So after a slow failure the next transaction has half the results. After a slow commit it has
    as many: twice the results might not end in time. A quick transaction doubles the number if it had at least half
    of it. A smaller one says nothing: the first records after a rewind are often few. A quick failure counts too:
    the search for a record that a broker refuses needs other records beside it.

    Args:
        wait_ms_max: Longest time for which a result waits.
        pause_ms: Minimum pause after a transaction while memory holds less than a full one. Never shorter than that
            transaction took.
        records_full: Results that fill a transaction.
        slow_ms: A transaction that takes longer is slow. At most half of the transaction's time-out.

    Attributes:
        records_max: Largest number of results for the next transaction: at least a 64th of ``records_full``.
    """

    def __init__(self, *, wait_ms_max: int, pause_ms: int, records_full: int, slow_ms: int) -> None:
        self.records_max = records_full
        self._wait_ms_max = wait_ms_max
        self._pause_ms = pause_ms
        self._records_full = records_full
        self._slow_ms = slow_ms
        self._oldest_result_ms = 0
        self._paused_until_ms = 0

    def first_result(self, now_ms: int) -> None:
        """Note the arrival of a result while no other result waits."""
        self._oldest_result_ms = now_ms

    def is_due(self, now_ms: int, *, results: int, in_memory: int) -> bool:
        """Return whether to commit now.

        Args:
            now_ms: The time.
            results: Number of results; at least 1.
            in_memory: Number of records in memory, including the results. If there are no others, waiting would add
                nothing to commit.
        """
        if results == in_memory or now_ms - self._oldest_result_ms >= self._wait_ms_max:
            return True
        if in_memory >= self.records_max:
            return results >= self.records_max
        return now_ms >= self._paused_until_ms

    def ended(self, began_ms: int, ended_ms: int, *, results: int, is_committed: bool) -> None:
        """Note a transaction, and begin the pause after it.

        Args:
            began_ms: When it began.
            ended_ms: When it ended.
            results: Number of its results; 0 if it had only states of partitions.
            is_committed: Whether it was committed.
        """
        took_ms = ended_ms - began_ms
        self._paused_until_ms = ended_ms + max(took_ms, self._pause_ms)
        is_slow = took_ms > self._slow_ms
        if is_slow and results and not is_committed:
            self.records_max = max(1, self._records_full // 64, min(results, self.records_max) // 2)
        elif not is_slow and 2 * results >= self.records_max:
            self.records_max = min(self._records_full, 2 * self.records_max)


class Backpressure(Enum):
    """What the owner does about new messages."""

    POLL = "poll"
    WAIT = "do not poll: memory is full, and a batch will soon be done"
    PAUSE = "pause fetching, and poll to serve rebalances"


class InFlightLimit:
    """Count the records in memory, from their poll to their commit, and say when they are too many.

    A record of long texts can be hundreds of times the work of another. So the tokens that wait for the device
    count as well: a flood of long texts does not make the other partitions wait behind thousands of them.

    ``Backpressure.PAUSE`` discards what librdkafka has prefetched. So the owner only waits at first, and pauses
    when memory has been full for ``full_ms_max``. A pause lasts until half of the memory is free. The owner polls
    during the pause, because a member that does not poll is removed from the group.

    Args:
        records_max: Records that fill the memory.
        bytes_max: Bytes of keys, values and headers that fill the memory.
        tokens_max: Tokens waiting for the device that fill the memory.
        full_ms_max: Longest time for which memory is full without a pause.

    Attributes:
        records: Records in memory. An array counts once for each of its elements.
    """

    def __init__(self, *, records_max: int, bytes_max: int, tokens_max: int, full_ms_max: int = 1000) -> None:
        self.records = 0
        self._bytes = 0
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._tokens_max = tokens_max
        self._full_ms_max = full_ms_max
        self._full_since_ms: int | None = None

    def add(self, records: Sequence[ConsumedRecord]) -> None:
        """Count records that were polled."""
        self.records += len(records)
        self._bytes += sum([record.size_bytes for record in records])

    def add_elements(self, number: int) -> None:
        """Count further elements of arrays: an array was counted as one record when it was polled."""
        self.records += number

    def release(self, records: Sequence[ConsumedRecord], elements: int = 0) -> None:
        """Count out records that were committed or dropped, and further elements of arrays."""
        self.records -= len(records) + elements
        self._bytes -= sum([record.size_bytes for record in records])

    def room(self, records_max: int, load: TokenLoad) -> int:
        """Return how many records to poll, at least 1: as many as ``tokens_max`` will probably hold."""
        if not load.tokens_mean:
            return records_max
        return min(records_max, max(1, int((self._tokens_max - load.tokens) / load.tokens_mean)))

    def backpressure(self, now_ms: int, load: TokenLoad) -> Backpressure:
        """Return what to do now."""
        fill = max(self.records / self._records_max, self._bytes / self._bytes_max, load.tokens / self._tokens_max)
        if self._full_since_ms is None:
            if fill < 1:
                return Backpressure.POLL
            self._full_since_ms = now_ms
        is_paused = now_ms - self._full_since_ms >= self._full_ms_max
        if fill < (0.5 if is_paused else 1):
            self._full_since_ms = None
            return Backpressure.POLL
        return Backpressure.PAUSE if is_paused else Backpressure.WAIT
