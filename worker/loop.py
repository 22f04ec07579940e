"""THE STORY: poll, admit, take, score, judge, publish.

The owner's thread runs this file; the preparer decodes and tokenises, the device scores; those two share the cache,
and nothing else is shared. The owner knows Kafka as a ``TransactionalSession``, and the model as a ``Scorer``.

Whatever goes wrong has one of two answers. The records of a partition that is revoked, or goes into quarantine, are
dropped wherever they are, and the others go on. After anything else the log is rewound to what the group has
committed, which makes every record in memory stale: the same drop, of all.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Protocol

from worker.batching import Backpressure, BatchBounds, BatchQueue, InFlightLimit
from worker.moderation.cache import ScoreCache
from worker.moderation.cached_scoring import Scorer, score_batch
from worker.moderation.dead_letter_share import DeadLetterShare
from worker.records import (
    ConsumedRecord,
    DeadLetterExcess,
    OutputRecord,
    Partition,
    PreparedRecord,
    ScoredRecord,
)
from worker.stage import Stage, rest

Prepare = Callable[[Sequence[ConsumedRecord]], list[PreparedRecord]]
Judge = Callable[[Sequence[ScoredRecord], Mapping[tuple[Partition, int], str]], Sequence[OutputRecord]]


class TransactionalSession(Protocol):
    """What the owner consumes from and publishes to."""

    @property
    def invalidations(self) -> int:
        """Grows whenever a record in memory may have become stale."""

    @property
    def rejected(self) -> Mapping[tuple[Partition, int], str]:
        """Records (partition, offset) whose outputs a broker refuses, with the dead letter's reason."""

    def poll(self, *, records_max: int, wait_ms: int) -> Sequence[ConsumedRecord]:
        """Serves rebalances and gives what there is; waits for the first message at most so long."""

    def owns(self, fetched: ConsumedRecord) -> bool:
        """Whether the record is still ours to commit."""

    def ready(self) -> bool:
        """Whether ``publish`` may be called; takes a step towards it, of at most a second."""

    def publish(self, records: Sequence[ConsumedRecord], outputs: Sequence[OutputRecord]) -> bool:
        """One transaction: the outputs, and the offsets after the records. False: forget and rewind."""

    def rewind(self) -> None:
        """Makes every record in memory stale, and reads on from what the group has committed."""

    @property
    def exempt_below(self) -> Mapping[Partition, int]:
        """By partition the offset below which dead letters do not count against it."""

    def quarantine(self, excesses: Sequence[DeadLetterExcess]) -> None:
        """Make the records of partitions stale, and read no more of them until they are released."""

    def pause(self) -> None:
        """Fetches nothing until ``resume``; what was prefetched is thrown away."""

    def resume(self) -> None:
        """Fetches again, if it was paused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopTimings:
    """How long the owner waits for what.

    Attributes:
        commit_ms_max: How long a result waits for a transaction at most.
        idle_ms: How long a poll waits when there is nothing to do.
        busy_ms: How long the owner rests between polls while the other threads work.
        commit_pause_ms: How long after a transaction the next one waits for more results at least: so long, or as
            long as that one took, so that commits take no more than half of the owner's time.
    """

    commit_ms_max: int
    idle_ms: int = 100
    busy_ms: int = 2
    commit_pause_ms: int = 5


@dataclass(slots=True)
class LoopTotals:
    """What the loop has done since it began, for the progress line."""

    records: int = 0
    outputs: int = 0
    transactions: int = 0
    rewinds: int = 0


class Loop:
    """The owner."""

    def __init__(
        self,
        *,
        session: TransactionalSession,
        prepare: Prepare,
        scorer: Scorer,
        cache: ScoreCache,
        judge: Judge,
        share: DeadLetterShare,
        bounds: BatchBounds,
        in_flight: InFlightLimit,
        timings: LoopTimings,
        clock: Callable[[], int],
        preparer: Executor,
        device: Executor,
    ) -> None:
        self.totals = LoopTotals()
        self.cache = cache
        self._session = session
        self._judge = judge
        self._share = share
        self._bounds = bounds
        self._in_flight = in_flight
        self._timings = timings
        self._clock = clock
        self._inbox: list[ConsumedRecord] = []
        self._preparer: Stage[ConsumedRecord, PreparedRecord] = Stage(prepare, preparer)
        self._queue = BatchQueue(bounds)
        self._device: Stage[PreparedRecord, ScoredRecord] = Stage(
            lambda batch: score_batch(scorer, batch, cache), device
        )
        self._may_grow = False
        self._results: list[ScoredRecord] = []
        self._oldest_result_ms = 0
        self._next_commit_ms = 0
        self._invalidations = session.invalidations

    @property
    def records_in_memory(self) -> int:
        """From the poll to the commit."""
        return self._in_flight.records

    def turn(self) -> None:
        """Once around.

        Raises:
            FatalError: The process must end; nothing is committed that should not be.
        """
        now_ms = self._clock()
        self._poll(now_ms)
        self._admit(now_ms)
        self._collect(now_ms)
        self._take(now_ms)  # before a commit, so that the device has work meanwhile
        if self._commit_due(now_ms):
            self._publish()
        else:
            self._rest()

    def drain(self, until_ms: int) -> bool:
        """Drops what the device has not begun, finishes and publishes the rest, polling on meanwhile.

        What is dropped was never committed: whoever gets the partitions next judges it.

        Returns:
            Whether it was done by then; if not, nothing is lost either.
        """
        self._session.pause()
        self._inbox = []
        self._queue.retain(lambda _: False)
        while self._device.take_back():
            pass
        while self._device.pending or self._results:
            now_ms = self._clock()
            if now_ms >= until_ms:
                return False
            self._session.poll(records_max=1, wait_ms=0)  # for the rebalances; a message is left for the next owner
            self._drop_stale()
            self._collect(now_ms)
            if self._results and not self._device.pending:
                self._publish()
            rest(self._device.pending, self._timings.busy_ms)
        return True

    def _poll(self, now_ms: int) -> None:
        backpressure = self._in_flight.backpressure(now_ms)
        if backpressure is Backpressure.PAUSE:
            self._session.pause()
        elif backpressure is Backpressure.POLL:
            self._session.resume()
        if backpressure is not Backpressure.WAIT:
            wait_ms = self._timings.idle_ms if self._in_flight.records == 0 else 0
            fetched = self._session.poll(records_max=self._bounds.records_max, wait_ms=wait_ms)
            self._in_flight.add(fetched)
            self._inbox.extend(fetched)
            self._drop_stale()
        if self._inbox and self._preparer.has_room:
            self._preparer.give(self._inbox)
            self._inbox = []

    def _admit(self, now_ms: int) -> None:
        for records in self._preparer.finished():
            self._queue.admit([record for record in records if self._keeps(record.source)], now_ms)

    def _take(self, now_ms: int) -> None:
        if self._may_grow and self._queue:
            # The batch that waits for the device was closed by time. Whoever has come since would wait for two.
            waiting = self._device.take_back()
            self._queue.put_back([record for record in waiting if self._keeps(record.source)])
        while self._device.has_room:
            wait_ms = self._bounds.wait_ms_max if self._device.pending else 0
            batch = self._queue.take(now_ms, wait_ms)
            if not batch:
                return
            self._device.give(batch)
            self._may_grow = not self._queue

    def _collect(self, now_ms: int) -> None:
        for results in self._device.finished():
            if not self._results:
                self._oldest_result_ms = now_ms
            self._results.extend(result for result in results if self._keeps(result.record.source))

    def _commit_due(self, now_ms: int) -> bool:
        if not self._results:
            return False
        idle = self._in_flight.records == len(self._results)
        waited = now_ms - self._oldest_result_ms >= self._timings.commit_ms_max
        return idle or waited or now_ms >= self._next_commit_ms

    def _publish(self) -> None:
        if not self._session.ready():
            return
        self._drop_stale()
        if excesses := self._share.excess(self._results, self._session.exempt_below):
            self._session.quarantine(excesses)
            self._drop_stale()
            if not self._results:
                return
        outputs = self._judge(self._results, self._session.rejected)
        records = [result.record.source for result in self._results]
        began_ms = self._clock()
        committed = self._session.publish(records, outputs)
        ended_ms = self._clock()
        self._next_commit_ms = ended_ms + max(ended_ms - began_ms, self._timings.commit_pause_ms)
        if committed:
            self._share.observe(self._results, self._session.exempt_below)
            self._results = []
            self._in_flight.release(records)
            self.totals.records += len(records)
            self.totals.outputs += len(outputs)
            self.totals.transactions += 1
        else:
            self._session.rewind()
            self._drop_stale()
            self.totals.rewinds += 1

    def _rest(self) -> None:
        if self._preparer.pending or self._device.pending:
            busy: list[Future[Any]] = [*self._preparer.pending, *self._device.pending]
            rest(busy, self._timings.busy_ms)

    def _keeps(self, fetched: ConsumedRecord) -> bool:
        """Whether a record that a thread hands back is still ours; if not, its memory is free."""
        if self._session.owns(fetched):
            return True
        self._in_flight.release([fetched])
        return False

    def _drop_stale(self) -> None:
        """Drops the stale records that the owner holds; the threads' are dropped as they come back."""
        if self._session.invalidations == self._invalidations:
            return
        self._invalidations = self._session.invalidations
        self._inbox = [fetched for fetched in self._inbox if self._keeps(fetched)]
        self._queue.retain(lambda record: self._keeps(record.source))
        self._results = [result for result in self._results if self._keeps(result.record.source)]
