"""The brokers of the fake log, in memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from worker.records import OutputRecord, Partition

if TYPE_CHECKING:
    from tests.fake_log import FakeLog


class Fate(Enum):
    """What becomes of a transaction."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN_COMMITTED = "committed, and the answer lost"
    UNKNOWN_ABORTED = "aborted, and the answer lost"
    FENCED = "fenced off by another process"
    DIES_OPEN = "cut off by its process's death before the commit"
    DIES_COMMITTED = "cut off by its process's death after the commit was decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One that is not settled yet: nobody can see it, and its offsets are pending."""

    outputs: Sequence[OutputRecord]
    offsets: Mapping[Partition, int]
    commits: bool


@dataclass(slots=True)
class FakeCluster:
    """The brokers: topics, the group and its committed offsets.

    Attributes:
        inputs: The messages that ever stood in each partition.
        low: The first offset that retention has left.
        skipped: Offsets that no reader is given: control records.
        outputs: What a reader sees, in that order.
        committed: The group's offsets.
        open: Transactions that are not settled, by transactional id.
        members: Of the group, those that are dead without its knowing included.
        called: Those that an eager rebalance waits for.
        target: Who shall have a partition,
        held: and who has it.
        eager: Whether everyone gives up everything in a rebalance, or only what moves.
        away: Whether the brokers answer nothing.
        answers_late: Whether they say where partitions start only some time after they were asked.
        too_large: Whether they refuse an output for its size.
        is_readable: Whether a message can be decoded.
    """

    inputs: dict[Partition, list[bytes | None]] = field(default_factory=dict)
    low: dict[Partition, int] = field(default_factory=dict)
    skipped: set[tuple[Partition, int]] = field(default_factory=set)
    outputs: list[OutputRecord] = field(default_factory=list)
    committed: dict[Partition, int] = field(default_factory=dict)
    open: dict[str, Transaction] = field(default_factory=dict)
    members: list["FakeLog"] = field(default_factory=list)
    called: set["FakeLog"] = field(default_factory=set)
    target: dict[Partition, "FakeLog"] = field(default_factory=dict)
    held: dict[Partition, "FakeLog"] = field(default_factory=dict)
    eager: bool = True
    away: bool = False
    answers_late: bool = False
    too_large: Callable[[OutputRecord], bool] = lambda _: False
    is_readable: Callable[[bytes], bool] = lambda _: True

    def produce(self, partition: Partition, value: bytes | None) -> None:
        """A message arrives."""
        self.inputs.setdefault(partition, []).append(value)

    def skip(self, partition: Partition) -> None:
        """A control record arrives: it takes an offset, and no reader is given it."""
        self.skipped.add((partition, len(self.inputs[partition])))
        self.produce(partition, None)

    def admit(self, member: "FakeLog") -> None:
        """Makes it a member; everyone learns of the rebalance at the next poll."""
        self.members.append(member)
        self.rebalance()

    def leave(self, member: "FakeLog") -> None:
        """A member leaves, or the group has waited for it long enough."""
        if member in self.members:
            self.members.remove(member)
            self.release(self.held, member)
            self.rebalance()

    def release(self, partitions: Iterable[Partition], member: "FakeLog") -> None:
        """A member has these no longer."""
        for partition in list(partitions):
            if self.held.get(partition) is member:
                del self.held[partition]

    def rebalance(self, shares: int = 0) -> None:
        """Shares the partitions out: in turn, or as the digits of ``shares`` to the base 4 say."""
        self.target = {
            partition: self.members[(index + (shares >> 2 * index)) % len(self.members)]
            for index, partition in enumerate(sorted(self.inputs))
            if self.members
        }
        self.called = set(self.members) if self.eager else set()

    def settle(self, transactional_id: str) -> None:
        """The coordinator ends what is open under this id: all of it becomes visible at once, or none."""
        transaction = self.open.pop(transactional_id, None)
        if transaction is not None and transaction.commits:
            self.outputs += transaction.outputs
            self.committed |= transaction.offsets
