"""Takes messages from the consumer and makes records of them. This is the hot path of reading."""

import logging
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaError, Message

from worker.kafka.headers import headers_of
from worker.kafka.ownership import Ownership, Position
from worker.records import ConsumedRecord, Headers, Partition

log = logging.getLogger(__name__)

PORTION_RECORDS = 8
"""Messages taken with one call. A message with 100,000 headers (librdkafka reads no more of them) takes up to 30 MB
as soon as it is taken, and its size is not known before. Portions of 8 to 1,023 messages took the same time per
message: 0.4 to 0.8 us."""
POLL_BYTES_MAX = 2**20
"""After this many bytes a poll takes no further portion. The loop counts the bytes in memory only between polls."""


class RecordFetcher:
    """Takes what the consumer has, and passes errors on.

    Args:
        owned: Stamps each record with the assignment epoch of its partition.
        on_error: Called with the partition, the offset and the error of a message that is an error.
    """

    def __init__(self, owned: Ownership, on_error: Callable[[Partition, int, KafkaError], None]) -> None:
        self._owned = owned
        self._on_error = on_error
        self._logged_headers = False

    def fetch(self, consumer: Consumer, records_max: int, wait_ms: int, into: list[ConsumedRecord]) -> None:
        """Append records to ``into``, a portion at a time, until there are enough: by number or by bytes.

        ``poll`` waits for the first message; ``consume`` would wait for its whole number of messages. The other
        messages are taken without waiting. A message belongs to the assignment epoch in force when it is taken.

        Raises:
            OutOfOrder: A message has an offset before the position. ``into`` holds the records before it.
            KafkaException: The consumer failed. ``into`` holds the records before that.
        """
        first = consumer.poll(wait_ms / 1000)
        messages = [] if first is None else [first]
        bytes_left = POLL_BYTES_MAX
        while messages:
            known = len(into)
            self._accept(messages, into)
            bytes_left -= sum([record.size_bytes for record in into[known:]])
            portion = min(PORTION_RECORDS, records_max - len(into))
            messages = consumer.consume(portion, 0) if bytes_left > 0 and portion > 0 else []

    def _accept(self, messages: Sequence[Message], into: list[ConsumedRecord]) -> None:
        """Append the records of a portion. The position is looked up once for each partition's share of it."""
        topic: str | None = None
        number: int | None = None
        position: Position | None = None
        for message in messages:
            if (error := message.error()) is not None:
                self._on_error(_partition_of(message), message.offset() or 0, error)
                topic = None  # the answer to an error may be a rewind, which ends the position
                continue
            if message.partition() != number or message.topic() != topic:
                topic, number = message.topic(), message.partition()
                position = self._owned.position(_partition_of(message))
            if position is None:
                continue
            kind, timestamp_ms = message.timestamp()
            headers = headers_of(message)
            into.append(
                position.deliver(
                    message.offset() or 0,
                    timestamp_ms if kind and timestamp_ms >= 0 else None,
                    message.key(),
                    message.value(),
                    self._without_headers(message) if headers is None else headers,
                )
            )

    def _without_headers(self, message: Message) -> Headers:
        if not self._logged_headers:
            self._logged_headers = True
            log.warning(
                "%s@%s has a header whose name is not UTF-8: such messages are judged without headers",
                _partition_of(message),
                message.offset(),
            )
        return ()


def _partition_of(message: Message) -> Partition:
    return Partition(message.topic() or "", message.partition() or 0)
