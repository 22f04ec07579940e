"""The bound on dead letters."""

import numpy as np
import pytest

from worker.dead_letter_share import DeadLetterShare, ShareBounds
from worker.errors import ExitCode, ModelBroken, Protected
from worker.records import Fault, Fetched, Message, Partition, Record, Result, Scores


def results(good: int = 0, *, bad: int = 0, poison: int = 0, tombstones: int = 0) -> list[Result]:
    kinds = ["good"] * good + ["bad"] * bad + ["poison"] * poison + ["tombstone"] * tombstones
    return [result(kind, offset) for offset, kind in enumerate(kinds)]


def result(kind: str, offset: int) -> Result:
    source = Fetched(
        partition=Partition("messages", 0),
        epoch=1,
        previous_next_offset=offset,
        offset=offset,
        timestamp_ms=None,
        key=None,
        value=None if kind == "tombstone" else b"{}",
        headers=(),
    )
    message = Message(
        message_id="1",
        channel_id=None,
        user_id=None,
        sent_at=None,
        characters=1,
        text_name=b"n",
        tokens=(1,),
        truncated=False,
    )
    fault = Fault(reason="not_json", message="It is no JSON.")
    contents: dict[str, Message | Fault] = {"good": message, "poison": message, "bad": fault}
    poison = Fault(reason="model_failed", message="It breaks the model.")
    scores: dict[str, Scores | Fault] = {"good": np.zeros(12, np.float32), "poison": poison}
    return Result(record=Record(source=source, content=contents.get(kind)), scores=scores.get(kind))


@pytest.fixture
def share() -> DeadLetterShare:
    return DeadLetterShare(ShareBounds(model_share_max=0.1, input_share_max=0.5, window_records=100))


def test_a_first_batch_of_fifty_that_wholly_fails_stops_the_worker(share: DeadLetterShare) -> None:
    share.check(results(bad=49))
    with pytest.raises(Protected) as stop:
        share.check(results(bad=50))
    assert stop.value.exit_code == ExitCode.PROTECTED


def test_a_share_at_its_bound_is_borne_and_one_record_more_is_not(share: DeadLetterShare) -> None:
    share.check(results(50, bad=50))
    with pytest.raises(Protected):
        share.check(results(49, bad=51))
    share.check(results(90, poison=10))
    with pytest.raises(ModelBroken):
        share.check(results(89, poison=11))


def test_what_was_committed_before_counts_and_what_was_only_looked_at_does_not(share: DeadLetterShare) -> None:
    share.check(results(bad=40))
    share.check(results(50, bad=10))
    share.observe(results(bad=40))
    with pytest.raises(Protected):
        share.check(results(5, bad=10))


def test_what_lies_behind_the_window_is_forgotten(share: DeadLetterShare) -> None:
    share.observe(results(bad=49))
    share.observe(results(100))
    share.check(results(50, bad=50))


def test_tombstones_do_not_count(share: DeadLetterShare) -> None:
    share.check(results(bad=49, tombstones=1000))
    with pytest.raises(Protected):
        share.check(results(bad=50, tombstones=1000))


def test_the_sentence_names_the_commonest_reason_a_place_and_the_variable(share: DeadLetterShare) -> None:
    with pytest.raises(
        Protected, match=r"not_json.*messages\[0\] at offset \d+.*WORKER_DEAD_LETTER__INPUT_SHARE_MAX"
    ):
        share.check(results(bad=60))
    with pytest.raises(ModelBroken, match=r"model_failed.*WORKER_DEAD_LETTER__MODEL_SHARE_MAX"):
        share.check(results(20, bad=20, poison=20))
