"""What stands in the input topic: messages at an even rate, and now and then a transaction of another producer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import KafkaError, Message, Producer

from worker.records import Partition

CALL_S_MAX = 30
TRANSACTION_RECORDS = 10
REFILL_RECORDS_MAX = 50_000
"""A longer log is not outgrown by the next one: to judge that many takes its time."""


def message(number: int) -> bytes | None:
    """Mostly a chat message; now and then one that can't be read, a blank one, or a tombstone."""
    match number % 100:
        case 7:
            return None
        case 23 | 73:
            return b"no JSON"
        case 41:
            return orjson.dumps({"text": " "})
        case _:
            return orjson.dumps({"text": f"message {number}", "channel_id": number % 40})


def open_producer(client: Mapping[str, Any]) -> Producer:
    """A producer for the feed."""
    return Producer({"log_level": 0, **client, "enable.idempotence": True, "linger.ms": 20})


@dataclass(slots=True, kw_only=True)
class MessageFeed:
    """Messages at an even rate, over the partitions in turn."""

    producer: Producer
    inputs: Sequence[Partition]
    per_second: int
    owing: int = 0  # that Kafka has, without the tombstones
    ends: Counter[Partition] = field(default_factory=Counter)
    _given: int = 0
    _refilled: int = 0

    def give(self, now_ms: int) -> None:
        """What is due; after a pause not all at once."""
        due = now_ms * self.per_second // 1000 + self._refilled
        self.fill(min(due, self._given + self.per_second))

    def fill(self, total: int) -> None:
        """As many as make so many in all, as far as the producer takes them."""
        for number in range(self._given, total):
            value = message(number)
            try:
                topic, partition = self.inputs[number % len(self.inputs)]
                self.producer.produce(topic, value, partition=partition, on_delivery=self._on_delivery)
            except BufferError:  # a broker is away, or slow
                break
            self._given = number + 1
        self.producer.poll(0)

    def note(self, told: Message) -> None:
        """Counts a message that readers can see, or will."""
        at = self.inputs[told.partition() or 0]
        self.ends[at] = max(self.ends[at], (told.offset() or 0) + 1)
        self.owing += told.value() is not None

    def begin_log(self, producer: Producer) -> None:
        """The topic was created again: gives it more messages than the log before had, where that was short.

        A worker that went on at an offset of the log before would find messages there, and lose those in front.

        Args:
            producer: One that knows no earlier log.
        """
        self.producer = producer
        before = sum(self.ends.values())
        self.ends.clear()
        if before <= REFILL_RECORDS_MAX:
            given = self._given
            self.fill(given + before + len(self.inputs))
            self._refilled += self._given - given

    def _on_delivery(self, error: KafkaError | None, told: Message) -> None:
        if error is None:
            self.note(told)


class Upstream:
    """Another producer of chat messages, whose transaction stays open for a while.

    Args:
        client: librdkafka's properties: servers and security.
        transactional_id: Its own.
    """

    def __init__(self, client: Mapping[str, Any], transactional_id: str) -> None:
        self._config = {"log_level": 0, **client, "transactional.id": transactional_id}
        self._producer: Producer | None = None
        self._sent: list[Message] = []

    def begin(self, partition: Partition) -> None:
        """Leaves a transaction open: what is behind it in the partition can't be read.

        Raises:
            KafkaException: Kafka does not let us.
        """
        producer = self._producer = Producer(self._config)
        self._sent = []
        producer.init_transactions(CALL_S_MAX)
        producer.begin_transaction()
        for number in range(TRANSACTION_RECORDS):
            producer.produce(
                partition.topic, message(number), partition=partition.number, on_delivery=self._on_delivery
            )
        producer.flush(CALL_S_MAX)

    def end(self, *, commit: bool) -> Sequence[Message]:
        """Ends the transaction.

        Returns:
            The messages that readers can see now.

        Raises:
            KafkaException: Kafka does not let us, or the transaction has been open for too long.
        """
        assert self._producer is not None  # noqa: S101 - a plan begins it first
        if commit:
            self._producer.commit_transaction(CALL_S_MAX)
        else:
            self._producer.abort_transaction(CALL_S_MAX)
        self._producer = None
        return self._sent if commit else []

    def _on_delivery(self, error: KafkaError | None, told: Message) -> None:
        if error is None:
            self._sent.append(told)
