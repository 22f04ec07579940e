"""Which tokens of a long text are scored together: overlapping windows. Pure.

Invariants, each held by a property test:

1. A window has at most ``size`` tokens, and there are at most ``windows_max`` windows.
2. A text that fits one window is one window.
3. Neighbouring windows share at least ``overlap`` tokens, except where head and tail meet. So a passage of up to
   ``overlap`` tokens that a border splits is whole in one of the two.
4. If ``windows_max`` windows reach the end of the text, every token is in a window. If not, the windows are at the
   head and at the tail of the text, and the middle is left out.
5. The first window of a long text has exactly ``size`` tokens. It is what the model card scores, so no text gets a
   lower score than there.
6. Any other border is between two graphemes (what a reader sees as a character), if one is near and rule 4 allows.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class Window(NamedTuple):
    """Tokens that are scored together: those from ``start`` to before ``end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowBounds:
    """How a text is divided.

    Attributes:
        size: Tokens of a window, without the special tokens that each window gets. At least 1.
        overlap: Tokens that two neighbours share. Less than ``size``.
        windows_max: Largest number of windows of a text. At least 1.
    """

    size: int
    overlap: int
    windows_max: int

    @property
    def tokens_max(self) -> int:
        """Tokens of the longest text that all windows cover."""
        return self.size + (self.windows_max - 1) * (self.size - self.overlap)


def windows(tokens: int, bounds: WindowBounds, borders: Sequence[int] = ()) -> list[Window]:
    """Return the windows of a text, in order.

    Args:
        tokens: Number of the text's tokens, without special tokens.
        bounds: How a text is divided.
        borders: Ascending places between tokens that are also between graphemes: place ``n`` is in front of token
            ``n``. Empty when every place is one.
    """
    if tokens <= bounds.size:
        return [Window(0, tokens)]
    if bounds.windows_max == 1:
        return [Window(0, bounds.size)]
    from_head = _forward(tokens, bounds, borders)
    if from_head[-1].end == tokens:
        return from_head
    if tokens <= bounds.tokens_max:
        return _forward(tokens, bounds, ())
    tail_windows = bounds.windows_max // 2
    tail = _backward(tokens, tail_windows, bounds, borders)
    return from_head[: bounds.windows_max - tail_windows] + tail


def head_and_tail(
    head: tuple[int, Sequence[int]], tail: tuple[int, Sequence[int]], bounds: WindowBounds
) -> list[list[Window]]:
    """Return the windows of the head and of the tail of a text whose middle is not tokenised.

    Half of the windows are for the tail. A part that needs fewer windows leaves the others to the other part.

    Args:
        head: Number of the head's tokens, and its borders as in ``windows``.
        tail: The same of the tail.
        bounds: How a text is divided. ``windows_max`` is for both parts together.
    """
    of_head, of_tail = _from_head(*head, bounds), _from_tail(*tail, bounds)
    for_tail = min(len(of_tail), max(bounds.windows_max // 2, bounds.windows_max - len(of_head)))
    return [of_head[: bounds.windows_max - for_tail], of_tail[len(of_tail) - for_tail :]]


def _from_head(tokens: int, borders: Sequence[int], bounds: WindowBounds) -> list[Window]:
    if tokens <= bounds.size:
        return [Window(0, tokens)] if tokens else []
    return _forward(tokens, bounds, borders)


def _from_tail(tokens: int, borders: Sequence[int], bounds: WindowBounds) -> list[Window]:
    if tokens <= bounds.size:
        return [Window(0, tokens)] if tokens else []
    return _backward(tokens, bounds.windows_max, bounds, borders)


def covers_all(found: Sequence[Window], tokens: int) -> bool:
    """Return whether every token is in a window."""
    return found[-1].end == tokens and all(later.start <= earlier.end for earlier, later in pairwise(found))


def _forward(tokens: int, bounds: WindowBounds, borders: Sequence[int]) -> list[Window]:
    found = [Window(0, bounds.size)]
    start = _back(bounds.size - bounds.overlap, bounds, borders)
    while len(found) < bounds.windows_max:
        if tokens - start <= bounds.size:
            return [*found, Window(start, tokens)]
        end = _back(start + bounds.size, bounds, borders)
        found.append(Window(start, end))
        start = max(_back(end - bounds.overlap, bounds, borders), start + 1)
    return found


def _backward(tokens: int, count: int, bounds: WindowBounds, borders: Sequence[int]) -> list[Window]:
    found: list[Window] = []
    end = tokens
    while len(found) < count:
        start = _ahead(end - bounds.size, bounds, borders) if end > bounds.size else 0
        found.append(Window(start, end))
        if not start:
            break
        end = min(_ahead(start + bounds.overlap, bounds, borders), end - 1)
    return found[::-1]


def _back(place: int, bounds: WindowBounds, borders: Sequence[int]) -> int:
    """Return the last border at or before a place; the place itself if the overlap has none."""
    index = bisect_right(borders, place) - 1
    return borders[index] if index >= 0 and place - borders[index] <= _reach(bounds) else place


def _ahead(place: int, bounds: WindowBounds, borders: Sequence[int]) -> int:
    """Return the first border at or after a place; the place itself if the overlap has none."""
    index = bisect_left(borders, place)
    return borders[index] if index < len(borders) and borders[index] - place <= _reach(bounds) else place


def _reach(bounds: WindowBounds) -> int:
    """Return how far a border is looked for: moving by more would use up the window."""
    return min(bounds.overlap, (bounds.size - bounds.overlap) // 3)


def grapheme_borders(offsets: Sequence[int], graphemes: Sequence[int]) -> list[int]:
    """Return the places between tokens that are also between graphemes.

    Args:
        offsets: ``[N]`` for each token, the character that it begins in. Several tokens can begin in one character.
        graphemes: Ascending offsets at which graphemes begin.
    """
    starts = set(graphemes)
    return [
        place
        for place, offset in enumerate(offsets)
        if offset in starts and (place == 0 or offsets[place - 1] != offset)
    ]
