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
class Progress:
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
    def progress(self) -> dict[Partition, Progress]:
        """How far each has come."""
        return {
            partition: Progress(at.committed, at.delivered, max(at.delivered, at.end))
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


class Lookups:
    """Which partitions are being asked about, so that an answer is used only for the question that it belongs to.

    Args:
        pause_ms: How long to wait before a partition is asked about again.
        pause_ms_max: The same, after many answers without a result.
    """

    def __init__(self, pause_ms: int, pause_ms_max: int) -> None:
        self._pauses_ms = (pause_ms, pause_ms_max)
        self._number = 0
        self._asked: dict[Partition, int] = {}
        self._again: dict[Partition, tuple[int, int]] = {}  # when to ask again, and the pause before it

    def due(self, now_ms: int, waiting: Iterable[Partition]) -> set[Partition]:
        """Returns those of the waiting partitions that are to be asked about now."""
        return {one for one in waiting if one not in self._asked and self._again.get(one, (now_ms, 0))[0] <= now_ms}

    def ask(self, partitions: Iterable[Partition]) -> int:
        """Begins a question; returns its number."""
        self._number += 1
        self._asked.update(dict.fromkeys(partitions, self._number))
        return self._number

    def current(self, number: int, partitions: Iterable[Partition]) -> list[Partition]:
        """Returns the partitions for which an answer to this question counts; the others were forgotten since."""
        return [partition for partition in partitions if self._asked.get(partition) == number]

    def again(self, now_ms: int, partition: Partition) -> None:
        """Ends a question without a result: it is asked again after a pause that grows."""
        self._asked.pop(partition, None)
        first_ms, most_ms = self._pauses_ms
        pause_ms = min(most_ms, max(first_ms, 2 * self._again.get(partition, (0, 0))[1]))
        self._again[partition] = now_ms + pause_ms, pause_ms

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drops the questions about these partitions, and the pauses."""
        for partition in partitions:
            self._asked.pop(partition, None)
            self._again.pop(partition, None)


def _place(record: ConsumedRecord) -> tuple[Partition, int]:
    return record.partition, record.offset


def next_offsets(records: Iterable[ConsumedRecord]) -> dict[Partition, int]:
    """What to commit for records in the order of their arrival: each partition's last ``next_offset``."""
    return {record.partition: record.next_offset for record in records}


def group_member(metadata: bytes) -> tuple[int, str] | None:
    """Reads generation and member id out of librdkafka's serialised group metadata.

    A broker fences neither an empty member id nor generation -1 (KAFKA-9365): to commit with these is to
    commit unfenced, so the session refuses both.

    Returns:
        None when the bytes have another shape.

    Source: ``rd_kafka_consumer_group_metadata_write`` in librdkafka 2.x: ``CGMDv2:``, the generation as int32
    little-endian, then group id, member id and optionally group instance id, each ended by NUL.
    """
    magic = b"CGMDv2:"
    if not metadata.startswith(magic):
        return None
    generation = int.from_bytes(metadata[len(magic) : len(magic) + 4], "little", signed=True)
    names = metadata[len(magic) + 4 :].split(b"\0")
    if len(names) < 3:  # noqa: PLR2004 - group, member, and what follows the member's NUL
        return None
    return generation, names[1].decode()


def is_member(metadata: bytes | None) -> bool:
    """Whether a broker would fence a commit with this metadata, once the group has gone on without us."""
    member = None if metadata is None else group_member(metadata)
    return member is not None and member[0] >= 0 and member[1] != ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Where to start without a usable committed offset: ``WORKER_KAFKA__AUTO_OFFSET_RESET``.

    Attributes:
        refuse: Nowhere: stop.
        time_ms: At the first message of that time or later, in milliseconds of the epoch; None: the earliest.
    """

    refuse: bool = False
    time_ms: int | None = None


def is_truncated(committed: int, *, high: int) -> bool:
    """Whether the log was truncated: the group has judged messages beyond its end.

    ``reset`` has no say in this: it is about an offset that is missing. To go on from the first offset would judge
    everything again.
    """
    return committed > high


def start(committed: int | None, *, low: int, high: int, timed: int | None, reset: Reset) -> int | None:
    """Where a partition starts.

    Args:
        committed: What the group has committed, if anything.
        low: The first offset that there is.
        high: The end.
        timed: What the broker found for the time of ``reset``; negative: no message is that young.
        reset: What the settings want.

    Returns:
        The committed offset if it is in range. If retention has overtaken it, the first that there is. Without
        one, what ``reset`` says. None: nowhere. Of a truncated log it gives none (``is_truncated``).
    """
    assert committed is None or not is_truncated(committed, high=high)  # noqa: S101 - a bug of ours
    if committed is not None and low <= committed:
        return committed
    if reset.refuse:
        return None
    if committed is not None or timed is None:
        return low
    return timed if timed >= 0 else high
