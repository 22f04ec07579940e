"""The figures of a report, on scores whose figures are known by hand."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS
from worker.commands.evaluate.decisions import OFF, DecisionThresholds
from worker.commands.evaluate.evaluation_report import EvaluationReport, EvaluationRow, build_report
from worker.commands.evaluate.figures import LabelFigures, label_figures
from worker.commands.evaluate.labelled_texts import UNKNOWN, LabelledText
from worker.commands.evaluate.text_scoring import ScoredTexts
from worker.commands.prove.stub_model import StubModel

MODEL = replace(StubModel.identity, name="made up")
HATE = CATEGORY_SLUGS.index("hate")


def figures(scores: list[float], labels: list[int], threshold: float = 0.5) -> LabelFigures:
    values = np.array(scores, np.float32)
    return label_figures(values, values > np.float32(threshold), np.array(labels, np.int8))


def report(
    texts: list[LabelledText], hate: list[float], thresholds: DecisionThresholds | None = None
) -> EvaluationReport:
    scores = np.full((len(texts), len(CATEGORY_SLUGS)), 0.01, np.float32)
    scores[:, HATE] = hate
    scored = ScoredTexts(scores=scores, faults={}, model=MODEL)
    return build_report(texts, scored, thresholds or everywhere(0.5), file="made-up.jsonl", file_format="jsonl")


def everywhere(threshold: float, **by_language: float) -> DecisionThresholds:
    def values(one: float) -> NDArray[np.float32]:
        return np.full(len(CATEGORY_SLUGS), one, np.float32)

    return DecisionThresholds(
        version="v1", base=values(threshold), by_language={name: values(one) for name, one in by_language.items()}
    )


def row(found: EvaluationReport, category: str, language: str | None = None) -> EvaluationRow:
    [one] = [one for one in found.rows if (one.category, one.language) == (category, language)]
    return one


def test_the_figures_are_those_of_the_definitions() -> None:
    found = figures([0.9, 0.6, 0.4, 0.7, 0.2, 0.1], [1, 1, 1, 0, 0, 0])
    assert (found.positives, found.negatives, found.true_positives, found.false_positives) == (3, 3, 2, 1)
    assert found.precision is not None
    assert found.recall is not None
    assert found.false_alarm_rate is not None
    shares = (found.precision.value, found.recall.value, found.false_alarm_rate.value, found.f1)
    assert shares == pytest.approx((2 / 3, 2 / 3, 1 / 3, 2 / 3))
    assert found.auc == pytest.approx(7 / 9)  # 7 of the 9 pairs are in the right order
    assert found.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


@pytest.mark.parametrize("positives", range(1, 60))
def test_texts_that_the_scores_separate_completely_have_an_area_of_at_most_1(positives: int) -> None:
    """The sum of many precisions of 1 can be 1.0000000000000002."""
    found = figures([0.5 + number / 200 for number in range(positives)] + [0.1], [1] * positives + [0])
    assert found.average_precision == pytest.approx(1)
    assert found.auc == pytest.approx(1)


def test_a_text_with_an_unknown_label_counts_in_no_figure() -> None:
    known, with_unknown = figures([0.9, 0.1], [1, 0]), figures([0.9, 0.1, 0.8], [1, 0, int(UNKNOWN)])
    assert with_unknown == known.model_copy(update={"unknown": 1})


def test_a_figure_that_is_undefined_is_null_and_not_zero() -> None:
    nothing_flagged = figures([0.1, 0.2], [1, 0])
    assert nothing_flagged.precision is None
    assert nothing_flagged.f1 == 0
    no_positives = figures([0.9, 0.2], [0, 0])
    assert (no_positives.recall, no_positives.f1, no_positives.auc, no_positives.average_precision) == (None,) * 4
    no_negatives = figures([0.9, 0.2], [1, 1])
    assert (no_negatives.false_alarm_rate, no_negatives.auc, no_negatives.average_precision) == (None,) * 3


def test_a_score_that_equals_the_threshold_is_not_flagged() -> None:
    assert figures([0.5], [1]).true_positives == 0


def test_each_language_has_rows_and_texts_without_one_count_only_in_all() -> None:
    texts = [
        LabelledText(text="a", labels={"hate": True}, language="en"),
        LabelledText(text="b", labels={"hate": True}, language="de"),
        LabelledText(text="c", labels={"hate": False}),
    ]
    found = report(texts, [0.9, 0.1, 0.1])
    assert list(dict.fromkeys(one.language for one in found.rows)) == [None, "de", "en"]
    assert [row(found, "hate", language).positives for language in (None, "de", "en")] == [2, 1, 1]
    assert row(found, "hate").negatives == 1


def test_a_rule_for_a_language_decides_the_texts_in_that_language() -> None:
    texts = [LabelledText(text=name, labels={"hate": True}, language=name) for name in ("en", "de")]
    found = report(texts, [0.6, 0.6], everywhere(0.5, de=0.7))
    assert [row(found, "hate", language).true_positives for language in (None, "de", "en")] == [1, 0, 1]
    assert [row(found, "hate", language).threshold for language in (None, "de", "en")] == [None, 0.7, 0.5]


def test_a_category_that_is_off_flags_nothing_and_has_no_threshold() -> None:
    thresholds = everywhere(0.5)
    thresholds.base[HATE] = OFF
    found = report([LabelledText(text="a", labels={"hate": True})], [1.0], thresholds)
    assert row(found, "hate").threshold is None
    assert row(found, "hate").true_positives == 0
    assert row(found, "unsafe").true_positives == 0


def test_unsafe_is_the_decision_over_all_categories_by_the_highest_score() -> None:
    texts = [LabelledText(text="a", unsafe=True), LabelledText(text="b", unsafe=False)]
    found = row(report(texts, [0.9, 0.4]), "unsafe")
    assert (found.true_positives, found.false_positives, found.auc) == (1, 0, 1)


def test_a_text_that_could_not_be_scored_counts_in_no_figure() -> None:
    texts = [LabelledText(text="a", labels={"hate": True}), LabelledText(text="b", labels={"hate": True})]
    scores = np.full((2, len(CATEGORY_SLUGS)), 0.9, np.float32)
    scores[1] = np.nan
    scored = ScoredTexts(scores=scores, faults={"model_failed": 1}, model=MODEL)
    found = build_report(texts, scored, everywhere(0.5), file="made-up.jsonl", file_format="jsonl")
    assert (found.texts, found.not_scored, row(found, "hate").positives) == (1, {"model_failed": 1}, 1)
