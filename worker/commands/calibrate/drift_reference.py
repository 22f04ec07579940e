"""The drift reference: how the scores of each category are distributed, to compare later scores with. Pure."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from schemas.labels import CATEGORY_SLUGS
from worker.commands.calibrate.thresholds import shortest
from worker.commands.evaluate.evaluation_report import ScoringModelJson
from worker.commands.evaluate.figures import ReportPart

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
"""Where bins end: tenths, as usual for the population stability index, and the highest hundredth."""


class ScoreBins(ReportPart):
    """The scores of one category in bins."""

    edges: list[float]
    """Where one bin ends and the next begins, ascending. A score that equals an edge is in the lower bin."""
    counts: list[int]
    """How many texts are in each bin: one number more than edges."""


class DriftReference(ReportPart):
    """What `moderation-worker calibrate --reference FILE` writes: score histograms of each category."""

    schema_: Literal["drift-reference/1"] = Field(alias="schema")
    """The layout of this document."""
    model: ScoringModelJson
    """The model that scored. Scores of another model have another distribution."""
    texts: int = Field(ge=1)
    """How many texts were scored."""
    categories: dict[str, ScoreBins]
    """The bins of each category, by slug."""


def drift_reference(scores: NDArray[np.float32], model: ScoringModelJson) -> DriftReference:
    """Return the reference of ``[N, L]`` scores."""
    bins = {slug: _bins(scores[:, index]) for index, slug in enumerate(CATEGORY_SLUGS)}
    return DriftReference(schema="drift-reference/1", model=model, texts=len(scores), categories=bins)


def _bins(scores: NDArray[np.float32]) -> ScoreBins:
    """Return the bins of one category. Equal quantiles make one edge, so every bin but the last holds a text."""
    edges = np.unique(np.quantile(scores, QUANTILES, method="inverted_cdf"))
    counts = np.bincount(np.searchsorted(edges, scores, side="left"), minlength=len(edges) + 1)
    return ScoreBins(edges=[shortest(edge) for edge in edges], counts=counts.tolist())
