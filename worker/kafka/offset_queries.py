"""Ask the brokers about topics and offsets. All such requests of a running worker are made here.

The answers of ``OffsetQueries`` are futures, so the caller never waits.

A consumer that never joins the group asks for the group's committed offsets, on a thread of its own. The admin
client's ``list_consumer_group_offsets`` must not be used. When the coordinator answers NOT_COORDINATOR, as after
any restart of a broker, librdkafka 2.16 passes the answer to the client's group. An admin client has no group, and
the process ends with SIGSEGV (confluent-kafka-javascript issue 374 has the stack).

While an open transaction contains one of the offsets, that consumer's call times out: librdkafka repeats the
request while the coordinator answers UNSTABLE_OFFSET_COMMIT. A second consumer, which does not wait for
transactions, then shows whether the coordinator answers at all.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # exported at run time

from worker.kafka.background import BackgroundThread
from worker.kafka.topic_ids import readable
from worker.records import Partition

if TYPE_CHECKING:
    from concurrent.futures import Future

ANSWER_S_MAX = 30.0  # a new connection may need five round trips before the answer; each may take 5 s
COMMITTED_S_MAX = 10.0  # the call itself waits for an open transaction that contains one of the offsets


class OffsetsPending(Exception):  # noqa: N818 - a state that passes, not an error
    """The coordinator answers, but an open transaction contains at least one of the offsets."""


class OffsetQueries:
    """Requests about topics and offsets.

    Args:
        config: librdkafka's properties.
        group_id: The consumer group. Leave it empty for questions that are not about committed offsets.
        answer_s_max: How long a question about topics or the ends of logs waits for its answer, in seconds.
    """

    def __init__(
        self, config: Mapping[str, Any], *, group_id: str = "", answer_s_max: float = ANSWER_S_MAX
    ) -> None:
        self.group_id = group_id
        self._answer_s_max = answer_s_max
        self._config = {"log_level": 0, **config}
        self._admin: AdminClient | None = None
        self._consumers: dict[str, Consumer] = {}  # by isolation level
        self._thread = BackgroundThread("committed-offsets")

    def describe_topics(self, names: Collection[str]) -> "Mapping[str, Future[Any]]":
        """Ask for the ids of topics and the leaders of their partitions."""
        if self._consumers:
            self._thread.submit(self._serve_consumers)
        return self._client.describe_topics(TopicCollection(sorted(names)), request_timeout=self._answer_s_max)

    def committed(self, partitions: Collection[Partition]) -> "Future[list[TopicPartition]]":
        """Ask for the group's committed offsets.

        The future raises OffsetsPending while an open transaction contains one of them.
        """
        return self._thread.submit(partial(self._committed, [TopicPartition(*one) for one in sorted(partitions)]))

    def earliest(self, partitions: Collection[Partition]) -> "Mapping[Partition, Future[Any]]":
        """Ask for the first available offset."""
        return self._list(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call] # not typed there

    def latest(
        self, partitions: Collection[Partition], level: IsolationLevel = IsolationLevel.READ_COMMITTED
    ) -> "Mapping[Partition, Future[Any]]":
        """Ask for the last stable offset, or at READ_UNCOMMITTED for the high watermark."""
        return self._list(partitions, OffsetSpec.latest(), level)  # type: ignore[no-untyped-call] # as above

    def for_timestamp(self, partitions: Collection[Partition], time_ms: int) -> "Mapping[Partition, Future[Any]]":
        """Ask for the first offset whose record has this time or a later one. The answer -1 means none."""
        return self._list(partitions, OffsetSpec.for_timestamp(time_ms))

    def close(self) -> None:
        """Close the clients, unless one of them is in a call that takes longer than a second."""
        self._thread.submit(self._close_consumers)
        self._thread.close()

    def _committed(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        try:
            # Only at read_committed does the coordinator withhold offsets of open transactions.
            return self._consumer("read_committed").committed(partitions, timeout=COMMITTED_S_MAX)
        except KafkaException as error:
            if error.args[0].name() != "_TIMED_OUT":
                raise
            with suppress(KafkaException):
                self._consumer("read_uncommitted").committed(partitions, timeout=COMMITTED_S_MAX)
                raise OffsetsPending from error
            raise

    def _consumer(self, isolation_level: str) -> Consumer:
        if isolation_level not in self._consumers:
            self._consumers[isolation_level] = offsets_consumer(self._config, self.group_id, isolation_level)
        return self._consumers[isolation_level]

    def renew_consumers(self) -> None:
        """Ask for committed offsets with new clients, which look for the group's coordinator again."""
        self._thread.submit(self._close_consumers)

    def _close_consumers(self) -> None:
        consumers, self._consumers = self._consumers, {}
        for consumer in consumers.values():
            consumer.close()

    def _serve_consumers(self) -> None:
        """Take the errors that the clients have reported since. Nobody else polls these clients."""
        for consumer in self._consumers.values():
            consumer.poll(0)

    def _list(
        self,
        partitions: Collection[Partition],
        spec: OffsetSpec,
        level: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> "Mapping[Partition, Future[Any]]":
        if not partitions:
            return {}
        request = {TopicPartition(*partition): spec for partition in partitions}
        answers = self._client.list_offsets(request, isolation_level=level, request_timeout=self._answer_s_max)
        return {Partition(at.topic, at.partition): answer for at, answer in answers.items()}

    @property
    def _client(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(self._config)
        return self._admin


def offsets_consumer(config: Mapping[str, Any], group_id: str, isolation_level: str) -> Consumer:
    """Return a consumer that never joins the group, to ask for the group's committed offsets.

    Args:
        config: librdkafka's properties.
        group_id: The consumer group.
        isolation_level: At ``read_committed`` the call waits while an open transaction contains one of the offsets.
            At ``read_uncommitted`` the answer leaves out the offsets of open transactions.
    """
    own = {"group.id": group_id, "enable.auto.commit": False, "isolation.level": isolation_level}
    return Consumer({"log_level": 0, **config, **own, "error_cb": lambda _: None})


def topic_id_of(description: Any) -> str:
    """Return the topic's id, or an empty string if the brokers give topics no ids."""
    return readable(str(description.topic_id))


def leader_of(description: Any, partition: Partition) -> int | None:
    """Return the id of the broker that leads the partition, or None while no broker does."""
    leaders = {one.id: one.leader for one in description.partitions}
    leader = leaders.get(partition.number)
    return None if leader is None or leader.id < 0 else int(leader.id)


def offset_of(answer: "Future[Any]", *, least: int = 0) -> int | None:
    """Return the offset of an answer, or None if there is none.

    librdkafka answers -1001 without an error for a broker that has just gone.

    Args:
        answer: A future that is done.
        least: Smaller offsets count as no answer.
    """
    if answer.exception() is not None or answer.result().offset < least:
        return None
    return int(answer.result().offset)


def watermark_offsets(consumer: Consumer, partition: TopicPartition, timeout_s: float) -> tuple[int, int]:
    """Ask a broker for the first offset and the end of a partition, as this consumer can read it.

    Raises:
        KafkaException: No broker answered.
    """
    return consumer.get_watermark_offsets(partition, timeout=timeout_s, cached=False)
