"""Inputs that need the most memory for their size. Each family is one way to need much memory."""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

MEGABYTE = 2**20
VALUE_BYTES = 1_000_000
"""A little less than the largest value that the worker decodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heavy:
    """A family of messages.

    Attributes:
        count: Number of messages that are about 64 MB together.
        value: Returns the value of a message for its number. All values differ.
        headers: The headers of each message.
        key: The key of each message.
    """

    count: int
    value: Callable[[int], bytes]
    headers: list[tuple[str, str | bytes | None]] = field(default_factory=list)
    key: bytes | None = None


def repeated(piece: str, *, size: int = VALUE_BYTES) -> Callable[[int], bytes]:
    """Return values whose text repeats one piece. The piece is written as in JSON, escapes included."""
    encoded = piece.encode()
    body = encoded * (size // len(encoded))
    return lambda number: b'{"text":"%d %b"}' % (number, body)


def with_field(field: bytes) -> Callable[[int], bytes]:
    """Return values with a short text and another field."""
    return lambda number: b'{"text":"hi %d",%b}' % (number, field)


def _long_id(number: int) -> bytes:
    return orjson.dumps({"text": f"hi {number}", "message_id": "\U0001f600" + "x" * 900_000})


HEAVY: dict[str, Heavy] = {
    "one long word": Heavy(count=64, value=repeated("a")),
    "words": Heavy(count=64, value=repeated("good game everyone ")),
    "white space": Heavy(count=64, value=repeated(" ")),
    "emoji": Heavy(count=64, value=repeated("\U0001f600")),
    "one emoji and letters": Heavy(count=64, value=repeated("\U0001f600" + "a" * 999_000)),
    "combining marks": Heavy(count=64, value=repeated("\u0301")),
    "Chinese": Heavy(count=64, value=repeated("今天的直播很好看\uff0c")),
    "escapes": Heavy(count=64, value=repeated("\\u0041")),
    "lone surrogates": Heavy(count=64, value=repeated("\\ud800")),
    "texts of 10 kB": Heavy(count=2500, value=repeated("zq 7\U0001f600", size=10_000)),
    "texts of 1 kB": Heavy(count=15_000, value=repeated("zq 7\U0001f600", size=1_000)),
    "tiny fields": Heavy(
        count=64, value=with_field(b",".join(b'"%d":%d' % (field, field) for field in range(70_000)))
    ),
    "empty arrays": Heavy(count=64, value=with_field(b'"more":[' + b"[]," * 330_000 + b"0]")),
    "a huge field": Heavy(count=64, value=with_field(b'"more":"' + b"x" * VALUE_BYTES + b'"')),
    "long ids": Heavy(count=64, value=_long_id),
    # librdkafka drops all headers of a message with more than 100,000.
    "100,000 headers": Heavy(count=130, value=with_field(b'"more":1'), headers=[("h", b"12")] * 100_000),
    "100,000 headers, not JSON": Heavy(count=130, value=lambda _: b"?", headers=[("h", b"12")] * 100_000),
    "not JSON": Heavy(count=64, value=lambda number: b"%d" % number + b"?" * VALUE_BYTES),
    "long keys": Heavy(count=64, value=with_field(b'"more":1'), key=bytes(VALUE_BYTES)),
}
