"""Emoji of letters by their short names: ``:regional_indicator_k:``, ``:alphabet-white-k:``, ``:letter_k:``."""

from typing import Any

import regex

from worker.moderation.text_views.rules import begins_sentence, replacing

_ALPHABET = "alphabet-(?:white|yellow)-"
"""Two alphabets of Slack. People mix both in a word."""
_OF_LETTERS = "(?=[A-Za-z0-9_-]{0,30}?(?:letter|alphabet|regional_indicator))"
"""Other names that end in a letter are not letters: ``:team_a:``, ``:vitamin_b:``."""
_NAMES = regex.compile(
    rf":(?P<name>{_ALPHABET}|{_OF_LETTERS}[A-Za-z0-9_-]{{1,30}}[_-])(?P<letter>[A-Za-z]):(?P<gap> ?)"
    rf":(?:(?P=name)|{_ALPHABET})(?P<letter>[A-Za-z]):(?:(?P=gap):(?:(?P=name)|{_ALPHABET})(?P<letter>[A-Za-z]):)+"
)
"""At least three letters of an alphabet, each a name that ends with the letter."""


def _word(match: Any) -> str:
    word = "".join(match.captures("letter")).lower()
    return word.capitalize() if begins_sentence(match.string, match.start()) else word


LETTER_NAMES = (replacing(_NAMES, _word),)
