"""The queue before the device, when to commit, and backpressure. Pure: time is an argument.

Invariant: a batch is a prefix of the arrivals. So the next offset of each partition may be committed with the
batch. Nothing here sorts, skips or holds back a record. A record with nothing to score waits in the queue too.

``BatchQueue.take`` is the only way out of the queue. While the device is busy the queue grows, so load makes
batches larger without a timer. Rejected: a fixed waiting time, which would keep an idle device waiting; a queue for
each length of text, whose batches would not be prefixes of the arrivals.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

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


class BatchQueue:
    """Records that wait for the device, in the order of their arrival."""

    def __init__(self, bounds: BatchBounds) -> None:
        self._bounds = bounds
        self._waiting: deque[tuple[PreparedRecord, int]] = deque()  # each record with its time of arrival
        self._tokens = 0
        self._last_batch_since_ms = 0  # when the oldest record of the last batch arrived

    def __len__(self) -> int:
        """Return the number of waiting records."""
        return len(self._waiting)

    def admit(self, records: Sequence[PreparedRecord], now_ms: int) -> None:
        """Append records to the queue."""
        self._waiting.extend((record, now_ms) for record in records)
        self._tokens += sum(len(record.tokens) for record in records)

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
        tokens = 0
        self._last_batch_since_ms = self._waiting[0][1]
        while self._waiting and len(batch) < self._bounds.records_max:
            record = self._waiting[0][0]
            if batch and tokens + len(record.tokens) > self._bounds.tokens_max:
                break
            tokens += len(record.tokens)
            batch.append(record)
            self._waiting.popleft()
        self._tokens -= tokens
        return batch

    def _is_due(self, now_ms: int, wait_ms: int) -> bool:
        if not self._waiting:
            return False
        is_full = len(self._waiting) >= self._bounds.records_max or self._tokens >= self._bounds.tokens_max
        return is_full or now_ms - self._waiting[0][1] >= wait_ms

    def put_back(self, batch: Sequence[PreparedRecord]) -> None:
        """Put what is left of the last batch back in front, with the time of arrival that the batch had."""
        self._waiting.extendleft((record, self._last_batch_since_ms) for record in reversed(batch))
        self._tokens += sum(len(record.tokens) for record in batch)

    def retain(self, wanted: Callable[[PreparedRecord], bool]) -> None:
        """Drop the records that are not wanted, in one pass; the order of the others stays."""
        self._waiting = deque(entry for entry in self._waiting if wanted(entry[0]))
        self._tokens = sum(len(record.tokens) for record, _ in self._waiting)


class CommitSchedule:
    """When the results that have come from the device are committed.

    Args:
        wait_ms_max: Longest time for which a result waits.
        pause_ms: Minimum pause after a transaction. Never shorter than that transaction took.
    """

    def __init__(self, *, wait_ms_max: int, pause_ms: int) -> None:
        self._wait_ms_max = wait_ms_max
        self._pause_ms = pause_ms
        self._oldest_result_ms = 0
        self._paused_until_ms = 0

    def first_result(self, now_ms: int) -> None:
        """Note the arrival of a result while no other result waits."""
        self._oldest_result_ms = now_ms

    def is_due(self, now_ms: int, *, nothing_else_in_memory: bool) -> bool:
        """Return whether to commit now. Without other records in memory, waiting would add nothing to commit."""
        has_waited = now_ms - self._oldest_result_ms >= self._wait_ms_max
        return nothing_else_in_memory or has_waited or now_ms >= self._paused_until_ms

    def ended(self, began_ms: int, ended_ms: int) -> None:
        """Note a transaction, committed or not, and begin the pause after it."""
        self._paused_until_ms = ended_ms + max(ended_ms - began_ms, self._pause_ms)


class Backpressure(Enum):
    """What the owner does about new messages."""

    POLL = "poll"
    WAIT = "do not poll: memory is full, and a batch will soon be done"
    PAUSE = "pause fetching, and poll to serve rebalances"


class InFlightLimit:
    """Count the records in memory, from their poll to their commit, and say when they are too many.

    ``Backpressure.PAUSE`` discards what librdkafka has prefetched. So the owner only waits at first, and pauses
    when memory has been full for ``full_ms_max``. A pause lasts until half of the memory is free. The owner polls
    during the pause, because a member that does not poll is removed from the group.

    Args:
        records_max: Records that fill the memory.
        bytes_max: Bytes of keys, values and headers that fill the memory.
        full_ms_max: Longest time for which memory is full without a pause.

    Attributes:
        records: Records in memory.
    """

    def __init__(self, *, records_max: int, bytes_max: int, full_ms_max: int = 1000) -> None:
        self.records = 0
        self._bytes = 0
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._full_ms_max = full_ms_max
        self._full_since_ms: int | None = None

    def add(self, records: Sequence[ConsumedRecord]) -> None:
        """Count records that were polled."""
        self.records += len(records)
        self._bytes += sum(record.size_bytes for record in records)

    def release(self, records: Sequence[ConsumedRecord]) -> None:
        """Count out records that were committed or dropped."""
        self.records -= len(records)
        self._bytes -= sum(record.size_bytes for record in records)

    def backpressure(self, now_ms: int) -> Backpressure:
        """Return what to do now."""
        fill = max(self.records / self._records_max, self._bytes / self._bytes_max)
        if self._full_since_ms is None:
            if fill < 1:
                return Backpressure.POLL
            self._full_since_ms = now_ms
        is_paused = now_ms - self._full_since_ms >= self._full_ms_max
        if fill < (0.5 if is_paused else 1):
            self._full_since_ms = None
            return Backpressure.POLL
        return Backpressure.PAUSE if is_paused else Backpressure.WAIT
