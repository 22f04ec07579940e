"""How far a read_committed reader could read, asked of the brokers now and then; nobody waits for the answer.

By a client of its own: on the consumer's connections an answer would wait behind a fetch that waits for messages.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # theirs to export

from worker.records import Partition
from worker.standstill import Standing

if TYPE_CHECKING:
    from concurrent.futures import Future

_ANSWER_S_MAX = 5.0


class Survey:
    """The ends of partitions, no older than some seconds while the brokers answer.

    Args:
        config: librdkafka's properties.
        every_ms: How often to ask.
    """

    def __init__(self, config: Mapping[str, Any], *, every_ms: int) -> None:
        self._config = config
        self._every_ms = every_ms
        self._admin: AdminClient | None = None
        self._asked: dict[Partition, Future[Any]] = {}
        self._asked_at_ms: int | None = None

    def ends(self, now_ms: int, partitions: Sequence[Partition]) -> dict[Partition, int] | None:
        """New answers, each given once; None: there are none at the moment. Never waits.

        Args:
            now_ms: The time.
            partitions: What to ask about next.
        """
        if self._asked:
            if not all(answer.done() for answer in self._asked.values()):
                return None
            asked, self._asked = self._asked, {}
            return {
                partition: answer.result().offset
                for partition, answer in asked.items()
                if answer.exception() is None
            }
        if partitions and (self._asked_at_ms is None or now_ms - self._asked_at_ms >= self._every_ms):
            self._asked_at_ms = now_ms
            self._ask(partitions)
        return None

    def _ask(self, partitions: Sequence[Partition]) -> None:
        if self._admin is None:
            self._admin = AdminClient({"log_level": 0, **self._config})
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call] # theirs to type
        try:
            answers = self._admin.list_offsets(
                {TopicPartition(*partition): latest for partition in partitions},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=_ANSWER_S_MAX,
            )
        except KafkaException:
            return  # asked again in a while
        self._asked = {Partition(at.topic, at.partition): answer for at, answer in answers.items()}


def standings_of(
    consumer: Consumer, progress: Mapping[Partition, tuple[int, int]], ends: Mapping[Partition, int]
) -> dict[Partition, Standing]:
    """Where the partitions stand whose ends are known; asks no broker.

    Args:
        consumer: What fetches them.
        progress: The next offsets after what is committed, and after what was delivered.
        ends: As a survey gave them.
    """
    known = {partition: at for partition, at in progress.items() if partition in ends}
    positions = {
        Partition(at.topic, at.partition): at.offset
        for at in consumer.position([TopicPartition(*partition) for partition in known])
    }
    return {
        partition: Standing(
            committed=committed,
            delivered=delivered,
            position=max(delivered, positions[partition]),
            end=ends[partition],
            fetched_end=consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1],
        )
        for partition, (committed, delivered) in known.items()
    }
