"""The consumer as a member of its group: it subscribes, follows rebalances, and joins again with a new client.

An assigned partition waits for a start offset, is fetched, or is in quarantine. ``place`` alone gives a partition a
position, always by an assignment with an explicit offset.

Rebalance callbacks assign nothing: they note which partitions wait. So a broker that does not answer never holds up
a callback.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, ThrottleEvent, TopicPartition

from worker.kafka.clients import client
from worker.kafka.session_options import SessionOptions
from worker.kafka.topic_ids import TopicIdLogger
from worker.records import Partition

log = logging.getLogger(__name__)


class GroupMember:
    """A member of the consumer group.

    Args:
        options: The consumer's properties, the topics to subscribe to, and how the group rebalances.
        error_cb: librdkafka calls it with an error that belongs to no call.
        throttle_cb: librdkafka calls it when a broker throttles the consumer.
        on_topic_id: Called with a topic, its old id and its new id, when librdkafka learns a new id.
        on_taken_away: Called in a rebalance, with the partitions that were revoked or lost.
        quarantined: Returns the partitions in quarantine.

    Attributes:
        consumer: The client; ``rejoin`` replaces it.
        rebalances: How often partitions were assigned, revoked and lost.
        fetched: The partitions that librdkafka fetches.
        waiting: The assigned partitions without a position.
        out_of_range: The waiting partitions whose committed offset is out of range.
    """

    def __init__(
        self,
        options: SessionOptions,
        *,
        error_cb: Callable[[KafkaError], None],
        throttle_cb: Callable[[ThrottleEvent], None],
        on_topic_id: Callable[[str, str, str], None],
        on_taken_away: Callable[[Collection[Partition]], None],
        quarantined: Callable[[], Collection[Partition]],
    ) -> None:
        self.rebalances: Counter[str] = Counter()
        self.fetched: set[Partition] = set()
        self.waiting: set[Partition] = set()
        self.out_of_range: set[Partition] = set()
        self._is_paused = False
        self._options = options
        self._callbacks = {"error_cb": error_cb, "throttle_cb": throttle_cb}
        self._on_topic_id = on_topic_id
        self._on_taken_away = on_taken_away
        self._quarantined = quarantined
        self.consumer = self._new_consumer()

    @property
    def is_paused(self) -> bool:
        """Whether nothing is fetched until ``resume``."""
        return self._is_paused

    @property
    def group_id(self) -> str:
        """``WORKER_KAFKA__GROUP_ID``."""
        group_id: str = self._options.consumer_config["group.id"]
        return group_id

    @property
    def metadata(self) -> bytes | None:
        """The group metadata that a transaction commits offsets with."""
        metadata: bytes | None = self.consumer.consumer_group_metadata()
        return metadata

    def subscribe(self) -> None:
        """Join the group. From then on the member must poll."""
        self.consumer.subscribe(
            list(self._options.input_topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def rejoin(self) -> None:
        """Join the group as a new member, with a new client, after ``close``."""
        self.fetched.clear()
        self.waiting.clear()
        self.out_of_range.clear()
        self.consumer = self._new_consumer()
        self.subscribe()

    def close(self) -> None:
        """Leave the group. A static member of a classic group stays in it until its session times out."""
        self.consumer.close()

    def place(self, starts: Mapping[Partition, int], positions: Mapping[Partition, int]) -> None:
        """Let librdkafka fetch waiting partitions.

        Args:
            starts: Their start offsets.
            positions: The positions of the partitions that are read already.
        """
        placed = _at(starts)
        if self._options.incremental_rebalance:
            self.consumer.incremental_unassign(_topic_partitions(self.fetched & starts.keys()))
            self.consumer.incremental_assign(placed)
            self.fetched |= starts.keys()
        else:
            # The client of an eager group takes an assignment only as a whole, with the partitions that are read
            # already at their positions.
            placed += _at(positions)
            self.consumer.assign(placed)
            self.fetched = {*starts, *positions}
        self.waiting -= starts.keys()
        self.out_of_range -= starts.keys()
        if self._is_paused:
            self.consumer.pause(placed)

    def pause(self) -> None:
        """Fetch nothing until ``resume``. librdkafka drops what it has fetched ahead."""
        if not self._is_paused:
            self._is_paused = True
            self.consumer.pause(_topic_partitions(self.fetched))

    def resume(self) -> None:
        """Fetch again after ``pause``, except for the partitions in quarantine."""
        if self._is_paused:
            self._is_paused = False
            self.consumer.resume(_topic_partitions(self.fetched.difference(self._quarantined())))

    def quarantine(self, partitions: Collection[Partition]) -> None:
        """Stop fetching partitions that stay assigned."""
        self.consumer.pause(_topic_partitions(partitions))

    def release(self, partitions: Collection[Partition]) -> None:
        """Let partitions that were in quarantine wait for a start offset."""
        self.consumer.resume(_topic_partitions(partitions))
        self.waiting.update(partitions)

    def count_input_partitions(self) -> int | None:
        """Return how many partitions the input topics have; None if no broker answers within a second."""
        topics = self._options.input_topics
        try:
            found = [self.consumer.list_topics(topic, timeout=1).topics[topic] for topic in topics]
        except KafkaException:
            return None
        return sum(len(topic.partitions) for topic in found)

    def _new_consumer(self) -> Consumer:
        config = self._options.consumer_config
        logger = TopicIdLogger(config, self._on_topic_id)
        return client(Consumer, {**config, "debug": logger.debug, **self._callbacks}, logger)

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.rebalances["assigned"] += 1
        self.waiting.update(_partitions(partitions))
        if self._options.incremental_rebalance:
            consumer.incremental_assign([])
        else:
            consumer.assign([])

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._take_away(consumer, _partitions(partitions), "revoked")

    def _on_lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._take_away(consumer, _partitions(partitions), "lost")

    def _take_away(self, consumer: Consumer, gone: set[Partition], how: str) -> None:
        self.rebalances[how] += 1
        log.info("%s: %s", how, ", ".join(map(str, sorted(gone))) or "nothing")
        quarantined = gone.intersection(self._quarantined())
        self._on_taken_away(gone)
        self.waiting -= gone
        self.out_of_range -= gone
        # librdkafka remembers a pause beyond the assignment: a partition that came back would stay silent.
        consumer.resume(_topic_partitions(quarantined))
        if self._is_paused:
            consumer.resume(_topic_partitions(self.fetched & gone))
        if self._options.incremental_rebalance:
            consumer.incremental_unassign(_topic_partitions(self.fetched & gone))
        else:
            consumer.unassign()
        self.fetched -= gone


def _partitions(topic_partitions: Sequence[TopicPartition]) -> set[Partition]:
    return {Partition(one.topic, one.partition) for one in topic_partitions}


def _topic_partitions(partitions: Collection[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*partition) for partition in sorted(partitions)]


def _at(offsets: Mapping[Partition, int]) -> list[TopicPartition]:
    return [TopicPartition(*partition, offset) for partition, offset in sorted(offsets.items())]
