"""When the log names partitions without a leader."""

import logging

import pytest

from worker.kafka.leaderless import LeaderlessPartitions
from worker.records import Partition

A, B = Partition("messages", 0), Partition("messages", 1)


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = list(caplog.messages)
    caplog.clear()
    return [message.partition(" so far")[0] for message in messages]


def test_the_log_names_a_partition_after_1_s_and_again_every_30_s(caplog: pytest.LogCaptureFixture) -> None:
    leaderless = LeaderlessPartitions()
    leaderless.note(0, A, has_leader=False)
    leaderless.log_due(999, {A, B})
    assert logged(caplog) == []
    leaderless.log_due(1_000, {A, B})
    assert logged(caplog) == ["no leader answers for messages[0], for up to 1 s"]
    leaderless.note(2_000, B, has_leader=False)
    leaderless.log_due(30_999, {A, B})
    assert logged(caplog) == ["no leader answers for messages[1], for up to 28 s"]
    leaderless.log_due(31_000, {A, B})
    assert logged(caplog) == ["no leader answers for messages[0], for up to 31 s"]


def test_the_end_is_logged_only_for_a_partition_that_was_named(caplog: pytest.LogCaptureFixture) -> None:
    leaderless = LeaderlessPartitions()
    leaderless.note(0, A, has_leader=False)
    leaderless.note(500, A, has_leader=True)
    with caplog.at_level(logging.INFO):
        leaderless.note(1_000, B, has_leader=False)
        leaderless.log_due(2_000, {A, B})
        assert logged(caplog) == ["no leader answers for messages[1], for up to 1 s"]
        leaderless.log_due(3_000, {A})
        assert logged(caplog) == ["messages[1] has a leader again, or is assigned to another worker"]
