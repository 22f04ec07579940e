"""Choose the thresholds of every category, for all texts and for each language. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS
from worker.commands.calibrate.thresholds import CalibrationTarget, ChosenThreshold, LabelledScores, choose
from worker.commands.evaluate.decisions import DecisionThresholds
from worker.commands.evaluate.evaluation_report import highest_scores
from worker.commands.evaluate.figures import LabelFigures, label_figures
from worker.commands.evaluate.labelled_texts import UNKNOWN, LabelledText, label_matrix, unsafe_column

DEFAULT = "default"
"""Stands for all categories where the file says of texts only whether they are unsafe."""


class CategoryColumn(NamedTuple):
    """Scores and labels of one category, or of the decision over all categories.

    Attributes:
        category: A category's slug, or ``DEFAULT``.
        scores: ``[N]`` scores.
        labels: ``[N]`` labels: 1, 0 or ``UNKNOWN``.
    """

    category: str
    scores: NDArray[np.float32]
    labels: NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationTexts:
    """Scored texts of one part of the split.

    Attributes:
        texts: The labelled texts.
        scores: ``[N, L]`` scores.
        groups: ``[N]`` number of each text's group.
    """

    texts: Sequence[LabelledText]
    scores: NDArray[np.float32]
    groups: NDArray[np.int64]

    def part(self, indices: NDArray[np.int64]) -> "CalibrationTexts":
        """Return some of the texts."""
        return CalibrationTexts(
            texts=[self.texts[index] for index in indices], scores=self.scores[indices], groups=self.groups[indices]
        )

    def of_language(self, language: str | None) -> "CalibrationTexts":
        """Return the texts in a language; all texts for None."""
        if language is None:
            return self
        return self.part(np.flatnonzero([one.language == language for one in self.texts]))

    @property
    def languages(self) -> list[str]:
        """The languages of the texts, sorted."""
        return sorted({one.language for one in self.texts if one.language is not None})


def has_categories(texts: Sequence[LabelledText]) -> bool:
    """Return whether any text names a category that applies."""
    return any(any(one.labels.values()) for one in texts)


def columns(data: CalibrationTexts, thresholds: DecisionThresholds, *, by_category: bool) -> list[CategoryColumn]:
    """Return the columns to calibrate: the categories, or one for all of them."""
    if by_category:
        labels = label_matrix(data.texts)
        return [
            CategoryColumn(slug, data.scores[:, index], labels[:, index])
            for index, slug in enumerate(CATEGORY_SLUGS)
        ]
    matrix = thresholds.matrix([one.language for one in data.texts])
    return [CategoryColumn(DEFAULT, highest_scores(data.scores, matrix), unsafe_column(data.texts))]


def choose_all(
    data: CalibrationTexts, thresholds: DecisionThresholds, target: CalibrationTarget, *, by_category: bool
) -> dict[str, ChosenThreshold | str]:
    """Return for each column the chosen threshold, or why the threshold in force is kept."""
    found: dict[str, ChosenThreshold | str] = {}
    for column in columns(data, thresholds, by_category=by_category):
        if column.category != DEFAULT and not np.isfinite(thresholds.base[CATEGORY_SLUGS.index(column.category)]):
            found[column.category] = "the policy in force switches this category off"
            continue
        known = column.labels != UNKNOWN
        labelled = LabelledScores(column.scores[known], column.labels[known] == 1, data.groups[known])
        found[column.category] = choose(labelled, target)
    return found


def effect(data: CalibrationTexts, thresholds: DecisionThresholds, *, by_category: bool) -> dict[str, LabelFigures]:
    """Return the figures of each column under thresholds."""
    flags: NDArray[np.bool_] = data.scores > thresholds.matrix([one.language for one in data.texts])
    found = {}
    for number, column in enumerate(columns(data, thresholds, by_category=by_category)):
        is_flagged = flags[:, number] if by_category else np.array(flags.any(axis=1), np.bool_)
        found[column.category] = label_figures(column.scores, is_flagged, column.labels)
    return found
