"""The bound on dead letters, partition by partition."""

import numpy as np
import pytest

from worker.moderation.dead_letter_share import DeadLetterShare, ShareBounds
from worker.records import (
    ConsumedRecord,
    DeadLetterCause,
    DeadLetterExcess,
    Partition,
    PreparedMessage,
    PreparedRecord,
    ScoredRecord,
)
from worker.scores import DeadLetterReason, Scores

P0, P1 = Partition("messages", 0), Partition("messages", 1)


def results(
    good: int = 0, *, bad: int = 0, poison: int = 0, tombstones: int = 0, partition: Partition = P0
) -> list[ScoredRecord]:
    kinds = ["good"] * good + ["bad"] * bad + ["poison"] * poison + ["tombstone"] * tombstones
    return [result(kind, offset, partition) for offset, kind in enumerate(kinds)]


def result(kind: str, offset: int, partition: Partition) -> ScoredRecord:
    source = ConsumedRecord(
        partition=partition,
        assignment_epoch=1,
        previous_next_offset=offset,
        offset=offset,
        timestamp_ms=None,
        key=None,
        value=None if kind == "tombstone" else b"{}",
        headers=(),
    )
    message = PreparedMessage(
        message_id="1",
        channel_id=None,
        user_id=None,
        sent_at=None,
        characters=1,
        text_digest=b"n",
        tokens=(1,),
        truncated=False,
    )
    fault = DeadLetterReason(reason="not_json", message="It is no JSON.")
    contents: dict[str, PreparedMessage | DeadLetterReason] = {"good": message, "poison": message, "bad": fault}
    poison = DeadLetterReason(reason="model_failed", message="It breaks the model.")
    scores: dict[str, Scores | DeadLetterReason] = {"good": np.zeros(12, np.float32), "poison": poison}
    return ScoredRecord(record=PreparedRecord(source=source, content=contents.get(kind)), scores=scores.get(kind))


@pytest.fixture
def share() -> DeadLetterShare:
    return DeadLetterShare(ShareBounds(model_share_max=0.1, input_share_max=0.5, window_records=100))


def over(share: DeadLetterShare, found: list[ScoredRecord], exempt_below: int = 0) -> list[DeadLetterExcess]:
    return share.excess(found, {P0: exempt_below})


def test_a_first_batch_of_fifty_dead_letters_exceeds_the_bound(share: DeadLetterShare) -> None:
    assert not over(share, results(bad=49))
    (excess,) = over(share, results(bad=50))
    assert (excess.partition, excess.cause, excess.dead_letters, excess.records) == (
        P0,
        DeadLetterCause.INPUT,
        50,
        50,
    )


def test_a_share_exactly_at_the_bound_is_allowed_and_one_record_more_is_not(share: DeadLetterShare) -> None:
    assert not over(share, results(50, bad=50))
    assert over(share, results(49, bad=51))
    assert not over(share, results(90, poison=10))
    assert [one.cause for one in over(share, results(89, poison=11))] == [DeadLetterCause.MODEL]


def test_only_a_partition_s_own_records_count(share: DeadLetterShare) -> None:
    both = [*results(1000, partition=P1), *results(bad=50), *results(bad=20, partition=P1)]
    assert [one.partition for one in over(share, both)] == [P0]


def test_committed_records_count_and_records_that_were_only_compared_do_not(share: DeadLetterShare) -> None:
    over(share, results(bad=40))
    assert not over(share, results(50, bad=10))
    share.observe(results(bad=40), {})
    assert over(share, results(5, bad=10))


def test_records_before_the_window_do_not_count(share: DeadLetterShare) -> None:
    share.observe(results(bad=49), {})
    share.observe(results(100), {})
    assert not over(share, results(50, bad=50))


def test_good_records_of_the_same_batch_do_not_hide_a_window_of_dead_letters(share: DeadLetterShare) -> None:
    batch = [*results(100), *results(30, bad=70), *results(300)]
    (excess,) = over(share, batch)
    assert (excess.dead_letters, excess.records) == (70, 100)


def test_dead_letters_leave_the_window_one_by_one(share: DeadLetterShare) -> None:
    share.observe(results(bad=40), {})
    share.observe(results(80), {})  # the window holds the last 20 bad ones and these
    assert not over(share, results(bad=30))  # 30 of 100: all that was bad has left it
    assert over(share, results(bad=51))
    share.observe(results(bad=10), {})
    assert not over(share, results(bad=40))
    assert over(share, results(bad=41))


def test_tombstones_do_not_count(share: DeadLetterShare) -> None:
    assert not over(share, results(bad=49, tombstones=1000))
    assert over(share, results(bad=50, tombstones=1000))


def test_exempt_dead_letters_do_not_count_and_later_ones_begin_a_new_window(
    share: DeadLetterShare,
) -> None:
    share.observe(results(bad=40), {})
    assert over(share, results(bad=60))
    assert not over(share, results(bad=60), exempt_below=60)
    share.observe(results(bad=60), {P0: 60})
    assert not over(share, results(bad=60), exempt_below=60)
    assert over(share, results(bad=200), exempt_below=60)


def test_the_sentence_names_the_most_frequent_reason_an_offset_and_the_setting(share: DeadLetterShare) -> None:
    (excess,) = over(share, results(bad=60))
    assert "60 of the last 60 records of messages[0] would be dead letters" in str(excess)
    assert "not_json, for example at offset 59" in str(excess)
    assert "WORKER_DEAD_LETTER__INPUT_SHARE_MAX" in str(excess)
    (excess,) = over(share, results(20, bad=20, poison=20))
    assert "model_failed, for example at offset 59" in str(excess)
    assert "WORKER_DEAD_LETTER__MODEL_SHARE_MAX" in str(excess)
