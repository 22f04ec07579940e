"""The run: read the records of the range, and commit copies and positions together, until the range is copied.

Exactly once, whatever ends a process:

1. ``ReplayProducer`` initialises its transactional id first. That ends the transaction of an earlier process of the
   run, and fences that process if it still lives.
2. Only then are the positions read, so no open transaction can change them any more.
3. Each transaction has the copies of some records, and the positions after these records. Both count, or neither.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from worker.commands.replay.copies import LastOffsets, RecordCopy, SourceRecord
from worker.commands.replay.pacing import Pace
from worker.commands.replay.stored_progress import StoredProgress
from worker.errors import KafkaFatalError
from worker.kafka.headers import headers_of
from worker.kafka.topic_reader import raise_if_unreadable, topic_partition_offset
from worker.records import Partition

BATCH_S_MAX = 1.0
BATCH_BYTES_MAX = 8 * 2**20
CONSUME_S = 0.1
SILENCE_S_MAX = 30.0

MakeCopy = Callable[[SourceRecord, LastOffsets], RecordCopy | str | None]
"""Returns the copy of a record; or why it is left out; or None if the run does not ask for it. The second argument
says what was copied before from the partition."""


class Publish(Protocol):
    """Commits copies and positions in one transaction."""

    def __call__(
        self, copies: Sequence[RecordCopy], offsets: Sequence[TopicPartition], group_metadata: object
    ) -> None:
        """Return when the transaction is committed."""


@dataclass(slots=True)
class ReplayTotals:
    """What this process has done.

    Attributes:
        copied: Number of records that were copied.
        left_out: Number of records that were not copied, by reason.
    """

    copied: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


class ReplayRun:
    """A run, from its stored positions to the end of its range.

    Args:
        reader: A consumer that is not a member of a group.
        publish: Commits a transaction.
        make_copy: Makes the copy of a record.
        progress: How far the run has come, by partition.
        pace: The limit on the rate.

    Attributes:
        totals: What this process has done.
        progress: How far the run has come, by partition.
    """

    def __init__(
        self,
        reader: Consumer,
        publish: Publish,
        make_copy: MakeCopy,
        progress: Mapping[Partition, StoredProgress],
        pace: Pace,
    ) -> None:
        self.totals = ReplayTotals()
        self.progress = dict(progress)
        self._reader = reader
        self._publish = publish
        self._make_copy = make_copy
        self._pace = pace
        self._copies: list[RecordCopy] = []
        self._changed: set[Partition] = set()

    @property
    def left(self) -> list[Partition]:
        """The partitions whose range is not read to its end."""
        return [one for one, at in self.progress.items() if at.next_offset < at.end]

    @property
    def passed(self) -> int:
        """Number of the offsets of the range that are behind the run."""
        return sum(min(at.next_offset, at.end) - at.begin for at in self.progress.values())

    def copy(
        self, is_stopping: Callable[[], bool], wait: Callable[[float], object], report: Callable[[], None]
    ) -> None:
        """Copy until the range is copied, or until the run must stop.

        Args:
            is_stopping: Returns whether to stop.
            wait: Waits for some seconds, or shorter if the run must stop.
            report: Called after each transaction.

        Raises:
            KafkaFatalError: The topics can't be read, or Kafka refuses the copies.
        """
        self._reader.assign([TopicPartition(*one, self.progress[one].next_offset) for one in self.left])
        began_s = batch_s = heard_s = time.monotonic()
        size_bytes = 0
        while self.left and not is_stopping():
            messages = self._reader.consume(self._pace.records_max - len(self._copies), CONSUME_S)
            now_s = time.monotonic()
            heard_s = now_s if messages else heard_s
            if now_s - heard_s > SILENCE_S_MAX:
                names = ", ".join(map(str, self.left))
                raise KafkaFatalError(
                    f"No record came for {SILENCE_S_MAX:.0f} s, before the end of the range of {names}. Look at "
                    "the leaders of these partitions, and run this command again: it goes on where it was."
                )
            size_bytes += self._take(messages)
            is_full = len(self._copies) >= self._pace.records_max or size_bytes >= BATCH_BYTES_MAX
            if is_full or now_s - batch_s >= BATCH_S_MAX:
                self._commit()
                report()
                wait(self._pace.wait_s(self.totals.copied, time.monotonic() - began_s))
                batch_s = heard_s = time.monotonic()
                size_bytes = 0
        self._commit()
        report()

    def _take(self, messages: Iterable[Message]) -> int:
        """Make the copies of messages. Return their size in bytes."""
        size_bytes = 0
        for partition, offset, message in with_places(messages):
            at = self.progress[partition]
            if at.next_offset >= at.end:
                continue
            # Control records and aborted records may end the range.
            if message.error() is not None or offset >= at.end:
                if offset >= at.end:
                    self._advance(partition, at.end)
                continue
            self._add(partition, source_record(partition, offset, message))
            self._advance(partition, offset + 1)
            size_bytes += len(message.value() or b"")
        return size_bytes

    def _add(self, partition: Partition, record: SourceRecord) -> None:
        made = self._make_copy(record, self.progress[partition].last_offsets)
        if isinstance(made, RecordCopy):
            self._copies.append(made)
            self.progress[partition] = self.progress[partition].with_copy(made.original)
        elif made is not None:
            self.totals.left_out[made] += 1

    def _advance(self, partition: Partition, next_offset: int) -> None:
        self.progress[partition] = replace(self.progress[partition], next_offset=next_offset)
        self._changed.add(partition)
        if next_offset >= self.progress[partition].end:
            self._reader.pause([TopicPartition(*partition)])

    def _commit(self) -> None:
        if not self._changed:
            return
        self._publish(
            self._copies,
            offsets_of({one: self.progress[one] for one in self._changed}),
            self._reader.consumer_group_metadata(),
        )
        self.totals.copied += len(self._copies)
        self._copies = []
        self._changed.clear()


def offsets_of(progress: Mapping[Partition, StoredProgress]) -> list[TopicPartition]:
    """Return the positions as offsets to commit, each with its metadata."""
    return [TopicPartition(*one, at.next_offset, at.metadata()) for one, at in progress.items()]


def with_places(messages: Iterable[Message]) -> Iterator[tuple[Partition, int, Message]]:
    """Yield the records, and the events that say that a partition was read to its end, each with its place.

    The event of an end has an error. Other errors are left out.

    Raises:
        KafkaFatalError: A topic can't be read.
    """
    for message in messages:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own
            raise_if_unreadable(message.topic(), error)
            continue
        topic, number, offset = topic_partition_offset(message)
        yield Partition(topic, number), offset, message


def source_record(partition: Partition, offset: int, message: Message) -> SourceRecord:
    """Return a message that was read as a record to copy."""
    _, timestamp_ms = message.timestamp()
    return SourceRecord(
        partition=partition,
        offset=offset,
        timestamp_ms=timestamp_ms if timestamp_ms >= 0 else None,
        key=message.key(),
        value=message.value(),
        headers=headers_of(message) or (),
    )
