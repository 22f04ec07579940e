"""A committed offset that is smaller than one that this worker has committed."""

import pytest

from worker.errors import DataProtectionError
from worker.kafka.commit_metadata import CommitMetadata
from worker.kafka.regression import BACK_MS_MIN, RegressionDetector
from worker.records import Partition

INPUT = Partition("messages", 0)


@pytest.fixture
def detector() -> RegressionDetector:
    made = RegressionDetector("moderation")
    made.committed(INPUT, "B", 100)
    return made


def suspected(
    detector: RegressionDetector, now_ms: int, offset: int, under: str = "B", topic_id: str = "B"
) -> bool:
    metadata = CommitMetadata(topic_id=under)
    return detector.is_suspected(now_ms, INPUT, offset, metadata, topic_id=topic_id)


@pytest.mark.parametrize(("offset", "under"), [(99, "B"), (-1001, ""), (5000, "A"), (99, "")])
def test_an_old_answer_is_not_used(detector: RegressionDetector, offset: int, under: str) -> None:
    assert suspected(detector, 0, offset, under)


@pytest.mark.parametrize(("offset", "under"), [(100, "B"), (250, "B"), (100, "")])
def test_the_offset_that_this_worker_committed_and_later_ones_are_used(
    detector: RegressionDetector, offset: int, under: str
) -> None:
    assert not suspected(detector, 0, offset, under)


def test_a_topic_that_was_created_again_begins_anew(detector: RegressionDetector) -> None:
    assert not suspected(detector, 0, -1001, "", topic_id="C")
    assert not suspected(detector, 0, 3, "C", topic_id="C")


def test_an_answer_that_stays_an_old_one_ends_the_worker(detector: RegressionDetector) -> None:
    assert suspected(detector, 0, 50)
    assert not suspected(detector, 1_000, 100)
    assert suspected(detector, 2_000, 50)
    assert suspected(detector, 1_999 + BACK_MS_MIN, 60)
    with pytest.raises(
        DataProtectionError, match="has committed offset 60, but this worker has committed offset 100"
    ):
        suspected(detector, 2_000 + BACK_MS_MIN, 60)


def test_brokers_without_topic_ids_show_no_regression() -> None:
    detector = RegressionDetector("moderation")
    detector.committed(INPUT, "", 100)
    assert not suspected(detector, 0, 50, "", topic_id="")
