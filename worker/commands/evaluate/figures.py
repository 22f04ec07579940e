"""How well scores separate texts with a label from texts without it, by scikit-learn. Pure."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from worker.commands.evaluate.intervals import wilson
from worker.commands.evaluate.labelled_texts import UNKNOWN


class ReportPart(BaseModel):
    """A part of a report that is written as JSON. Readers must ignore fields that they do not know."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", use_attribute_docstrings=True, populate_by_name=True, validate_by_alias=True
    )


class Proportion(ReportPart):
    """A proportion with its 95 % Wilson interval."""

    value: float = Field(ge=0, le=1)
    """The measured proportion."""
    low: float = Field(ge=0, le=1)
    """Lower limit of the interval."""
    high: float = Field(ge=0, le=1)
    """Upper limit of the interval."""

    @classmethod
    def of(cls, successes: int, trials: int) -> "Proportion | None":
        """Return the proportion; None without a trial, because the proportion is then undefined."""
        if trials == 0:
            return None
        bounds = wilson(successes, trials)
        return cls(value=successes / trials, low=float(bounds.low), high=float(bounds.high))


class LabelFigures(ReportPart):
    """Figures of one label over the texts whose label is known. A figure that is undefined is null."""

    positives: int = Field(ge=0)
    """Texts with the label."""
    negatives: int = Field(ge=0)
    """Texts that are known not to have the label."""
    unknown: int = Field(ge=0)
    """Texts whose label is unknown. They count in no other figure."""
    true_positives: int = Field(ge=0)
    """Texts with the label that are flagged."""
    false_positives: int = Field(ge=0)
    """Texts without the label that are flagged."""
    average_precision: float | None = Field(ge=0, le=1)
    """Area under the precision-recall curve, as scikit-learn's average_precision_score; null without texts of both
    kinds."""
    auc: float | None = Field(ge=0, le=1)
    """Area under the ROC curve; null without texts of both kinds."""
    precision: Proportion | None
    """Share of the flagged texts that have the label; null if none is flagged."""
    recall: Proportion | None
    """Share of the texts with the label that are flagged; null without positives."""
    false_alarm_rate: Proportion | None
    """Share of the texts without the label that are flagged; null without negatives."""
    f1: float | None = Field(ge=0, le=1)
    """Harmonic mean of precision and recall; null without positives. It has no interval."""


def label_figures(scores: NDArray[np.float32], flags: NDArray[np.bool_], labels: NDArray[np.int8]) -> LabelFigures:
    """Return the figures of one label.

    Args:
        scores: ``[N]`` scores of the texts, in [0, 1].
        flags: ``[N]`` whether the score is greater than the text's threshold.
        labels: ``[N]`` labels: 1, 0 or ``UNKNOWN``.
    """
    from sklearn import metrics  # noqa: PLC0415 - takes a second

    known = labels != UNKNOWN
    truth, flagged, score = labels[known] == 1, flags[known], scores[known]
    positives = int(truth.sum())
    negatives = len(truth) - positives
    has_both = positives > 0 and negatives > 0
    hits, alarms = int((flagged & truth).sum()), int((flagged & ~truth).sum())
    return LabelFigures(
        positives=positives,
        negatives=negatives,
        unknown=len(labels) - len(truth),
        true_positives=hits,
        false_positives=alarms,
        # Both are sums of rounded numbers, which can exceed 1 by a rounding error.
        average_precision=min(1.0, float(metrics.average_precision_score(truth, score))) if has_both else None,
        auc=min(1.0, float(metrics.roc_auc_score(truth, score))) if has_both else None,
        precision=Proportion.of(hits, hits + alarms),
        recall=Proportion.of(hits, positives),
        false_alarm_rate=Proportion.of(alarms, negatives),
        f1=float(metrics.f1_score(truth, flagged)) if positives else None,
    )
