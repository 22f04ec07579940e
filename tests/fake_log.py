"""A log in memory that keeps Kafka's promises: what a read_committed reader of the real one would see.

It shares its contract suite with the real session (``contract/test_log.py``), and the decisions with it too
(``Ownership``, ``start``): only the I/O is made up. Like a real broker it does not check who owns a partition; it
fences a member that the group has expelled, and it answers nobody about offsets that a transaction has pending.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from tests.fake_cluster import FakeCluster, Fate, Transaction
from worker.errors import KafkaFatalError
from worker.kafka.offset_lookups import OffsetLookups
from worker.kafka.offset_reset import OffsetReset, start_offset
from worker.kafka.ownership import Ownership, next_offsets
from worker.kafka.quarantine import Quarantine, TailSample, error_if_all_quarantined
from worker.kafka.stall_detection import PartitionLag, idle_offsets
from worker.records import ConsumedRecord, DeadLetterExcess, OutputRecord, Partition, Topic

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Died(Exception):  # noqa: N818 - it happens to the best
    """The process is gone, in the middle of what it was doing."""


_COMMITS = (Fate.COMMITTED, Fate.UNKNOWN_COMMITTED, Fate.DIES_COMMITTED)
_TOLD = (Fate.COMMITTED, Fate.ABORTED, Fate.FENCED)
SAMPLE_RECORDS = 3
_DEATHS = (Fate.DIES_OPEN, Fate.DIES_COMMITTED)


def mortal(
    call: Callable[Concatenate["FakeLog", Arguments], Answer],
) -> Callable[Concatenate["FakeLog", Arguments], Answer]:
    """The process may die before the call takes effect, and after it did."""

    before, after = f"before {call.__name__}", f"after {call.__name__}"

    @wraps(call)
    def called(log: "FakeLog", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        log.live_on(before)
        answer = call(log, *args, **kwargs)
        log.live_on(after)
        return answer

    return called


class FakeLog:
    """One member's view; the loop's ``Log``.

    Attributes:
        fate: Of its next transaction.
        refused: Why a publish was not begun; empty: none had to be refused.
        dies: When its process does: ``before poll``, ``after publish`` and so on; empty: not now.
        confused: Its next poll is given an offset that can't be.
    """

    def __init__(self, cluster: FakeCluster, transactional_id: str) -> None:
        self.invalidations = 0
        self.rejected: dict[tuple[Partition, int], str] = {}
        self.transactional_id = transactional_id
        self.fate = Fate.COMMITTED
        self.refused = ""
        self.dies = ""
        self.confused = False
        self._paused = False
        self._initialised = False
        self._cluster = cluster
        self._owned = Ownership()
        self._assigned: set[Partition] = set()
        self._waiting: set[Partition] = set()
        self._next: dict[Partition, int] = {}
        self._lookups = OffsetLookups(0, 0)
        self._answers: list[tuple[int, dict[Partition, int]]] = []  # the questions' numbers, and the starts
        self._quarantine = Quarantine()
        self._polls = 0

    def live_on(self, moment: str) -> None:
        """At either end of a call. Of one without effect (``owns``) there is none: to die there is to die later.

        Raises:
            Died: It was the last moment.
        """
        if self.dies == moment:
            raise Died

    @mortal
    def poll(self, *, records_max: int, wait_ms: int) -> Sequence[ConsumedRecord]:
        """Takes part in the group, and gives what there is; never waits."""
        del wait_ms
        if self._cluster.away:
            return []
        self._take_part()
        if self.confused:
            self.confused = False
            self._forget()
        self._look_at_the_quarantined()
        if self._waiting and self._is_ready():
            self._place()
        if self._paused:
            return []
        found = self._fetch(records_max)
        self._pass_what_is_skipped()
        return [one for one in found if self._owned.owns(one)]

    def _take_part(self) -> None:
        cluster = self._cluster
        if self not in cluster.members:
            self._give_up(self._assigned)
            cluster.admit(self)
        if self in cluster.called:
            cluster.called.remove(self)
            self._give_up(self._assigned)
        gone = {partition for partition in self._assigned if cluster.target[partition] is not self}
        if gone:
            self._give_up(gone)
        if not cluster.called:
            for partition, member in cluster.target.items():
                if member is self and partition not in cluster.held:
                    cluster.held[partition] = self
                    self._assigned.add(partition)
                    self._waiting.add(partition)

    def _give_up(self, partitions: Collection[Partition]) -> None:
        self._owned.remove(partitions)
        self._quarantine.forget(partitions)
        self._cluster.release(partitions, self)
        self._waiting -= set(partitions)
        self._lookups.forget(partitions)
        self._assigned -= set(partitions)
        self.invalidations += 1

    def _place(self) -> None:
        """Gives waiting partitions the positions that were answered since they were asked for, and asks."""
        self._take_starts()
        self._ask_starts()
        if not self._cluster.answers_late:
            self._take_starts()

    def _ask_starts(self) -> None:
        """Asks where the waiting partitions start; about those whose offsets are pending it asks again later."""
        cluster = self._cluster
        pending = {partition for transaction in cluster.open.values() for partition in transaction.offsets}
        due = self._lookups.due(0, self._waiting - pending)
        starts: dict[Partition, int] = {}
        for partition in due:
            low, high = cluster.low.get(partition, 0), len(cluster.inputs[partition])
            begin = start_offset(
                cluster.committed.get(partition), low=low, high=high, timed=None, reset=OffsetReset()
            )
            assert begin is not None
            starts[partition] = begin
        self._answers.append((self._lookups.ask(due), starts))

    def _take_starts(self) -> None:
        """Places what has been answered, but for what was forgotten in the meantime."""
        answers, self._answers = self._answers, []
        for number, answer in answers:
            starts = {partition: answer[partition] for partition in self._lookups.current(number, answer)}
            self._lookups.forget(starts)
            committed = self._cluster.committed
            found = {partition: begin for partition, begin in starts.items() if begin != committed.get(partition)}
            if found and not self._transact((), found):
                self._lookups.forget(self._waiting)
                return
            self._owned.place(starts)
            self._next |= starts
            self._waiting -= starts.keys()

    def _fetch(self, records_max: int) -> list[ConsumedRecord]:
        found: list[ConsumedRecord] = []
        for partition in self._owned.partitions:
            values = self._cluster.inputs[partition]
            offset = self._next[partition]
            if offset < self._cluster.low.get(partition, 0):  # retention has overtaken it
                self._forget()
                return []
            while offset < len(values) and len(found) < records_max:
                if (partition, offset) not in self._cluster.skipped:
                    fetched = self._owned.fetched(
                        partition, offset, timestamp_ms=None, key=None, value=values[offset], headers=()
                    )
                    assert fetched is not None
                    found.append(fetched)
                offset += 1
            self._next[partition] = offset
            if offset == len(values):
                self._owned.reached_end(partition, offset)
        return found

    def _pass_what_is_skipped(self) -> None:
        """Commits the places behind control records of partitions that are idle."""
        if not self._cluster.skipped:
            return
        ends = {partition: len(values) for partition, values in self._cluster.inputs.items()}
        idle = idle_offsets(
            {
                partition: PartitionLag(
                    progress=at, last_stable_offset=ends[partition], fetched_end=ends[partition]
                )
                for partition, at in self._owned.progress.items()
            }
        )
        if idle and self._is_ready():
            if self._transact((), idle):
                self._owned.committed(idle)
            else:
                self._forget()

    def owns(self, fetched: ConsumedRecord) -> bool:
        """Whether the record is still ours to commit."""
        return self._owned.owns(fetched)

    @mortal
    def ready(self) -> bool:
        """Whether the brokers answer; a new producer settles what its predecessor left."""
        return self._is_ready()

    def _is_ready(self) -> bool:
        if self._cluster.away:
            return False
        if not self._initialised:
            self._cluster.settle(self.transactional_id)
            self._initialised = True
        return True

    @mortal
    def publish(self, records: Sequence[ConsumedRecord], outputs: Sequence[OutputRecord]) -> bool:
        """A transaction, unless it must not be begun."""
        refusal = self._owned.refusal(records, outputs)
        if refusal is not None:
            self.refused = refusal.value
            return False
        large = [output for output in outputs if self._cluster.too_large(output)]
        if large:
            self.rejected |= {
                (output.source.partition, output.source.offset): "output_too_large" for output in large
            }
            assert all(output.topic is not Topic.DEAD_LETTER for output in large)
            return False
        offsets = next_offsets(records)
        committed = self._transact(outputs, offsets)
        if committed:
            self._owned.committed(offsets)
            self.rejected.clear()
        return committed

    def _transact(self, outputs: Sequence[OutputRecord], offsets: Mapping[Partition, int]) -> bool:
        """Begins, produces, sends the offsets and commits; ``fate`` decides how far it comes.

        Raises:
            KafkaFatalError: Another process has this transactional id.
            Died: In the midst of it.
        """
        assert self._initialised, "published before it was ready"
        fate, self.fate = self.fate, Fate.COMMITTED
        if self not in self._cluster.members and fate is Fate.COMMITTED:
            fate = Fate.ABORTED  # the group is told the offsets, and knows the member no more
        commits = fate in _COMMITS and self in self._cluster.members
        self._cluster.open[self.transactional_id] = Transaction(outputs=outputs, offsets=offsets, commits=commits)
        if fate in _DEATHS:
            raise Died
        if fate in _TOLD:
            self._cluster.settle(self.transactional_id)
        else:
            self._initialised = False
        if fate is Fate.FENCED:
            raise KafkaFatalError("another live process uses the transactional id")
        return fate is Fate.COMMITTED

    @mortal
    def rewind(self) -> None:
        """Everything in memory is stale; the next poll places all anew."""
        self._forget()

    def _forget(self) -> None:
        self._waiting |= set(self._owned.partitions)
        self._owned.remove(self._waiting)
        self._lookups.forget(self._waiting)
        self.invalidations += 1

    @property
    def exempt_below(self) -> Mapping[Partition, int]:
        """By partition the offset below which dead letters do not count."""
        return self._quarantine.exempt_below

    @mortal
    def quarantine(self, excesses: Sequence[DeadLetterExcess]) -> None:
        """Gives nothing more of these partitions, until their last records can be read.

        Raises:
            FatalError: All partitions are like that.
        """
        for excess in excesses:
            self._quarantine.add(self._now_ms, excess)
        gone = {excess.partition for excess in excesses}
        self._owned.remove(gone)
        self._waiting -= gone
        self.invalidations += 1
        held = len(self._quarantine.partitions)
        existing = len(self._cluster.inputs)
        error = error_if_all_quarantined(excesses[-1], held, len(self._assigned), lambda: existing)
        if error is not None:
            raise error

    def release_quarantined(self) -> None:
        """A person wants it."""
        self._quarantine.release_all(self._now_ms)

    @property
    def _now_ms(self) -> int:
        """A clock of its own: a poll takes a second."""
        return 1000 * self._polls

    def _look_at_the_quarantined(self) -> None:
        self._polls += 1
        for partition in self._quarantine.due(self._now_ms):
            values = self._cluster.inputs[partition]
            tail = [value for value in values[-SAMPLE_RECORDS:] if value is not None]
            unreadable = sum(not self._cluster.is_readable(value) for value in tail)
            if self._quarantine.take_sample(
                self._now_ms, partition, TailSample(len(values), len(tail), unreadable)
            ):
                self._waiting.add(partition)

    @mortal
    def pause(self) -> None:
        """Gives nothing until ``resume``."""
        self._paused = True

    @mortal
    def resume(self) -> None:
        """Gives again."""
        self._paused = False


def join(cluster: FakeCluster, transactional_id: str = "") -> FakeLog:
    """A new member."""
    member = FakeLog(cluster, transactional_id or f"member-{len(cluster.members)}")
    cluster.admit(member)
    return member
