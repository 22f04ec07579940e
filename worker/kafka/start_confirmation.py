"""Confirm, before the first commit after a start, that the group had committed what the start was found from.

A group coordinator can answer with old committed offsets, or with none at all, and without an error. In Kafka
4.2.2 this race does it (``tests/contract/test_old_offsets.py`` repeats it):

1. A broker becomes the leader of a partition of ``__consumer_offsets``, and begins to load it.
2. It loses the leadership and gets it back before this load has ended, as after kill -9 of the only broker. A
   second load waits behind the first one.
3. The first load ends. Its end makes the new coordinator active, which has loaded nothing yet.
4. Until the second load ends, OffsetFetch is answered from the part of the log that is loaded.

A worker that starts from such an answer judges messages again. A worker that is told "none" starts where the
settings say, and may skip messages.

A write shows whether the load has ended. The coordinator appends each write to its log, and compares the end of the
log with what it has loaded. If they differ, it refuses the write and loads again. So an accepted write proves that
all earlier commits are loaded. The first transaction of a partition after its start uses this:

1. ``send_offsets_to_transaction`` writes the new offsets. The coordinator accepts them.
2. The question asks for the committed offsets at read_uncommitted. The answer leaves out the offsets of open
   transactions, so it has the offset before this transaction.
3. The transaction is committed only if offset and metadata are those that the start was found from. If not, it is
   aborted, and the start is looked for again.

Later transactions need no question: they follow from offsets that this worker has committed itself.

One case remains: between steps 1 and 2 the coordinator moves again, the race happens again, and the part that is
loaded at this moment ends at the same old offset.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.kafka.backoff import OffsetsTimeout
from worker.kafka.offset_queries import offsets_consumer
from worker.kafka.transaction import Event
from worker.records import Partition

_ANSWER_MS_MAX = 8_000

Committed = tuple[int, str]
"""An offset and its metadata. The offset is negative if the group has committed none."""


class StartConfirmation:
    """What the coordinator answered about starts that no transaction has confirmed yet.

    Args:
        config: librdkafka's properties, for the client that asks.
        group_id: The consumer group.
    """

    def __init__(self, config: Mapping[str, Any], group_id: str) -> None:
        self._config = config
        self._group_id = group_id
        self._consumer: Consumer | None = None
        self._expected: dict[Partition, Committed] = {}
        self._timeout = OffsetsTimeout()

    def expect(self, answered: TopicPartition) -> None:
        """Note the answer from which the start of a partition is found. A later answer replaces it."""
        self._expected[Partition(answered.topic, answered.partition)] = _committed(answered)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop the answers about these partitions: they are confirmed, or a new start is looked for."""
        for partition in partitions:
            self._expected.pop(partition, None)

    def question(self, partitions: Collection[Partition]) -> Callable[[], Event] | None:
        """Return the call that confirms the starts of these partitions; None if all are confirmed."""
        expected = {one: self._expected[one] for one in partitions if one in self._expected}
        return partial(self._confirm, expected) if expected else None

    def close(self) -> None:
        """Close the client."""
        if self._consumer is not None:
            self._consumer.close()

    def _confirm(self, expected: Mapping[Partition, Committed]) -> Event:
        """Ask the coordinator; wait for a second, and longer after a time-out.

        Returns:
            DONE if all starts are confirmed, MOVED if one is wrong.

        Raises:
            KafkaException: There is no answer. Ask again.
        """
        if self._consumer is None:
            self._consumer = offsets_consumer(self._config, self._group_id, "read_uncommitted")
        asked = [TopicPartition(*one) for one in sorted(expected)]
        try:
            answer = self._consumer.committed(asked, timeout=self._timeout.ms / 1000)
        except KafkaException:
            self._timeout.timed_out(_ANSWER_MS_MAX)
            raise
        self._timeout.answered(0)
        for at in answer:
            if at.error is not None:
                raise KafkaException(at.error)
        found = {Partition(at.topic, at.partition): _committed(at) for at in answer}
        return Event.DONE if found == expected else Event.MOVED


def _committed(answered: TopicPartition) -> Committed:
    return answered.offset, answered.metadata or ""
