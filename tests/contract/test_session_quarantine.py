"""Partitions in quarantine: one suite for the fake log and for the session on a real Kafka."""

import time

from tests.session_clusters import Cluster, polled, publish, verdicts
from worker.loop import TransactionalSession
from worker.records import DeadLetterCause, DeadLetterExcess, Partition


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


def test_stale_records_of_one_partition_are_refused_after_records_of_another(cluster: Cluster) -> None:
    cluster.produce(0, [b"a0"])
    cluster.produce(1, [b"b0"])
    log = cluster.join()
    records = polled(log, 2)
    log.quarantine([too_many_dead_letters(cluster.partition(0))])
    records.sort(key=log.owns, reverse=True)
    assert [one.value for one in records] == [b"b0", b"a0"]
    assert not publish(log, records, verdicts(records))
    assert cluster.visible() == []


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
