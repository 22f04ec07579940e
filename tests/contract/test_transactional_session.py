"""Reads, transactions and rewinds: one suite for the fake log and for the session on a real Kafka."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tests.conftest import Topics
from tests.session_clusters import Cluster, RealKafka, polled, publish, verdicts
from worker.kafka.transaction import Event


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


@pytest.mark.kafka
def test_a_session_outside_the_group_commits_nothing(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics]
) -> None:
    # A broker would accept its metadata: it fences neither generation -1 nor an empty member id.
    session = RealKafka(bootstrap_servers, fresh_topics(partitions=2), "roundrobin").session()
    assert not publish(session, [], [])
    assert session.status().events == {Event.NO_METADATA.value: 1}
    session.close()


@pytest.mark.kafka
def test_an_output_that_the_client_finds_too_large_is_not_left_out(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics]
) -> None:
    # The transaction would commit without the output: only the call to produce reports the error.
    real = RealKafka(bootstrap_servers, fresh_topics(partitions=2), "roundrobin")
    real.produce(0, [b"a0", b"a1"])
    log = real.join()
    records = polled(log, 2)
    small, large = verdicts(records)
    assert not publish(log, records, [small, replace(large, value=bytes(1_100_000))])
    assert set(log.rejected) == {(real.partition(0), 1, None)}
    assert real.visible() == []
    real.leave(log)
