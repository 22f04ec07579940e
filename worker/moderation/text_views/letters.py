"""Letters in disguise: compatibility forms, enclosed letters, and stacked marks.

The Unicode data is that of ``unicodedata2``, which follows Unicode's releases; Python's own is years older.
"""

from collections.abc import Iterator
from functools import lru_cache

import regex
import unicodedata2

from worker.moderation.text_views.rules import Edit, begins_sentence, replacing

_ORDINARY = frozenset("\u00aa\u00ba\u00b5\u2126\u212a\u212b")
"""Forms that ordinary text has: the Spanish ordinals, the micro sign, and units that NFC replaces."""
_FORMS = {"<font>", "<wide>", "<narrow>", "<super>", "<sub>", "<isolated>", "<initial>", "<medial>", "<final>"}
_LATIN = regex.compile(r"[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}0-9]+")
_ARABIC = regex.compile(r"\p{Script=Arabic}{1,3}")


@lru_cache(maxsize=4096)
def _form(character: str) -> str:
    """Return the letters or the digit that a compatibility form shows, or the character itself."""
    form = unicodedata2.decomposition(character).split(" ", 1)[0]
    category = unicodedata2.category(character)
    is_letter = category[0] == "L" or category == "Nd" or (category == "So" and form == "<font>")
    if character in _ORDINARY or not is_letter or not (form in _FORMS or "\ufb00" <= character <= "\ufb06"):
        return character
    shown = unicodedata2.normalize("NFKC", character)
    return shown if _LATIN.fullmatch(shown) or _ARABIC.fullmatch(shown) else character


def _forms(match: regex.Match[str]) -> str:
    """Return letters and digits that compatibility forms show; an emoji that is a letter loses its style."""
    shown = "".join(map(_form, match[0]))
    return shown if shown == match[0] else shown.replace("\ufe0f", "")


_CJK = (
    r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Bopomofo}"
    r"\u3001-\u303f\u30fb\u30fc]"
)
_HAS_CJK = regex.compile(_CJK)


def _full_width(text: str) -> Iterator[Edit]:
    """Write full-width Latin letters, digits and signs as ASCII.

    Chinese, Japanese and Korean text has full-width letters, digits and signs of its own. There only words of at
    least two different small letters change, and only if no Chinese, Japanese or Korean letter touches them.
    """
    has_cjk = None
    for match in _WIDE_RUN.finditer(text):
        start, end = match.span()
        shown = match[0].translate(_ASCII)
        if has_cjk is None:
            has_cjk = _HAS_CJK.search(text) is not None
        if has_cjk:
            touches = _HAS_CJK.match(text, start - 1) if start else None
            if touches or _HAS_CJK.match(text, end) or len(set(filter(str.islower, shown))) < _SMALL_LETTERS_MIN:
                continue
        yield start, end, shown


_WIDE_RUN = regex.compile(r"[\uff01-\uff5e\u3000]*[\uff01-\uff5e]\u3000*")
_SMALL_LETTERS_MIN = 2
"""Japanese writes laughter as rows of one full-width letter."""
_ASCII = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}

_LETTER_NAME = regex.compile(r"(?:LATIN (CAPITAL|SMALL) LETTER|REGIONAL INDICATOR SYMBOL LETTER) ([A-Z])$")
_ENCLOSED = "\u249c-\u24e9\U0001f110-\U0001f12b\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189"
_REGIONAL = "\U0001f1e6-\U0001f1ff"


@lru_cache(maxsize=512)
def _enclosed_letter(character: str) -> str:
    """Return the letter that is enclosed; in lower case where the alphabet has only capitals."""
    found = _LETTER_NAME.search(unicodedata2.name(character, ""))
    if found is None:
        return ""  # a variation selector, or a space between enclosed letters
    has_case = "\u249c" <= character <= "\u24e9"
    return found[2] if has_case and found[1] == "CAPITAL" else found[2].lower()


@lru_cache(maxsize=4096)
def _letters_of(run: str) -> str:
    return "".join(map(_enclosed_letter, run))


def _letters(text: str, start: int, run: str) -> str:
    """Return enclosed letters as letters; where an alphabet has only capitals, in small letters after the first."""
    letters = _letters_of(run) if len(run) <= _CACHED_MAX else "".join(map(_enclosed_letter, run))
    if "\u249c" <= run[0] <= "\u24e9":
        return letters
    if letters == "i" or begins_sentence(text, start):
        return letters[:1].upper() + letters[1:]
    return letters


_CACHED_MAX = 40
_WORD_MIN = 3
"""Enclosed letters of a word. One or two can be a sign or an emoji."""
_ENCLOSED_WORD = regex.compile(rf"(?:[{_ENCLOSED}]\ufe0f?){{{_WORD_MIN},}}")


def _enclosed(text: str) -> Iterator[Edit]:
    """Write enclosed letters as letters; one or two alone only in a text with a longer enclosed word."""
    has_word = None
    for match in _ENCLOSED_LETTERS.finditer(text):
        letters = _letters(text, match.start(), match[0])
        if len(letters) < _WORD_MIN and not match["touches"]:
            if has_word is None:
                has_word = _ENCLOSED_WORD.search(text) is not None
            if not has_word:
                continue
        yield match.start(), match.end(), letters


_FLAG_NAMES = """
    AC AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CP CQ CR CU CV CW CX CY CZ DE DG DJ DK DM DO DZ
    EA EC EE EG EH ER ES ET EU FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW
    GY HK HM HN HR HT HU IC ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ
    LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY
    MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU
    RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TA TC TD TF TG TH TJ TK TL TM TN
    TO TR TT TV TW TZ UA UG UM UN US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
"""The flags of regions. Source: emoji-sequences.txt of Unicode 17, RGI_Emoji_Flag_Sequence."""
FLAGS = frozenset(_FLAG_NAMES.split())


def _regional(text: str) -> Iterator[Edit]:
    """Write regional indicators as letters, unless they are flags."""
    for match in _REGIONAL_LETTERS.finditer(text):
        run = match[0]
        if match["wide"]:
            yield match.start(), match.end(), " "
        elif not (_are_flags(run) if len(run) <= _CACHED_MAX else _are_flags_of_long_run(run)):
            yield match.start(), match.end(), _letters(text, match.start(), run)


def _are_flags_of_long_run(run: str) -> bool:
    letters = "".join(map(_enclosed_letter, run)).upper()
    return " " not in run and all(letters[place : place + 2] in FLAGS for place in range(0, len(letters), 2))


_are_flags = lru_cache(maxsize=4096)(_are_flags_of_long_run)


_REGIONAL_LETTERS = regex.compile(
    rf"[{_REGIONAL}](?: [{_REGIONAL}])+(?![{_REGIONAL}])|[{_REGIONAL}]+"
    rf"|(?<=[{_REGIONAL}][,;:.!?\"')]{{0,2}})(?P<wide> {{2,}})(?=[{_REGIONAL}])"
)


STACKING = r"\u0300-\u034e\u0350-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f\u0483-\u0489"
"""Marks that belong to no script. Hebrew, Arabic, Indic and Thai marks have other blocks, and are not here."""


_HIGH_STACK = regex.compile(rf"[{STACKING}]{{3}}")


def _stacks(text: str) -> Iterator[Edit]:
    """Remove all marks in a text with a stack of more than two."""
    if _HIGH_STACK.search(text):
        yield from _all_marks(text)


_MARKS = regex.compile(rf"[{STACKING}]+")
_all_marks = replacing(_MARKS, "")


def _without_rare_marks(word: str) -> str:
    """Remove the marks of a word in which half of the letters, and at least two, have marks that are rare there.

    A mark is rare on a letter when Unicode has no composed letter for both. Languages have some such letters.
    """
    composed = unicodedata2.normalize("NFC", word)
    rare = len(_MARKS.findall(composed))
    letters = sum(map(str.isalpha, composed)) if rare > 1 else 0
    return _MARKS.sub("", composed) if rare > 1 and rare * 2 >= letters else word


_without_rare_marks_cached = lru_cache(maxsize=4096)(_without_rare_marks)


def _rare_marks_removed(match: regex.Match[str]) -> str:
    word = match[0]
    return _without_rare_marks(word) if len(word) > _CACHED_MAX else _without_rare_marks_cached(word)


_FULL_WIDTH = "\uff01-\uff5e"
COMPATIBLE = (
    _FULL_WIDTH + "\u017f\u02b0-\u02b8\u02e0-\u02e4\u1d2c-\u1dbf\u2070-\u209c\u2102-\u213f\u2145-\u2149\u2c7c\u2c7d"
    "\ua69c\ua69d\ua770\ua7f2-\ua7f4\ua7f8\ua7f9\uab5c-\uab5f\ufb00-\ufb06\ufb50-\ufbff\ufe80-\ufefc"
    "\U00010780-\U000107ba\U0001ccd6-\U0001ccf9\U0001d400-\U0001d7ff\U0001e030-\U0001e06d"
    "\U0001ee00-\U0001eeff"
)
"""Where compatibility forms of letters and digits are."""
ENCLOSED = _ENCLOSED + _REGIONAL
"""Enclosed letters and regional indicators, for a class in a pattern."""

COMPATIBILITY_FORMS = (
    _full_width,
    replacing(
        regex.compile(f"(?:[{COMPATIBLE.removeprefix(_FULL_WIDTH)}]\\ufe0f?)+"),
        _forms,
    ),
)
_ENCLOSED_LETTERS = regex.compile(
    rf"[{_ENCLOSED}](?: [{_ENCLOSED}]){{2,}}(?![{_ENCLOSED}])"
    rf"|(?P<touches>(?<=\p{{L}})(?:[{_ENCLOSED}]\ufe0f?)+|(?:[{_ENCLOSED}]\ufe0f?)++(?=\p{{L}}))"
    rf"|(?:[{_ENCLOSED}]\ufe0f?)+"
)
ENCLOSED_LETTERS = (_enclosed, _regional)
STACKED_MARKS = (
    _stacks,
    replacing(
        regex.compile(r"(?<=\p{Script=Latin})[\u0334-\u0338\u20d2\u20d3\u20d8-\u20da\u20e5\u20e6\u0488\u0489]"),
        "",
    ),
    replacing(regex.compile(r"(?:(?<=\p{L}[0-9])|(?<=[0-9])(?=\ufe0f?\u20e3\p{L}))\ufe0f?\u20e3"), ""),
    replacing(
        regex.compile(rf"(?<!\p{{L}})\p{{L}}++[{STACKING}][\p{{L}}{STACKING}]*"),
        _rare_marks_removed,
    ),
)
