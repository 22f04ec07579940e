"""Confidence intervals of proportions. Pure."""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
"""Nominal coverage of every interval."""

Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
"""Quantile of the standard normal distribution for a two-sided interval, about 1.96."""


class Bounds(NamedTuple):
    """Lower and upper limits of intervals.

    Attributes:
        low: Lower limits, in [0, 1]; NaN without a trial.
        high: Upper limits, in [0, 1]; NaN without a trial.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]


def wilson(successes: ArrayLike, trials: ArrayLike) -> Bounds:
    """Return the Wilson score intervals of proportions.

    ``scipy.stats`` has the same interval for one proportion at a time. A calibration needs one for each score.

    Args:
        successes: Number of successes of each proportion.
        trials: Number of trials of each proportion. It may be an effective number, which is not an integer.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    k, n = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = k / n
        centre = share + Z**2 / (2 * n)
        half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
        low, high = (centre - half) / (1 + Z**2 / n), (centre + half) / (1 + Z**2 / n)
    # The limits of 0 of n and n of n are exactly 0 and 1; the arithmetic misses them by a rounding error.
    low, high = np.where(k == 0, 0.0, low), np.where(k == n, 1.0, high)
    return Bounds(np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan))
