"""When the log names an open transaction that holds the group's offsets."""

import pytest

from worker.kafka.pending_offsets import PendingOffsets
from worker.records import Partition

A, B = Partition("messages", 0), Partition("messages", 1)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = list(caplog.messages)
    caplog.clear()
    return [message.partition(" by now")[0] for message in messages]


def test_the_cause_is_named_after_a_while_and_again_twice_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    pending = PendingOffsets()
    pending.note([A, B], 1_000)
    pending.tell(5_999, {A, B})
    assert told(caplog) == []
    pending.tell(6_000, {A, B})
    assert told(caplog) == ["waiting for the committed offsets of messages[0], messages[1], for 5 s"]
    pending.note([A, B], 6_100)
    pending.tell(35_999, {A, B})
    assert told(caplog) == []
    pending.tell(36_000, {A, B})
    assert told(caplog) == ["waiting for the committed offsets of messages[0], messages[1], for 35 s"]


def test_a_partition_that_has_an_answer_or_another_worker_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    pending = PendingOffsets()
    pending.note([A], 0)
    pending.note([B], 0)
    pending.note([A], None)
    pending.tell(10_000, {A, B})
    assert told(caplog) == ["waiting for the committed offsets of messages[1], for 10 s"]
    pending.tell(20_000, {A})
    pending.tell(50_000, {A, B})
    assert told(caplog) == []
    pending.note([B], 50_000)
    pending.tell(55_000, {A, B})
    assert told(caplog) == ["waiting for the committed offsets of messages[1], for 5 s"]
