"""Which text broke the forward pass.

Invariant: a text is blamed only if it failed alone and a probe text still passed after that; every other text
gets its scores. If the probe fails as well, nobody is blamed: the device is broken and the process ends, its
messages uncommitted, for another worker to judge.

Why halves: a healthy batch costs one forward, and ``k`` bad texts among ``n`` cost at most about
``2 * k * log2(n)`` more, where asking one by one would cost ``n``. A row that is not finite condemns its
whole batch to be asked again in halves: that the kernel left the bad row's neighbours alone is not ours to assume.

A batch that the memory does not hold breaks nothing, and no text of it is asked for alone: it is scored in
smaller parts, within a ``TokenBound``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.errors import ModelError
from worker.records import DeadLetterReason, Scores

Tokens = Sequence[int]
Forward = Callable[[Sequence[Tokens]], NDArray[np.float32]]
"""Token ids of ``B`` texts to ``[B][L]`` probabilities; may raise anything."""

STEADY_BATCHES = 1000
"""After so many good batches the bound doubles: a minute of a busy GPU. One failed batch is the price of trying."""


class OutOfMemory(Exception):  # noqa: N818 - the device's condition: no text is to blame
    """The memory of the device does not hold a batch of several texts."""


@dataclass(slots=True)
class TokenBound:
    """How many tokens to score at once: halved when memory runs out, and doubled again in time.

    Attributes:
        whole: What there was room for at the start; the bound never exceeds it.
        tokens: The bound as it is now.
        good_batches: Since it last changed.
    """

    whole: int
    tokens: int
    good_batches: int = 0

    def ran_out(self, batch_tokens: int) -> None:
        """A batch of so many tokens was too much."""
        self.tokens = max(1, min(self.tokens, batch_tokens // 2))
        self.good_batches = 0

    def went_well(self) -> bool:
        """A batch was scored; whether the bound grows."""
        if self.tokens == self.whole:
            return False
        self.good_batches += 1
        if self.good_batches < STEADY_BATCHES:
            return False
        self.tokens = min(self.whole, 2 * self.tokens)
        self.good_batches = 0
        return True


def attempt(forward: Forward, batch: Sequence[Tokens]) -> NDArray[np.float32] | str:
    """The scores of a batch, all finite, or a few words on why there are none.

    Raises:
        ModelError: The forward pass knows already that no text is to blame.
        OutOfMemory: Likewise; smaller batches may do.
    """
    try:
        scores = forward(batch)
    except (ModelError, OutOfMemory):
        raise
    except Exception as error:  # noqa: BLE001 - kernels raise any type, and to tell a text from a bug is our task
        # The type alone: the words of an error may quote what it was given.
        return type(error).__name__
    return scores if np.isfinite(scores).all() else "a score that is no number"


def score_or_blame(
    forward: Forward, batch: Sequence[Tokens], probe_ok: Callable[[], bool]
) -> list[Scores | DeadLetterReason]:
    """An answer for each text of a batch, in order: its scores, or the fault of a text that breaks the model.

    Raises:
        ModelError: A text failed alone, and so did the probe. Nothing was scored.
        OutOfMemory: The batch is too large for now. Nothing was scored.
    """
    answer = attempt(forward, batch)
    if not isinstance(answer, str):
        return list(answer)
    if len(batch) > 1:
        middle = len(batch) // 2
        left = score_or_blame(forward, batch[:middle], probe_ok)
        return left + score_or_blame(forward, batch[middle:], probe_ok)
    if not probe_ok():
        raise ModelError(
            f"The model gave {answer} for a text of {len(batch[0])} tokens, and then failed on a harmless text as "
            "well: the device or its memory is broken. Start the worker again; if it comes back, elsewhere."
        )
    return [
        DeadLetterReason(
            reason="model_failed",
            message=f"The model gave {answer} for this text alone, while a probe text still passed.",
        )
    ]
