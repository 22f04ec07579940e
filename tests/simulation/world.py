"""Simulated workers, brokers and a clock. Nothing happens by itself: each step is one method of the world.

The loop is the real one. The owner looks at results only in its turn. So a thread that finishes between two turns
covers every order in which real threads can finish. A step that does not apply does nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from tests.fake_cluster import FakeCluster, Outcome
from tests.fake_log import Died, FakeLog, join
from tests.simulation.parts import (
    ELEMENTS,
    ITEMS,
    OWED,
    Deferred,
    Device,
    Kind,
    SimulatedJudge,
    is_summary,
    key_of,
    kind_of,
    preparing,
)
from worker.batching import BatchBounds, InFlightLimit
from worker.commands.ledger import InputPosition, ObservedInput, ObservedOutput, ObservedRepeat, audit
from worker.errors import FatalError
from worker.kafka.commit_metadata import decode_metadata
from worker.loop import Loop, LoopTimings
from worker.moderation.cache import ENTRY_BYTES, ScoreCache
from worker.moderation.dead_letter_share import DeadLetterShare, ShareBounds
from worker.records import MessagePosition, OutputRecord, Partition, ScoredRecord, Topic

STEP_MS = 60
"""Time from one message to the next, by their own times."""
PARTITIONS = [Partition("messages", number) for number in range(3)]
WORKERS = 3
BOUNDS = BatchBounds(records_max=4, tokens_max=12, wait_ms_max=5)
INTAKE_RECORDS_MAX = 12
INTAKE_TOKENS_MAX = 20
TRANSACTION_RECORDS = 8
CACHED_MAX = 6
NO_BOUNDS = ShareBounds(model_share_max=1, input_share_max=1, window_records=100)
TIGHT_BOUNDS = ShareBounds(model_share_max=0.3, input_share_max=0.3, window_records=8, records_min=3)


@dataclass(slots=True)
class Process:
    """One live worker."""

    log: FakeLog
    loop: Loop
    in_flight: InFlightLimit
    scorer: Device
    preparer: Deferred
    device: Deferred


@dataclass(slots=True)
class World:
    """A group of workers. The public methods are the steps. A printed schedule shows their docstrings."""

    now_ms: int = 0
    cluster: FakeCluster = field(default_factory=FakeCluster)
    _alive: dict[int, Process] = field(default_factory=dict)
    _dead: list[tuple[int, FakeLog]] = field(default_factory=list)  # the group has not noticed their death
    _draining: Process | None = None
    _answered: set[InputPosition] = field(default_factory=set)
    _sampled: dict[Partition, int] = field(default_factory=dict)
    _observed: Counter[MessagePosition] = field(default_factory=Counter)  # what observers of commits were given
    _read: int = 0
    _elements_max: int = 1  # of a record
    _message_ms: int = 100_000
    _shift_ms: int | None = 0
    _bounds: ShareBounds = NO_BOUNDS

    def __post_init__(self) -> None:
        self.cluster.inputs = {partition: [] for partition in PARTITIONS}
        self.cluster.too_large = lambda output: (
            output.source.value == Kind.LARGE.value and output.topic is not Topic.DEAD_LETTER
        )

        self.cluster.is_readable = lambda value: value != Kind.BROKEN.value

    def process(self, worker: int) -> Process:
        """Return a live worker, so that a test can look inside it."""
        return self._alive[worker]

    # ---- steps -----------------------------------------------------------------------------------------------

    def produce(self, partition: int, kind: Kind) -> None:
        """Partition {who} gets a message: {how}."""
        where = PARTITIONS[partition]
        self._message_ms += STEP_MS
        time_ms = None if self._shift_ms is None else max(0, self._message_ms + self._shift_ms)
        self.cluster.produce(where, kind.value, time_ms)
        if kind is Kind.ARRAY:
            self._elements_max = len(ELEMENTS)

    def shift_times(self, _: int, shift_ms: int | None) -> None:
        """From here on, messages have a time that is {how} ms off; None: they have no time."""
        self._shift_ms = shift_ms

    def overwrite_metadata(self, partition: int, _: object) -> None:
        """Another tool commits the offset of partition {who} again, with metadata of its own, unless a window is
        open."""
        where = PARTITIONS[partition]
        if where in self.cluster.committed and not self.cluster.metadata.get(where):
            self.cluster.metadata[where] = "of another tool"

    def limit_metadata(self, _: int, characters: int) -> None:
        """The brokers take at most {how} characters of metadata."""
        self.cluster.metadata_max = characters

    def skip(self, partition: int, _: object) -> None:
        """Partition {who} gets a control record, which takes an offset."""
        self.cluster.skip(PARTITIONS[partition])

    def retain(self, partition: int, records: int) -> None:
        """Retention deletes {how} records of partition {who}."""
        where = PARTITIONS[partition]
        low = self.cluster.low.get(where, 0)
        self.cluster.low[where] = min(low + records, len(self.cluster.inputs[where]))

    def begin(self, worker: int, _: object) -> None:
        """Worker {who} starts."""
        if worker not in self._alive:
            self._alive[worker] = self._start(worker)

    def prepared(self, worker: int, _: object) -> None:
        """Worker {who}: the preparer finishes a chunk."""
        if worker in self._alive:
            self._alive[worker].preparer.step()

    def scored(self, worker: int, _: object) -> None:
        """Worker {who}: the device finishes a batch."""
        if worker in self._alive:
            self._alive[worker].device.step()

    def turn(self, worker: int, _: object) -> None:
        """Worker {who} makes one turn."""
        if worker in self._alive:
            self._do(worker, self._alive[worker].loop.turn)

    def read_again(self, worker: int, _: object) -> None:
        """Worker {who} gets a policy that scores other messages, so it reads again."""
        if worker in self._alive:
            self._do(worker, self._alive[worker].loop.read_again)

    def drain(self, worker: int, grace_ms: int) -> None:
        """Worker {who} is told to end within {how} ms."""
        if worker in self._alive:
            process = self._draining = self._alive[worker]
            until_ms = self.now_ms + grace_ms
            self._do(worker, lambda: process.loop.drain(until_ms))
            self._draining = None
            if self._alive.pop(worker, None):
                self.cluster.leave(process.log)

    def wait(self, _: int, ms: int) -> None:
        """{how} ms pass."""
        self.now_ms += ms

    def die(self, worker: int, moment: str) -> None:
        """Worker {who} will die {how}."""
        if worker in self._alive:
            self._alive[worker].log.dies = moment

    def expel(self, worker: int, _: object) -> None:
        """The group removes worker {who}, which is alive."""
        if worker in self._alive:
            self.cluster.leave(self._alive[worker].log)

    def notice_death(self, worker: int, _: object) -> None:
        """The group notices that worker {who} is dead."""
        for log in [log for number, log in self._dead if number == worker]:
            self.cluster.leave(log)
        self._dead = [(number, log) for number, log in self._dead if number != worker]

    def settle_transaction(self, worker: int, _: object) -> None:
        """The coordinator ends the open transaction of worker {who}."""
        self.cluster.settle(_transactional_id(worker))

    def rebalance(self, _: int, shares: int) -> None:
        """The group assigns the partitions again (by the number {how})."""
        self.cluster.rebalance(shares)

    def tighten_bounds(self, _: int, __: object) -> None:
        """From here on, workers start with tight bounds on dead letters."""
        self._bounds = TIGHT_BOUNDS

    def release(self, worker: int, _: object) -> None:
        """An operator has worker {who} release its partitions from quarantine."""
        if worker in self._alive:
            self._alive[worker].log.release_quarantined()

    def rebalance_incrementally(self, _: int, __: object) -> None:
        """From here on, a rebalance takes away only the partitions that move."""
        self.cluster.eager = False

    def delay_start_offsets(self, _: int, __: object) -> None:
        """From here on, a worker gets start offsets one poll after it asks."""
        self.cluster.delays_start_offsets = True

    def set_outcome(self, worker: int, outcome: Outcome) -> None:
        """Worker {who}: the next transaction will be {how}."""
        if worker in self._alive:
            self._alive[worker].log.outcome = outcome

    def stop_brokers(self, _: int, __: object) -> None:
        """The brokers stop answering."""
        self.cluster.away = True

    def restart_brokers(self, _: int, __: object) -> None:
        """The brokers answer again."""
        self.cluster.away = False

    def deliver_out_of_order(self, worker: int, _: object) -> None:
        """Worker {who}: the next poll meets an offset before the position."""
        if worker in self._alive:
            self._alive[worker].log.delivers_out_of_order = True

    def break_device(self, worker: int, _: object) -> None:
        """Worker {who}: the device breaks."""
        if worker in self._alive:
            self._alive[worker].scorer.broken = True

    # ---- what is true at any moment, and at the end ----------------------------------------------------------

    def sample(self) -> None:
        """Assert what is true after every step.

        Each record below a committed offset has its outputs, memory is bounded, and no publish was refused. A loop
        that keeps stale records loses nothing, because the log refuses them. But then a rebalance costs a rewind,
        although the partitions that the worker keeps should go on.
        """
        outputs, committed = self.cluster.outputs, self.cluster.committed
        for output in outputs[self._read :]:
            self._answered.add((output.source.partition, output.source.offset))
        self._read = len(outputs)
        for partition, upto in committed.items():
            was = self._sampled.get(partition, 0)
            assert upto >= was, f"{partition}: the committed offset went back from {was} to {upto}"
            for offset in range(was, upto):
                assert not self._owes(partition, offset), f"{partition} {offset} is committed without an answer"
            self._sampled[partition] = upto
        for process in self._alive.values():
            assert not process.log.refused, f"the loop published what is refused: {process.log.refused}"
            records = process.in_flight.records
            most = (INTAKE_RECORDS_MAX + BOUNDS.records_max) * self._elements_max
            assert 0 <= records < most, f"{records} records in memory"

    def finish(self) -> None:
        """Stop all faults, and assert that the rest is judged and nothing stays in memory."""
        self.cluster.away = False
        self._bounds = NO_BOUNDS
        for worker in range(WORKERS):
            self.settle_transaction(worker, None)
            self.notice_death(worker, None)
        for process in self._alive.values():
            process.log.outcome, process.log.dies, process.scorer.broken = Outcome.COMMITTED, "", False
        if not self._alive:
            self.begin(0, None)
        for _ in range(1000):
            if self._is_done():
                return
            self.now_ms += 100 if self._is_judged() else 3  # only the clock ends the last windows
            for worker in list(self._alive):
                self.release(worker, None)
                self.prepared(worker, None)
                self.scored(worker, None)
                self.turn(worker, None)
                if worker not in self._alive:  # an earlier fault has ended it
                    self.begin(worker, None)
            self.sample()
        raise AssertionError("the group makes no progress")

    def check(self) -> None:
        """Assert that the ledger is clean, and that each message got the outputs of its kind."""
        inputs = [
            ObservedInput(
                partition=partition,
                offset=offset,
                tombstone=not OWED[Kind(value)],
                items=ITEMS if value == Kind.ARRAY.value else None,
            )
            for partition, values in self.cluster.inputs.items()
            for offset, value in enumerate(values)
            if (partition, offset) in self._answered or offset >= self.cluster.low.get(partition, 0)
        ]
        ledger = audit(inputs, [observed(number, output) for number, output in enumerate(self.cluster.outputs)])
        assert ledger.clean, "; ".join((str(ledger), *ledger.examples))
        twice = [position for position, count in self._observed.items() if count > 1]
        assert not twice, f"committed results were observed twice: {twice}"
        for output in self.cluster.outputs:
            if not is_summary(output):
                kind = kind_of(output)
                assert output.topic in OWED[kind], f"{output.source}: a {output.topic.value} of {kind.name.lower()}"

    def _owes(self, partition: Partition, offset: int) -> bool:
        """Return whether the record can be read and has no output yet."""
        return (
            bool(OWED[Kind(self.cluster.inputs[partition][offset])])
            and offset >= self.cluster.low.get(partition, 0)
            and (partition, offset) not in self._answered
        )

    def _is_done(self) -> bool:
        return self._is_judged() and not any(
            decode_metadata(metadata).state for metadata in self.cluster.metadata.values()
        )

    def _is_judged(self) -> bool:
        if any(process.in_flight.records for process in self._alive.values()):
            return False
        return all(
            self.cluster.committed.get(partition) == len(values)
            for partition, values in self.cluster.inputs.items()
        )

    # ---- processes -------------------------------------------------------------------------------------------

    def _start(self, worker: int) -> Process:
        log, scorer, preparer, device = (
            join(self.cluster, _transactional_id(worker)),
            Device(),
            Deferred(),
            Deferred(),
        )
        cache = ScoreCache(bytes_max=CACHED_MAX * ENTRY_BYTES)
        in_flight = InFlightLimit(
            records_max=INTAKE_RECORDS_MAX, bytes_max=1000, tokens_max=INTAKE_TOKENS_MAX, full_ms_max=10
        )
        loop = Loop(
            session=log,
            prepare=preparing(cache),
            scorer=scorer,
            cache=cache,
            judge=SimulatedJudge(),
            share=DeadLetterShare(self._bounds),
            bounds=BOUNDS,
            in_flight=in_flight,
            transaction_records=TRANSACTION_RECORDS,
            observe=self._note_committed,
            # Every transaction is slow: after each failure the next one is smaller.
            timings=LoopTimings(commit_ms_max=20, slow_ms=-1, idle_ms=0, busy_ms=0),
            clock=self._look,
            preparer=preparer,
            device=device,
        )
        return Process(log, loop, in_flight, scorer, preparer, device)

    def _note_committed(self, results: Sequence[ScoredRecord]) -> None:
        self._observed.update((one.source.partition, one.source.offset, one.record.item) for one in results)

    def _look(self) -> int:
        """Return the time. While an owner waits for its device to finish, the device makes progress."""
        if self._draining is not None:
            self.now_ms += 1
            if self.now_ms % 3 == 0:
                self._draining.device.step()
        return self.now_ms

    def _do(self, worker: int, what: Callable[[], object]) -> None:
        """Make a call that may end the process: with a leave of the group (an error), or without (a death)."""
        try:
            what()
        except Died:
            self._dead.append((worker, self._alive.pop(worker).log))
        except FatalError:
            self.cluster.leave(self._alive.pop(worker).log)


def observed(number: int, output: OutputRecord) -> ObservedOutput:
    """Return an output as the audit needs it."""
    source = output.source
    return ObservedOutput(
        topic=output.topic,
        source=(source.partition, source.offset),
        partition=source.partition.number,
        offset=number,
        flagged=output.topic is Topic.VERDICT and kind_of(output) is Kind.UNSAFE,
        item=output.item,
        alert_id=None if is_summary(output) else (output.value or b"").decode() or None,
        key=key_of(source.offset),
        repeat=ObservedRepeat(*orjson.loads(output.value or b"")) if is_summary(output) else None,
    )


def _transactional_id(worker: int) -> str:
    return f"worker-{worker}"
