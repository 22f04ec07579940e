"""The line before the device.

Invariant: a batch is a prefix of arrivals, so that committing the next offset of each partition is right by
construction. Nothing here sorts, skips or holds a record back: what has nothing to score stands in the line
too.

Time is an argument. Pull, not push: ``take`` is the only door, and while the device is busy the line grows,
so that load makes batches bigger with no timer. Rejected: a fixed waiting time, which an idle device would
spend for nothing; a queue for each length, whose batches would be no prefix.
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
        records_max: Records, those with nothing to score included.
        tokens_max: Tokens to score; at least those of the longest text.
        wait_ms_max: How long the oldest waits at most while the device is busy.
    """

    records_max: int
    tokens_max: int
    wait_ms_max: int


class BatchQueue:
    """Records that wait for the device, in the order of their arrival."""

    def __init__(self, bounds: BatchBounds) -> None:
        self._bounds = bounds
        self._waiting: deque[tuple[PreparedRecord, int]] = deque()
        self._tokens = 0
        self._taken_since_ms = 0  # how long the oldest of the last batch has been waiting

    def __len__(self) -> int:
        """Records in the line."""
        return len(self._waiting)

    def admit(self, records: Sequence[PreparedRecord], now_ms: int) -> None:
        """Puts records at the end of the line."""
        self._waiting.extend((record, now_ms) for record in records)
        self._tokens += sum(len(record.tokens) for record in records)

    def due_in_ms(self, now_ms: int, wait_ms: int) -> int | None:
        """How long until ``take`` has a batch to give; None while the line is empty."""
        if not self._waiting:
            return None
        if len(self._waiting) >= self._bounds.records_max or self._tokens >= self._bounds.tokens_max:
            return 0
        return max(0, self._waiting[0][1] + wait_ms - now_ms)

    def take(self, now_ms: int, wait_ms: int) -> list[PreparedRecord]:
        """Takes the next batch: the longest prefix within the bounds, once it is due.

        Args:
            now_ms: The time.
            wait_ms: How long the oldest should have waited: 0 when the device is idle, for then waiting buys
                nothing.

        Returns:
            At least one record and at most the bounds; empty when nothing is due.
        """
        if self.due_in_ms(now_ms, wait_ms) != 0:
            return []
        batch: list[PreparedRecord] = []
        tokens = 0
        self._taken_since_ms = self._waiting[0][1]
        while self._waiting and len(batch) < self._bounds.records_max:
            record = self._waiting[0][0]
            if batch and tokens + len(record.tokens) > self._bounds.tokens_max:
                break
            tokens += len(record.tokens)
            batch.append(record)
            self._waiting.popleft()
        self._tokens -= tokens
        return batch

    def put_back(self, batch: Sequence[PreparedRecord]) -> None:
        """Puts what is left of the batch that was taken last in front again, due as before."""
        self._waiting.extendleft((record, self._taken_since_ms) for record in reversed(batch))
        self._tokens += sum(len(record.tokens) for record in batch)

    def retain(self, wanted: Callable[[PreparedRecord], bool]) -> None:
        """Drops what is not wanted any more, asking once about each; the order of the rest stays."""
        self._waiting = deque(entry for entry in self._waiting if wanted(entry[0]))
        self._tokens = sum(len(record.tokens) for record, _ in self._waiting)


class Backpressure(Enum):
    """What to do about new messages."""

    POLL = "poll"
    WAIT = "do not poll: memory is full, and a batch will soon be done"
    PAUSE = "pause, and poll for the rebalances"


class InFlightLimit:
    """Counts what is in memory, from the poll to the commit, and says when it is too much.

    A pause throws away what librdkafka has prefetched, so a memory that is full for less than ``full_ms_max``
    is waited for. Behind a slower batch the log is paused, once, until half of the memory is free; it is
    polled on: a group that rebalances must find us.
    """

    def __init__(self, *, records_max: int, bytes_max: int, full_ms_max: int = 1000) -> None:
        self.records = 0
        self._bytes = 0
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._hold_ms_max = full_ms_max
        self._full_since_ms: int | None = None

    def add(self, fetched: Sequence[ConsumedRecord]) -> None:
        """Counts messages in."""
        self.records += len(fetched)
        self._bytes += sum(one.size_bytes for one in fetched)

    def release(self, fetched: Sequence[ConsumedRecord]) -> None:
        """Counts messages out: committed or dropped."""
        self.records -= len(fetched)
        self._bytes -= sum(one.size_bytes for one in fetched)

    def backpressure(self, now_ms: int) -> Backpressure:
        """What to do now."""
        fill = max(self.records / self._records_max, self._bytes / self._bytes_max)
        if self._full_since_ms is None:
            if fill < 1:
                return Backpressure.POLL
            self._full_since_ms = now_ms
        paused = now_ms - self._full_since_ms >= self._hold_ms_max
        if fill < (0.5 if paused else 1):
            self._full_since_ms = None
            return Backpressure.POLL
        return Backpressure.PAUSE if paused else Backpressure.WAIT
