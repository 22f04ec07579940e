"""What a proof says about samples of the group's committed offsets."""

import pytest
from confluent_kafka import TopicPartition

from worker.commands.prove.observers import OLD_ANSWERS_MS_MAX, CommittedOffsets
from worker.kafka.commit_metadata import MetadataLimit
from worker.records import Partition

INPUT = Partition("messages", 0)


def sample(offset: int, log: str = "A") -> list[TopicPartition]:
    return [TopicPartition(*INPUT, offset, MetadataLimit().encode(log, INPUT, ""))]


@pytest.fixture
def observed() -> CommittedOffsets:
    return CommittedOffsets({}, "group", [INPUT])


def test_an_offset_that_stays_back_is_a_regression(observed: CommittedOffsets) -> None:
    observed.take(sample(100), 0)
    observed.take(sample(60), 500)
    observed.take(sample(90), 499 + OLD_ANSWERS_MS_MAX)
    assert observed.regressions == []
    observed.take(sample(95), 500 + OLD_ANSWERS_MS_MAX)
    assert observed.regressions == ["messages[0] from 100 (topic id A) to 95 (topic id A) since 500 ms"]


def test_old_answers_of_a_moment_are_no_regression_and_the_newest_offset_stays(observed: CommittedOffsets) -> None:
    observed.take(sample(50), 0)
    observed.take(sample(10, "B"), 100)
    observed.take(sample(50), 600)  # of the log that was deleted
    assert observed.latest == {INPUT: 10}
    observed.take(sample(5, "B"), 700)
    observed.take(sample(10, "B"), 800)
    observed.take(sample(5, "B"), 900 + OLD_ANSWERS_MS_MAX)  # another moment: the time begins again
    observed.take(sample(11, "B"), 1000 + OLD_ANSWERS_MS_MAX)
    assert observed.latest == {INPUT: 11}
    assert observed.regressions == []


def test_a_return_to_a_deleted_log_that_stays_is_a_regression(observed: CommittedOffsets) -> None:
    observed.take(sample(50), 0)
    observed.take(sample(10, "B"), 100)
    observed.take(sample(50), 600)
    observed.take(sample(51), 600 + OLD_ANSWERS_MS_MAX)
    assert observed.regressions == ["messages[0] from 10 (topic id B) to 51 (topic id A) since 600 ms"]
