"""Questions about topics and offsets. The answers are futures: nobody waits for them.

The group's offsets are asked for by a consumer that never joins the group, on a thread of its own. The admin
client's ``list_consumer_group_offsets`` must not be used: when the coordinator answers NOT_COORDINATOR, as after
any restart of a broker, librdkafka 2.16 hands the answer to the client's group. An admin client has none, and the
process ends with SIGSEGV (confluent-kafka-javascript issue 374 has the stack).
"""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, IsolationLevel, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # theirs to export

from worker.records import Partition
from worker.topic_ids import readable

if TYPE_CHECKING:
    from concurrent.futures import Future

ANSWER_S_MAX = 30.0  # a new connection may take five round trips before the answer; each may take 5 s
COMMITTED_S_MAX = 10.0  # an offset that a transaction holds is waited for inside the call
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
        self._reader: Consumer | None = None
        self._thread = ThreadPoolExecutor(1, "committed-offsets")

    def topics(self, names: Collection[str]) -> "Mapping[str, Future[Any]]":
        """Asks for the ids of topics, and who leads their partitions."""
        return self._client.describe_topics(TopicCollection(sorted(names)), request_timeout=ANSWER_S_MAX)

    def committed(self, partitions: Collection[Partition]) -> "Future[list[TopicPartition]]":
        """Ask for the group's offsets; while a transaction holds one of them, there is no answer."""
        return self._thread.submit(self._committed, [TopicPartition(*one) for one in sorted(partitions)])

    def _committed(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        if self._reader is None:
            # read_committed is what makes the coordinator hold back offsets of open transactions.
            ours = {"group.id": self.group_id, "enable.auto.commit": False, "isolation.level": "read_committed"}
            self._reader = Consumer({**self._config, **ours, "error_cb": lambda _: None})
        return self._reader.committed(partitions, timeout=COMMITTED_S_MAX)

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
