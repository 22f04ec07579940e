"""The brokers of the fake log, in memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from worker.records import OutputRecord, Partition

if TYPE_CHECKING:
    from tests.fake_log import FakeLog


class Outcome(Enum):
    """The outcome of a transaction."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN_COMMITTED = "committed, but the answer is lost"
    UNKNOWN_ABORTED = "aborted, but the answer is lost"
    FENCED = "fenced by another process"
    DIES_OPEN = "cut off by the death of its process before the commit"
    DIES_COMMITTED = "cut off by the death of its process after the coordinator has decided to commit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """An open transaction: no reader sees its outputs, and its offsets are pending."""

    outputs: Sequence[OutputRecord]
    offsets: Mapping[Partition, int]
    metadata: Mapping[Partition, str]
    commits: bool


@dataclass(slots=True)
class FakeCluster:
    """The brokers: topics, the group and its committed offsets.

    Attributes:
        inputs: By partition, all messages that were ever produced.
        low: By partition, the first offset that retention has kept.
        skipped: The offsets of control records, which no reader is given.
        outputs: The outputs that a read_committed reader sees, in order.
        times: The timestamps of messages that have one.
        committed: The group's committed offsets.
        metadata: The metadata of these offsets.
        metadata_max: Longest metadata of an offset, in characters.
        open: The open transactions, by transactional id.
        members: The members of the group, and dead processes that the group has not noticed yet.
        rejoining: The members that an eager rebalance waits for.
        target: By partition, the member that will own it after the rebalance.
        held: By partition, the member that owns it now.
        eager: Whether a rebalance takes away all partitions, or only those that move.
        away: Whether the brokers do not answer.
        delays_start_offsets: Whether start offsets are answered one poll after the question.
        too_large: Whether the brokers reject an output because of its size.
        is_readable: Whether a message can be decoded.
    """

    inputs: dict[Partition, list[bytes | None]] = field(default_factory=dict)
    low: dict[Partition, int] = field(default_factory=dict)
    skipped: set[tuple[Partition, int]] = field(default_factory=set)
    outputs: list[OutputRecord] = field(default_factory=list)
    times: dict[tuple[Partition, int], int] = field(default_factory=dict)
    committed: dict[Partition, int] = field(default_factory=dict)
    metadata: dict[Partition, str] = field(default_factory=dict)
    metadata_max: int = 4096
    open: dict[str, Transaction] = field(default_factory=dict)
    members: list["FakeLog"] = field(default_factory=list)
    rejoining: set["FakeLog"] = field(default_factory=set)
    target: dict[Partition, "FakeLog"] = field(default_factory=dict)
    held: dict[Partition, "FakeLog"] = field(default_factory=dict)
    eager: bool = True
    away: bool = False
    delays_start_offsets: bool = False
    too_large: Callable[[OutputRecord], bool] = lambda _: False
    is_readable: Callable[[bytes], bool] = lambda _: True

    def produce(self, partition: Partition, value: bytes | None, time_ms: int | None = None) -> None:
        """Append a message to a partition."""
        values = self.inputs.setdefault(partition, [])
        if time_ms is not None:
            self.times[partition, len(values)] = time_ms
        values.append(value)

    def skip(self, partition: Partition) -> None:
        """Append a control record, which takes an offset but is given to no reader."""
        self.skipped.add((partition, len(self.inputs[partition])))
        self.produce(partition, None)

    def admit(self, member: "FakeLog") -> None:
        """Make it a member. All members see the rebalance at their next poll."""
        self.members.append(member)
        self.rebalance()

    def leave(self, member: "FakeLog") -> None:
        """Remove a member: it leaves, or its session has timed out."""
        if member in self.members:
            self.members.remove(member)
            self.release(self.held, member)
            self.rebalance()

    def release(self, partitions: Iterable[Partition], member: "FakeLog") -> None:
        """Take partitions away from a member."""
        for partition in list(partitions):
            if self.held.get(partition) is member:
                del self.held[partition]

    def rebalance(self, shares: int = 0) -> None:
        """Assign the partitions: in turn, or shifted by the base-4 digits of ``shares``."""
        self.target = {
            partition: self.members[(index + (shares >> 2 * index)) % len(self.members)]
            for index, partition in enumerate(sorted(self.inputs))
            if self.members
        }
        self.rejoining = set(self.members) if self.eager else set()

    def settle(self, transactional_id: str) -> None:
        """End the open transaction of this id: all of its outputs become visible together, or none."""
        transaction = self.open.pop(transactional_id, None)
        if transaction is not None and transaction.commits:
            self.outputs += transaction.outputs
            self.committed |= transaction.offsets
            self.metadata |= transaction.metadata
