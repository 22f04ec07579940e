"""Two clusters with the same interface, for tests of a session: the fake log in memory, and a real Kafka."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.conftest import Topics
from tests.fake_cluster import FakeCluster
from tests.fake_log import join
from worker.kafka.offset_reset import OffsetReset
from worker.kafka.publisher_options import PublisherOptions
from worker.kafka.session import Session
from worker.kafka.session_options import SessionOptions
from worker.loop import TransactionalSession
from worker.records import NO_STATES, ConsumedRecord, OutputRecord, Partition, Topic

PROTOCOLS = ("roundrobin", "range", "cooperative-sticky", "consumer")


class Cluster(Protocol):
    """Makes sessions, produces input, and shows what a reader sees."""

    def partition(self, number: int) -> Partition:
        """Return one of the two input partitions."""

    def produce(self, number: int, values: Sequence[bytes | None]) -> None:
        """Produce messages to a partition."""

    def produce_in_transaction(self, number: int, value: bytes) -> None:
        """Produce a message in a transaction. A control record follows it in the log."""

    def join(self) -> TransactionalSession:
        """Return a new member of the group."""

    def leave(self, log: TransactionalSession) -> None:
        """Let a member leave the group."""

    def release(self, log: TransactionalSession) -> None:
        """Let a member release its partitions from quarantine."""

    def visible(self, topic: Topic = Topic.VERDICT) -> list[bytes]:
        """Return the values of the verdicts, or of another topic, that a read_committed reader sees."""

    def committed(self, number: int) -> int | None:
        """Return the group's committed offset."""

    def commit(self, number: int, offset: int, metadata: str) -> None:
        """Commit an offset as another tool does, while the group has no member."""


def is_readable(value: bytes) -> bool:
    """Return whether a value is a chat message by the rule of these tests."""
    return not value.startswith(b"bad")


class FakeKafka:
    """The fake log, in memory."""

    def __init__(self, *, metadata_max: int = 4096) -> None:
        self._cluster = FakeCluster(
            inputs={self.partition(number): [] for number in (0, 1)},
            is_readable=is_readable,
            metadata_max=metadata_max,
        )

    def partition(self, number: int) -> Partition:
        return Partition("messages", number)

    def produce(self, number: int, values: Sequence[bytes | None]) -> None:
        for value in values:
            self._cluster.produce(self.partition(number), value)

    def produce_in_transaction(self, number: int, value: bytes) -> None:
        self.produce(number, [value])
        self._cluster.skip(self.partition(number))

    def join(self) -> TransactionalSession:
        return join(self._cluster)

    def leave(self, log: TransactionalSession) -> None:
        self._cluster.leave(next(member for member in self._cluster.members if member is log))

    def release(self, log: TransactionalSession) -> None:
        next(member for member in self._cluster.members if member is log).release_quarantined()

    def visible(self, topic: Topic = Topic.VERDICT) -> list[bytes]:
        return [output.value or b"" for output in self._cluster.outputs if output.topic is topic]

    def committed(self, number: int) -> int | None:
        return self._cluster.committed.get(self.partition(number))

    def commit(self, number: int, offset: int, metadata: str) -> None:
        self._cluster.committed[self.partition(number)] = offset
        self._cluster.metadata[self.partition(number)] = metadata


class RealKafka:
    """Sessions on a real Kafka."""

    def __init__(self, servers: str, topics: Topics, protocol: str) -> None:
        self._servers = servers
        self._topics = topics
        self._protocol = protocol
        self._producer = Producer({"bootstrap.servers": servers})
        self.sessions: list[Session] = []

    def partition(self, number: int) -> Partition:
        return Partition(self._topics.input, number)

    def produce(self, number: int, values: Sequence[bytes | None]) -> None:
        for value in values:
            self._producer.produce(self._topics.input, value=value, partition=number)
        self._producer.flush()

    def produce_in_transaction(self, number: int, value: bytes) -> None:
        producer = Producer({"bootstrap.servers": self._servers, "transactional.id": f"{self._topics.input}-chat"})
        producer.init_transactions()
        producer.begin_transaction()
        producer.produce(self._topics.input, value=value, partition=number)
        producer.commit_transaction()

    def join(self) -> TransactionalSession:
        session = self.session()
        session.subscribe()
        return session

    def session(self) -> Session:
        """Return a session that is not a member yet."""
        group = self._topics.input
        consumer: dict[str, Any] = {
            "bootstrap.servers": self._servers,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 20,
        }
        if self._protocol == "consumer":
            consumer["group.protocol"] = "consumer"
        else:
            consumer |= {"partition.assignment.strategy": self._protocol, "session.timeout.ms": 6000}
            consumer["heartbeat.interval.ms"] = 500
        name = f"{group}-{len(self.sessions)}"
        options = SessionOptions(
            consumer_config=consumer,
            input_topics=[self._topics.input],
            offset_reset=OffsetReset(),
            incremental_rebalance=self._protocol in {"consumer", "cooperative-sticky"},
            admin_config={"bootstrap.servers": self._servers},
            is_readable=is_readable,
            publisher=PublisherOptions(
                config={"bootstrap.servers": self._servers, "transactional.id": name, "retry.backoff.ms": 10},
                topics={
                    Topic.VERDICT: self._topics.verdicts,
                    Topic.ALERT: self._topics.alerts,
                    Topic.DEAD_LETTER: self._topics.dead_letters,
                },
                transactional_id=name,
                transaction_timeout_ms=15_000,
                admin_config={"bootstrap.servers": self._servers},
                group_id=group,
            ),
        )
        session = Session(options, clock=lambda: time.monotonic_ns() // 1_000_000, watch=lambda _: nullcontext())
        self.sessions.append(session)
        return session

    def leave(self, log: TransactionalSession) -> None:
        session = next(session for session in self.sessions if session is log)
        self.sessions.remove(session)
        session.close()

    def release(self, log: TransactionalSession) -> None:
        next(session for session in self.sessions if session is log).release_quarantined()

    def visible(self, topic: Topic = Topic.VERDICT) -> list[bytes]:
        reader = self._reader()
        name = {Topic.VERDICT: self._topics.verdicts, Topic.ALERT: self._topics.alerts}[topic]
        partitions = [TopicPartition(name, number, 0) for number in (0, 1)]
        reader.assign(partitions)
        found: list[bytes] = []
        ended = 0
        while ended < len(partitions):
            message = reader.poll(1)
            if message is not None and message.error() is not None:
                ended += 1
            elif message is not None:
                found.append(message.value() or b"")
        reader.close()
        return found

    def committed(self, number: int) -> int | None:
        reader = self._reader()
        offset = reader.committed([TopicPartition(*self.partition(number))], timeout=10)[0].offset
        reader.close()
        return offset if offset >= 0 else None

    def commit(self, number: int, offset: int, metadata: str) -> None:
        at = TopicPartition(*self.partition(number), offset, metadata)
        client = self._reader()
        client.commit(offsets=[at], asynchronous=False)
        client.close()

    def _reader(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": self._topics.input,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )


def polled(log: TransactionalSession, count: int, *others: TransactionalSession) -> list[ConsumedRecord]:
    """Poll all members until this number of records has come. Stale records do not count."""
    found: list[ConsumedRecord] = []
    deadline = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} records came"
        invalidations = log.invalidations
        new = log.poll(records_max=100, wait_ms=20)
        if log.invalidations != invalidations:
            found = [one for one in found if log.owns(one)]
        found += new
        for other in others:
            other.poll(records_max=1, wait_ms=20)
    return found


def verdicts(records: Sequence[ConsumedRecord]) -> list[OutputRecord]:
    """Return the verdicts that the records must get."""
    return [
        OutputRecord(topic=Topic.VERDICT, source=one, key=one.key, value=one.value, headers=())
        for one in records
        if one.value is not None
    ]


def publish(
    log: TransactionalSession,
    records: Sequence[ConsumedRecord],
    outputs: Sequence[OutputRecord],
    states: Mapping[Partition, str] = NO_STATES,
) -> bool:
    """Publish as soon as the session is ready."""
    deadline = time.monotonic() + 30
    while not log.ready():
        assert time.monotonic() < deadline
    return log.publish(records, outputs, states)


def placed(log: TransactionalSession, partition: Partition) -> None:
    """Poll until the partition is idle: it has a position, and nothing is left to read."""
    deadline = time.monotonic() + 60
    while not log.is_idle(partition):
        assert time.monotonic() < deadline
        assert not log.poll(records_max=100, wait_ms=20), "a record came"
