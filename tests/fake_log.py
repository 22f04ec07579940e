"""A log in memory that keeps Kafka's promises: what a read_committed reader of the real one would see.

It shares its contract suite with the real session (``contract/test_log.py``), and the decisions with it too
(``Ownership``): only the I/O is made up. Like a real broker it does not check who owns a partition.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from worker.ownership import Ownership, next_offsets
from worker.records import Fetched, Output, Partition


class Fate(Enum):
    """What becomes of a transaction."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN_COMMITTED = "committed, and the answer is lost"
    UNKNOWN_ABORTED = "aborted, and the answer is lost"


@dataclass(slots=True)
class FakeCluster:
    """The brokers: topics, the group and its committed offsets."""

    inputs: dict[Partition, list[bytes | None]] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    committed: dict[Partition, int] = field(default_factory=dict)
    members: list["FakeLog"] = field(default_factory=list)
    fate: Callable[[], Fate] = lambda: Fate.COMMITTED

    def produce(self, partition: Partition, value: bytes | None) -> None:
        """A message arrives."""
        self.inputs.setdefault(partition, []).append(value)

    def join(self) -> "FakeLog":
        """A new member; everyone learns of the rebalance at the next poll."""
        member = FakeLog(self)
        self.members.append(member)
        self.rebalance()
        return member

    def leave(self, member: "FakeLog") -> None:
        """A member leaves, or is declared dead."""
        self.members.remove(member)
        self.rebalance()

    def rebalance(self) -> None:
        """Shares the partitions out, eagerly: nobody gets one before all have given theirs up."""
        for member in self.members:
            member.to_revoke = True
        for member in self.members:
            member.to_assign = set()
        for index, partition in enumerate(sorted(self.inputs)):
            if self.members:
                self.members[index % len(self.members)].to_assign.add(partition)

    @property
    def settled(self) -> bool:
        """Whether everyone has given up what the rebalance takes."""
        return not any(member.to_revoke for member in self.members)


class FakeLog:
    """One member's view; the loop's ``Log``."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.changes = 0
        self.rejected: Collection[tuple[Partition, int]] = ()
        self.to_revoke = False
        self.to_assign: set[Partition] = set()
        self.paused = False
        self._cluster = cluster
        self._owned = Ownership()
        self._waiting: set[Partition] = set()
        self._next: dict[Partition, int] = {}

    def poll(self, *, records_max: int, wait_ms: int) -> Sequence[Fetched]:
        """Takes part in the group, and gives what there is; never waits."""
        del wait_ms
        if self.to_revoke:
            self._owned.remove(self._owned.partitions)
            self._waiting = set()
            self.changes += 1
            self.to_revoke = False
        if self._cluster.settled and self.to_assign:
            self._waiting |= self.to_assign
            self.to_assign = set()
        if self._waiting:
            self._place({partition: self._cluster.committed.get(partition, 0) for partition in self._waiting})
        return [] if self.paused else self._fetch(records_max)

    def _place(self, starts: Mapping[Partition, int]) -> None:
        self._owned.place(starts)
        self._next |= starts
        self._waiting = set()

    def _fetch(self, records_max: int) -> list[Fetched]:
        found: list[Fetched] = []
        for partition in self._owned.partitions:
            values = self._cluster.inputs[partition]
            while self._next[partition] < len(values) and len(found) < records_max:
                offset = self._next[partition]
                fetched = self._owned.fetched(
                    partition, offset, timestamp_ms=None, key=None, value=values[offset], headers=()
                )
                self._next[partition] = offset + 1
                if fetched is not None:
                    found.append(fetched)
        return found

    def owns(self, fetched: Fetched) -> bool:
        """Whether the record is still ours to commit."""
        return self._owned.owns(fetched)

    def ready(self) -> bool:
        """Always."""
        return True

    def publish(self, records: Sequence[Fetched], outputs: Sequence[Output]) -> bool:
        """A transaction, whose fate the cluster decides."""
        if self._owned.refusal(records, outputs) is not None:
            return False
        fate = self._cluster.fate()
        offsets = next_offsets(records)
        if fate in (Fate.COMMITTED, Fate.UNKNOWN_COMMITTED):
            self._cluster.outputs += outputs
            self._cluster.committed |= offsets
        if fate is Fate.COMMITTED:
            self._owned.committed(offsets)
        return fate is Fate.COMMITTED

    def rewind(self) -> None:
        """Everything in memory is stale; the next poll places all anew."""
        self._waiting |= set(self._owned.partitions)
        self._owned.remove(self._waiting)
        self.changes += 1

    def pause(self) -> None:
        """Gives nothing until ``resume``."""
        self.paused = True

    def resume(self) -> None:
        """Gives again."""
        self.paused = False
