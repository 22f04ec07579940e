"""How well flagged texts stay flagged under evasions, and what the plain view costs on the other texts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.commands.evaluate.evasions import EVASIONS
from worker.moderation.cached_scoring import Scorer
from worker.moderation.policies import Policy
from worker.moderation.text_rows import Encode
from worker.moderation.text_views import PlainText

TEXTS_TOGETHER = 500
"""Texts that are tokenised and scored together."""


class TextModel(Scorer, Protocol):
    """A tokenizer and a scorer."""

    @property
    def encode(self) -> Encode:
        """The tokenizer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvasionResult:
    """What one evasion does to the flagged texts.

    Attributes:
        evasion: The name of the evasion.
        texts: Number of flagged texts.
        raw: How many stay flagged when only the raw view is scored.
        views: How many stay flagged when the raw and the plain view are scored.
        restored: How many have a plain view that is the text before the evasion.
    """

    evasion: str
    texts: int
    raw: int
    views: int
    restored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CostResult:
    """What the plain view costs on all texts as they are.

    Attributes:
        texts: Number of texts.
        flagged: How many are flagged by the raw view.
        newly_flagged: How many only the plain view flags.
        changed: How many have a plain view of their own.
        tokens: Tokens of the raw views.
        additional_tokens: Tokens of the plain views that are scored in addition.
    """

    texts: int
    flagged: int
    newly_flagged: int
    changed: int
    tokens: int
    additional_tokens: int


class Measurement:
    """Scores texts with one model, policy and plain view.

    Args:
        model: An open model.
        policy: The thresholds.
        plain_text: What makes the plain view.
    """

    def __init__(self, *, model: TextModel, policy: Policy, plain_text: PlainText) -> None:
        self._model = model
        self._policy = policy
        self._plain_text = plain_text

    def flagged(self, texts: Sequence[str]) -> tuple[NDArray[np.bool_], int]:
        """Return whether each text is flagged by itself, and the tokens of all. A blank text is not flagged."""
        flags, tokens = np.zeros(len(texts), np.bool_), 0
        for start in range(0, len(texts), TEXTS_TOGETHER):
            part = texts[start : start + TEXTS_TOGETHER]
            chosen = [index for index, text in enumerate(part) if text.strip()]
            encoded = self._model.encode([part[index] for index in chosen])
            tokens += sum(len(one.tokens) for one in encoded)
            answers = self._model.score([one.tokens for one in encoded]) if encoded else ()
            for index, scores in zip(chosen, answers, strict=True):
                if isinstance(scores, np.ndarray):
                    flags[start + index] = bool((scores > self._policy.values).any())
        return flags, tokens

    def cost(self, texts: Sequence[str]) -> CostResult:
        """Return what the plain view costs on these texts."""
        raw, tokens = self.flagged(texts)
        plain = self._plain_text.plain_many(texts)
        changed = [index for index, text in enumerate(texts) if plain[index] != text and plain[index].strip()]
        flags, additional = self.flagged([plain[index] for index in changed])
        return CostResult(
            texts=len(texts),
            flagged=int(raw.sum()),
            newly_flagged=int((flags & ~raw[changed]).sum()),
            changed=len(changed),
            tokens=tokens,
            additional_tokens=additional,
        )

    def evasion(self, name: str, flagged: Sequence[str], *, seed: int) -> EvasionResult:
        """Return how many flagged texts stay flagged under an evasion."""
        rng = random.Random(seed)  # noqa: S311 - a seed gives the same texts
        evaded = [EVASIONS[name](text, rng) for text in flagged]
        plain = self._plain_text.plain_many(evaded)
        raw, _ = self.flagged(evaded)
        shown, _ = self.flagged(plain)
        return EvasionResult(
            evasion=name,
            texts=len(flagged),
            raw=int(raw.sum()),
            views=int((raw | shown).sum()),
            restored=sum(a == b for a, b in zip(plain, flagged, strict=True)),
        )
