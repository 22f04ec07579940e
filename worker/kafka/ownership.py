"""Which partitions are ours, and how far each has come: what decides whether work may be committed.

Brokers do not check who owns a partition: stale work that is committed with fresh group metadata is
accepted, and is a duplicate. So each partition has an epoch, which is new at every assignment and after every
rewind, and each record carries the epoch under which it was read. A record is ours while the two agree:

1. we read ``p``, offsets 0 to 9, under epoch 7;
2. a rebalance takes ``p`` away: epoch 7 is gone, and another worker reads 0 to 9;
3. the next rebalance gives ``p`` back: epoch 8, from what the other worker has committed;
4. the device hands us the scores of step 1: their epoch is 7, so they are dropped, although ``p`` is ours.

Records also chain: each carries its predecessor's ``next_offset``. Numeric gaps are normal (control records,
compaction, retention); a break of the chain is lost work, and is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from worker.kafka.transaction import Event
from worker.records import ConsumedRecord, OutputRecord, Partition, Topic


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far one of our partitions has come.

    Attributes:
        committed: The next offset that the group has committed.
        delivered: The next offset after what was handed out: above ``committed`` while some of it is in memory, or
            was dropped.
        position: Where the next record can stand: above ``delivered`` once the end was reached behind records that
            nobody is handed (the control records of transactions).
    """

    committed: int
    delivered: int
    position: int

    @property
    def in_hand(self) -> bool:
        """Whether records of it are in memory, or were dropped: these must be read again, and not passed over."""
        return self.committed < self.delivered


class OutOfOrder(Exception):  # noqa: N818 - weather, not a bug of ours
    """The log delivered an offset before the position: everything must be read again."""


@dataclass(slots=True)
class _Position:
    assignment_epoch: int
    committed: int
    delivered: int
    end: int  # the last that was reached


class Ownership:
    """The partitions that are ours, each with its epoch and its progress.

    The consumer's own ``position`` is not asked: for a moment after a new assignment it is still the old one's, and
    whoever committed that as the place of an idle partition would lose what is about to be read again.
    """

    def __init__(self) -> None:
        self._positions: dict[Partition, _Position] = {}
        self._epoch = 0

    @property
    def partitions(self) -> list[Partition]:
        """Those that have a position, in order."""
        return sorted(self._positions)

    @property
    def progress(self) -> dict[Partition, PartitionProgress]:
        """How far each has come."""
        return {
            partition: PartitionProgress(at.committed, at.delivered, max(at.delivered, at.end))
            for partition, at in self._positions.items()
        }

    def place(self, next_offsets: Mapping[Partition, int]) -> None:
        """Gives partitions a position, under a new epoch: at an assignment, and after a rewind."""
        for partition, next_offset in next_offsets.items():
            self._epoch += 1
            self._positions[partition] = _Position(self._epoch, next_offset, next_offset, next_offset)

    def reached_end(self, partition: Partition, offset: int) -> None:
        """Notes that everything before the offset was delivered, or is for nobody.

        librdkafka queues this among the records, and drops it with them at a new assignment.
        """
        if (position := self._positions.get(partition)) is not None:
            position.end = offset

    def remove(self, partitions: Iterable[Partition]) -> None:
        """Takes partitions away: their records are stale from here on."""
        for partition in partitions:
            self._positions.pop(partition, None)

    def fetched(
        self,
        partition: Partition,
        offset: int,
        *,
        timestamp_ms: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> ConsumedRecord | None:
        """Stamps a delivered message with its epoch and its predecessor, and moves the position on.

        Returns:
            None when the partition is not ours any more.

        Raises:
            OutOfOrder: The offset lies before the position. Nothing has changed.
        """
        position = self._positions.get(partition)
        if position is None:
            return None
        if offset < position.delivered:
            raise OutOfOrder(f"{partition} delivered offset {offset}, expected {position.delivered} or later")
        fetched = ConsumedRecord(
            partition=partition,
            assignment_epoch=position.assignment_epoch,
            previous_next_offset=position.delivered,
            offset=offset,
            timestamp_ms=timestamp_ms,
            key=key,
            value=value,
            headers=headers,
        )
        position.delivered = fetched.next_offset
        return fetched

    def owns(self, fetched: ConsumedRecord) -> bool:
        """Whether its partition is ours under the epoch that it was read in."""
        position = self._positions.get(fetched.partition)
        return position is not None and position.assignment_epoch == fetched.assignment_epoch

    def refusal(self, records: Sequence[ConsumedRecord], outputs: Sequence[OutputRecord]) -> Event | None:
        """Why these records must not be committed with these outputs; None when they may.

        Args:
            records: In the order of their arrival; all that the transaction will cover.
            outputs: All that it will produce.
        """
        if not all(self.owns(record) for record in records):
            return Event.STALE
        expected: dict[Partition, int] = {}
        for record in records:
            at = expected.get(record.partition, self._positions[record.partition].committed)
            if record.previous_next_offset != at:
                return Event.GAP
            expected[record.partition] = record.next_offset
        owed = [record for record in records if record.value is not None]
        paid = [output.source for output in outputs if output.topic is not Topic.ALERT]
        if owed != paid:  # as a rule they are the very same objects in the same order: quicker than to sort them
            owed, paid = sorted(owed, key=_place), sorted(paid, key=_place)
        return None if owed == paid else Event.MISSING_OUTPUT

    def committed(self, next_offsets: Mapping[Partition, int]) -> None:
        """Notes what has been committed, which may lie behind what was delivered: control records are passed."""
        for partition, next_offset in next_offsets.items():
            position = self._positions[partition]
            position.committed = next_offset
            position.delivered = max(position.delivered, next_offset)


def _place(record: ConsumedRecord) -> tuple[Partition, int]:
    return record.partition, record.offset


def next_offsets(records: Iterable[ConsumedRecord]) -> dict[Partition, int]:
    """What to commit for records in the order of their arrival: each partition's last ``next_offset``."""
    return {record.partition: record.next_offset for record in records}
