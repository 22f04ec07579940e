"""Find the text that breaks the forward pass.

Invariant: a text is blamed only if it failed alone and a probe text still passed afterwards. Every other text gets
its scores. If the probe fails too, no text is blamed: the device is broken, and the process ends. The offsets of
its messages are not committed, so another worker judges them.

Why halves: a healthy batch costs one forward pass. ``k`` bad texts among ``n`` cost at most about ``2 * k *
log2(n)`` more passes; one text at a time would cost ``n``. If a row is not finite, the whole batch is scored again
in halves, because the kernel may have damaged the neighbours of a bad row.

A batch that does not fit into memory is not a failure of its texts. It is scored in smaller parts, within a
``TokenBound``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.errors import ModelError
from worker.scores import DeadLetterReason, Scores

Tokens = Sequence[int]
Forward = Callable[[Sequence[Tokens]], NDArray[np.float32]]
"""The forward pass: token ids of ``B`` texts to ``[B, L]`` probabilities. It may raise any exception."""

STEADY_BATCHES = 1000
"""Good batches after which the bound doubles: a minute of a busy GPU. If the doubled bound is too large, it costs
one failed batch."""


class OutOfMemory(Exception):  # noqa: N818 - it describes the device, and no text is to blame
    """A batch of several texts does not fit into the memory of the device."""


@dataclass(slots=True)
class TokenBound:
    """How many tokens to score in one pass: halved when memory runs out, doubled again after many good batches.

    Attributes:
        tokens_max: Upper limit of ``tokens``: the number that fitted at the start.
        tokens: The bound now.
        good_batches: Batches scored since the bound last changed.
    """

    tokens_max: int
    tokens: int
    good_batches: int = 0

    def ran_out_of_memory(self, batch_tokens: int) -> None:
        """Lower the bound after memory ran out for a batch of ``batch_tokens`` tokens."""
        self.tokens = max(1, min(self.tokens, batch_tokens // 2))
        self.good_batches = 0

    def succeeded(self) -> bool:
        """Count a batch that was scored, and return whether the bound grew."""
        if self.tokens == self.tokens_max:
            return False
        self.good_batches += 1
        if self.good_batches < STEADY_BATCHES:
            return False
        self.tokens = min(self.tokens_max, 2 * self.tokens)
        self.good_batches = 0
        return True


def attempt(forward: Forward, batch: Sequence[Tokens]) -> NDArray[np.float32] | str:
    """Return the scores of a batch, all finite, or a few words on why there are none.

    Raises:
        ModelError: The forward pass found that the device is broken. No text is to blame.
        OutOfMemory: The batch does not fit into memory. No text is to blame; smaller batches can succeed.
    """
    try:
        scores = forward(batch)
    except (ModelError, OutOfMemory):
        raise
    except Exception as error:  # noqa: BLE001 - kernels raise any type, and this module finds out whether a text is to blame
        # Only the type: the message of an error can quote the input.
        return type(error).__name__
    return scores if np.isfinite(scores).all() else "a score that is not a number"


def score_or_blame(
    forward: Forward, batch: Sequence[Tokens], probe_ok: Callable[[], bool]
) -> list[Scores | DeadLetterReason]:
    """Return for each text of a batch, in order, its scores; or the reason why it breaks the model.

    Args:
        forward: The forward pass.
        batch: Token ids of each text.
        probe_ok: Returns whether the device still scores a probe text as it should.

    Raises:
        ModelError: A text failed alone, and the probe failed too. No scores are returned.
        OutOfMemory: The batch does not fit into memory now. No scores are returned.
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
            "well: the device or its memory is broken. Restart the worker; if it happens again, use another device."
        )
    return [
        DeadLetterReason(
            reason="model_failed",
            message=f"The model gave {answer} for this text alone, while a probe text still passed.",
        )
    ]
