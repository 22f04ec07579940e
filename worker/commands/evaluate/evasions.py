"""The evasions: fourteen ways in which people write a text so that a reader understands it and a filter does not.

Each is a function of a text and a random generator, so a seed gives the same texts on every machine.
"""

import random
import re
from collections.abc import Callable, Mapping

Evade = Callable[[str, random.Random], str]

_LETTER = re.compile("[A-Za-z]")
_HALF = 0.5
_WORD = re.compile(r"[^\W\d_]{2,}")


def _in_words(change: Callable[[str], str], text: str) -> str:
    return _WORD.sub(lambda match: change(match[0]), text)


def _between_letters(separators: Callable[[], str], text: str) -> str:
    return _in_words(lambda word: word[0] + "".join(separators() + letter for letter in word[1:]), text)


def zero_width(text: str, rng: random.Random) -> str:
    """Put a zero-width space, joiner or non-joiner, or a word joiner, between the letters of words."""
    return _between_letters(lambda: rng.choice("\u200b\u200c\u200d\u2060"), text)


def invisible_prefix(text: str, rng: random.Random) -> str:
    """Put many invisible characters in front of the text."""
    return "".join(rng.choice("\u200b\u200c\u200d\u2060\ufeff\u180e\u3164") for _ in range(128)) + text


def soft_hyphens(text: str, rng: random.Random) -> str:
    """Put soft hyphens between most letters of words."""
    return _between_letters(lambda: "\u00ad" if rng.random() < 0.7 else "", text)  # noqa: PLR2004 - the share


def full_width(text: str, _: random.Random) -> str:
    """Write ASCII in full-width forms."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else "\u3000" if c == " " else c for c in text)


_ALPHABETS = (0x1D400, 0x1D434, 0x1D468, 0x1D4D0, 0x1D56C, 0x1D5A0, 0x1D5D4, 0x1D608, 0x1D63C, 0x1D670)
"""Where Unicode's mathematical alphabets without gaps begin, each with 26 capitals and 26 small letters. The second
has one gap: the small h."""


def mathematical_letters(text: str, rng: random.Random) -> str:
    """Write all letters in one of Unicode's mathematical alphabets."""
    start = rng.choice(_ALPHABETS)

    def letter(match: re.Match[str]) -> str:
        place = ord(match[0]) - (ord("A") if match[0] < "a" else ord("a") - 26)
        return "\u210e" if start + place == 0x1D455 else chr(start + place)  # noqa: PLR2004 - the gap

    return _LETTER.sub(letter, text)


_LATIN = "abcdeghijklmnopqstuvwxyABCEHIKMNOPSTXYZ"
_CYRILLIC = (
    "\u0430\u042c\u0441\u0501\u0435\u0261\u04bb\u0456\u0458\u043a\u04cf\u043c\u0578"
    "\u043e\u0440\u051b\u0455\u0442\u057d\u03bd\u051d\u0445\u0443"
)
_CAPITALS = "\u0410\u0412\u0421\u0415\u041d\u0406\u041a\u041c\u039d\u041e\u0420\u0405\u0422\u0425\u03a5\u0396"
_GREEK = {
    "a": "\u03b1",
    "i": "\u03b9",
    "k": "\u03ba",
    "o": "\u03bf",
    "p": "\u03c1",
    "A": "\u0391",
    "B": "\u0392",
    "O": "\u039f",
}
_LOOK_ALIKES = {
    letter: like + _GREEK.get(letter, "") for letter, like in zip(_LATIN, _CYRILLIC + _CAPITALS, strict=True)
}


def look_alikes(text: str, rng: random.Random) -> str:
    """Write half of the letters that have look-alikes in Cyrillic, Greek or Armenian with those."""

    def letter(match: re.Match[str]) -> str:
        return rng.choice(_LOOK_ALIKES.get(match[0], match[0])) if rng.random() < _HALF else match[0]

    return _LETTER.sub(letter, text)


def stacked_marks(text: str, rng: random.Random) -> str:
    """Put two to six combining marks on each letter of words (Zalgo)."""

    def marks() -> str:
        return "".join(chr(rng.randrange(0x300, 0x370)) for _ in range(rng.randint(2, 6)))

    return _in_words(lambda word: "".join(letter + marks() for letter in word), text)


def spaced_letters(text: str, rng: random.Random) -> str:
    """Put a space, dot, hyphen, underscore or asterisk between the letters of words."""
    separator = rng.choice(" .-_*")
    wide = "   " if separator == " " else " "
    return (
        _in_words(separator.join, text).replace(" ", wide)
        if wide == " "
        else wide.join(_in_words(separator.join, word) for word in text.split(" "))
    )


_DIGITS = {"a": "4@", "e": "3", "i": "1!", "o": "0", "s": "5$", "t": "7", "l": "1", "b": "8", "g": "9"}


def digits_for_letters(text: str, rng: random.Random) -> str:
    """Write half of the letters that have a digit or sign like them with it."""
    return _LETTER.sub(
        lambda m: rng.choice(_DIGITS.get(m[0].lower(), m[0])) if rng.random() < _HALF else m[0],
        text,
    )


def repeated_letters(text: str, rng: random.Random) -> str:
    """Repeat at least one letter of each word, and about a third of the others, two to five times more."""

    def repeated(word: str) -> str:
        chosen = rng.randrange(len(word))
        return "".join(
            letter * (rng.randint(3, 6) if place == chosen or rng.random() < 0.3 else 1)  # noqa: PLR2004 - a third
            for place, letter in enumerate(word)
        )

    return _in_words(repeated, text)


_ENCLOSED = (0x24B6, 0x1F130, 0x1F150, 0x1F170, 0x1F1E6)
"""Circled, squared, negative circled, negative squared and regional letters."""


def enclosed_letters(text: str, rng: random.Random) -> str:
    """Write all letters as enclosed or regional letters. Spaces part regional letters, because two make a flag."""
    start = rng.choice(_ENCLOSED)

    def letter(found: str) -> str:
        if start == 0x24B6 and found.islower():  # noqa: PLR2004 - only the circled alphabet has small letters
            return chr(0x24D0 + ord(found) - ord("a"))
        return chr(start + ord(found.upper()) - ord("A"))

    separator, wide = (" ", "   ") if start == 0x1F1E6 else ("", " ")  # noqa: PLR2004 - the regional letters
    ascii_words = re.compile("[A-Za-z]+")
    return ascii_words.sub(lambda m: separator.join(map(letter, m[0])), text.replace(" ", wide))


def bidi_reversal(text: str, rng: random.Random) -> str:
    """Write each line, or each word, backwards inside a right-to-left override: it is shown as it was."""

    def reversed_part(part: str) -> str:
        return f"\u202e{part[::-1]}\u202c" if part.strip() else part

    if rng.random() < _HALF:
        return "\n".join(map(reversed_part, text.split("\n")))
    return " ".join(map(reversed_part, text.split(" ")))


_MARKUPS = ("<b></b>", "**", "||", "~~", "__", "<i></i>", "<!-- -->", "&shy;")


def markup_inside_words(text: str, rng: random.Random) -> str:
    """Put markup that shows nothing, or only a style, into each word."""
    markup = rng.choice(_MARKUPS)

    def marked(word: str) -> str:
        place = rng.randrange(1, len(word))
        return f"{word[:place]}{markup}{word[place:]}"

    return _in_words(marked, text)


def random_case(text: str, rng: random.Random) -> str:
    """Write each letter as a capital or a small letter, at random."""
    return _LETTER.sub(lambda match: match[0].upper() if rng.random() < _HALF else match[0].lower(), text)


EVASIONS: Mapping[str, Evade] = {
    "zero_width": zero_width,
    "invisible_prefix": invisible_prefix,
    "soft_hyphens": soft_hyphens,
    "full_width": full_width,
    "mathematical_letters": mathematical_letters,
    "look_alikes": look_alikes,
    "stacked_marks": stacked_marks,
    "spaced_letters": spaced_letters,
    "digits_for_letters": digits_for_letters,
    "repeated_letters": repeated_letters,
    "enclosed_letters": enclosed_letters,
    "bidi_reversal": bidi_reversal,
    "markup_inside_words": markup_inside_words,
    "random_case": random_case,
}
"""Every evasion by name, in the order of the table."""
