"""Read the JSON or the text of an input record's value, and the message that a shape finds in it."""

import re
from math import isfinite
from typing import Any, NamedTuple

import orjson
from msgspec import Struct

from schemas import repair

Pointer = tuple[str, ...]
"""The reference tokens of a JSON Pointer, unescaped."""


class Undecodable(Exception):  # noqa: N818 - it describes the record, it is not an error of the program
    """The value does not hold a chat message.

    Attributes:
        reason: A slug of ``dead_letter.REASONS``.
        message: One sentence, which never holds the text.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


class MessageContext(NamedTuple):
    """What a message says about its author and itself, for policies.

    Attributes:
        tenant_id: The customer, community or server of the message; None when absent.
        roles: The author's roles, each once.
        language: The language that the event names; None when absent.
        edited: Whether the message replaces an earlier version of itself.
    """

    tenant_id: str | None = None
    roles: tuple[str, ...] = ()
    language: str | None = None
    edited: bool = False


class ChatMessage(Struct, gc=False):  # takes a third of the time of a dataclass to make
    """A decoded chat message. A field is None when it is absent or could not be read.

    Attributes:
        text: The text, with U+FFFD for what is not valid Unicode.
        message_id: The message id.
        channel_id: The channel id.
        user_id: The user id.
        sent_at: The time of sending, in the producer's format.
        ignored: Names of the fields that could not be read.
        context: The tenant, roles, language and edit; None when the event has none of them.
    """

    text: str
    message_id: str | None = None
    channel_id: str | None = None
    user_id: str | None = None
    sent_at: str | int | float | None = None
    ignored: tuple[str, ...] = ()
    context: MessageContext | None = None


def parse_pointer(pointer: str) -> Pointer:
    """Return the reference tokens of a JSON Pointer.

    Raises:
        ValueError: It is not a JSON Pointer. The message says how to write one.

    Source: RFC 6901, sections 3 and 4.
    """
    if not pointer.startswith("/"):
        raise ValueError("a JSON Pointer starts with '/', as in /payload/body")
    if re.search("~(?![01])", pointer):
        raise ValueError("in a JSON Pointer '~' is written ~0, and '/' inside a name ~1")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


def written(pointer: Pointer) -> str:
    """Return a pointer as RFC 6901 writes it."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in pointer)


def read_json(value: bytes | str, what: str = "The value") -> Any:
    """Return the JSON in a value.

    Strings have U+FFFD for what is not valid Unicode. NaN, Infinity and numbers beyond a double are floats that are
    not finite.

    Args:
        value: JSON.
        what: The subject of the error's sentence.

    Raises:
        Undecodable: The value is not JSON.
    """
    try:
        return orjson.loads(value)
    # The error holds the whole value, so no other error may be raised with it as its context.
    except orjson.JSONDecodeError as error:
        refusal = error.msg
    try:
        if refusal.startswith("depth limit"):
            raise ValueError("it is nested too deeply")  # noqa: TRY301 - the tolerant reader says the same
        return repair.loads(value if isinstance(value, bytes) else value.encode(errors="replace"))
    except ValueError as wrong:
        # ``from None``: this error holds the whole value too, and the value must not reach a log.
        raise Undecodable("not_json", f"{what} is not JSON: {wrong}.") from None


_CONTROLS = bytes({*range(0x20)} - {*b"\t\n\v\f\r"})
"""Control characters except the tab and those that end a line: text pasted from a word processor has U+000B.

Source: The Unicode Standard, section 5.8, "Newline Guidelines".
"""
_REGISTRY_HEADER_BYTES = 5  # a zero byte and a schema's id


def read_text(value: bytes) -> str:
    """Return the text that a value is.

    Raises:
        Undecodable: The value is not a text.
    """
    if value[:1] == b"\0" and len(value) >= _REGISTRY_HEADER_BYTES:
        raise Undecodable(
            "not_text",
            "The value starts like one from a schema registry's serializer (a zero byte and a schema id).",
        )
    if len(value.translate(None, _CONTROLS)) != len(value):
        raise Undecodable("not_text", "The value holds control characters other than tab and line ends.")
    return repair.text_of(value)


def is_nothing(found: Any) -> bool:
    """Return whether a value counts as absent: null, NaN, Infinity, or a number beyond a double."""
    return found is None or (type(found) is float and not isfinite(found))


_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number that is no 64-bit integer",
    type(None): "null",
}


def kind(found: Any) -> str:
    """Return what a JSON value is, with its article."""
    return _KINDS[type(found)]
