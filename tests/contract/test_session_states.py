"""The state that the loop keeps with a partition's offset: one suite for the fake log and for a real Kafka."""

import pytest
from msgspec.structs import replace

from tests.conftest import Topics, new_topic_names
from tests.session_clusters import Cluster, FakeKafka, RealKafka, placed, polled, publish, verdicts
from worker.commands.broker.embedded import running_broker
from worker.kafka.commit_metadata import CHARACTERS_MAX
from worker.loop import TransactionalSession
from worker.records import Topic


def test_a_state_is_committed_with_its_offset_and_the_next_member_reads_both(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", b"a1"])
    first = cluster.join()
    records = polled(first, 2)
    assert first.states == {}
    assert publish(first, records[:1], verdicts(records[:1]), {cluster.partition(0): "one"})
    assert first.states == {cluster.partition(0): "one"}
    cluster.leave(first)
    second = cluster.join()
    rest = polled(second, 1)
    assert second.states == {cluster.partition(0): "one"}
    assert publish(second, rest, verdicts(rest))
    assert second.states == {cluster.partition(0): "one"}, "a publish without a new state keeps the state"
    assert cluster.committed(0) == 2
    cluster.leave(second)
    third = cluster.join()
    placed(third, cluster.partition(0))
    assert third.states == {cluster.partition(0): "one"}


def test_a_rewind_and_a_refused_publish_restore_the_committed_state(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", b"a1"])
    log = cluster.join()
    records = polled(log, 2)
    assert publish(log, records[:1], verdicts(records[:1]), {cluster.partition(0): "one"})
    assert not publish(log, records[1:], [], {cluster.partition(0): "two"})
    log.rewind()
    again = polled(log, 1)
    assert log.states == {cluster.partition(0): "one"}
    assert publish(log, again, verdicts(again), {cluster.partition(0): ""})
    assert log.states == {}


def test_a_transaction_without_records_shows_its_outputs_and_keeps_the_offset(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", b"a1"])
    log = cluster.join()
    records = polled(log, 2)
    assert not log.is_idle(cluster.partition(0))
    assert publish(log, records[:1], verdicts(records[:1]), {cluster.partition(0): "one"})
    alert = replace(verdicts(records)[0], topic=Topic.ALERT)
    assert publish(log, [], [alert], {cluster.partition(0): "two"})
    assert (cluster.visible(Topic.ALERT), cluster.committed(0)) == ([b"a0"], 1)
    assert publish(log, records[1:], verdicts(records[1:]))
    placed(log, cluster.partition(0))
    assert cluster.committed(0) == 2
    assert log.states == {cluster.partition(0): "two"}


def test_the_state_of_a_partition_that_was_taken_away_is_refused(cluster: Cluster) -> None:
    log = cluster.join()
    for number in (0, 1):
        cluster.produce(number, [b"a"])
    records = polled(log, 2)
    assert publish(log, records, verdicts(records), {cluster.partition(number): "one" for number in (0, 1)})
    other = cluster.join()
    while len(other.states) < 1:
        log.poll(records_max=1, wait_ms=20)
        other.poll(records_max=1, wait_ms=20)
    (gone,) = other.states
    assert gone not in log.states
    assert not publish(log, [], [], {gone: "two"})
    log.rewind()
    assert publish(other, [], [], {gone: "three"})


def test_the_commit_of_an_idle_partition_keeps_the_state(cluster: Cluster) -> None:
    cluster.produce_in_transaction(0, b"a0")
    log = cluster.join()
    records = polled(log, 1)
    assert publish(log, records, verdicts(records), {cluster.partition(0): "one"})
    while cluster.committed(0) != 2:
        assert not log.poll(records_max=1, wait_ms=100)
    assert log.states == {cluster.partition(0): "one"}
    cluster.leave(log)
    other = cluster.join()
    placed(other, cluster.partition(0))
    assert other.states == {cluster.partition(0): "one"}


def test_the_longest_state_survives_and_foreign_metadata_is_ignored(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0", b"a1"])
    cluster.commit(0, 1, "a string of another tool")
    log = cluster.join()
    records = polled(log, 1)
    assert [one.value for one in records] == [b"a1"]
    assert log.states == {}
    longest = "x" * log.state_characters_max
    assert publish(log, records, verdicts(records), {cluster.partition(0): longest})
    cluster.leave(log)
    other = cluster.join()
    placed(other, cluster.partition(0))
    assert other.states == {cluster.partition(0): longest}


def shortened(log: TransactionalSession, cluster: Cluster, limit: int) -> None:
    """Publish with the longest state that the session takes, until the broker takes it too."""
    refusals = 0
    while True:
        records = polled(log, 1)
        state = "x" * log.state_characters_max
        if publish(log, records, verdicts(records), {cluster.partition(0): state}):
            break
        refusals += 1
        assert refusals <= 6, "a loop of aborts"
        log.rewind()
    assert len(state) < limit
    assert refusals > 0
    assert log.states == ({cluster.partition(0): state} if state else {})
    assert cluster.visible() == [b"a0"]


@pytest.mark.parametrize("limit", [2000, 400, 30])
def test_a_broker_with_a_smaller_limit_gets_a_shorter_state_after_a_few_refusals(limit: int) -> None:
    cluster = FakeKafka(metadata_max=limit)
    cluster.produce(0, [b"a0"])
    shortened(cluster.join(), cluster, limit)


@pytest.mark.kafka
def test_a_real_broker_with_a_smaller_limit_gets_a_shorter_state_after_a_few_refusals() -> None:
    with running_broker(extra_properties={"offset.metadata.max.bytes": "400"}) as broker:
        topics: Topics = new_topic_names()
        topics.create({"bootstrap.servers": broker.bootstrap_servers}, partitions=2)
        cluster = RealKafka(broker.bootstrap_servers, topics, "roundrobin")
        cluster.produce(0, [b"a0"])
        log = cluster.join()
        shortened(log, cluster, 400)
        assert log.state_characters_max < CHARACTERS_MAX / 8
        cluster.leave(log)
