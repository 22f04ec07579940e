"""Read JSON that orjson refuses: a broken field other than the text must not cost a message its verdict."""

import json
import re
from codecs import BOM_UTF8
from typing import Any

_CHARACTERS_MAX = 20  # of a 64-bit integer with its sign; reading a longer integer takes quadratic time


def text_of(value: bytes) -> str:
    """Return the text in UTF-8, without a byte-order mark; bytes that are not UTF-8 become U+FFFD."""
    return value.removeprefix(BOM_UTF8).decode(errors="replace")


def loads(value: bytes) -> Any:
    """Return the JSON in a value, as orjson does, but more tolerantly.

    A byte-order mark is left out. Bytes that are not UTF-8 become U+FFFD. NaN, Infinity and numbers beyond a double
    become floats that are not finite. Lone surrogates in strings become U+FFFD: a user can send half an emoji.

    Raises:
        ValueError: The value is not JSON. The message is a sentence that never holds the text.
    """
    try:
        document = _DECODER.decode(text_of(value))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if type(document) is str:
        return _without_surrogates(document)
    _replace_surrogates(document)
    return document


def _replace_surrogates(document: Any) -> None:
    """Replace the lone surrogates in the strings of a document; its keys stay as they are."""
    waiting = [document]
    while waiting:  # not recursive: a document can be nested more deeply than Python's stack
        found = waiting.pop()
        if type(found) is dict:
            places: Any = list(found)
        elif type(found) is list:
            places = range(len(found))
        else:
            continue
        for place in places:
            inner = found[place]
            if type(inner) is str:
                found[place] = _without_surrogates(inner)
            else:
                waiting.append(inner)


def _without_surrogates(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


def _integer(written: str) -> int | float:
    """Return a float for an integer beyond 64 bits, as orjson does."""
    if len(written) > _CHARACTERS_MAX:
        return float(written)
    number = int(written)
    return number if -(2**63) <= number < 2**64 else float(written)


_DECODER = json.JSONDecoder(parse_int=_integer)
_SURROGATE = re.compile("[\ud800-\udfff]")
