"""Keeps partitions in quarantine, logs it, and reads the last records of these partitions."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.kafka.background import Background
from worker.kafka.quarantine import Quarantine, TailSample, error_if_all_bad
from worker.records import DeadLetterExcess, Partition

if TYPE_CHECKING:
    from concurrent.futures import Future

log = logging.getLogger(__name__)

SAMPLE_RECORDS = 100
_ANSWER_S_MAX = 10.0


class Isolation:
    """The partitions that are ours and are not read.

    Args:
        samples: Reads the last records of a partition.
        clock: Gives milliseconds.
    """

    def __init__(self, samples: "TailSamples", *, clock: Callable[[], int]) -> None:
        self._samples = samples
        self._clock = clock
        self._quarantine = Quarantine()

    @property
    def partitions(self) -> Collection[Partition]:
        """Those in quarantine."""
        return self._quarantine.partitions.keys()

    @property
    def exempt_below(self) -> Mapping[Partition, int]:
        """By partition the offset below which dead letters do not count against it."""
        return self._quarantine.exempt_below

    def hold(
        self,
        excesses: Sequence[DeadLetterExcess],
        *,
        assigned: Collection[Partition],
        existing: Callable[[], int | None],
    ) -> None:
        """Put partitions into quarantine.

        Args:
            excesses: Why, for each of them.
            assigned: All of our partitions.
            existing: Asks how many partitions the input topics have; called only if it matters.

        Raises:
            FatalError: Every partition is like that. Nothing of the last batch is committed.
        """
        for excess in excesses:
            wait_ms = self._quarantine.hold(self._clock(), excess)
            log.critical(
                "%s goes into quarantine: %s. It is not read; the other partitions are judged. Repair what sends "
                "or judges these records. The last ones in its log are looked at in %d s. SIGHUP to this process "
                "releases it, whatever they are",
                excess.partition,
                excess,
                wait_ms // 1000,
            )
        error = error_if_all_bad(excesses[-1], len(self._quarantine.partitions), len(assigned), existing)
        if error is not None:
            raise error

    def look(self) -> list[Partition]:
        """Release the partitions whose last records allow it, ask for the samples that are due; never wait."""
        now_ms = self._clock()
        released = []
        for partition, sample in self._samples.answers().items():
            if self._quarantine.sampled(now_ms, partition, sample):
                released.append(partition)
                _tell(partition, self.exempt_below.get(partition))
        for partition in self._quarantine.due(now_ms):
            self._samples.ask(partition)
        return released

    def release_all(self) -> None:
        """Release all as soon as the ends of their logs are known: a person wants it."""
        self._quarantine.release_all(self._clock())

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that are not ours any more."""
        self._quarantine.forget(partitions)

    def close(self) -> None:
        """End the thread that reads samples; wait for it a second at most."""
        self._samples.close()


def _tell(partition: Partition, exempt_below: int | None) -> None:
    if exempt_below is None:
        log.warning("%s: released from quarantine to try whether its records still break the model", partition)
    else:
        log.warning(
            "%s: released from quarantine. Its dead letters below offset %d do not count against it",
            partition,
            exempt_below,
        )


class TailSamples:
    """Samples of partitions, read in a thread of its own by a client that joins no group.

    Args:
        config: librdkafka's properties.
        is_readable: Whether a record's value holds a chat message.
    """

    def __init__(self, config: Mapping[str, Any], is_readable: Callable[[bytes], bool]) -> None:
        self._config = config
        self._is_readable = is_readable
        self._thread = Background("samples")
        self._asked: dict[Partition, Future[TailSample | None]] = {}

    def ask(self, partition: Partition) -> None:
        """Ask for a sample; never waits."""
        self._asked[partition] = self._thread.submit(partial(self._sample, partition))

    def close(self) -> None:
        """End the thread, unless it waits for a broker: then it ends with the process."""
        self._thread.close()

    def answers(self) -> dict[Partition, TailSample | None]:
        """Return the samples that have come since the last call; None for one that could not be had."""
        done = [partition for partition, answer in self._asked.items() if answer.done()]
        return {partition: self._asked.pop(partition).result() for partition in done}

    def _sample(self, partition: Partition) -> TailSample | None:
        reader = Consumer(
            {
                "log_level": 0,
                **self._config,
                "group.id": "samples",  # librdkafka wants a name; nothing is joined, and nothing is committed
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "error_cb": lambda _: None,  # no answer is an answer
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
        low, end = reader.get_watermark_offsets(at, timeout=_ANSWER_S_MAX, cached=False)
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
            elif not error.retriable() and error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
                break
        return None
