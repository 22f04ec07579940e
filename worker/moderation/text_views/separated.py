"""Words with signs between their letters: markup inside words, and separated letters."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import regex

from worker.moderation.text_views.rules import Edit, Rule, replacing
from worker.moderation.text_views.vocabulary import Vocabulary

NOT_LINKS = r"(?:https?://|www\.)\S+(*SKIP)(*FAIL)"
"""The first alternative of a pattern that must not match inside a link."""

SIGNS_INSIDE_WORDS = (
    replacing(
        regex.compile(
            rf"{NOT_LINKS}|(?<=[\p{{Lu}}\p{{Ll}}\p{{Lt}}])(?:\*\*|__|~~|\|\||`{{1,3}}|</?[A-Za-z]{{1,10}}>|<!--[^<>]{{0,40}}-->"
            r"|&(?:shy|zwj|zwnj|#\d{2,7}|#x[0-9A-Fa-f]{2,6});|\[/?[A-Za-z]{1,10}\])++(?=\p{L})"
        ),
        "",
    ),
)
"""Marks of emphasis and tags between two letters."""

_PART = r"[\p{Lu}\p{Ll}0-9@$!]"
_BEGIN = r"(?<![\p{L}\p{N}\p{M}@$])[\p{Lu}\p{Ll}0-9@$]"
_END = r"(?![\p{L}\p{N}\p{M}@$])"
_NEXT_WORD = rf"{_PART}(?: {{1,2}}|\n){_PART}"
"""Letters with a smaller gap: there a large gap is the space between two words."""
_SEPARATED = regex.compile(
    rf"{NOT_LINKS}|{_BEGIN}(?P<gap>[.\-_*~]{{1,2}}){_PART}(?:(?P=gap){_PART})*{_END}"
    rf"|(?<![\p{{L}}.\-_*~]\p{{L}}[.\-_*~]){_BEGIN}(?P<gap> {{1,2}}| ?\r?\n){_PART}(?:(?P=gap){_PART})*{_END}"
    r"(?![.\-_*~]\p{L}[\p{L}.\-_*~])"
    rf"|{_BEGIN}(?P<gap> {{3}}|(?:\r?\n){{2}})(?!{_NEXT_WORD}){_PART}(?:(?P=gap)(?!{_NEXT_WORD}){_PART})*{_END}"
)
_WIDE = {" ": regex.compile(" {2,}"), "\n": regex.compile("\n{2,}")}
"""Between words whose letters have a space or a line end between them: several of these."""
_ODD_SPACES = r"\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_WITH_ODD_SPACES = regex.compile(rf"{_BEGIN}(?:[ {_ODD_SPACES}]{{1,2}}{_PART}){{2,}}{_END}")
_ODD_SPACE = regex.compile(f"[{_ODD_SPACES}]")
_ODD_SIGN = r"[^\p{L}\p{N}\p{M}\s@$!]"
_ODD_GAP = rf"(?:(?:{_ODD_SIGN}\ufe0f?){{1,2}}|{_ODD_SIGN}{{3}})"
"""One or two signs, or three without a variation selector, which an emoji can have."""
_ODDLY_SEPARATED = regex.compile(
    rf"{NOT_LINKS}|(?<![\p{{L}}\p{{N}}\p{{M}}@$]|[\p{{L}}\p{{N}}\p{{M}}@$]{_ODD_GAP})"
    rf"[\p{{Lu}}\p{{Ll}}0-9@$](?:{_ODD_GAP}{_PART}){{2,}}{_END}"
)
_WIDELY_SEPARATED = regex.compile(
    rf"{NOT_LINKS}|{_BEGIN}(?P<gap>\s?{_ODD_SIGN}\ufe0f?\s){_PART}(?:(?P=gap){_PART})+{_END}"
)
"""The same sign with a space after it, between all letters."""
_NO_PART = regex.compile(r"[^\p{L}\p{M}0-9@$!]+|\ufe0f")
_WORD_SEPARATED_MIN = 3
_SEPARATED_MIN = 5
"""Characters of the shortest separated word: three letters and two gaps."""
_LINES_DIVIDED_MIN = 8
"""Letters on lines of their own that can be several words: fewer letters must be a known word."""
_SEPARATED_WORDS_MIN = 2
WORDS_COUNTED_MAX = 300
"""Separated words that are looked at to learn how a text separates letters."""
DIVIDED_LETTERS_MAX = 2000
"""Letters of a text that are divided into words. Dividing takes 20 look-ups for each letter."""


class _Separated(NamedTuple):
    """Letters with the same gap between them.

    Attributes:
        start: Offset of the first letter.
        end: Offset after the last letter.
        gap: What is between two letters.
        word: The letters.
        is_word: Whether the letters can be a word.
    """

    start: int
    end: int
    gap: str
    word: str
    is_word: bool


def separated_letters(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rules that join single letters with gaps between them.

    At least three letters with the same gap are joined. Where two words of a text are written so, pairs of letters
    are joined too. A single word without visible ends is divided into known words. Letters with other or with
    different signs between them are joined only to a known word of at least four letters.
    """

    def joined(text: str) -> Iterator[Edit]:
        matches = [*_SEPARATED.finditer(text)]
        if all(match.end() - match.start() < _SEPARATED_MIN for match in matches):
            return
        found = [_separated(match) for match in matches]
        gaps = _gaps(found, vocabulary)
        yield from _in_order(
            _joined(found, gaps, vocabulary),
            [
                (match.start(), match.end(), " ")
                for gap in (" ", "\n")
                if gap in gaps
                for match in _WIDE[gap].finditer(text)
            ],
        )

    def oddly_joined(text: str, separated: regex.Pattern[str]) -> Iterator[Edit]:
        words = [(match, _NO_PART.sub("", match[0])) for match in separated.finditer(text)]
        known = [(match, word) for match, word in words if word.isalpha() and vocabulary.is_known(word)]
        letters_min = _WORD_SEPARATED_MIN if len(known) >= _SEPARATED_WORDS_MIN else _WORD_SEPARATED_MIN + 1
        yield from ((match.start(), match.end(), word) for match, word in known if len(word) >= letters_min)

    odd, wide = (partial(oddly_joined, separated=one) for one in (_ODDLY_SEPARATED, _WIDELY_SEPARATED))
    return (_plain_spaces, joined, odd, wide)


def _with_plain_spaces(match: regex.Match[str]) -> str:
    return _ODD_SPACE.sub(" ", match[0]) if any(map(str.isalpha, match[0])) else match[0]  # not in ``1\t2\t3``


_plain_spaces = replacing(_WITH_ODD_SPACES, _with_plain_spaces)
"""Writes tabs, no-break spaces and thin spaces between single letters as spaces."""


def _separated(match: regex.Match[str]) -> _Separated:
    word = _NO_PART.sub("", match[0])
    return _Separated(match.start(), match.end(), match["gap"], word, _is_word(word))


def _gaps(found: Sequence[_Separated], vocabulary: Vocabulary) -> frozenset[str]:
    """Return the gaps between the letters of at least two words: known words, or words of at least four letters."""
    counts: dict[str, int] = {}
    for one in islice((one for one in found if one.is_word), WORDS_COUNTED_MAX):
        if len(one.word) > _WORD_SEPARATED_MIN or vocabulary.is_known(one.word):
            counts[one.gap] = counts.get(one.gap, 0) + 1
    return frozenset(gap for gap, words in counts.items() if words >= _SEPARATED_WORDS_MIN)


def _is_word(word: str) -> bool:
    """Return whether joined letters can be a word: at least three, not all the same, and few digits."""
    if len(word) < _WORD_SEPARATED_MIN or word.count(word[0]) == len(word):
        return False
    if word.isalpha():
        return True
    letters, digits = sum(map(str.isalpha, word)), sum(map(str.isdigit, word))
    return letters * 2 >= len(word) and digits * 3 <= len(word)


def _joined(found: Iterable[_Separated], gaps: frozenset[str], vocabulary: Vocabulary) -> Iterator[Edit]:
    letters_left = DIVIDED_LETTERS_MAX
    for start, end, gap, word, is_word in found:
        if gap in gaps:
            if any(map(str.isalpha, word)):
                yield start, end, word
        elif is_word and ("\n" not in gap or len(word) >= _LINES_DIVIDED_MIN):
            is_divided = len(word) <= letters_left and not vocabulary.is_known(word)
            if is_divided:
                letters_left -= len(word)
            yield start, end, _one_word(word, vocabulary, gap=gap) if is_divided else word
        elif is_word and len(word) > _WORD_SEPARATED_MIN and vocabulary.is_known(word):
            yield start, end, word


def _in_order(edits: Iterable[Edit], more: Sequence[Edit]) -> Iterable[Edit]:
    """Return edits of two kinds, which do not overlap, in the order of the text."""
    return sorted([*edits, *more]) if more else edits


def _one_word(word: str, vocabulary: Vocabulary, *, gap: str) -> str:
    """Return the letters of an unknown separated word, divided into known words if they are several."""
    if len(word) == _WORD_SEPARATED_MIN and gap.isspace():
        return gap.join(word)  # ``A y B``
    words = vocabulary.divided(word.lower())
    if words is None or len(words) * 2 > len(word):
        return word
    ends = [sum(map(len, words[: place + 1])) for place in range(len(words))]
    return " ".join(word[end - len(part) : end] for end, part in zip(ends, words, strict=True))
