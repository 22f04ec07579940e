"""Inputs that cost a worker the most memory for their bytes: each family is one way to be expensive."""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

MEGABYTE = 2**20
VALUE_BYTES = 1_000_000
"""A little less than the greatest value that is decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heavy:
    """A family of messages.

    Attributes:
        count: How many messages are about 64 MB.
        value: Makes the value of a message from its number: no two are equal.
        headers: Headers of each message.
        key: The key of each message.
    """

    count: int
    value: Callable[[int], bytes]
    headers: list[tuple[str, str | bytes | None]] = field(default_factory=list)
    key: bytes | None = None


def repeated(piece: str, *, size: int = VALUE_BYTES) -> Callable[[int], bytes]:
    """Gives values whose text is one piece repeated; the piece is as it stands in the JSON, escapes included."""
    encoded = piece.encode()
    body = encoded * (size // len(encoded))
    return lambda number: b'{"text":"%d %b"}' % (number, body)


def beside(field: bytes) -> Callable[[int], bytes]:
    """Gives values with a short text and another field."""
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
    "tiny fields": Heavy(count=64, value=beside(b",".join(b'"%d":%d' % (field, field) for field in range(70_000)))),
    "empty arrays": Heavy(count=64, value=beside(b'"more":[' + b"[]," * 330_000 + b"0]")),
    "a huge field": Heavy(count=64, value=beside(b'"more":"' + b"x" * VALUE_BYTES + b'"')),
    "long ids": Heavy(count=64, value=_long_id),
    # librdkafka gives no headers at all to a message of more than 100,000.
    "100,000 headers": Heavy(count=130, value=beside(b'"more":1'), headers=[("h", b"12")] * 100_000),
    "100,000 headers, not JSON": Heavy(count=130, value=lambda _: b"?", headers=[("h", b"12")] * 100_000),
    "not JSON": Heavy(count=64, value=lambda number: b"%d" % number + b"?" * VALUE_BYTES),
    "long keys": Heavy(count=64, value=beside(b'"more":1'), key=bytes(VALUE_BYTES)),
}
