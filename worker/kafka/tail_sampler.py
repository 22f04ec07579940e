"""Read the last records of partitions on a thread of its own, with a client that joins no group."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.kafka.background import BackgroundThread
from worker.kafka.offset_queries import watermark_offsets
from worker.kafka.quarantine import TailSample
from worker.records import Partition

if TYPE_CHECKING:
    from concurrent.futures import Future

SAMPLE_RECORDS = 100
_ANSWER_S_MAX = 10.0


class TailSampler:
    """Samples of the ends of partitions' logs.

    Args:
        config: librdkafka's properties.
        is_readable: Tells whether a record's value holds a chat message.
    """

    def __init__(self, config: Mapping[str, Any], is_readable: Callable[[bytes], bool]) -> None:
        self._config = config
        self._is_readable = is_readable
        self._thread = BackgroundThread("samples")
        self._asked: dict[Partition, Future[TailSample | None]] = {}

    def ask(self, partition: Partition) -> None:
        """Ask for a sample of a partition. Never wait."""
        self._asked[partition] = self._thread.submit(partial(self._sample, partition))

    def answers(self) -> dict[Partition, TailSample | None]:
        """Return the samples that have come since the last call. None means that no broker answered."""
        done = [partition for partition, answer in self._asked.items() if answer.done()]
        return {partition: self._asked.pop(partition).result() for partition in done}

    def close(self) -> None:
        """End the thread. A thread that waits for a broker ends with the process."""
        self._thread.close()

    def _sample(self, partition: Partition) -> TailSample | None:
        reader = Consumer(
            {
                "log_level": 0,
                **self._config,
                "group.id": "samples",  # librdkafka requires a name; this client neither joins nor commits
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "error_cb": lambda _: None,  # a missing answer counts as a sample of None
            }
        )
        try:
            return self._read(reader, TopicPartition(*partition))
        except KafkaException:
            return None
        finally:
            with suppress(KafkaException):
                reader.close()

    def _read(self, reader: Consumer, at: TopicPartition) -> TailSample | None:
        low, end = watermark_offsets(reader, at, _ANSWER_S_MAX)
        at.offset = max(low, end - SAMPLE_RECORDS)
        reader.assign([at])
        values: list[bytes] = []
        while (message := reader.poll(_ANSWER_S_MAX)) is not None:
            error = message.error()
            if error is None:
                values += [value for value in (message.value(),) if value is not None]
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin so
                unreadable = sum(not self._is_readable(value) for value in values)
                return TailSample(max(end, message.offset() or 0), len(values), unreadable)
            # librdkafka looks up the coordinator of any group that is named; this client does not need it.
            elif not error.retriable() and error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
                break
        return None
