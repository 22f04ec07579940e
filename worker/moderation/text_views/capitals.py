"""Letters of ASCII that look like each other in most fonts: the capital I and the small l.

``kiII yourseIf`` has a capital I for each l. ``KlLL`` and ``shlt`` have a small l for an i.
"""

import math
import re
from functools import lru_cache
from itertools import islice, product

from worker.moderation.text_views.rules import Rule, remembered, replacing
from worker.moderation.text_views.vocabulary import WORD_LETTERS_MAX, Vocabulary

AROUND_L = "bcdfghkntvz"
"""Letters next to which an l is rare: between two of them, it can be an i."""
AFTER_FIRST_I = "aeiouy"
"""Letters that often follow an l, and rarely a capital I at the beginning of a word."""
_WORD = re.compile(rf"(?<![\w@#/\\=+.$&])[A-Za-z]{{3,{WORD_LETTERS_MAX}}}(?![\w/\\=+@(]|\.[^\W\d_])")
"""A word that is not part of a link, a name or code."""
_L_IN_CAPITALS = re.compile(r"[A-Z]+(?:l[A-Z]+)+\Z")
_NUMERAL = re.compile("[ivxl]+")
_LAST_I = re.compile("[A-Za-z][a-z]{1,3}I")
"""A short word whose only capital I is its last letter: two words without the space (``soI``), or a slip."""
_I_INSIDE = re.compile("[a-z]I")
_I_FIRST = re.compile(rf"I[{AFTER_FIRST_I}]")
_L_FOR_I = re.compile(rf"(?:[{AROUND_L}{AROUND_L.upper()}]|\A)l(?=[{AROUND_L}l])")
_FREQUENT_COST_MAX = math.log2(2_000)
"""A capital I at the beginning of a word is an l only if that makes one of 2,000 words: names begin so, too."""
_L_FOR_I_LETTERS_MIN = 4
"""Letters of a word in which a small l is an i: shorter ones are abbreviations, such as ``tld``."""
_READINGS_MAX = 16
"""Readings of a word that are looked up: four letters can each be an i or an l."""


@lru_cache(maxsize=8192)
def _reading(word: str, vocabulary: Vocabulary) -> str:
    """Return the word that the writer probably means. It is the same word if no letter stands for another one."""
    lower = word.lower()
    if _NUMERAL.fullmatch(lower) or _LAST_I.fullmatch(word):
        return word
    if _L_IN_CAPITALS.match(word):
        shown = word.replace("l", "i").lower()
        return shown.upper() if vocabulary.whole_cost(shown) < math.inf else word
    if not word[1:].replace("I", "i").islower():
        return word  # ``WiFi``, ``isInteger``, an acronym
    cost = vocabulary.whole_cost(lower)
    if _I_INSIDE.search(word):
        options = [letter.lower() if letter != "I" else "il" for letter in word]
        readings = [*map("".join, islice(product(*options), _READINGS_MAX))]
        best = min(readings, key=vocabulary.whole_cost)
        is_meant = vocabulary.whole_cost(best) < vocabulary.cost(lower)
    elif _I_FIRST.match(word):
        best = f"l{word[1:]}"
        is_meant = cost == math.inf and vocabulary.whole_cost(best) < _FREQUENT_COST_MAX
    else:
        best = _L_FOR_I.sub(lambda found: found[0][:-1] + "i", word).lower()
        is_long = len(word) >= _L_FOR_I_LETTERS_MIN
        is_meant = is_long and cost == math.inf and vocabulary.whole_cost(best) < math.inf
    if not is_meant:
        return word
    return best[0].upper() + best[1:] if word[0].isupper() and word[0] != "I" else best


def capitals(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule that reads a capital I as l, and a small l as i, if that makes a known word."""
    find = replacing(_WORD, lambda match: _reading(match[0], vocabulary))
    return (remembered(lambda text: tuple(find(text))),)
