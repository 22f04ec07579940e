"""The main loop: poll, admit, take, score, judge, publish.

``Loop.turn`` has every step in its order. Read it first. The owner's thread runs it. The preparer's thread decodes
and tokenises, the device's thread scores. These two threads share the cache; nothing else is shared. The loop knows
Kafka only as a ``TransactionalSession``, and the model only as a ``Scorer``.

A partition's state is a text that is committed with the partition's offset: the open windows of its alerts
(``worker/moderation/coalescing.py``). The loop only passes states on.

A failure has one of two answers:

1. A partition was revoked, or went into quarantine: its records are dropped, and the other partitions go on.
2. Anything else: the session rewinds to the committed offsets. Then every record in memory is stale and is dropped.

A list that comes back from a thread is not checked record by record. One comparison is as strong:

1. The session's ``invalidations`` grows whenever a record can become stale.
2. After each call that can do so, the owner drops the stale records that it holds. So each record of a list that it
   hands over is owned, and the list keeps the counter of that moment.
3. If the counter is the same when the list comes back, no record has become stale. Otherwise each one is checked.
4. ``publish`` refuses stale records in any case. The simulation fails if the loop publishes any.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from worker.batching import Backpressure, BatchBounds, BatchQueue, CommitSchedule, InFlightLimit
from worker.moderation.cache import ScoreCache
from worker.moderation.cached_scoring import Scorer, score_batch
from worker.moderation.dead_letter_share import DeadLetterShare
from worker.records import (
    ConsumedRecord,
    DeadLetterExcess,
    Judged,
    MessagePosition,
    OutputRecord,
    Partition,
    PreparedRecord,
    ScoredRecord,
    Skipped,
)
from worker.stage import Stage, wait_for_any

_Handed = TypeVar("_Handed", PreparedRecord, ScoredRecord)


class Loop:
    """The owner: the one thread that calls the session."""

    def __init__(
        self,
        *,
        session: "TransactionalSession",
        prepare: "Prepare",
        scorer: Scorer,
        cache: ScoreCache,
        judge: "Judge",
        share: DeadLetterShare,
        bounds: BatchBounds,
        in_flight: InFlightLimit,
        transaction_records: int,
        observe: Callable[[Sequence[ScoredRecord]], None] | None = None,
        timings: "LoopTimings",
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
        self._observe = observe
        self._timings = timings
        self._clock = clock
        self._preparer: Stage[ConsumedRecord, PreparedRecord] = Stage(prepare, preparer)
        self._queue = BatchQueue(bounds)
        self._device: Stage[PreparedRecord, ScoredRecord] = Stage(
            lambda batch: score_batch(scorer, batch, cache), device
        )
        self._commits = CommitSchedule(
            wait_ms_max=timings.commit_ms_max,
            pause_ms=timings.commit_pause_ms,
            records_full=transaction_records,
            slow_ms=timings.slow_ms,
        )
        self._inbox: list[ConsumedRecord] = []
        self._results: list[ScoredRecord] = []
        self._incomplete: list[ScoredRecord] = []  # the first elements of an array, while the others are not scored
        self._waiting_batch_may_grow = False
        self._seen_invalidations = session.invalidations

    @property
    def records_in_memory(self) -> int:
        """Records between their poll and their commit."""
        return self._in_flight.records

    def turn(self) -> None:
        """Take one step of each stage, and publish if that is due.

        Raises:
            FatalError: The process must end. Every committed offset has its outputs.
        """
        now_ms = self._clock()
        self._poll(now_ms)
        self._admit(now_ms)
        self._collect(now_ms)
        self._take(now_ms)  # before a commit, so that the device has work meanwhile
        is_due = bool(self._results) and self._commits.is_due(
            now_ms, results=len(self._results), in_memory=self._in_flight.records
        )
        if is_due:
            self._publish()
        self._end_alert_windows(now_ms)
        if not is_due:
            self._rest()

    def _poll(self, now_ms: int) -> None:
        load = self._queue.load(len(self._inbox) + self._preparer.items)
        backpressure = self._in_flight.backpressure(now_ms, load)
        if backpressure is Backpressure.PAUSE:
            self._session.pause()
        elif backpressure is Backpressure.POLL:
            self._session.resume()
        if backpressure is not Backpressure.WAIT:
            wait_ms = self._timings.idle_ms if self._in_flight.records == 0 else 0
            records_max = self._in_flight.room(self._bounds.records_max, load)
            records = self._session.poll(records_max=records_max, wait_ms=wait_ms)
            self._in_flight.add(records)
            self._inbox.extend(records)
            self._drop_stale()
        if self._inbox and self._preparer.has_room():
            self._preparer.submit(self._inbox, self._seen_invalidations)
            self._inbox = []

    def _admit(self, now_ms: int) -> None:
        for records, invalidations in self._preparer.finished():
            # The poll counted an array as one record, so all elements but the last one are counted here.
            self._in_flight.add_elements(sum([not record.is_last for record in records]))
            self._queue.admit(self._owned(records, invalidations), now_ms)

    def _collect(self, now_ms: int) -> None:
        for results, invalidations in self._device.finished():
            if not self._results:
                self._commits.first_result(now_ms)
            self._results += self._whole_records([*self._incomplete, *self._owned(results, invalidations)])

    def _whole_records(self, results: list[ScoredRecord]) -> list[ScoredRecord]:
        """Return results without the first elements of an array whose other elements are not scored yet.

        All outputs of a record must be in one transaction, because its offset is committed only once.
        """
        end = len(results)
        while end and not results[end - 1].is_last:
            end -= 1
        self._incomplete = results[end:]
        return results[:end] if self._incomplete else results

    def _take(self, now_ms: int) -> None:
        if self._waiting_batch_may_grow and self._queue and (taken_back := self._device.take_back()):
            # The waiting batch is not full: it was closed because of its age. Without this step, a record that
            # arrives now would wait until the device has scored two batches.
            self._queue.put_back(self._owned(*taken_back))
        while self._device.has_room(is_full=self._queue.next_is_full):
            wait_ms = self._bounds.wait_ms_max if self._device.pending else 0
            batch = self._queue.take(now_ms, wait_ms)
            if not batch:
                return
            self._device.submit(batch, self._seen_invalidations)
            self._waiting_batch_may_grow = not self._queue

    def _publish(self) -> None:
        if not self._session.ready():
            return
        self._drop_stale()
        results = self._next_results()
        if excesses := self._share.excess(results, self._session.exempt_below):
            self._session.quarantine(excesses)
            self._drop_stale()
            return  # the next transaction has other results, which must be compared with the bounds too
        if not results:
            return
        judged = self._judge(results, self._session)
        records = [result.record.source for result in results if result.record.is_last]
        if self._commit(records, judged, results=len(results)):
            self._share.observe(results, self._session.exempt_below)
            self._in_flight.release(records, len(results) - len(records))
            if self._observe is not None:
                self._observe(results)
            self.totals.skipped += sum([isinstance(one.record.content, Skipped) for one in results])
            self.totals.truncated += sum([one.is_truncated for one in results])
            del self._results[: len(results)]

    def _next_results(self) -> list[ScoredRecord]:
        """Return the first results, as many as the next transaction may have. An array is not divided."""
        end = self._commits.records_max
        while end < len(self._results) and not self._results[end - 1].is_last:
            end += 1
        return self._results[:end]

    def _end_alert_windows(self, now_ms: int) -> None:
        """Publish the summaries of the alert windows that the clock ends, in a transaction without records.

        This changes only the committed states. Records in memory come after the committed offsets, so they are
        judged with the changed states.
        """
        if self._session.states:
            ended = self._judge.end_alert_windows(now_ms, self._session)
            if ended.states and self._session.ready():
                self._commit((), ended)

    def _commit(self, records: Sequence[ConsumedRecord], judged: Judged, *, results: int = 0) -> bool:
        """Publish a transaction. Return whether it is committed; if not, everything uncommitted is read again."""
        began_ms = self._clock()
        is_committed = self._session.publish(records, judged.outputs, judged.states)
        self._commits.ended(began_ms, self._clock(), results=results, is_committed=is_committed)
        if is_committed:
            self.totals.records += len(records)
            self.totals.outputs += len(judged.outputs)
            self.totals.counted += judged.counted
            self.totals.keys_without_room += judged.keys_without_room
            self.totals.transactions += 1
        else:
            self._session.rewind()
            self._drop_stale()
            self.totals.rewinds += 1
        return is_committed

    def read_again(self) -> None:
        """Drop every record in memory, and read again from the committed offsets. Call this between two turns."""
        self._session.rewind()
        self._drop_stale()

    def _rest(self) -> None:
        if self._preparer.pending or self._device.pending:
            pending: list[Future[Any]] = [*self._preparer.pending, *self._device.pending]
            wait_for_any(pending, self._timings.busy_ms)

    def _drop_stale(self) -> None:
        """Drop the stale records that the owner holds. A thread's records are checked when they come back.

        The batches that the device has not begun are checked too: a slow device would score them for nothing.
        """
        if self._session.invalidations == self._seen_invalidations:
            return
        self._seen_invalidations = self._session.invalidations
        while taken_back := self._device.take_back():
            self._queue.put_back(taken_back[0])
        self._inbox = [record for record in self._inbox if self._keep_or_release(record)]
        self._queue.retain(lambda record: self._keep_or_release(record.source, is_last=record.is_last))
        for held in (self._results, self._incomplete):
            held[:] = [one for one in held if self._keep_or_release(one.source, is_last=one.is_last)]

    def _owned(self, records: Sequence[_Handed], invalidations: int) -> Sequence[_Handed]:
        """Return those records of a list that this worker still owns. Count the others out of memory.

        Args:
            records: A list that comes back from a thread.
            invalidations: The session's counter when the list was handed over.
        """
        if self._session.invalidations == invalidations:
            return records
        return [one for one in records if self._keep_or_release(one.source, is_last=one.is_last)]

    def _keep_or_release(self, record: ConsumedRecord, *, is_last: bool = True) -> bool:
        """Return whether this worker still owns the record. If not, count it or its element out."""
        if self._session.owns(record):
            return True
        self._in_flight.release([record] if is_last else (), 0 if is_last else 1)
        return False

    def drain(self, until_ms: int) -> bool:
        """Drop what the device has not begun; finish and publish the rest, and poll meanwhile.

        The offsets of the dropped records were never committed, so the next owner of their partitions judges them.

        Returns:
            Whether everything was published by ``until_ms``. If not, the next owner judges the rest too.
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
            # The poll serves rebalances. A message that it returns is not committed: the next owner judges it.
            self._session.poll(records_max=1, wait_ms=0)
            self._drop_stale()
            self._collect(now_ms)
            if self._results and not self._device.pending:
                self._publish()
            wait_for_any(self._device.pending, self._timings.busy_ms)
        return True


Prepare = Callable[[Sequence[ConsumedRecord]], list[PreparedRecord]]


class Judge(Protocol):
    """Decides about scored records, and builds their outputs."""

    def __call__(self, results: Sequence[ScoredRecord], session: "TransactionalSession") -> Judged:
        """Return what a transaction with these records publishes; called once for each attempt."""

    def end_alert_windows(self, now_ms: int, session: "TransactionalSession") -> Judged:
        """Return the summaries of the alert windows that the clock ends, and the states without these windows."""


class TransactionalSession(Protocol):
    """The log: the owner consumes from it and publishes to it."""

    @property
    def invalidations(self) -> int:
        """A counter that grows whenever a record in memory can have become stale."""

    @property
    def rejected(self) -> Mapping[MessagePosition, str]:
        """Messages whose outputs a broker rejects: position to the reason of the dead letter."""

    @property
    def exempt_below(self) -> Mapping[Partition, int]:
        """For each partition, the offset below which dead letters do not count towards the bound on their share."""

    @property
    def states(self) -> Mapping[Partition, str]:
        """By partition, the state that was committed with its offset. A partition without a state is missing."""

    @property
    def state_characters_max(self) -> int:
        """Longest state of a partition that can be committed, in characters of ASCII without white space."""

    def poll(self, *, records_max: int, wait_ms: int) -> Sequence[ConsumedRecord]:
        """Serve rebalances, and return the records that have arrived; wait up to ``wait_ms`` for the first one."""

    def owns(self, record: ConsumedRecord) -> bool:
        """Return whether this worker may still commit the record."""

    def ready(self) -> bool:
        """Return whether ``publish`` may be called. If not, take a step towards it, of at most a second."""

    def is_idle(self, partition: Partition) -> bool:
        """Return whether the partition was read to its end, and all of its records are committed."""

    def publish(
        self,
        records: Sequence[ConsumedRecord],
        outputs: Sequence[OutputRecord],
        states: Mapping[Partition, str] = ...,
    ) -> bool:
        """Commit the outputs, and the next offsets of the records with the partitions' states, in one transaction.

        A partition without a new state keeps its state. A partition with only a new state keeps its offset.

        Returns:
            Whether the transaction was committed. If not, call ``rewind``.
        """

    def rewind(self) -> None:
        """Make every record in memory stale, and read again from the committed offsets."""

    def quarantine(self, excesses: Sequence[DeadLetterExcess]) -> None:
        """Make the records of these partitions stale, and do not read these partitions until they are released."""

    def pause(self) -> None:
        """Stop fetching until ``resume``. librdkafka discards the messages that it has prefetched."""

    def resume(self) -> None:
        """Fetch again, if ``pause`` was called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopTimings:
    """How long the owner waits, in milliseconds.

    Attributes:
        commit_ms_max: Longest time for which a result waits for a transaction.
        idle_ms: Longest wait of a poll while no record is in memory.
        busy_ms: Longest rest between two polls while another thread works.
        commit_pause_ms: Minimum pause between two transactions while memory holds less than a full one. Never
            shorter than the previous commit took, so that committing takes at most half of the owner's time.
        slow_ms: A transaction that takes longer is slow: the next one does not grow.
    """

    commit_ms_max: int
    slow_ms: int
    idle_ms: int = 100
    busy_ms: int = 2
    commit_pause_ms: int = 5


@dataclass(slots=True)
class LoopTotals:
    """What the loop has done since it began, for the progress line.

    Attributes:
        records: Input records whose offsets were committed.
        outputs: Records that were published in committed transactions.
        counted: Messages that an alert window counted, so that they raised no alert.
        keys_without_room: Keys of alerts for which a partition's state had no room.
        skipped: Records and elements of arrays that were skipped, because they are not chat messages.
        truncated: Messages with a part that was not scored.
        transactions: Committed transactions.
        rewinds: Transactions that failed, each with a rewind.
    """

    records: int = 0
    outputs: int = 0
    counted: int = 0
    keys_without_room: int = 0
    skipped: int = 0
    truncated: int = 0
    transactions: int = 0
    rewinds: int = 0
