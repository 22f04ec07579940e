"""Make the rows of a text that the model scores: the text as received, what a reader sees, windows of long texts.

Most texts are one row: they fit the model, and a reader sees what was received. Such a row is exactly what the
model card scores. A long text begins with that row too, so no text gets a lower score than the card gives it.

Work is bounded by ``characters_max``. A long text is first cut to ``CHARACTERS_PER_TOKEN`` characters for each
token that can be scored. Only if these do not fill the windows, more of the text is tokenised. A cut leaves out the
middle. The head and the tail are tokenised apart, so no token and no window joins words that are far from each
other.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import regex

from worker.moderation.text_views import PlainText, TracedText
from worker.moderation.text_windows import (
    Window,
    WindowBounds,
    covers_all,
    grapheme_borders,
    head_and_tail,
    windows,
)
from worker.scores import Passage

RAW, PLAIN = "raw", "plain"
CHARACTERS_PER_TOKEN = 8
"""``N`` tokens are first looked for in ``8 * N`` characters. Twitch chat has 2.2 characters a token (Qwen2)."""


class TokenizedText(Protocol):
    """A text as token ids."""

    @property
    def tokens(self) -> Sequence[int]:
        """Token ids, including special tokens; at most as many as the model's bound."""

    @property
    def truncated(self) -> bool:
        """Whether the bound shortened the text."""


Encode = Callable[[Sequence[str]], Sequence[TokenizedText]]
"""The tokenizer: texts to token ids, one result for each text, in order."""


class TokensInText(Protocol):
    """All tokens of a text, without special tokens."""

    @property
    def ids(self) -> Sequence[int]:
        """``[N]`` token ids."""

    @property
    def starts(self) -> Sequence[int]:
        """``[N]`` for each token, the offset of its first character."""

    @property
    def ends(self) -> Sequence[int]:
        """``[N]`` for each token, the offset after its last character."""


class LongTexts(Protocol):
    """The tokenizer, for texts that are divided into windows."""

    @property
    def room(self) -> int:
        """Tokens that a window has, without the special tokens."""

    @property
    def keeps_first_tokens(self) -> bool:
        """Whether the model's bound keeps the first tokens of a text; otherwise the last ones."""

    def word_pieces(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return the words and the endings of the vocabulary."""

    def tokens_in(self, text: str) -> TokensInText:
        """Return all tokens of a text, with their places."""

    def framed(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens of a window with the special tokens that the model needs."""


class TextRows(NamedTuple):
    """A text of several rows.

    Attributes:
        tokens: Token ids of the first row, including special tokens.
        truncated: Whether a part of the text is in no row.
        further_rows: Token ids of the other rows.
        passages: Where each row comes from, the first one included.
    """

    tokens: Sequence[int]
    truncated: bool
    further_rows: Sequence[Sequence[int]]
    passages: Sequence[Passage]


_GRAPHEME = regex.compile(r"\X")


class _Row(NamedTuple):
    tokens: Sequence[int]
    passage: Passage


class _Part(NamedTuple):
    """A part of a text that is tokenised on its own, so that no token and no window crosses its borders.

    Attributes:
        text: The part.
        start: Offset of its first character in the whole text.
    """

    text: str
    start: int


def _parts(text: str, characters_max: int) -> list[_Part]:
    """Return the whole text, or the head and the tail of a text with more characters."""
    if len(text) <= characters_max:
        return [_Part(text, 0)]
    head, tail = (characters_max + 1) // 2, len(text) - characters_max // 2
    return [_Part(text[:head], 0), _Part(text[tail:], tail)]


def _passage(view: str, part: _Part, shown: TracedText, tokens: TokensInText, window: Window) -> Passage:
    """Return where a window of a part is in the whole text."""
    start, end = shown.origin(tokens.starts[window.start], tokens.ends[window.end - 1])
    return Passage(view, part.start + start, part.start + end)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEncoder:
    """Encodes texts as rows. Only one thread at a time may use it.

    Attributes:
        encode_first_rows: The tokenizer. It cuts a text to the model's bound, which gives the first row of a view.
        long_texts: The same tokenizer, for texts that are divided into windows.
        plain_text: What makes the plain view; None when only the text as received is scored.
        overlap: Tokens that two neighbouring windows share.
        windows_max: Largest number of windows of a view. 1: only what the model card scores.
        characters_max: Characters of a text that are tokenised at most.
    """

    encode_first_rows: Encode
    long_texts: LongTexts
    plain_text: PlainText | None
    overlap: int
    windows_max: int
    characters_max: int

    def encode(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Return each text as one row, or as ``TextRows`` where it has several, in order."""
        views = self._plain_views(texts)
        characters_max = self.characters_max
        are_cut = max(map(len, texts), default=0) > characters_max
        beginnings = [text[:characters_max] for text in texts] if are_cut else texts
        # One call for all rows: most of the tokenizer's costs are those of a call.
        encoded = self.encode_first_rows([*beginnings, *views.values()] if views else beginnings)
        found = list(encoded[: len(texts)])
        long = [
            index
            for index, first_row in enumerate(found)
            if first_row.truncated or (are_cut and len(texts[index]) > characters_max)
        ]
        for index, shown in zip(views, encoded[len(texts) :], strict=True):
            found[index] = self._rows(texts[index], found[index], shown)
        for index in long:
            if index not in views:
                found[index] = self._rows(texts[index], found[index], None)
        return found

    def _plain_views(self, texts: Sequence[str]) -> dict[int, str]:
        """Return plain views by the number of their text: none that is the text, or blank, or of a long text."""
        if self.plain_text is None:
            return {}
        longest = self._first_characters
        if max(map(len, texts), default=0) > longest:
            texts = [text if len(text) <= longest else "" for text in texts]
        return {
            index: view
            for index, view in self.plain_text.changed(texts).items()
            if view != texts[index] and view.strip()
        }

    def _is_long(self, text: str, first_row: TokenizedText) -> bool:
        return first_row.truncated or len(text) > self.characters_max

    def _rows(self, text: str, first_row: TokenizedText, shown: TokenizedText | None) -> TokenizedText:
        """Return the rows of a text that is long or has a plain view of its own.

        Args:
            text: The text as received.
            first_row: Its first row.
            shown: The first row of the plain view; None when no plain view was made.
        """
        whole = Passage(RAW, 0, len(text))
        if shown is not None and not shown.truncated and not self._is_long(text, first_row):
            if [*shown.tokens] == [*first_row.tokens]:
                return first_row
            both = (whole, Passage(PLAIN, 0, len(text)))
            return TextRows(first_row.tokens, False, [array("I", shown.tokens)], both)  # noqa: FBT003 - keywords take three times as long
        rows, is_cut = [_Row(first_row.tokens, whole)], False
        if self._is_long(text, first_row):
            rows, is_cut = self._raw_windows(text, first_row)
        if shown is not None and not shown.truncated:
            rows.append(_Row(shown.tokens, Passage(PLAIN, 0, len(text))))
        elif self.plain_text is not None and (shown is not None or len(text) > self._first_characters):
            plain_rows, is_plain_cut = self._windows(text, PLAIN)
            rows += plain_rows
            is_cut |= is_plain_cut
        # A view often changes one window, and the other rows are equal.
        different: dict[tuple[int, ...], _Row] = {}
        for row in rows:
            different.setdefault(tuple(row.tokens), row)
        rows = [*different.values()]
        if len(rows) == 1 and is_cut == first_row.truncated:
            return first_row
        return TextRows(
            first_row.tokens,
            is_cut,
            # An array takes a ninth of a list's memory, and a long text has thousands of tokens.
            [array("I", row.tokens) for row in rows[1:]],
            [row.passage for row in rows] if len(rows) > 1 else (),
        )

    def _raw_windows(self, text: str, first_row: TokenizedText) -> tuple[list[_Row], bool]:
        """Return the windows of the text as received. The first row is the one that the model card scores."""
        rows, is_cut = self._windows(text, RAW)
        if not first_row.truncated:  # more than characters_max characters, in few tokens
            first = _Row(first_row.tokens, Passage(RAW, 0, self.characters_max))
            return [first, *rows[max(0, len(rows) - self.windows_max + 1) :]], True
        place = 0 if self.long_texts.keeps_first_tokens else -1
        rows[place] = rows[place]._replace(tokens=first_row.tokens)
        return (rows, is_cut) if place == 0 else ([rows[-1], *rows[:-1]], is_cut)

    def _windows(self, text: str, view: str) -> tuple[list[_Row], bool]:
        """Return the windows of a view, and whether a part of the text is in none.

        There is no window if the plain view is the text as received.
        """
        for characters in (self._first_characters, self.characters_max):
            parts = _parts(text, characters)
            shown = [self._shown(part.text, view) for part in parts]
            if view == PLAIN and all(
                view_of.text == part.text or not view_of.text.strip()
                for view_of, part in zip(shown, parts, strict=True)
            ):
                return [], False
            tokens = [self.long_texts.tokens_in(one.text) for one in shown]
            if len(parts) == 1 or sum(len(one.ids) for one in tokens) >= self._bounds.tokens_max:
                break
        if not any(of.ids for of in tokens):
            return [], False
        found = self._found(shown, tokens)
        is_cut = len(parts) > 1 or not covers_all(found[0], len(tokens[0].ids))
        rows = [
            _Row(self.long_texts.framed(of.ids[one.start : one.end]), _passage(view, part, view_of, of, one))
            for part, view_of, of, those in zip(parts, shown, tokens, found, strict=True)
            for one in those
        ]
        return rows, is_cut

    def _found(self, shown: Sequence[TracedText], tokens: Sequence[TokensInText]) -> list[list[Window]]:
        """Return the windows of each part: of the whole text, or of its head and its tail."""
        borders = [
            grapheme_borders(of.starts, [found.start() for found in _GRAPHEME.finditer(one.text)])
            for one, of in zip(shown, tokens, strict=True)
        ]
        numbers = [len(one.ids) for one in tokens]
        if len(numbers) == 1:
            return [windows(numbers[0], self._bounds, borders[0])]
        return head_and_tail((numbers[0], borders[0]), (numbers[1], borders[1]), self._bounds)

    def _shown(self, text: str, view: str) -> TracedText:
        if view == RAW or self.plain_text is None:
            return TracedText.of(text)
        return self.plain_text.traced(text)

    @property
    def _bounds(self) -> WindowBounds:
        return WindowBounds(size=self.long_texts.room, overlap=self.overlap, windows_max=self.windows_max)

    @property
    def _first_characters(self) -> int:
        return min(CHARACTERS_PER_TOKEN * self._bounds.tokens_max, self.characters_max)


def first_rows_only(encode: Encode, characters_max: int) -> Encode:
    """Return the tokenizer that makes one row of each text: what the model card scores.

    Args:
        encode: The tokenizer.
        characters_max: Characters to tokenise. The cost of tokenising grows with the whole length, and the model's
            bound would cut the tokens in any case.
    """

    def encode_first_rows(texts: Sequence[str]) -> Sequence[TokenizedText]:
        encoded = encode([text[:characters_max] for text in texts])
        return [
            one
            if len(text) <= characters_max
            else TextRows(one.tokens, truncated=True, further_rows=(), passages=())
            for text, one in zip(texts, encoded, strict=True)
        ]

    return encode_first_rows
