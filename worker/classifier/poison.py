"""Which text broke the forward pass.

Invariant: a text is blamed only if it failed alone and a probe text still passed after that; every other text
gets its scores. If the probe fails as well, nobody is blamed: the device is broken and the process ends, its
messages uncommitted, for another worker to judge.

Why halves: a healthy batch costs one forward, and ``k`` bad texts among ``n`` cost at most about
``2 * k * log2(n)`` more, where asking one by one would cost ``n``. A row that is not finite condemns its
whole batch to be asked again in halves: that the kernel left the bad row's neighbours alone is not ours to assume.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.errors import ModelBroken
from worker.records import Fault, Scores

Tokens = Sequence[int]
Forward = Callable[[Sequence[Tokens]], NDArray[np.float32]]
"""Token ids of ``B`` texts to ``[B][L]`` probabilities; may raise anything."""


def attempt(forward: Forward, batch: Sequence[Tokens]) -> NDArray[np.float32] | str:
    """The scores of a batch, all finite, or a few words on why there are none.

    Raises:
        ModelBroken: The forward pass knows already that no text is to blame.
    """
    try:
        scores = forward(batch)
    except ModelBroken:
        raise
    except Exception as error:  # noqa: BLE001 - kernels raise any type, and to tell a text from a bug is our task
        # The type alone: the words of an error may quote what it was given.
        return type(error).__name__
    return scores if np.isfinite(scores).all() else "a score that is no number"


def score_or_blame(forward: Forward, batch: Sequence[Tokens], probe_ok: Callable[[], bool]) -> list[Scores | Fault]:
    """An answer for each text of a batch, in order: its scores, or the fault of a text that breaks the model.

    Raises:
        ModelBroken: A text failed alone, and so did the probe. Nothing was scored.
    """
    answer = attempt(forward, batch)
    if not isinstance(answer, str):
        return list(answer)
    if len(batch) > 1:
        middle = len(batch) // 2
        left = score_or_blame(forward, batch[:middle], probe_ok)
        return left + score_or_blame(forward, batch[middle:], probe_ok)
    if not probe_ok():
        raise ModelBroken(
            f"The model gave {answer} for a text of {len(batch[0])} tokens, and then failed on a harmless text as "
            "well: the device or its memory is broken. Start the worker again; if it comes back, elsewhere."
        )
    return [
        Fault(
            reason="model_failed",
            message=f"The model gave {answer} for this text alone, while a probe text still passed.",
        )
    ]
