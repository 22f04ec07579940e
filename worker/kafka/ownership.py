"""Which partitions this worker owns, and how far each one has come. This decides whether work may be committed.

Brokers do not check who owns a partition. They accept stale work that is committed with fresh group metadata, and
its verdicts would be duplicates. So each partition has an assignment epoch, which is new at every assignment and
after every rewind. Each record carries the epoch under which it was read. This worker owns a record while both
epochs are equal:

1. This worker reads ``p``, offsets 0 to 9, under epoch 7.
2. A rebalance takes ``p`` away. Epoch 7 ends, and another worker reads 0 to 9.
3. The next rebalance gives ``p`` back. It begins epoch 8, at the offset that the other worker has committed.
4. The device returns the scores of step 1. Their epoch is 7, so they are dropped, although this worker owns ``p``.

Records also form a chain: each record carries the ``next_offset`` of its predecessor. Numeric gaps are normal
(control records, compaction, retention). A break of the chain is lost work, and is refused.

The order of the offsets and the chain are checked for each record. Ownership is checked once for each epoch among
the records, and that is as strong as a check of each record:

1. ``place`` is the only place that makes an epoch. Each call makes a new number for each partition, so an epoch
   belongs to one assignment of one partition.
2. ``Position.deliver`` is the only place that makes records, and copies partition and epoch from one position.
3. So the records of an epoch have the same partition, and are owned together or stale together.

A partition may have a state, which the loop derives from the records and commits with their offset. Ownership holds
the state only as it was committed, and never as it will be:

1. ``place`` takes offset and state from one answer of the group's coordinator. So they belong together, also after
   a commit whose answer was lost.
2. ``committed`` replaces both, after the commit of a transaction that contained both.
3. The loop takes the state from here for each transaction, and keeps none. So an abort, a rewind and a revoke need
   no code for the state: the loop begins again with the state of the committed offset.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from worker.kafka.transaction import Event
from worker.records import NO_STATES, ConsumedRecord, Headers, OutputRecord, Partition, Topic


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far an owned partition has come. All three are the offset of the next record.

    Attributes:
        committed: After the last record that the group has committed.
        delivered: After the last record that the loop was given. Above ``committed`` while such records are in
            memory, or were dropped.
        position: After the last record or control record that was read. Above ``delivered`` when the end was
            reached past control records, which the loop is not given.
    """

    committed: int
    delivered: int
    position: int

    @property
    def has_uncommitted(self) -> bool:
        """Whether uncommitted records are in memory, or were dropped. A commit must not pass over them."""
        return self.committed < self.delivered


class OutOfOrder(Exception):  # noqa: N818 - it happens without a bug of this worker
    """The log delivered an offset before the position. All uncommitted records must be read again."""


@dataclass(slots=True)
class Position:
    """The place of this worker in an owned partition, from an assignment or a rewind to the next one.

    Attributes:
        partition: The partition.
        assignment_epoch: The epoch of this assignment.
        committed: Offset after the last record that the group has committed.
        delivered: Offset after the last record that the loop was given.
        end: The last end of the log that was reached.
    """

    partition: Partition
    assignment_epoch: int
    committed: int
    delivered: int
    end: int

    @property
    def is_idle(self) -> bool:
        """Whether the log was read to its end, and all of its records are committed."""
        return self.committed >= self.delivered and self.end >= self.delivered

    def deliver(
        self, offset: int, timestamp_ms: int | None, key: bytes | None, value: bytes | None, headers: Headers
    ) -> ConsumedRecord:
        """Return a message as a record with its epoch and its predecessor, and advance.

        Raises:
            OutOfOrder: The offset is before the position. Nothing has changed.
        """
        previous = self.delivered
        if offset < previous:
            raise OutOfOrder(f"{self.partition} delivered offset {offset}, expected {previous} or later")
        self.delivered = offset + 1
        return ConsumedRecord(
            self.partition, self.assignment_epoch, previous, offset, timestamp_ms, key, value, headers
        )


class Ownership:
    """The owned partitions, each with its assignment epoch and its progress.

    Do not call ``consumer.position()``: just after an assignment it returns the previous position, and committing
    that as the idle offset of a partition would skip records.

    Attributes:
        states: By owned partition, the state that was committed with its offset. A partition without a state is
            missing.
    """

    def __init__(self) -> None:
        self.states: dict[Partition, str] = {}
        self._positions: dict[Partition, Position] = {}
        self._epoch = 0

    @property
    def partitions(self) -> list[Partition]:
        """The partitions that have a position, in order."""
        return sorted(self._positions)

    @property
    def progress(self) -> dict[Partition, PartitionProgress]:
        """How far each partition has come."""
        return {
            partition: PartitionProgress(at.committed, at.delivered, max(at.delivered, at.end))
            for partition, at in self._positions.items()
        }

    def place(self, next_offsets: Mapping[Partition, int], states: Mapping[Partition, str] = NO_STATES) -> None:
        """Give partitions a position, under a new epoch: at an assignment, and after a rewind.

        Args:
            next_offsets: The committed offset of each partition.
            states: The states that were committed with these offsets.
        """
        for partition, next_offset in next_offsets.items():
            self._epoch += 1
            self._positions[partition] = Position(partition, self._epoch, next_offset, next_offset, next_offset)
        self._set_states({partition: states.get(partition, "") for partition in next_offsets})

    def position(self, partition: Partition) -> Position | None:
        """Return the position of a partition; None if this worker does not own the partition.

        The answer is valid until the next call of the consumer, which may take the partition away.
        """
        return self._positions.get(partition)

    def reached_end(self, partition: Partition, offset: int) -> None:
        """Note that everything before the offset was delivered, or is given to no reader.

        librdkafka queues this event among the records, and drops it with them at a new assignment.
        """
        if (position := self._positions.get(partition)) is not None:
            position.end = offset

    def remove(self, partitions: Iterable[Partition]) -> None:
        """Remove partitions. From then on their records are stale."""
        for partition in partitions:
            self._positions.pop(partition, None)
            self.states.pop(partition, None)

    def owns(self, fetched: ConsumedRecord) -> bool:
        """Return whether this worker owns the record's partition under the epoch in which the record was read."""
        position = self._positions.get(fetched.partition)
        return position is not None and position.assignment_epoch == fetched.assignment_epoch

    def is_idle(self, partition: Partition) -> bool:
        """Return whether the partition is owned, was read to its end, and has only committed records."""
        position = self._positions.get(partition)
        return position is not None and position.is_idle

    def refusal(
        self,
        records: Sequence[ConsumedRecord],
        outputs: Sequence[OutputRecord],
        states: Mapping[Partition, str] = NO_STATES,
    ) -> Event | None:
        """Return why these records must not be committed with these outputs; None if they may be committed.

        Args:
            records: All records of the transaction, in the order of their arrival.
            outputs: All outputs of the transaction.
            states: The new states of partitions, which may have no record in the transaction.
        """
        if not states.keys() <= self._positions.keys():
            return Event.STALE
        expected: dict[Partition, int] = {}
        position: Position | None = None
        epoch = at = -1
        for record in records:
            if record.assignment_epoch != epoch:  # here another partition's share of the records begins
                if position is not None:
                    expected[position.partition] = at
                if not self.owns(record):
                    return Event.STALE
                position, epoch = self._positions[record.partition], record.assignment_epoch
                at = expected.get(record.partition, position.committed)
            if record.previous_next_offset != at:
                return Event.GAP
            at = record.offset + 1
        return None if _have_their_outputs(records, outputs) else Event.MISSING_OUTPUT

    def offsets_to_commit(
        self, records: Iterable[ConsumedRecord], states: Mapping[Partition, str] = NO_STATES
    ) -> dict[Partition, int]:
        """Return the offsets after the records. A partition with only a new state keeps its committed offset.

        Call this only if ``refusal`` has nothing against them.
        """
        return {partition: self._positions[partition].committed for partition in states} | next_offsets(records)

    def committed(self, next_offsets: Mapping[Partition, int], states: Mapping[Partition, str] = NO_STATES) -> None:
        """Note the committed offsets and states. A commit past control records advances ``delivered`` too."""
        for partition, next_offset in next_offsets.items():
            position = self._positions[partition]
            position.committed = next_offset
            position.delivered = max(position.delivered, next_offset)
        self._set_states(states)

    def _set_states(self, states: Mapping[Partition, str]) -> None:
        for partition, state in states.items():
            if state:
                self.states[partition] = state
            else:
                self.states.pop(partition, None)


def _have_their_outputs(records: Sequence[ConsumedRecord], outputs: Sequence[OutputRecord]) -> bool:
    """Return whether each record has one verdict or dead letter for each of its messages; a tombstone has none."""
    alert = Topic.ALERT
    with_value = [record for record in records if record.value is not None]
    answered = [output.source for output in outputs if output.topic is not alert]
    if not _ONE_MESSAGE.issuperset(map(_messages, with_value)):
        return _elements_have_their_outputs(with_value, outputs)
    if with_value == answered:  # usually both hold the same objects in the same order: no need to sort
        return True
    return sorted(with_value, key=_source) == sorted(answered, key=_source)


_ONE_MESSAGE = frozenset({1})
_messages = attrgetter("messages")


def _elements_have_their_outputs(with_value: Sequence[ConsumedRecord], outputs: Sequence[OutputRecord]) -> bool:
    """Return whether each record has its outputs, where a record is skipped or is an array.

    The number of outputs must be right, and no two of them may be for the same element.
    """
    wanted = {_source(record): record.messages for record in with_value if record.messages}
    positions = [(*_source(output.source), output.item) for output in outputs if output.topic is not Topic.ALERT]
    found = Counter((partition, offset) for partition, offset, _ in positions)
    return wanted == found and len(set(positions)) == len(positions)


def _source(record: ConsumedRecord) -> tuple[Partition, int]:
    return record.partition, record.offset


def next_offsets(records: Iterable[ConsumedRecord]) -> dict[Partition, int]:
    """Return the offsets to commit for records in the order of arrival: each partition's last ``next_offset``."""
    last = {record.assignment_epoch: record for record in records}
    return {record.partition: record.next_offset for record in last.values()}
