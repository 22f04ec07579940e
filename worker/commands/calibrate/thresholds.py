"""Choose a threshold for a target, with an interval. Pure.

A threshold is consistent with the target if the Wilson interval of its measured rate holds the target. The interval
is the run of consistent thresholds around the chosen one. So the interval holds the threshold whose true rate is
the target as often as a Wilson interval holds a true rate. Thresholds far above can be consistent again, because
they flag so few texts that every precision is possible; the run leaves them out.

Texts of one group resemble each other, so they count for less than their number. The number of texts is divided by
the design effect: the variance of the rate over groups by the variance that independent texts would have.
Source: L. Kish, "Survey Sampling", 1965; R. S. Woodruff, "Confidence Intervals for Medians and Other Position
Measures", 1952, for the interval of a quantile by the interval of its proportion.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.commands.evaluate.intervals import wilson

EXPECTED_ALARMS_MIN = 5
"""Fewest false alarms that the target must allow among the negatives: with fewer the interval is very wide."""


class Aim(StrEnum):
    """What a target is a target of."""

    FALSE_ALARMS = "false_alarms"
    PRECISION = "precision"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationTarget:
    """What a threshold must reach.

    Attributes:
        aim: The rate.
        value: The largest false-alarm rate, or the lowest precision, in (0, 1).
        positives_min: Fewest positives; a category with fewer keeps its threshold.
    """

    aim: Aim
    value: float
    positives_min: int


class LabelledScores(NamedTuple):
    """Scores of one category over the texts whose label is known.

    Attributes:
        scores: ``[N]`` scores, in [0, 1].
        truth: ``[N]`` whether the text has the label.
        groups: ``[N]`` number of each text's group.
    """

    scores: NDArray[np.float32]
    truth: NDArray[np.bool_]
    groups: NDArray[np.int64]


class ChosenThreshold(NamedTuple):
    """A threshold with its interval.

    Attributes:
        value: The threshold, in [0, 1].
        low: Lower limit of the interval.
        high: Upper limit of the interval.
    """

    value: float
    low: float
    high: float


def choose(data: LabelledScores, target: CalibrationTarget) -> ChosenThreshold | str:
    """Return the lowest threshold that reaches the target, or the reason why there is none, as a sentence."""
    positives = int(data.truth.sum())
    if positives < target.positives_min:
        return f"{positives} positives; at least {target.positives_min} are needed"
    if target.aim is Aim.PRECISION:
        return _by_precision(data, target.value)
    negatives = len(data.truth) - positives
    needed = int(np.ceil(EXPECTED_ALARMS_MIN / target.value))
    if negatives < needed:
        return f"{negatives} negatives; at least {needed} are needed for a false-alarm rate of {target.value:g}"
    return _by_false_alarms(data, target.value)


def _by_false_alarms(data: LabelledScores, rate: float) -> ChosenThreshold:
    """Return the lowest threshold with at most this share of the negatives above it."""
    negatives = ~data.truth
    scores = data.scores[negatives]
    cuts = _cuts(scores)
    alarms = cuts.flagged
    reached = np.flatnonzero(alarms <= rate * len(scores))
    chosen = int(reached[0])
    trials = effective_trials(scores > cuts.thresholds[chosen], data.groups[negatives])
    bounds = wilson(alarms * (trials / len(scores)), trials)
    return _with_interval(cuts.thresholds, chosen, (bounds.low <= rate) & (rate <= bounds.high))


def _by_precision(data: LabelledScores, precision: float) -> ChosenThreshold | str:
    """Return the lowest threshold above which at least this share has the label."""
    cuts = _cuts(data.scores)
    order = np.argsort(data.scores)
    hits_above = np.concatenate([np.cumsum(data.truth[order][::-1])[::-1], [0]])
    hits = hits_above[len(data.scores) - cuts.flagged]
    some = cuts.flagged > 0
    reached = np.flatnonzero(some & (hits >= precision * cuts.flagged))
    if not len(reached):
        best = float((hits[some] / cuts.flagged[some]).max()) if some.any() else 0.0
        return f"no threshold reaches a precision of {precision:g}; the highest is {best:.3f}"
    chosen = int(reached[0])
    flagged = data.scores > cuts.thresholds[chosen]
    share = effective_trials(data.truth[flagged], data.groups[flagged]) / cuts.flagged[chosen]
    bounds = wilson(hits * share, cuts.flagged * share)
    return _with_interval(cuts.thresholds, chosen, (bounds.low <= precision) & (precision <= bounds.high))


class _Cuts(NamedTuple):
    """Every threshold that flags another set of texts, ascending, and how many texts each flags."""

    thresholds: NDArray[np.float32]
    flagged: NDArray[np.int64]


def _cuts(scores: NDArray[np.float32]) -> _Cuts:
    thresholds = np.unique(np.concatenate([np.zeros(1, np.float32), scores]))
    return _Cuts(thresholds, len(scores) - np.searchsorted(np.sort(scores), thresholds, side="right"))


def _with_interval(
    thresholds: NDArray[np.float32], chosen: int, is_consistent: NDArray[np.bool_]
) -> ChosenThreshold:
    """Return a threshold with the run of consistent thresholds around it.

    A cut flags the same texts for every threshold up to the next cut, so the upper limit is the next cut.
    """
    others = np.flatnonzero(~is_consistent)
    first = int(others[others < chosen].max(initial=-1)) + 1
    after = int(others[others > chosen].min(initial=len(thresholds)))
    high = thresholds[after] if after < len(thresholds) else np.float32(1)
    return ChosenThreshold(*map(shortest, (thresholds[chosen], thresholds[first], high)))


def shortest(value: np.float32) -> float:
    """Return the number with the fewest digits that is this float32."""
    return float(str(value))


def effective_trials(successes: NDArray[np.bool_], groups: NDArray[np.int64]) -> float:
    """Return how many independent texts would give a rate of the same variance; at most the number of texts.

    Args:
        successes: ``[N]`` outcomes; ``N`` is at least 1.
        groups: ``[N]`` number of each text's group.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    sizes = np.bincount(numbers)
    trials, clusters = len(successes), len(sizes)
    if clusters == trials:
        return float(trials)
    rate = float(successes.mean())
    if clusters == 1 or rate in {0.0, 1.0}:
        # The data say nothing about the resemblance inside groups, so each group counts as one text.
        return float(trials**2 / (sizes**2).sum())
    residuals = np.bincount(numbers, successes) - rate * sizes
    variance = clusters / (clusters - 1) * float((residuals**2).sum()) / trials**2
    independent = rate * (1 - rate) / trials
    return trials / max(1.0, variance / independent)
