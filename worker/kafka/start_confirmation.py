"""Confirm, just before the first commit after a start, that the group has committed nothing beyond this start.

A group coordinator can answer with old committed offsets, or with none at all, and without an error. In Kafka
4.2.2 this race does it (``tests/contract/test_old_offsets.py`` repeats it):

1. A broker becomes the leader of a partition of ``__consumer_offsets``, and begins to load it.
2. It loses the leadership and gets it back before this load has ended, as after kill -9 of the only broker. A
   second load waits behind the first one.
3. The first load ends, and the coordinator becomes active. But this is already the coordinator of the second load,
   which has loaded nothing yet.
4. Until the second load ends, OffsetFetch is answered from the part of the log that is loaded.

A worker that starts from such an answer judges messages again. A worker that is told "none" starts where the
settings say, and may skip messages.

A write of offsets shows whether the load has ended. The coordinator of Kafka 4 appends the write to its log, and
compares the end of the log with what it has loaded. If they differ, it refuses the write and loads again. The first
transaction of a partition after its start uses this:

1. ``send_offsets_to_transaction`` writes the new offsets. The coordinator accepts them: it has loaded everything.
2. ``_check`` asks for the committed offsets at read_uncommitted. The answer leaves out the offsets of open
   transactions, so it has the offset before this transaction. The answer must come within ``ANSWER_S_MAX``:
   otherwise the coordinator may have been started again since step 1, and the transaction is aborted.
3. The transaction is committed only if offset and metadata are still those that gave the start. If not, it is
   aborted, and the start is looked for again.

Later transactions need no check: each begins at an offset that this worker has committed itself.

What it cannot see:

- The coordinator moves again between the steps 1 and 2, and answers from another partial load with the same offset.
- The transaction marker of another transaction arrives during the second load. Kafka does not compare markers with
  what is loaded. If the rest of the log is longer than 16,384 records, the coordinator stays with a part of it
  until it is loaded again. ``regression`` stops a worker that knows a later offset.
- Another worker's transaction with these offsets is committed, but the coordinator had not got its marker when its
  broker was killed, and the partition has moved to this worker since.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.kafka.offset_queries import offsets_consumer
from worker.records import Partition

ANSWER_S_MAX = 3.0
"""Less than a restart of a broker takes, and less than the watchdog allows a call while the worker stops."""

Committed = tuple[int, str]
"""An offset and its metadata. The offset is negative if the group has committed none."""


class StartConfirmation:
    """The answers that gave a start, until a transaction has confirmed them.

    Args:
        config: librdkafka's properties, for the client that asks.
        group_id: The consumer group.
        on_old_start: Called when a start was wrong.
    """

    def __init__(
        self, config: Mapping[str, Any], group_id: str, on_old_start: Callable[[], None] = lambda: None
    ) -> None:
        self._config = config
        self._group_id = group_id
        self._on_old_start = on_old_start
        self._consumer: Consumer | None = None
        self._expected: dict[Partition, Committed] = {}

    def expect(self, answered: TopicPartition) -> None:
        """Note the answer that gives the start of a partition. A later answer replaces it."""
        self._expected[Partition(answered.topic, answered.partition)] = _committed(answered)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop the answers about these partitions: they are confirmed, or a new start is looked for."""
        for partition in partitions:
            self._expected.pop(partition, None)

    def check_of(self, partitions: Collection[Partition]) -> Callable[[], str] | None:
        """Return the call that checks the starts of these partitions; None if all are confirmed.

        The call waits for three seconds at most. It returns why a start is wrong, or an empty string if all are
        right. It raises KafkaException if there is no answer: abort the transaction then.
        """
        expected = {one: self._expected[one] for one in partitions if one in self._expected}
        return partial(self._check, expected) if expected else None

    def close(self) -> None:
        """Close the client."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _check(self, expected: Mapping[Partition, Committed]) -> str:
        # Each check has a new client, which asks which broker is the coordinator. After a time-out the next check
        # uses the same client: over a slow link it may still be connecting.
        if self._consumer is None:
            self._consumer = offsets_consumer(self._config, self._group_id, "read_uncommitted")
        asked = [TopicPartition(*one) for one in sorted(expected)]
        answer = self._consumer.committed(asked, timeout=ANSWER_S_MAX)
        self.close()
        for at in answer:
            if at.error is not None:
                raise KafkaException(at.error)
        for at in answer:
            partition = Partition(at.topic, at.partition)
            if _committed(at) != expected[partition]:
                self._on_old_start()
                return _difference(partition, expected[partition], _committed(at))
        return ""


def _committed(answered: TopicPartition) -> Committed:
    return answered.offset, answered.metadata or ""


def _difference(partition: Partition, told: Committed, found: Committed) -> str:
    if told[0] == found[0]:
        return f"{partition}: the metadata of the committed offset {told[0]} has changed"
    before, now = ("none" if offset < 0 else str(offset) for offset, _ in (told, found))
    return f"{partition}: the committed offset was {before}, and is {now}"
