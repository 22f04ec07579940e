"""Write to the input topic: messages at an even rate, and transactions of another producer."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from worker.commands.ledger_reader import observed_input
from worker.commands.prove.messages import FeedRecord
from worker.kafka.topics import PARTITIONS
from worker.moderation.shapes import ReadRecord
from worker.records import Partition

CALL_S_MAX = 30
TRANSACTION_RECORDS = 10
REFILL_RECORDS_MAX = 50_000
"""A new log gets more records than the old log only up to this length: judging more takes too long."""


def open_producer(client: Mapping[str, Any]) -> Producer:
    """Return a producer for a feed."""
    return Producer({"log_level": 0, **client, "enable.idempotence": True, "linger.ms": 20})


@dataclass(slots=True, kw_only=True)
class MessageFeed:
    """Writes messages at an even rate.

    Attributes:
        producer: The producer of the present log.
        topic: The input topic.
        per_second: Messages per second.
        record: Returns the record of a number, from 0.
        read: How the workers read a record; None if each record is one message or a tombstone.
        total: How many messages to write; None: without end.
        on_delivered: Receives each message that Kafka has.
        owed: Number of verdicts and dead letters that the records must get which Kafka has.
        next_offsets: The offset after the last delivered message of each partition.
    """

    producer: Producer
    topic: str
    per_second: int
    record: Callable[[int], FeedRecord]
    read: ReadRecord | None = None
    total: int | None = None
    on_delivered: Callable[[Message], None] | None = None
    owed: int = 0
    next_offsets: Counter[Partition] = field(default_factory=Counter)
    _written: int = 0
    _refilled: int = 0

    def write_due(self, now_ms: int) -> None:
        """Write the messages that are due, after a pause at most those of one second."""
        due = now_ms * self.per_second // 1000 + self._refilled
        self.write_up_to(min(due, self._written + self.per_second))

    def write_up_to(self, count: int) -> None:
        """Write until ``count`` messages are written in all, or until the producer's queue is full."""
        count = count if self.total is None else min(count, self.total)
        for number in range(self._written, count):
            one = self.record(number)
            try:
                self.producer.produce(
                    self.topic, one.value, key=one.key, partition=one.partition, on_delivery=self._on_delivery
                )
            except BufferError:  # a broker is down, or slow
                break
            self._written = number + 1
        self.producer.poll(0)

    def count(self, delivered: Message) -> None:
        """Count a message that readers can read now, or will be able to read."""
        partition = Partition(self.topic, delivered.partition() or 0)
        offset = delivered.offset() or 0
        self.next_offsets[partition] = max(self.next_offsets[partition], offset + 1)
        self.owed += len(observed_input(delivered, partition, offset, self.read).positions)
        if self.on_delivered is not None:
            self.on_delivered(delivered)

    def begin_log(self, producer: Producer) -> None:
        """Continue on a topic that was created again, with more messages than its old log had.

        Without these messages an error of the worker would stay hidden:
        1. The worker continues at its next offset of the old log.
        2. Only in a longer log is there a message at that offset; then the messages before it are lost.

        Args:
            producer: A producer that has no state of the old log.
        """
        self.producer = producer
        old_length = sum(self.next_offsets.values())
        self.next_offsets.clear()
        if old_length <= REFILL_RECORDS_MAX:
            written = self._written
            self.write_up_to(written + old_length + PARTITIONS)
            self._refilled += self._written - written

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.count(message)


class SlowTransaction:
    """A transaction of another producer, which stays open for some seconds.

    Args:
        client: librdkafka's properties: servers and security.
        transactional_id: The producer's transactional id.
        record: Returns the record of a number, from 0.
    """

    def __init__(
        self, client: Mapping[str, Any], transactional_id: str, record: Callable[[int], FeedRecord]
    ) -> None:
        self._record = record
        self._config = {"log_level": 0, **client, "transactional.id": transactional_id}
        self._producer: Producer | None = None
        self._sent: list[Message] = []

    def begin(self, partition: Partition) -> None:
        """Write records in a transaction, and leave it open: the records after it can't be read meanwhile.

        Raises:
            KafkaException: Kafka refuses the transaction.
        """
        producer = self._producer = Producer(self._config)
        self._sent = []
        producer.init_transactions(CALL_S_MAX)
        producer.begin_transaction()
        for number in range(TRANSACTION_RECORDS):
            value = self._record(number).value
            producer.produce(partition.topic, value, partition=partition.number, on_delivery=self._on_delivery)
        producer.flush(CALL_S_MAX)

    def commit(self) -> Sequence[Message]:
        """Commit the transaction, and return its messages, which readers can read now.

        Raises:
            KafkaException: Kafka refuses, or the transaction was open for longer than its time-out.
        """
        self._open_producer().commit_transaction(CALL_S_MAX)
        return self._sent

    def abort(self) -> None:
        """Abort the transaction.

        Raises:
            KafkaException: As for ``commit``.
        """
        self._open_producer().abort_transaction(CALL_S_MAX)

    def _open_producer(self) -> Producer:
        producer, self._producer = self._producer, None
        assert producer is not None  # noqa: S101 - each plan begins a transaction before its end
        return producer

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._sent.append(message)
