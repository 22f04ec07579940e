"""A session on brokers in memory that give Kafka's guarantees to a read_committed reader.

The fake log shares its contract suite with the real session (``contract/test_transactional_session.py``,
``test_session_membership.py`` and ``test_session_quarantine.py``). It also shares the decisions (``Ownership``,
``OffsetLookups``, ``start_offset``): only the I/O is simulated. Like real brokers, the fake cluster does not check
who owns a partition, fences a member that the group has removed, and does not answer about offsets that an open
transaction contains.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from tests.fake_cluster import FakeCluster, Outcome, Transaction
from worker.errors import KafkaFatalError
from worker.kafka.commit_metadata import MetadataLimit
from worker.kafka.offset_lookups import OffsetLookups
from worker.kafka.offset_reset import OffsetReset, start_offset
from worker.kafka.ownership import Ownership
from worker.kafka.quarantine import Quarantine, TailSample, error_if_all_quarantined
from worker.kafka.stall_detection import PartitionLag, idle_offsets
from worker.records import (
    NO_STATES,
    ConsumedRecord,
    DeadLetterExcess,
    MessagePosition,
    OutputRecord,
    Partition,
    Topic,
)

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Died(Exception):  # noqa: N818 - a simulated event, not an error
    """The process has died in the middle of a call."""


_COMMITS = (Outcome.COMMITTED, Outcome.UNKNOWN_COMMITTED, Outcome.DIES_COMMITTED)
_ANSWERED = (Outcome.COMMITTED, Outcome.ABORTED, Outcome.FENCED)
SAMPLE_RECORDS = 3
_DEATHS = (Outcome.DIES_OPEN, Outcome.DIES_COMMITTED)


def may_die(
    call: Callable[Concatenate["FakeLog", Arguments], Answer],
) -> Callable[Concatenate["FakeLog", Arguments], Answer]:
    """Let the process die before the call takes effect, or after it."""

    before, after = f"before {call.__name__}", f"after {call.__name__}"

    @wraps(call)
    def called(log: "FakeLog", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        log.die_at(before)
        answer = call(log, *args, **kwargs)
        log.die_at(after)
        return answer

    return called


class FakeLog:
    """The view of one member: the loop's ``TransactionalSession``.

    Attributes:
        outcome: The outcome of the next transaction.
        refused: Why a publish was refused; empty if none was refused.
        dies: The moment at which the process dies, for example ``before poll``; empty if the process lives on.
        delivers_out_of_order: Whether the next poll meets an offset before the position.
    """

    def __init__(self, cluster: FakeCluster, transactional_id: str) -> None:
        self.invalidations = 0
        self.rejected: dict[MessagePosition, str] = {}
        self.transactional_id = transactional_id
        self.outcome = Outcome.COMMITTED
        self.refused = ""
        self.dies = ""
        self.delivers_out_of_order = False
        self._paused = False
        self._initialised = False
        self._cluster = cluster
        self._owned = Ownership()
        self._assigned: set[Partition] = set()
        self._waiting: set[Partition] = set()
        self._next: dict[Partition, int] = {}
        self._lookups = OffsetLookups(0, 0)
        # The questions' numbers, the starts, and the states that were committed with them.
        self._answers: list[tuple[int, dict[Partition, int], dict[Partition, str]]] = []
        self._limit = MetadataLimit()
        self._quarantine = Quarantine()
        self._polls = 0

    def die_at(self, moment: str) -> None:
        """Let the process die if this is its moment.

        A call without effect (``owns``) has no such moments: a death there has the same effect as a later one.

        Raises:
            Died: The process dies now.
        """
        if self.dies == moment:
            raise Died

    @may_die
    def poll(self, *, records_max: int, wait_ms: int) -> Sequence[ConsumedRecord]:
        """Follow rebalances, and return the records that are there. Never wait."""
        del wait_ms
        if self._cluster.away:
            return []
        self._follow_rebalance()
        if self.delivers_out_of_order:
            self.delivers_out_of_order = False
            self._rewind()
        self._sample_quarantined()
        if self._waiting and self._is_ready():
            self._place()
        if self._paused:
            return []
        found = self._fetch(records_max)
        self._commit_idle_offsets()
        return [one for one in found if self._owned.owns(one)]

    def _follow_rebalance(self) -> None:
        cluster = self._cluster
        if self not in cluster.members:
            self._take_away(self._assigned)
            cluster.admit(self)
        if self in cluster.rejoining:
            cluster.rejoining.remove(self)
            self._take_away(self._assigned)
        gone = {partition for partition in self._assigned if cluster.target[partition] is not self}
        if gone:
            self._take_away(gone)
        if not cluster.rejoining:
            for partition, member in cluster.target.items():
                if member is self and partition not in cluster.held:
                    cluster.held[partition] = self
                    self._assigned.add(partition)
                    self._waiting.add(partition)

    def _take_away(self, partitions: Collection[Partition]) -> None:
        self._owned.remove(partitions)
        self._quarantine.forget(partitions)
        self._cluster.release(partitions, self)
        self._waiting -= set(partitions)
        self._lookups.forget(partitions)
        self._assigned -= set(partitions)
        self.invalidations += 1

    def _place(self) -> None:
        """Place the waiting partitions whose start offsets have been answered, and ask about the others."""
        self._take_starts()
        self._ask_starts()
        if not self._cluster.delays_start_offsets:
            self._take_starts()

    def _ask_starts(self) -> None:
        """Ask for the start offsets of waiting partitions. Pending offsets are asked for again later."""
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
        states = {one: self._limit.decode(one, cluster.metadata.get(one)).state for one in due}
        self._answers.append((self._lookups.ask(due), starts, states))

    def _take_starts(self) -> None:
        """Place the partitions of each answer, except for those that were forgotten in the meantime."""
        answers, self._answers = self._answers, []
        for number, answer, states in answers:
            starts = {partition: answer[partition] for partition in self._lookups.current(number, answer)}
            self._lookups.forget(starts)
            committed = self._cluster.committed
            found = {partition: begin for partition, begin in starts.items() if begin != committed.get(partition)}
            if found and not self._transact((), found, states):
                self._lookups.forget(self._waiting)
                return
            self._owned.place(starts, states)
            self._next |= starts
            self._waiting -= starts.keys()

    def _fetch(self, records_max: int) -> list[ConsumedRecord]:
        found: list[ConsumedRecord] = []
        for partition in self._owned.partitions:
            values = self._cluster.inputs[partition]
            offset, position = self._next[partition], self._owned.position(partition)
            assert position is not None
            if offset < self._cluster.low.get(partition, 0):  # retention has deleted the record at the position
                self._rewind()
                return []
            while offset < len(values) and len(found) < records_max:
                if (partition, offset) not in self._cluster.skipped:
                    time_ms = self._cluster.times.get((partition, offset))
                    found.append(position.deliver(offset, time_ms, None, values[offset], ()))
                offset += 1
            self._next[partition] = offset
            if offset == len(values):
                self._owned.reached_end(partition, offset)
        return found

    def _commit_idle_offsets(self) -> None:
        """Commit the idle offsets, past control records."""
        if not self._cluster.skipped:
            return
        ends = {partition: len(values) for partition, values in self._cluster.inputs.items()}
        found = idle_offsets(
            {
                partition: PartitionLag(
                    progress=at, last_stable_offset=ends[partition], fetched_end=ends[partition]
                )
                for partition, at in self._owned.progress.items()
            }
        )
        idle = {one: at for one, at in found.items() if len(self.states.get(one, "")) <= self.state_characters_max}
        if idle and self._is_ready():
            if self._transact((), idle, self.states):
                self._owned.committed(idle)
            else:
                self._rewind()

    def owns(self, fetched: ConsumedRecord) -> bool:
        """Return whether this member may still commit the record."""
        return self._owned.owns(fetched)

    @may_die
    def ready(self) -> bool:
        """Return whether the brokers answer. A new producer settles its predecessor's transaction."""
        return self._is_ready()

    def _is_ready(self) -> bool:
        if self._cluster.away:
            return False
        if not self._initialised:
            self._cluster.settle(self.transactional_id)
            self._initialised = True
        return True

    @property
    def states(self) -> dict[Partition, str]:
        """By partition, the state that was committed with its offset."""
        return self._owned.states

    @property
    def state_characters_max(self) -> int:
        """Longest state of a partition."""
        return self._limit.state_characters

    def is_idle(self, partition: Partition) -> bool:
        """Return whether the partition was read to its end, and all of its records are committed."""
        return self._owned.is_idle(partition)

    @may_die
    def publish(
        self,
        records: Sequence[ConsumedRecord],
        outputs: Sequence[OutputRecord],
        states: Mapping[Partition, str] = NO_STATES,
    ) -> bool:
        """Commit a transaction, unless it must be refused."""
        refusal = self._owned.refusal(records, outputs, states)
        if refusal is not None:
            self.refused = refusal.value
            return False
        large = [output for output in outputs if self._cluster.too_large(output)]
        if large:
            self.rejected |= {
                (output.source.partition, output.source.offset, output.item): "output_too_large" for output in large
            }
            assert all(output.topic is not Topic.DEAD_LETTER for output in large)
            return False
        offsets = self._owned.offsets_to_commit(records, states)
        committed = self._transact(outputs, offsets, {**self.states, **states})
        if committed:
            self._owned.committed(offsets, states)
            self.rejected.clear()
        return committed

    def _transact(
        self, outputs: Sequence[OutputRecord], offsets: Mapping[Partition, int], states: Mapping[Partition, str]
    ) -> bool:
        """Run a transaction up to the point that ``outcome`` says.

        Raises:
            KafkaFatalError: Another process has fenced this producer.
            Died: The process dies in the middle of the transaction.
        """
        assert self._initialised, "published before it was ready"
        outcome, self.outcome = self.outcome, Outcome.COMMITTED
        if self not in self._cluster.members and outcome is Outcome.COMMITTED:
            outcome = Outcome.ABORTED  # the coordinator refuses the offsets of a member that was removed
        metadata = {one: self._limit.encode("", one, states.get(one, "")) for one in offsets}
        if any(len(one) > self._cluster.metadata_max for one in metadata.values()):
            self._limit.refused(metadata.values(), "the group")
            outcome = Outcome.ABORTED if outcome is Outcome.COMMITTED else outcome
        commits = outcome in _COMMITS and self in self._cluster.members
        self._cluster.open[self.transactional_id] = Transaction(
            outputs=outputs, offsets=offsets, metadata=metadata, commits=commits
        )
        if outcome in _DEATHS:
            raise Died
        if outcome in _ANSWERED:
            self._cluster.settle(self.transactional_id)
        else:
            self._initialised = False
        if outcome is Outcome.FENCED:
            raise KafkaFatalError("another live process uses the transactional id")
        return outcome is Outcome.COMMITTED

    @may_die
    def rewind(self) -> None:
        """Make every record in memory stale. The next poll places all partitions again."""
        self._rewind()

    def _rewind(self) -> None:
        self._waiting |= set(self._owned.partitions)
        self._owned.remove(self._waiting)
        self._lookups.forget(self._waiting)
        self.invalidations += 1

    @property
    def exempt_below(self) -> Mapping[Partition, int]:
        """By partition the offset below which dead letters do not count."""
        return self._quarantine.exempt_below

    @may_die
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
        """The time: one second a poll."""
        return 1000 * self._polls

    def _sample_quarantined(self) -> None:
        self._polls += 1
        for partition in self._quarantine.due(self._now_ms):
            values = self._cluster.inputs[partition]
            tail = [value for value in values[-SAMPLE_RECORDS:] if value is not None]
            unreadable = sum(not self._cluster.is_readable(value) for value in tail)
            if self._quarantine.take_sample(
                self._now_ms, partition, TailSample(len(values), len(tail), unreadable)
            ):
                self._waiting.add(partition)

    @may_die
    def pause(self) -> None:
        """Return no records until ``resume``."""
        self._paused = True

    @may_die
    def resume(self) -> None:
        """Return records again."""
        self._paused = False


def join(cluster: FakeCluster, transactional_id: str = "") -> FakeLog:
    """Return a new member of the group."""
    member = FakeLog(cluster, transactional_id or f"member-{len(cluster.members)}")
    cluster.admit(member)
    return member
