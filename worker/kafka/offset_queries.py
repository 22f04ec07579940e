"""Questions about topics and offsets. The answers are futures: nobody waits for them.

The group's offsets are asked for by a consumer that never joins the group, on a thread of its own. The admin
client's ``list_consumer_group_offsets`` must not be used: when the coordinator answers NOT_COORDINATOR, as after
any restart of a broker, librdkafka 2.16 hands the answer to the client's group. An admin client has none, and the
process ends with SIGSEGV (confluent-kafka-javascript issue 374 has the stack).

While a transaction holds one of the offsets, that consumer's call only times out: librdkafka repeats the request
for as long as the coordinator answers UNSTABLE_OFFSET_COMMIT. A second consumer, which does not wait for
transactions, then tells whether the coordinator answers at all.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # theirs to export

from worker.kafka.background import Background
from worker.kafka.topic_ids import readable
from worker.records import Partition

if TYPE_CHECKING:
    from concurrent.futures import Future

ANSWER_S_MAX = 30.0  # a new connection may take five round trips before the answer; each may take 5 s
COMMITTED_S_MAX = 10.0  # an offset that a transaction holds is waited for inside the call


class OffsetsPending(Exception):  # noqa: N818 - it passes by itself
    """The coordinator answers, but holds back at least one of the offsets: a transaction with it is open."""


class OffsetQueries:
    """Asks the brokers.

    Args:
        config: librdkafka's properties.
        group_id: The consumer group.
    """

    def __init__(self, config: Mapping[str, Any], *, group_id: str) -> None:
        self.group_id = group_id
        self._config = {"log_level": 0, **config}
        self._admin: AdminClient | None = None
        self._readers: dict[str, Consumer] = {}  # by isolation level
        self._thread = Background("committed-offsets")

    def topics(self, names: Collection[str]) -> "Mapping[str, Future[Any]]":
        """Asks for the ids of topics, and who leads their partitions."""
        return self._client.describe_topics(TopicCollection(sorted(names)), request_timeout=ANSWER_S_MAX)

    def committed(self, partitions: Collection[Partition]) -> "Future[list[TopicPartition]]":
        """Ask for the group's offsets; while a transaction holds one of them, the answer is OffsetsPending."""
        return self._thread.submit(partial(self._committed, [TopicPartition(*one) for one in sorted(partitions)]))

    def close(self) -> None:
        """Close the clients, unless one of them is in a call that takes longer than a second."""
        self._thread.submit(self._close_readers)
        self._thread.close()

    def _committed(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        try:
            # read_committed is what makes the coordinator hold back offsets of open transactions.
            return self._reader("read_committed").committed(partitions, timeout=COMMITTED_S_MAX)
        except KafkaException as error:
            if error.args[0].name() != "_TIMED_OUT":
                raise
            with suppress(KafkaException):
                self._reader("read_uncommitted").committed(partitions, timeout=COMMITTED_S_MAX)
                raise OffsetsPending from error
            raise

    def _reader(self, isolation_level: str) -> Consumer:
        if isolation_level not in self._readers:
            ours = {"group.id": self.group_id, "enable.auto.commit": False, "isolation.level": isolation_level}
            self._readers[isolation_level] = Consumer({**self._config, **ours, "error_cb": lambda _: None})
        return self._readers[isolation_level]

    def _close_readers(self) -> None:
        for reader in self._readers.values():
            reader.close()

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
