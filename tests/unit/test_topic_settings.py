"""Compare a topic's settings with the records that the worker writes."""

import pytest

from worker.commands.check.topic_settings import WrittenRecords, mismatches

WRITTEN = WrittenRecords(record_bytes_max=1_000_000, framing_bytes_max=65_536, transaction_timeout_ms=15_000)
GOOD = {
    "cleanup.policy": "delete",
    "max.message.bytes": "2097152",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "message.timestamp.after.max.ms": "3600000",
    "min.insync.replicas": "2",
}


def test_the_topics_that_the_worker_creates_fit() -> None:
    assert not list(mismatches(GOOD, 3, WRITTEN))
    assert not list(mismatches(GOOD | {"min.insync.replicas": "1"}, 1, WRITTEN))


def test_settings_that_a_broker_does_not_know_are_not_compared() -> None:
    assert not list(mismatches({}, 1, WRITTEN))


@pytest.mark.parametrize(
    ("changes", "text", "change", "stops"),
    [
        ({"cleanup.policy": "compact"}, "is compact", "cleanup.policy=delete", True),
        ({"cleanup.policy": "compact,delete"}, "is compact,delete", "cleanup.policy=delete", True),
        ({"max.message.bytes": "1000000"}, "is 1000000, below", "max.message.bytes=1065536", False),
        ({"message.timestamp.before.max.ms": "1000"}, "is 1000:", "message.timestamp.before.max.ms=75000", False),
        ({"message.timestamp.after.max.ms": "0"}, "is 0:", "message.timestamp.after.max.ms=60000", False),
        ({"min.insync.replicas": "4"}, "is 4, with 3 replicas", "min.insync.replicas=3", True),
        ({"min.insync.replicas": "3"}, "as many replicas", "min.insync.replicas=2", False),
    ],
)
def test_a_setting_that_does_not_fit_is_named_with_the_change_that_corrects_it(
    changes: dict[str, str], text: str, change: str, *, stops: bool
) -> None:
    [found] = mismatches(GOOD | changes, 3, WRITTEN)
    assert text in found.what
    assert (found.change, found.stops) == (change, stops)


def test_a_topic_with_the_broker_s_own_timestamps_needs_no_clock_bounds() -> None:
    config = GOOD | {"message.timestamp.type": "LogAppendTime", "message.timestamp.before.max.ms": "0"}
    assert not list(mismatches(config, 3, WRITTEN))
