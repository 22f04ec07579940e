"""What a reader does not see: invisible characters, controls, tags, and the direction of letters.

Invisible characters that a script or an emoji needs stay.
"""

from collections.abc import Iterator
from functools import lru_cache

import regex

from worker.moderation.text_views.rules import Edit, replacing

_IGNORABLE = r"\p{Default_Ignorable_Code_Point}"
_JOINING_SCRIPT_NAMES = """
    Arabic Syriac Mandaic Nko Mongolian Phags_Pa Adlam Hanifi_Rohingya Manichaean Psalter_Pahlavi
    Sogdian Devanagari Bengali Gurmukhi Gujarati Oriya Tamil Telugu Kannada Malayalam Sinhala Thai Lao
    Tibetan Myanmar Khmer Limbu New_Tai_Lue Tai_Le Tai_Tham Balinese Javanese Sundanese Batak Lepcha
    Meetei_Mayek Saurashtra Kayah_Li Rejang Cham Tai_Viet Brahmi Kaithi Chakma Sharada Newa Tirhuta
    Grantha Modi Takri
"""
"""Scripts whose letters join or stack, or are written without spaces: there an invisible character can change what
a reader sees. Source: The Unicode Standard, sections 9.2, 12.1, 13.4 and 23.2."""
_JOINING_SCRIPTS = "".join(rf"\p{{Script={script}}}" for script in _JOINING_SCRIPT_NAMES.split())
_EMOJI = r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\u20e3\ufe0f]"
_TAG_FLAG = r"(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f"
_KEPT = rf"""
    (?<={_EMOJI})\u200d(?=\p{{Extended_Pictographic}})
  | (?<=[^\x00-\x7f])(?<=[\p{{Emoji}}\p{{So}}\p{{Sm}}\p{{Po}}\p{{Script=Han}}])[\ufe00-\ufe0f]
  | (?<=[0-9\#*])\ufe0f(?=\u20e3)
  | (?<=\p{{Script=Han}})[\U000e0100-\U000e01ef]
  | (?<=[{_JOINING_SCRIPTS}\u064b-\u0655\u0670])[\u200b\u200c\u200d\u2060\u034f]
  | (?<=\p{{Script=Mongolian}})[\u180b-\u180f]
  | (?<=\p{{Script=Khmer}})[\u17b4\u17b5]
  | (?<=[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff])[\u115f\u1160]
  | [\u115f\u1160](?=[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff])
  | {_TAG_FLAG}
"""
_RIGHT_TO_LEFT = regex.compile(r"[\p{Bidi_Class=R}\p{Bidi_Class=AL}]")
_BIDI_MARK = r"\u200e\u200f\u061c\u202a-\u202c\u2066-\u2069"


def _shown_order(match: regex.Match[str]) -> str:
    """Return the characters of a bidi override in the order in which a reader reads them."""
    if match[1]:
        body = _AGAIN.sub("", match[2])
        is_reversed = len(_RIGHT_TO_LEFT.findall(body)) * 2 <= len(body)
        return _reversed(body) if is_reversed else body
    return _RIGHT_TO_LEFT_RUN.sub(lambda run: _reversed(run[0]), match[4])


def _reversed(text: str) -> str:
    """Return a text backwards, with each mark after its letter."""
    return "".join(reversed(_GRAPHEME.findall(text))) if _JOINED.search(text) else text[::-1]


_GRAPHEME = regex.compile(r"\X")
_JOINED = regex.compile(r"[\p{M}\u200c\u200d\p{Emoji_Modifier}\u1100-\u11ff\r]")
"""What a text has where several code points can be one character for a reader."""
_RIGHT_TO_LEFT_RUN = regex.compile(r"[\p{Bidi_Class=R}\p{Bidi_Class=AL}][^\p{Bidi_Class=L}]*")


def _tags_as_letters(match: regex.Match[str]) -> str:
    """Return tag characters as the ASCII characters that they stand for."""
    if match[1]:
        return match[0]
    return "".join(chr(ord(tag) - 0xE0000) for tag in match[0])


INVISIBLE = rf"{_IGNORABLE}\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufff9-\ufffb"
"""The characters that these steps look at, for a class in a pattern."""
_PART = regex.compile(
    rf"({_KEPT})|([{_BIDI_MARK}]+)|[{INVISIBLE}]",
    regex.VERBOSE,
)
_RUN = regex.compile(rf"[{INVISIBLE}]+")
_CACHED_MAX = 8
_NEEDY = regex.compile(
    rf"[{_JOINING_SCRIPTS}\u064b-\u0655\u0670\p{{Script=Mongolian}}\p{{Script=Khmer}}\p{{Script=Han}}"
    r"\p{Emoji}\p{Extended_Pictographic}\p{So}\p{Sm}\p{Po}\u20e3\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]"
)
"""Characters after which a script or an emoji can need an invisible character."""
_ALWAYS_SEEN = regex.compile(rf"[{_BIDI_MARK}\u115f\u1160]")
"""Invisible characters that can have a meaning after any character."""


@lru_cache(maxsize=4096)
def _is_needy(character: str) -> bool:
    return _NEEDY.match(character) is not None


def _invisible_characters(text: str) -> Iterator[Edit]:
    """Remove what a reader does not see, except what a script or an emoji needs.

    A bidi mark stays in a text with right-to-left letters.
    """
    keeps_marks = None
    for run in _RUN.finditer(text):
        start, end = run.span()
        before = text[start - 1 : start]
        shown = ""
        if _is_needy(before) or _ALWAYS_SEEN.search(text, start, end):
            if keeps_marks is None:
                keeps_marks = _RIGHT_TO_LEFT.search(text) is not None
            keep = _kept if end - start <= _CACHED_MAX else _kept_of_long_run
            shown = keep(before, run[0], text[end : end + 1], keeps_marks=keeps_marks)
        if shown != run[0]:
            yield start, end, shown


def _kept_of_long_run(before: str, run: str, after: str, *, keeps_marks: bool) -> str:
    """Return what stays of invisible characters, between the characters ``before`` and ``after``."""
    kept: list[str] = []
    for part in _PART.finditer(before + run + after, len(before)):
        if part.start() == len(before) + len(run):
            break
        if part[1] or (part[2] and keeps_marks):
            kept.append(part[0])
    return "".join(kept)


_kept = lru_cache(maxsize=4096)(_kept_of_long_run)


_AGAIN = regex.compile("\u202c*\u202e")
"""A right-to-left override that follows another one. Both together are one text from right to left."""
BIDI_OVERRIDES = (
    replacing(
        regex.compile(
            "(\u202e)((?:[^\u202c\u202d\u202e\u2029\n\r]++|\u202c*+\u202e)+)\u202c?"
            "|(\u202d)([^\u202c\u202d\u202e\u2029\n\r]+)\u202c?"
        ),
        _shown_order,
    ),
)
TAG_CHARACTERS = (replacing(regex.compile(rf"({_TAG_FLAG})|[\U000e0020-\U000e007e]+"), _tags_as_letters),)
INVISIBLE_CHARACTERS = (_invisible_characters,)
