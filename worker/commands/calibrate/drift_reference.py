"""Make the drift reference from scores. Pure."""

import numpy as np
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS
from worker.commands.calibrate.thresholds import shortest
from worker.moderation.drift_reference import DriftReference, ReferenceModel, ReferenceText, ScoreBins

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
"""Where bins end: tenths, as usual for the population stability index, and the highest hundredth."""


def drift_reference(scores: NDArray[np.float32], model: ReferenceModel, text: ReferenceText) -> DriftReference:
    """Return the reference of ``[N, L]`` scores."""
    bins = {slug: _bins(scores[:, index]) for index, slug in enumerate(CATEGORY_SLUGS)}
    return DriftReference(schema="drift-reference/1", model=model, text=text, texts=len(scores), categories=bins)


def _bins(scores: NDArray[np.float32]) -> ScoreBins:
    """Return the bins of one category. Equal quantiles make one edge, so every bin but the last holds a text."""
    edges = np.unique(np.quantile(scores, QUANTILES, method="inverted_cdf"))
    counts = np.bincount(np.searchsorted(edges, scores, side="left"), minlength=len(edges) + 1)
    return ScoreBins(edges=[shortest(edge) for edge in edges], counts=counts.tolist())
