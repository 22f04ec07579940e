"""When the log names an open transaction that contains the group's offsets."""

import pytest

from worker.kafka.pending_offsets import PendingOffsets
from worker.records import Partition

A, B = Partition("messages", 0), Partition("messages", 1)


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = list(caplog.messages)
    caplog.clear()
    return [message.partition(" so far")[0] for message in messages]


def test_the_log_names_the_cause_after_5_s_and_again_every_30_s(caplog: pytest.LogCaptureFixture) -> None:
    pending = PendingOffsets()
    pending.note([A, B], 1_000)
    pending.log_due(5_999, {A, B})
    assert logged(caplog) == []
    pending.log_due(6_000, {A, B})
    assert logged(caplog) == ["waiting for the committed offsets of messages[0], messages[1], for 5 s"]
    pending.note([A, B], 6_100)
    pending.log_due(35_999, {A, B})
    assert logged(caplog) == []
    pending.log_due(36_000, {A, B})
    assert logged(caplog) == ["waiting for the committed offsets of messages[0], messages[1], for 35 s"]


def test_the_log_does_not_name_a_partition_that_got_an_answer_or_was_revoked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pending = PendingOffsets()
    pending.note([A], 0)
    pending.note([B], 0)
    pending.note([A], None)
    pending.log_due(10_000, {A, B})
    assert logged(caplog) == ["waiting for the committed offsets of messages[1], for 10 s"]
    pending.log_due(20_000, {A})
    pending.log_due(50_000, {A, B})
    assert logged(caplog) == []
    pending.note([B], 50_000)
    pending.log_due(55_000, {A, B})
    assert logged(caplog) == ["waiting for the committed offsets of messages[1], for 5 s"]
