"""The input's wire: the bytes of a chat message, decoded by hand over orjson."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import orjson

Pointer = tuple[str, ...]
"""The reference tokens of a JSON Pointer, unescaped."""


class Undecodable(Exception):  # noqa: N818 - the value's condition: the record's fault, not the program's
    """The value holds no chat message.

    Attributes:
        reason: A slug of ``dead_letter.REASONS``.
        message: One sentence, without the text.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShape:
    """Where a team's events hold what we read.

    Attributes:
        format: ``json``, or ``text``: the value is the text itself, and there are no ids.
        text: Pointer to the text; likewise the other four.
        bytes_max: The largest value that is decoded.
    """

    format: Literal["json", "text"] = "json"
    text: Pointer = ("text",)
    message_id: Pointer = ("message_id",)
    channel_id: Pointer = ("channel_id",)
    user_id: Pointer = ("user_id",)
    sent_at: Pointer = ("sent_at",)
    bytes_max: int = 1_048_576


@dataclass(slots=True, kw_only=True)  # frozen, each would take half a microsecond more to make
class ChatMessage:
    """What the wire says; None is absent."""

    message_id: str | None = None
    channel_id: str | None = None
    user_id: str | None = None
    text: str
    sent_at: str | int | float | None = None


def parse_pointer(pointer: str) -> Pointer:
    """The tokens of a JSON Pointer.

    Raises:
        ValueError: With a sentence that says what is wanted.

    Source: RFC 6901, sections 3 and 4.
    """
    if not pointer.startswith("/"):
        raise ValueError("a JSON Pointer starts with '/', as in /payload/body")
    if re.search("~(?![01])", pointer):
        raise ValueError("in a JSON Pointer '~' is written ~0, and '/' inside a name ~1")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


def decode(value: bytes, shape: InputShape) -> ChatMessage:
    """The chat message in a record's value.

    Raises:
        Undecodable: The record is a dead letter.
    """
    if len(value) > shape.bytes_max:
        raise Undecodable("too_large", f"The value has {len(value)} bytes; the limit is {shape.bytes_max}.")
    if shape.format == "text":
        return ChatMessage(text=_utf8(value))
    document = _json(value)
    if type(document) is not dict:
        raise Undecodable("not_an_object", f"The value is {_kind(document)}, not an object.")
    text = _find(document, shape.text)
    if text is None:
        raise Undecodable("no_text", f"There is no text at {_written(shape.text)}.")
    if type(text) is not str:
        raise _wrong_type(shape.text, text, "a string")
    return ChatMessage(
        message_id=_identity(document, shape.message_id),
        channel_id=_identity(document, shape.channel_id),
        user_id=_identity(document, shape.user_id),
        text=text,
        sent_at=_instant(document, shape.sent_at),
    )


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        # ``from None`` here and below: the error carries the whole value, which must reach no log.
        raise Undecodable("not_utf8", f"The value is not UTF-8 at byte {error.start}.") from None


def _json(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        _utf8(value)
    try:
        return orjson.loads(_with_whole_escapes(value))
    except orjson.JSONDecodeError as error:
        raise Undecodable("not_json", f"The value is not JSON: {error}.") from None


# Backslashes in pairs are text; one more starts an escape. A whole pair of surrogates is matched too, so that
# it is stepped over as one. A match starts only at the head of a run of backslashes: the work is linear.
_SURROGATES = re.compile(
    rb"""(?<!\\)(?P<backslashes>(?:\\\\)*+)
    (?: (?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})
      | \\u[dD][89a-fA-F][0-9a-fA-F]{2}
    )""",
    re.VERBOSE,
)


def _with_whole_escapes(value: bytes) -> bytes:
    """Every lone surrogate escape replaced by U+FFFD: half an emoji is what a user can type."""
    return _SURROGATES.sub(lambda found: found[0] if found["pair"] else found["backslashes"] + rb"\ufffd", value)


_INDEX = re.compile("0|[1-9][0-9]{0,9}")


def _find(document: Any, pointer: Pointer) -> Any:
    """The value a pointer leads to; None when there is none, as for null."""
    for token in pointer:
        if type(document) is dict:
            document = document.get(token)
        elif type(document) is list and _INDEX.fullmatch(token) and int(token) < len(document):
            document = document[int(token)]
        else:
            return None
    return document


def _identity(document: Any, pointer: Pointer) -> str | None:
    found = _find(document, pointer)
    if found is None or type(found) is str:
        return found
    if type(found) is int:  # not a boolean; orjson makes floats of integers beyond 64 bits
        return str(found)
    raise _wrong_type(pointer, found, "a string, or an integer from -2^63 to 2^64-1")


def _instant(document: Any, pointer: Pointer) -> str | int | float | None:
    found = _find(document, pointer)
    if found is None or type(found) is str or type(found) is int or type(found) is float:
        return found
    raise _wrong_type(pointer, found, "a string or a number")


def _wrong_type(pointer: Pointer, found: Any, wanted: str) -> Undecodable:
    return Undecodable("wrong_type", f"What stands at {_written(pointer)} is {_kind(found)}, not {wanted}.")


def _written(pointer: Pointer) -> str:
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in pointer)


_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number that is no 64-bit integer",
    type(None): "null",
}


def _kind(found: Any) -> str:
    return _KINDS[type(found)]
