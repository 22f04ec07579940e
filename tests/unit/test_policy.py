import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from schemas.labels import CATEGORY_SLUGS
from worker.moderation.policies import Decision, Policy, decide_each

ONE = np.zeros((1, 12), np.float32)
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]
PROBABILITIES = st.floats(0, 1, width=32)


def judged(policy: Policy, scores: Matrix) -> list[Decision]:
    return decide_each(policy, scores, [policy.base] * len(scores))


def test_a_score_on_its_threshold_is_not_flagged_and_one_above_is() -> None:
    scores = ONE.copy()
    scores[0, :2] = 0.5, np.nextafter(np.float32(0.5), np.float32(1))
    (judgement,) = judged(Policy.of(0.5), scores)
    assert judgement.flags == [False, True] + [False] * 10
    assert judgement.flagged is True


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7])
def test_a_threshold_is_rounded_to_float32_before_the_comparison(threshold: float) -> None:
    scores = np.full((1, 12), threshold, np.float32)
    assert not judged(Policy.of(threshold), scores)[0].flagged


def test_a_category_may_have_its_own_threshold() -> None:
    policy = Policy.of(0.5, {"hate": 0.9, "privacy": 0.1})
    (judgement,) = judged(policy, np.full((1, 12), 0.6, np.float32))
    assert [slug for slug, flag in zip(CATEGORY_SLUGS, judgement.flags, strict=True) if not flag] == ["hate"]
    (judgement,) = judged(policy, np.full((1, 12), 0.2, np.float32))
    assert [slug for slug, flag in zip(CATEGORY_SLUGS, judgement.flags, strict=True) if flag] == ["privacy"]


def test_the_first_of_equal_highest_scores_in_the_cards_order_is_the_top_category() -> None:
    scores = ONE.copy()
    scores[0, [3, 7, 8]] = 0.2, 0.4, 0.4
    (judgement,) = judged(Policy.of(), scores)
    assert (CATEGORY_SLUGS[judgement.top], judgement.max_score) == ("indiscriminate_weapons", np.float32(0.4))


@given(
    scores=arrays(np.float32, st.tuples(st.integers(0, 4), st.just(12)), elements=PROBABILITIES),
    threshold=PROBABILITIES,
    thresholds=st.dictionaries(st.sampled_from(CATEGORY_SLUGS), PROBABILITIES),
)
def test_each_row_is_judged_independently(scores: Matrix, threshold: float, thresholds: dict[str, float]) -> None:
    judgements = judged(Policy.of(threshold, thresholds), scores)
    assert len(judgements) == len(scores)
    for row, judgement in zip(scores.tolist(), judgements, strict=True):
        flags = [p > thresholds.get(slug, threshold) for slug, p in zip(CATEGORY_SLUGS, row, strict=True)]
        assert judgement.flags == flags
        assert judgement.flagged == any(flags)
        assert judgement.max_score == max(row) == row[judgement.top]


def test_only_the_thresholds_that_differ_are_published() -> None:
    document = Policy.of(0.3, {"hate": 0.3, "privacy": 0.4}).document
    assert document["threshold"] == np.float32(0.3)
    assert document["thresholds"] == {"privacy": np.float32(0.4)}


def test_the_version_is_a_hash_of_the_thresholds_and_not_of_how_they_are_written() -> None:
    written_out = Policy.of(0.9, dict.fromkeys(CATEGORY_SLUGS, 0.5))
    assert Policy.of(0.5).version == written_out.version == Policy.of(0.5).fingerprint
    assert Policy.of(0.5).version != Policy.of(0.5, {"hate": 0.6}).version
    assert Policy.of(0.5, {"hate": 0.6}).version != Policy.of(0.5, {"privacy": 0.6}).version


def test_the_version_does_not_change_between_releases() -> None:
    assert Policy.of(0.5).version == "91137ea56985d169"


def test_a_named_version_does_not_change_the_fingerprint() -> None:
    policy = Policy.of(0.5, version="spring")
    assert (policy.version, policy.fingerprint) == ("spring", Policy.of(0.5).fingerprint)


@pytest.mark.parametrize("thresholds", [{"Hate": 0.5}, {"hate": 1.5}, {"hate": -0.1}, {"hate": float("nan")}])
def test_an_unknown_category_or_a_threshold_outside_0_to_1_is_refused(thresholds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"category|threshold"):
        Policy.of(0.5, thresholds)
