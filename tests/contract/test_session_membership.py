"""Rebalances and pauses: one suite for the fake log and for the session on a real Kafka."""

import time

from tests.session_clusters import Cluster, polled, publish, verdicts


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
