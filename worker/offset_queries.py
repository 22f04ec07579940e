"""Questions about topics and offsets, asked on an admin client. The answers are futures: nobody waits for them."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # theirs to export

from worker.records import Partition
from worker.topic_ids import readable

if TYPE_CHECKING:
    from concurrent.futures import Future

ANSWER_S_MAX = 30.0  # a new connection may take five round trips before the answer; each may take 5 s
# By default the client renews its choice of the broker that describes topics every five minutes only.
_REFRESH = {"topic.metadata.refresh.interval.ms": 1_000}


class OffsetQueries:
    """Asks the brokers.

    Args:
        config: librdkafka's properties.
        group_id: The consumer group.
    """

    def __init__(self, config: Mapping[str, Any], *, group_id: str) -> None:
        self.group_id = group_id
        self._config = {"log_level": 0, **config, **_REFRESH}
        self._admin: AdminClient | None = None

    def topics(self, names: Collection[str]) -> "Mapping[str, Future[Any]]":
        """Asks for the ids of topics, and who leads their partitions."""
        return self._client.describe_topics(TopicCollection(sorted(names)), request_timeout=ANSWER_S_MAX)

    def committed(self, partitions: Collection[Partition]) -> "Future[Any]":
        """Asks for the group's offsets; where a transaction holds one, the answer is UNSTABLE_OFFSET_COMMIT."""
        asked = ConsumerGroupTopicPartitions(self.group_id, [TopicPartition(*one) for one in sorted(partitions)])
        answers = self._client.list_consumer_group_offsets(
            [asked], require_stable=True, request_timeout=ANSWER_S_MAX
        )
        return answers[self.group_id]

    def first(self, partitions: Collection[Partition]) -> "Mapping[Partition, Future[Any]]":
        """Asks for the first offset that there is."""
        return self._list(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call] # theirs to type

    def end(
        self, partitions: Collection[Partition], level: IsolationLevel = IsolationLevel.READ_COMMITTED
    ) -> "Mapping[Partition, Future[Any]]":
        """Asks for the next offset that a reader can't reach yet."""
        return self._list(partitions, OffsetSpec.latest(), level)  # type: ignore[no-untyped-call] # theirs to type

    def at(self, partitions: Collection[Partition], time_ms: int) -> "Mapping[Partition, Future[Any]]":
        """Asks for the first offset of that time or later; -1: there is none."""
        return self._list(partitions, OffsetSpec.for_timestamp(time_ms))

    def _list(
        self,
        partitions: Collection[Partition],
        spec: OffsetSpec,
        level: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> "Mapping[Partition, Future[Any]]":
        if not partitions:
            return {}
        asked = {TopicPartition(*partition): spec for partition in partitions}
        answers = self._client.list_offsets(asked, isolation_level=level, request_timeout=ANSWER_S_MAX)
        return {Partition(at.topic, at.partition): answer for at, answer in answers.items()}

    @property
    def _client(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(self._config)
        return self._admin


def id_of(description: Any) -> str:
    """The topic's id; empty where the brokers give topics none."""
    return readable(str(description.topic_id))


def leader_of(description: Any, partition: Partition) -> int | None:
    """The number of the broker that leads the partition; None: at the moment no broker does."""
    leaders = {one.id: one.leader for one in description.partitions}
    leader = leaders.get(partition.number)
    return None if leader is None or leader.id < 0 else int(leader.id)


def offset_of(answer: "Future[Any]", *, least: int = 0) -> int | None:
    """An offset, or None: librdkafka answers for a broker that has just gone by -1001, without an error."""
    if answer.exception() is not None or answer.result().offset < least:
        return None
    return int(answer.result().offset)
