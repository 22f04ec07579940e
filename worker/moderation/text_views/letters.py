"""Letters in disguise: compatibility forms, enclosed letters, and stacked marks.

The Unicode data is that of ``unicodedata2``, which follows Unicode's releases; Python's own is years older.
"""

from functools import lru_cache

import regex
import unicodedata2

from worker.moderation.text_views.rules import Rule, begins_sentence

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
    return "".join(map(_form, match[0]))


_CJK = (
    r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Bopomofo}"
    r"\u3001-\u303f\u30fb\u30fc]"
)
_HAS_CJK = regex.compile(_CJK)


@lru_cache(maxsize=1)
def _has_cjk(text: str) -> bool:
    return _HAS_CJK.search(text) is not None


def _narrow(match: regex.Match[str]) -> str:
    """Return full-width Latin letters, digits and signs as ASCII.

    Chinese, Japanese and Korean text has full-width letters, digits and signs of its own. There only words of at
    least two small letters change.
    """
    shown = match[0].translate(_ASCII)
    if not _has_cjk(match.string):
        return shown
    return shown if sum(letter.islower() for letter in shown) > 1 else match[0]


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


def _letters(match: regex.Match[str]) -> str:
    """Return enclosed letters as letters; where an alphabet has only capitals, in small letters after the first."""
    letters = "".join(map(_enclosed_letter, match[0]))
    if "\u249c" <= match[0][0] <= "\u24e9":
        return letters
    if letters == "i" or begins_sentence(match.string, match.start()):
        return letters[:1].upper() + letters[1:]
    return letters


@lru_cache(maxsize=1)
def _has_enclosed_word(text: str) -> bool:
    return _ENCLOSED_WORD.search(text) is not None


_WORD_MIN = 3
"""Enclosed letters of a word. One or two can be a sign or an emoji."""
_ENCLOSED_WORD = regex.compile(rf"(?:[{_ENCLOSED}]\ufe0f?){{{_WORD_MIN},}}")


def _enclosed(match: regex.Match[str]) -> str:
    """Return enclosed letters as letters; one or two alone only in a text with a longer enclosed word."""
    letters = _letters(match)
    return (
        letters if len(letters) >= _WORD_MIN or match["touches"] or _has_enclosed_word(match.string) else match[0]
    )


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


def _regional(match: regex.Match[str]) -> str:
    """Return regional indicators as letters, unless they are flags."""
    if match["wide"]:
        return " "
    letters = _letters(match)
    flags = all(letters[place : place + 2].upper() in FLAGS for place in range(0, len(letters), 2))
    return match[0] if flags and " " not in match[0] else letters


STACKING = r"\u0300-\u034e\u0350-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f\u0483-\u0489"
"""Marks that belong to no script. Hebrew, Arabic, Indic and Thai marks have other blocks, and are not here."""
_LETTER_WITH_MARKS = rf"[\p{{L}}--[\u0300-\u036f]][{STACKING}]*"


@lru_cache(maxsize=1)
def _has_high_stack(text: str) -> bool:
    return _HIGH_STACK.search(text) is not None


_HIGH_STACK = regex.compile(rf"[{STACKING}]{{3}}")


def _stack(match: regex.Match[str]) -> str:
    """Remove the marks on Latin, Greek or Cyrillic letters in a text with a stack of more than two."""
    return "" if _has_high_stack(match.string) else match[0]


_MARKS = regex.compile(rf"[{STACKING}]+")
_COMPOSED = regex.compile(r"\p{L}[\u0300-\u036f]{1,2}")


def _rare_marks_removed(match: regex.Match[str]) -> str:
    """Remove the marks of a word in which half of the letters, and at least two, have marks that are rare there.

    A mark is rare on a letter when Unicode has no composed letter for both. Languages have some such letters.
    """
    word = match[0]
    if not word.isascii() and _MARKS.search(word):
        composed = unicodedata2.normalize("NFC", word)
        rare = len(_MARKS.findall(composed))
        letters = sum(map(str.isalpha, composed))
        if rare > 1 and rare * 2 >= letters:
            return _MARKS.sub("", composed)
    return word


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
    Rule(
        regex.compile(
            rf"(?<!{_CJK})\u3000*[\uff01-\uff5e](?:[\uff01-\uff5e\u3000]*[\uff01-\uff5e])?(?!{_CJK})\u3000*"
        ),
        _narrow,
    ),
    Rule(
        regex.compile(f"[{COMPATIBLE.removeprefix(_FULL_WIDTH)}]+"),
        _forms,
    ),
)
ENCLOSED_LETTERS = (
    Rule(
        regex.compile(
            rf"[{_ENCLOSED}](?: [{_ENCLOSED}]){{2,}}(?![{_ENCLOSED}])"
            rf"|(?P<touches>(?<=\p{{L}})(?:[{_ENCLOSED}]\ufe0f?)+|(?:[{_ENCLOSED}]\ufe0f?)+(?=\p{{L}}))"
            rf"|(?:[{_ENCLOSED}]\ufe0f?)+"
        ),
        _enclosed,
    ),
    Rule(
        regex.compile(
            rf"[{_REGIONAL}](?: [{_REGIONAL}])+(?![{_REGIONAL}])|[{_REGIONAL}]+"
            rf"|(?<=[{_REGIONAL}][,;:.!?\"')]{{0,2}})(?P<wide> {{2,}})(?=[{_REGIONAL}])"
        ),
        _regional,
    ),
)
STACKED_MARKS = (
    Rule(regex.compile(rf"[{STACKING}]+"), _stack),
    Rule(
        regex.compile(r"(?<=\p{Script=Latin})[\u0334-\u0338\u20d2\u20d3\u20d8-\u20da\u20e5\u20e6\u0488\u0489]"),
        "",
    ),
    Rule(regex.compile(rf"(?:\p{{L}}[{STACKING}]*)+"), _rare_marks_removed),
)
