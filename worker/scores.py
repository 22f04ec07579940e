"""What the model says about a text: its scores, or the reason why it has none; and which parts gave the scores.

The classifier imports this module and not ``worker.records``: a GPU machine may have only torch and transformers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
"""``[L]`` probabilities of one text, in [0, 1], in the model card's order."""


class Passage(NamedTuple):
    """A part of a text that was scored on its own, in one view of the text.

    Attributes:
        view: ``raw``, the text as received; or ``plain``, what a reader sees.
        start: Offset of its first character in the text as received.
        end: Offset after its last character in the text as received.
    """

    view: str
    start: int
    end: int


class Evidence(NamedTuple):
    """Which parts of a text gave its scores, when several parts were scored.

    Attributes:
        windows: Number of parts that were scored, in all views.
        views: Names of the views that were scored.
        passages: ``[L]`` for each category, the part with the highest score.
    """

    windows: int
    views: Sequence[str]
    passages: Sequence[Passage]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterReason:
    """Why a record is a dead letter.

    Attributes:
        reason: A slug of ``schemas.dead_letter.REASONS``.
        message: One sentence, which never holds the text.
    """

    reason: str
    message: str
