"""THE STORY: poll, admit, take, score, judge, publish.

The owner's thread runs this file; the preparer decodes and tokenises, the device scores; those two share the cache,
and nothing else is shared. What the owner knows of Kafka is the ``Log``; of the model, the ``Scorer``.

Whatever goes wrong has one of two answers. The records of a partition that is revoked, or goes into quarantine, are
dropped wherever they are, and the others go on. After anything else the log is rewound to what the group has
committed, which makes every record in memory stale: the same drop, of all.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Protocol

from worker.batching import Bounds, Flow, Intake, Line
from worker.moderation.cache import Cache
from worker.moderation.dead_letter_share import DeadLetterShare
from worker.records import Excess, Fault, Fetched, Message, Output, Partition, Record, Result, Scores
from worker.stage import Stage, rest

Prepare = Callable[[Sequence[Fetched]], list[Record]]
Judge = Callable[[Sequence[Result], Mapping[tuple[Partition, int], str]], Sequence[Output]]


class Log(Protocol):
    """What the owner consumes from and publishes to."""

    @property
    def changes(self) -> int:
        """Grows whenever a record in memory may have become stale."""

    @property
    def rejected(self) -> Mapping[tuple[Partition, int], str]:
        """Records (partition, offset) whose outputs a broker refuses, with the dead letter's reason."""

    def poll(self, *, records_max: int, wait_ms: int) -> Sequence[Fetched]:
        """Serves rebalances and gives what there is; waits for the first message at most so long."""

    def owns(self, fetched: Fetched) -> bool:
        """Whether the record is still ours to commit."""

    def ready(self) -> bool:
        """Whether ``publish`` may be called; takes a step towards it, of at most a second."""

    def publish(self, records: Sequence[Fetched], outputs: Sequence[Output]) -> bool:
        """One transaction: the outputs, and the offsets after the records. False: forget and rewind."""

    def rewind(self) -> None:
        """Makes every record in memory stale, and reads on from what the group has committed."""

    @property
    def forgiven(self) -> Mapping[Partition, int]:
        """By partition the offset below which dead letters do not count against it."""

    def quarantine(self, excesses: Sequence[Excess]) -> None:
        """Make the records of partitions stale, and read no more of them until they are released."""

    def pause(self) -> None:
        """Fetches nothing until ``resume``; what was prefetched is thrown away."""

    def resume(self) -> None:
        """Fetches again, if it was paused."""


class Scorer(Protocol):
    """The model."""

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores | Fault]:
        """``[B]`` texts' tokens, none empty, to ``[B][L]`` probabilities; a Fault for what breaks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
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
class Tally:
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
        log: Log,
        prepare: Prepare,
        scorer: Scorer,
        cache: Cache,
        judge: Judge,
        share: DeadLetterShare,
        bounds: Bounds,
        intake: Intake,
        pace: Pace,
        clock: Callable[[], int],
        preparer: Executor,
        device: Executor,
    ) -> None:
        self.tally = Tally()
        self.cache = cache
        self._log = log
        self._judge = judge
        self._share = share
        self._bounds = bounds
        self._intake = intake
        self._pace = pace
        self._clock = clock
        self._inbox: list[Fetched] = []
        self._preparer: Stage[Fetched, Record] = Stage(prepare, preparer)
        self._line = Line(bounds)
        self._device: Stage[Record, Result] = Stage(lambda batch: score(scorer, batch, cache), device)
        self._may_grow = False
        self._results: list[Result] = []
        self._oldest_result_ms = 0
        self._next_commit_ms = 0
        self._changes = log.changes

    @property
    def records_in_memory(self) -> int:
        """From the poll to the commit."""
        return self._intake.records

    def turn(self) -> None:
        """Once around.

        Raises:
            Stop: The process must end; nothing is committed that should not be.
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
        self._log.pause()
        self._inbox = []
        self._line.keep(lambda _: False)
        while self._device.take_back():
            pass
        while self._device.pending or self._results:
            now_ms = self._clock()
            if now_ms >= until_ms:
                return False
            self._log.poll(records_max=1, wait_ms=0)  # for the rebalances; a message is left for the next owner
            self._drop_stale()
            self._collect(now_ms)
            if self._results and not self._device.pending:
                self._publish()
            rest(self._device.pending, self._pace.busy_ms)
        return True

    def _poll(self, now_ms: int) -> None:
        flow = self._intake.flow(now_ms)
        if flow is Flow.PAUSE:
            self._log.pause()
        elif flow is Flow.TAKE:
            self._log.resume()
        if flow is not Flow.HOLD:
            wait_ms = self._pace.idle_ms if self._intake.records == 0 else 0
            fetched = self._log.poll(records_max=self._bounds.records_max, wait_ms=wait_ms)
            self._intake.add(fetched)
            self._inbox.extend(fetched)
            self._drop_stale()
        if self._inbox and self._preparer.has_room:
            self._preparer.give(self._inbox)
            self._inbox = []

    def _admit(self, now_ms: int) -> None:
        for records in self._preparer.finished():
            self._line.admit([record for record in records if self._keeps(record.source)], now_ms)

    def _take(self, now_ms: int) -> None:
        if self._may_grow and self._line:
            # The batch that waits for the device was closed by time. Whoever has come since would wait for two.
            waiting = self._device.take_back()
            self._line.put_back([record for record in waiting if self._keeps(record.source)])
        while self._device.has_room:
            wait_ms = self._bounds.wait_ms_max if self._device.pending else 0
            batch = self._line.take(now_ms, wait_ms)
            if not batch:
                return
            self._device.give(batch)
            self._may_grow = not self._line

    def _collect(self, now_ms: int) -> None:
        for results in self._device.finished():
            if not self._results:
                self._oldest_result_ms = now_ms
            self._results.extend(result for result in results if self._keeps(result.record.source))

    def _commit_due(self, now_ms: int) -> bool:
        if not self._results:
            return False
        idle = self._intake.records == len(self._results)
        waited = now_ms - self._oldest_result_ms >= self._pace.commit_ms_max
        return idle or waited or now_ms >= self._next_commit_ms

    def _publish(self) -> None:
        if not self._log.ready():
            return
        self._drop_stale()
        if excesses := self._share.excess(self._results, self._log.forgiven):
            self._log.quarantine(excesses)
            self._drop_stale()
            if not self._results:
                return
        outputs = self._judge(self._results, self._log.rejected)
        records = [result.record.source for result in self._results]
        began_ms = self._clock()
        committed = self._log.publish(records, outputs)
        ended_ms = self._clock()
        self._next_commit_ms = ended_ms + max(ended_ms - began_ms, self._pace.commit_pause_ms)
        if committed:
            self._share.observe(self._results, self._log.forgiven)
            self._results = []
            self._intake.release(records)
            self.tally.records += len(records)
            self.tally.outputs += len(outputs)
            self.tally.transactions += 1
        else:
            self._log.rewind()
            self._drop_stale()
            self.tally.rewinds += 1

    def _rest(self) -> None:
        if self._preparer.pending or self._device.pending:
            busy: list[Future[Any]] = [*self._preparer.pending, *self._device.pending]
            rest(busy, self._pace.busy_ms)

    def _keeps(self, fetched: Fetched) -> bool:
        """Whether a record that a thread hands back is still ours; if not, its memory is free."""
        if self._log.owns(fetched):
            return True
        self._intake.release([fetched])
        return False

    def _drop_stale(self) -> None:
        """Drops the stale records that the owner holds; the threads' are dropped as they come back."""
        if self._log.changes == self._changes:
            return
        self._changes = self._log.changes
        self._inbox = [fetched for fetched in self._inbox if self._keeps(fetched)]
        self._line.keep(lambda record: self._keeps(record.source))
        self._results = [result for result in self._results if self._keeps(result.record.source)]


def score(scorer: Scorer, batch: Sequence[Record], cache: Cache) -> list[Result]:
    """Asks the model about the texts that nobody has scored by now, once about each; on the device's thread."""
    texts = [text for record in batch if isinstance(text := record.content, Message) and text.token_count]
    new = {text.text_name: text for text in texts if text.known is None}
    found = cache.find(new)  # scored since they were prepared
    asked = [text for name, text in new.items() if name not in found]
    answers = scorer.score([text.tokens for text in asked]) if asked else ()
    cache.learn(asked, answers)
    cache.hits += len(texts) - len(asked)
    cache.misses += len(asked)
    scores: dict[bytes, Scores | Fault] = {text.text_name: text.known.scores for text in texts if text.known}
    scores.update((name, known.scores) for name, known in found.items())
    scores.update(zip((text.text_name for text in asked), answers, strict=True))
    return [Result(record=record, scores=scores.get(record.text_name)) for record in batch]
