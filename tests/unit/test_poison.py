"""Exactly the texts that break the model are blamed, with a bounded number of passes."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from worker.classifier.poison import STEADY_BATCHES, OutOfMemory, TokenBound, score_or_blame
from worker.errors import ModelError
from worker.scores import DeadLetterReason


class BreakableModel:
    """Scores a text with its first token; a negative second token raises, a zero gives NaN."""

    def __init__(self) -> None:
        self.forwards = 0

    def __call__(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.forwards += 1
        if any(kind < 0 for _, kind in batch):
            raise RuntimeError("secret words of a user")
        scores = np.array([[name] * 12 for name, _ in batch], dtype=np.float32)
        scores[[kind == 0 for _, kind in batch], 3] = np.nan
        return scores


@given(kinds=st.lists(st.sampled_from([1, 1, 1, 1, 1, 0, -1]), min_size=1, max_size=200))
def test_exactly_the_poisoned_texts_are_blamed_with_a_bounded_number_of_passes(kinds: list[int]) -> None:
    model = BreakableModel()
    answers = score_or_blame(model, list(enumerate(kinds)), lambda: True)
    assert [isinstance(answer, DeadLetterReason) for answer in answers] == [kind <= 0 for kind in kinds]
    assert [answer[0] for answer in answers if not isinstance(answer, DeadLetterReason)] == [
        name for name, kind in enumerate(kinds) if kind > 0
    ]
    poisoned = sum(kind <= 0 for kind in kinds)
    assert model.forwards <= 1 + 2 * poisoned * math.ceil(math.log2(len(kinds)))


def test_the_reason_does_not_hold_the_text() -> None:
    (answer,) = score_or_blame(BreakableModel(), [(1, -1)], lambda: True)
    assert isinstance(answer, DeadLetterReason)
    assert answer.reason == "model_failed"
    assert "RuntimeError" in answer.message
    assert "secret" not in answer.message


def test_no_text_is_blamed_when_the_probe_fails_too() -> None:
    model = BreakableModel()
    with pytest.raises(ModelError, match="harmless text"):
        score_or_blame(model, [(1, -1)] * 64, lambda: False)
    assert model.forwards == 1 + 6


def test_a_batch_that_does_not_fit_into_memory_blames_no_text_and_scores_no_probe() -> None:
    def full(_: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        raise OutOfMemory

    with pytest.raises(OutOfMemory):
        score_or_blame(full, [(1, 1), (2, 1)], pytest.fail)


@given(batches=st.lists(st.integers(1, 4096) | st.none(), max_size=50))
def test_the_bound_falls_below_the_failed_batch_and_never_exceeds_its_maximum(batches: list[int | None]) -> None:
    bound = TokenBound(tokens_max=4096, tokens=4096)
    for too_much in batches:
        before = bound.tokens
        if too_much is None:
            assert not bound.succeeded()
            assert bound.tokens == before
        else:
            bound.ran_out_of_memory(too_much)
            assert 1 <= bound.tokens <= before
            assert bound.tokens < max(too_much, 2)


def test_the_bound_doubles_after_many_good_batches_up_to_its_maximum() -> None:
    bound = TokenBound(tokens_max=4096, tokens=4096)
    bound.ran_out_of_memory(2000)
    grown = [bound.tokens for _ in range(4 * STEADY_BATCHES) if bound.succeeded()]
    assert grown == [2000, 4000, 4096]
    bound.ran_out_of_memory(4096)
    assert not any(bound.succeeded() for _ in range(STEADY_BATCHES - 1))
    bound.ran_out_of_memory(2048)  # memory ran out again: the count starts again
    assert not any(bound.succeeded() for _ in range(STEADY_BATCHES - 1))
    assert bound.succeeded()
    assert bound.tokens == 2048


def test_a_model_error_from_the_forward_pass_ends_the_search() -> None:
    def broken(_: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        raise ModelError("no memory for one text")

    with pytest.raises(ModelError, match="no memory"):
        score_or_blame(broken, [(1, 1), (2, 1)], lambda: True)
