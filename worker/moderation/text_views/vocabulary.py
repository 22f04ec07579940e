"""The words that the model's tokenizer knows: they decide how a word with digits or repeated letters is read.

The model's own vocabulary is used, not a list of words of one language. It has the languages and the slang that the
model was trained on, and nothing has to be installed or updated for it.
"""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import groupby

WORD_LETTERS_MAX = 40
"""Letters of the longest word that is looked up. Longer runs of letters are not words."""

_STEM_LETTERS_MIN = 3
_SHORT_WORD = 3
_SHORT_WORD_COST_MAX = math.log2(12_000)
"""A word of three letters counts only if it is frequent: in a vocabulary of 150,000 tokens, most groups of three
letters are tokens."""
_ENDING_COST_MAX = math.log2(4_000)
"""Only frequent endings make a known word with a stem."""
_PIECE_COST = 8.0
"""Bits for one piece more: a word of few pieces is likelier."""
_WORD_COST = 4.0
"""Bits for one word more: long words are likelier than several short ones."""
_WORD_LETTERS = 20
"""Letters of the longest word when letters are divided into words."""


class Vocabulary:
    """Words and endings, the most frequent first.

    Args:
        words: Tokens that begin a word, lower case, letters only, without the space in front.
        endings: Tokens that continue a word, lower case, letters only.
    """

    def __init__(self, words: Iterable[str] = (), endings: Iterable[str] = ()) -> None:
        self._costs = _costs(words)
        self._endings = _costs(endings)
        self._frequent_endings = {ending: cost for ending, cost in self._endings.items() if cost < _ENDING_COST_MAX}
        self._ending_letters_max = max(map(len, self._frequent_endings), default=0)
        self._doubled = _doubled(self._costs)
        self._begins = frozenset(
            piece[:end] for piece in (*self._costs, *self._endings) for end in range(1, len(piece))
        )

    def __bool__(self) -> bool:
        """Return whether the vocabulary has words."""
        return bool(self._costs)

    def cost(self, word: str) -> float:
        """Return how rare a word of lower-case letters is, in bits; infinity for what is not a known word.

        A known word is one token, or a token of at least three letters and a frequent ending.
        """
        if (whole := self.whole_cost(word)) < math.inf or len(word) > WORD_LETTERS_MAX:
            return whole
        costs, endings = self._costs, self._frequent_endings
        best = math.inf
        for place in range(max(_STEM_LETTERS_MIN, len(word) - self._ending_letters_max), len(word)):
            if (ending := endings.get(word[place:])) is not None and (stem := costs.get(word[:place])) is not None:
                best = min(best, stem + ending)
        return best

    def whole_cost(self, word: str) -> float:
        """Return how rare a word is that is one token, in bits; infinity for another word."""
        cost = self._costs.get(word, math.inf)
        return math.inf if len(word) <= _SHORT_WORD and cost > _SHORT_WORD_COST_MAX else cost

    def is_known(self, word: str) -> bool:
        """Return whether a word, in any case, is a known word."""
        return self.cost(word.lower()) < math.inf

    def shortened(self, runs: Sequence[tuple[str, int]]) -> str | None:
        """Return the most frequent token that a word becomes when its runs are shortened; None if there is none.

        Args:
            runs: The word's lower-case letters, each with the length of its run.
        """
        skeleton = "".join(letter for letter, _ in runs)
        fitting = [word for word in self._doubled.get(skeleton, ()) if _fits(word, runs)]
        if skeleton in self._costs:
            fitting.append(skeleton)
        if len(fitting) < 2:  # noqa: PLR2004 - nothing to choose from
            return fitting[0] if fitting else None
        return min(fitting, key=lambda word: (_pairs_lost(word, runs), self.whole_cost(word)))

    def read(self, options: Sequence[Sequence[str]]) -> str | None:
        """Return the likeliest word with one of the options at each place. It has the most frequent pieces.

        Args:
            options: For each place, what can be there: a lower-case letter, or the same letter twice.
        """
        best: list[tuple[float, str]] = [(0.0, "")] + [(math.inf, "")] * len(options)
        for start in range(len(options)):
            cost_so_far, so_far = best[start]
            if cost_so_far == math.inf:
                continue
            costs, begun = self._endings if start else self._costs, [""]
            for end in range(start, len(options)):
                pieces = [begin + option for begin in begun for option in options[end]]
                for piece in pieces:
                    cost = cost_so_far + costs.get(piece, math.inf) + _PIECE_COST
                    if cost < best[end + 1][0]:
                        best[end + 1] = (cost, so_far + piece)
                begun = [piece for piece in pieces if piece in self._begins]
                if not begun:
                    break
        return best[-1][1] or None

    def divided(self, letters: str) -> list[str] | None:
        """Return lower-case letters without spaces as the most frequent words; None if they are not words."""
        best: list[tuple[float, int]] = [(0.0, 0)]
        for end in range(1, len(letters) + 1):
            best.append(
                min(
                    (best[start][0] + self._costs.get(letters[start:end], math.inf) + _WORD_COST, start)
                    for start in range(max(0, end - _WORD_LETTERS), end)
                )
            )
        if best[-1][0] == math.inf:
            return None
        words: list[str] = []
        end = len(letters)
        while end:
            start = best[end][1]
            words.append(letters[start:end])
            end = start
        return words[::-1]


def _costs(words: Iterable[str]) -> dict[str, float]:
    """Return the bits of each word by its rank: the frequency of a word falls as its rank grows (Zipf's law)."""
    costs: dict[str, float] = {}
    for rank, word in enumerate(words, 2):
        costs.setdefault(word, math.log2(rank))
    return costs


_RUN = re.compile(r"(.)\1+", re.DOTALL)


def _doubled(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Group words with a letter twice in a row by their letters without repetition: ``good`` is under ``god``."""
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        if _RUN.search(word):
            skeleton = _RUN.sub(r"\1", word)
            found[skeleton] = (*found.get(skeleton, ()), word)
    return found


def _pairs_lost(word: str, runs: Sequence[tuple[str, int]]) -> int:
    """Return how many runs of two have one letter in the word: who repeats letters writes at least three."""
    return sum(
        length == 2 and len(list(run)) == 1  # noqa: PLR2004 - a pair
        for (_, run), (_, length) in zip(groupby(word), runs, strict=True)
    )


def _fits(word: str, runs: Sequence[tuple[str, int]]) -> bool:
    """Return whether no run of the word is longer than the run in the text."""
    return all(len(list(run)) <= length for (_, run), (_, length) in zip(groupby(word), runs, strict=True))
