"""What the loop relies on in a session: one suite for the fake log and for the session on a real Kafka."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Protocol

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.conftest import Topics
from tests.fake_cluster import FakeCluster
from tests.fake_log import join
from worker.kafka.offset_reset import OffsetReset
from worker.kafka.publisher_options import PublisherOptions
from worker.kafka.session import Session
from worker.kafka.session_options import SessionOptions
from worker.kafka.transaction import Event
from worker.loop import TransactionalSession
from worker.records import ConsumedRecord, DeadLetterCause, DeadLetterExcess, OutputRecord, Partition, Topic

PROTOCOLS = ("roundrobin", "range", "cooperative-sticky", "consumer")


class Cluster(Protocol):
    """Makes sessions, produces input, and shows what a reader sees."""

    def partition(self, number: int) -> Partition:
        """Return one of the two input partitions."""

    def produce(self, number: int, values: Sequence[bytes | None]) -> None:
        """Produce messages to a partition."""

    def join(self) -> TransactionalSession:
        """Return a new member of the group."""

    def leave(self, log: TransactionalSession) -> None:
        """Let a member leave the group."""

    def release(self, log: TransactionalSession) -> None:
        """Let a member release its partitions from quarantine."""

    def visible(self) -> list[bytes]:
        """Return the values of the verdicts that a read_committed reader sees."""

    def committed(self, number: int) -> int | None:
        """Return the group's committed offset."""


def is_readable(value: bytes) -> bool:
    """Return whether a value is a chat message by the rule of these tests."""
    return not value.startswith(b"bad")


class Fake:
    """The fake log, in memory."""

    def __init__(self) -> None:
        self._cluster = FakeCluster(
            inputs={self.partition(number): [] for number in (0, 1)}, is_readable=is_readable
        )

    def partition(self, number: int) -> Partition:
        return Partition("messages", number)

    def produce(self, number: int, values: Sequence[bytes | None]) -> None:
        for value in values:
            self._cluster.produce(self.partition(number), value)

    def join(self) -> TransactionalSession:
        return join(self._cluster)

    def leave(self, log: TransactionalSession) -> None:
        self._cluster.leave(next(member for member in self._cluster.members if member is log))

    def release(self, log: TransactionalSession) -> None:
        next(member for member in self._cluster.members if member is log).release_quarantined()

    def visible(self) -> list[bytes]:
        return [output.value or b"" for output in self._cluster.outputs]

    def committed(self, number: int) -> int | None:
        return self._cluster.committed.get(self.partition(number))


class Real:
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

    def visible(self) -> list[bytes]:
        reader = self._reader()
        partitions = [TopicPartition(self._topics.verdicts, number, 0) for number in (0, 1)]
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


@pytest.fixture(params=["fake", *PROTOCOLS])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Return two input partitions and a group."""
    if request.param == "fake":
        yield Fake()
        return
    fresh_topics: Callable[..., Topics] = request.getfixturevalue("fresh_topics")
    real = Real(request.getfixturevalue("bootstrap_servers"), fresh_topics(partitions=2), request.param)
    yield real
    for session in real.sessions:
        session.close()


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


def publish(log: TransactionalSession, records: Sequence[ConsumedRecord], outputs: Sequence[OutputRecord]) -> bool:
    """Publish as soon as the session is ready."""
    deadline = time.monotonic() + 30
    while not log.ready():
        assert time.monotonic() < deadline
    return log.publish(records, outputs)


def test_the_records_of_a_partition_come_in_order_and_without_a_gap(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", b"a1", b"a2"])
    cluster.produce(1, [b"b0", b"b1"])
    records = polled(cluster.join(), 5)
    for number, values in ((0, [b"a0", b"a1", b"a2"]), (1, [b"b0", b"b1"])):
        mine = [one for one in records if one.partition.number == number]
        assert [one.value for one in mine] == values
        assert [one.previous_next_offset for one in mine] == [one.offset for one in mine]


def test_a_publish_shows_outputs_and_offsets_together(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", None, b"a2"])
    log = cluster.join()
    records = polled(log, 3)
    assert cluster.visible() == []
    assert publish(log, records, verdicts(records))
    assert cluster.visible() == [b"a0", b"a2"]
    assert cluster.committed(0) == 3


def test_a_rewind_makes_everything_stale_and_reads_on_from_what_is_committed(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", b"a1", b"a2", b"a3"])
    log = cluster.join()
    records = polled(log, 4)
    assert publish(log, records[:2], verdicts(records[:2]))
    log.rewind()
    assert not any(log.owns(one) for one in records)
    again = polled(log, 2)
    assert [one.value for one in again] == [b"a2", b"a3"]
    assert publish(log, again, verdicts(again))
    assert cluster.visible() == [b"a0", b"a1", b"a2", b"a3"]


def too_many_dead_letters(partition: Partition) -> DeadLetterExcess:
    return DeadLetterExcess(
        partition=partition,
        cause=DeadLetterCause.INPUT,
        commonest_reason="not_json",
        example_offset=0,
        dead_letters=9,
        records=9,
        share_max=0.5,
    )


def test_a_partition_in_quarantine_is_not_read_while_the_other_partition_is(cluster: Cluster) -> None:
    cluster.produce(0, [b"bad0", b"bad1"])
    cluster.produce(1, [b"b0"])
    log = cluster.join()
    records = polled(log, 3)
    log.quarantine([too_many_dead_letters(cluster.partition(0))])
    kept = [one for one in records if log.owns(one)]
    assert [one.value for one in kept] == [b"b0"]
    assert publish(log, kept, verdicts(kept))
    cluster.produce(0, [b"bad2"])
    log.pause()
    log.resume()
    for number in range(1, 4):
        cluster.produce(1, [b"b%d" % number])
        [record] = polled(log, 1)
        assert record.value == b"b%d" % number
        assert publish(log, [record], verdicts([record]))
    log.rewind()
    cluster.produce(1, [b"b4"])
    assert [one.value for one in polled(log, 1)] == [b"b4"]
    assert not cluster.committed(0)


def test_a_released_partition_is_read_from_its_committed_offset(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", b"bad1", b"bad2"])
    cluster.produce(1, [b"b0"])
    log = cluster.join()
    records = polled(log, 4)
    first = [one for one in records if one.value == b"a0"]
    assert publish(log, first, verdicts(first))
    log.quarantine([too_many_dead_letters(cluster.partition(0))])
    cluster.release(log)
    again = polled(log, 2)
    assert [one.value for one in again] == [b"bad1", b"bad2"]
    assert log.exempt_below == {cluster.partition(0): 3}
    rest = [*[one for one in records if log.owns(one)], *again]
    assert publish(log, rest, verdicts(rest))
    assert sorted(cluster.visible()) == [b"a0", b"b0", b"bad1", b"bad2"]


def member_with_one_in_quarantine(cluster: Cluster) -> TransactionalSession:
    """Return a member that has read ``bad0`` of partition 0, now in quarantine, and ``b0`` of partition 1."""
    cluster.produce(0, [b"bad0"])
    cluster.produce(1, [b"b0"])
    log = cluster.join()
    polled(log, 2)
    log.quarantine([too_many_dead_letters(cluster.partition(0))])
    return log


def test_a_partition_that_a_member_held_in_quarantine_is_read_by_the_next_owner(cluster: Cluster) -> None:
    cluster.leave(member_with_one_in_quarantine(cluster))
    assert sorted(one.value or b"" for one in polled(cluster.join(), 2)) == [b"b0", b"bad0"]


def test_a_partition_in_quarantine_that_rebalances_moved_is_read_when_it_is_released(cluster: Cluster) -> None:
    # An eager group takes the partition away and gives it back. An incremental group may not move it.
    log = member_with_one_in_quarantine(cluster)
    other = cluster.join()
    invalidations = log.invalidations
    deadline = time.monotonic() + 60
    while log.invalidations == invalidations:
        assert time.monotonic() < deadline, "no rebalance came"
        for member in (log, other):
            member.poll(records_max=1, wait_ms=20)
    cluster.leave(other)
    log.rewind()  # the other partition may not have moved either, and then its record was read before
    seen: set[bytes | None] = set()
    while not seen >= {b"b0", b"bad0"}:
        assert time.monotonic() < deadline, seen
        seen |= {one.value for one in log.poll(records_max=10, wait_ms=20)}
        cluster.release(log)


def test_stale_records_are_refused(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0"])
    log = cluster.join()
    stale = polled(log, 1)
    log.rewind()
    fresh = polled(log, 1)
    assert not publish(log, stale, verdicts(stale))
    log.rewind()
    assert cluster.visible() == []
    assert not any(log.owns(one) for one in fresh)


def test_a_gap_is_refused(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", b"a1", b"a2"])
    log = cluster.join()
    records = polled(log, 3)
    for gap in (records[1:], [records[0], records[2]]):
        assert not publish(log, gap, verdicts(gap))
    assert cluster.visible() == []


def test_a_missing_and_a_doubled_output_are_refused(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", b"a1"])
    log = cluster.join()
    records = polled(log, 2)
    owed = verdicts(records)
    assert not publish(log, records, owed[:1])
    assert not publish(log, records, [*owed, owed[0]])
    assert cluster.visible() == []


def test_a_new_member_takes_a_partition_over_and_the_old_member_may_not_commit_its_records(
    cluster: Cluster,
) -> None:
    first = cluster.join()
    cluster.produce(0, [b"a0", b"a1"])
    cluster.produce(1, [b"b0", b"b1"])
    records = polled(first, 4)
    second = cluster.join()
    taken = polled(second, 2, first)
    gone = {one.partition for one in taken}
    assert len(gone) == 1
    stale = [one for one in records if one.partition in gone]
    assert not any(first.owns(one) for one in stale)
    assert not publish(first, stale, verdicts(stale))
    first.rewind()
    assert publish(second, taken, verdicts(taken))
    kept = polled(first, 2, second)
    assert publish(first, kept, verdicts(kept))
    assert sorted(cluster.visible()) == [b"a0", b"a1", b"b0", b"b1"]


def test_the_partitions_of_a_member_that_leaves_are_read_from_its_committed_offsets(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", b"a1"])
    first = cluster.join()
    records = polled(first, 2)
    assert publish(first, records[:1], verdicts(records[:1]))
    cluster.leave(first)
    second = cluster.join()
    assert [one.value for one in polled(second, 1)] == [b"a1"]


def test_a_paused_session_returns_nothing_until_it_resumes(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0"])
    log = cluster.join()
    polled(log, 1)
    log.pause()
    cluster.produce(0, [b"a1"])
    for _ in range(20):
        assert not log.poll(records_max=10, wait_ms=20)
    log.resume()
    assert [one.value for one in polled(log, 1)] == [b"a1"]


def test_a_partition_that_was_revoked_while_paused_is_read_when_it_comes_back(cluster: Cluster) -> None:
    log = cluster.join()
    cluster.produce(0, [b"a0"])
    cluster.produce(1, [b"b0"])
    polled(log, 2)
    log.pause()
    other = cluster.join()
    invalidations, deadline = log.invalidations, time.monotonic() + 60
    while log.invalidations == invalidations:
        assert time.monotonic() < deadline
        log.poll(records_max=1, wait_ms=20)
        other.poll(records_max=1, wait_ms=20)
    log.resume()  # the partitions that are left, possibly none
    cluster.produce(0, [b"a1"])
    cluster.produce(1, [b"b1"])
    polled(other, 1, log)
    cluster.leave(other)
    cluster.produce(0, [b"a2"])
    cluster.produce(1, [b"b2"])
    seen: set[bytes | None] = set()
    deadline = time.monotonic() + 25  # a stalled session would join again after 30 s, and hide the fault
    while not seen >= {b"a2", b"b2"}:
        assert time.monotonic() < deadline, seen
        seen |= {one.value for one in log.poll(records_max=10, wait_ms=20)}


def test_a_rewind_while_paused_reads_on_from_the_committed_offset_after_the_resume(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", b"a1", b"a2"])
    log = cluster.join()
    records = polled(log, 3)
    assert publish(log, records[:1], verdicts(records[:1]))
    for _ in range(10):  # with the previous position, some of these rounds would skip records
        log.pause()
        log.rewind()
        for _ in range(3):
            assert not log.poll(records_max=10, wait_ms=20)
        log.resume()
        assert [one.value for one in polled(log, 2)] == [b"a1", b"a2"]


@pytest.mark.kafka
def test_a_session_outside_the_group_commits_nothing(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics]
) -> None:
    # A broker would accept its metadata: it fences neither generation -1 nor an empty member id.
    session = Real(bootstrap_servers, fresh_topics(partitions=2), "roundrobin").session()
    assert not publish(session, [], [])
    assert session.events == {Event.NO_METADATA: 1}
    session.close()


@pytest.mark.kafka
def test_an_output_that_the_client_finds_too_large_is_not_left_out(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics]
) -> None:
    # The transaction would commit without the output: only the call to produce reports the error.
    real = Real(bootstrap_servers, fresh_topics(partitions=2), "roundrobin")
    real.produce(0, [b"a0", b"a1"])
    log = real.join()
    records = polled(log, 2)
    small, large = verdicts(records)
    assert not publish(log, records, [small, replace(large, value=bytes(1_100_000))])
    assert set(log.rejected) == {(real.partition(0), 1)}
    assert real.visible() == []
    real.leave(log)
