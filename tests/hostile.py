"""Random messages that nobody should send, such as those of careless producers, vandals and broken clients."""

import codecs
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from worker.classifier.model_files import DEMO_MODEL
from worker.records import ConsumedRecord, Headers, Partition

MEGABYTE = 2**20
CANARY = "sesame"
"""A word in many texts. The worker's own messages must never contain it."""

BUNDLED: list[str] = [
    token["content"] for token in json.loads((DEMO_MODEL / "tokenizer.json").read_bytes())["added_tokens"]
]
SPECIAL_TOKENS = [
    *BUNDLED,
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|vision_pad|>", "<tool_call>"),
    *("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|reserved_special_token_0|>"),
    *("<s>", "</s>", "<unk>", "<pad>", "[CLS]", "[SEP]", "[MASK]", "<0x00>", "Ġ", "▁", "<|", "|>", "<||>"),
]
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u061c\u180e\u115f\u3164\ufe0f\U000e0001\U000e0061"
BIDI = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
BLANK = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2028\u2029\u202f\u205f\u3000"
ODD = "\0\x01\x1b\x7f\ufffd\ufffe\uffff\U0001fffe\U0010ffff\ue000" + "\ud800\udbff\udc00\udfff\ud83d\ude00"
COMBINING = "\u0301\u0308\u0323\u0489\u20dd\u0f71\u0f72"
NUMBERS = (
    *("0", "-0", "1", "-1", "9007199254740993", "9223372036854775807", "-9223372036854775808"),
    *("-9223372036854775809", "18446744073709551615", "18446744073709551616", "-99999999999999999999999999"),
    *("1e308", "1.7976931348623157e308", "1e309", "-1e999", "5e-324", "1e-999", "0.1", "1" * 400, "1." + "3" * 400),
    *("NaN", "Infinity", "-Infinity", "01", "+1", "1.", ".5", "1e", "0x10", "1_000", "١٢٣"),
)
VALUES = ("null", "true", "false", "[]", "{}", '""', '"7"', "[null]", '{"text":"sesame"}', '"\\ud800"', *NUMBERS)
FIELDS = ("text", "message_id", "channel_id", "user_id", "sent_at")
NAMES = (
    *("traceparent", "Traceparent", "tracestate", "tracestate", "ce_id", "content-encoding", "__TypeId__"),
    *("", "trace", "trace", "Content-Type", "content-type", "CONTENT-TYPE", "content-type ", "ключ", "\U0001f600"),
    *(
        "moderation.error.reason",
        "moderation.source.offset",
        "moderation.",
        "Moderation.worker",
        "moderationx",
        "x\n",
    ),
)
TIMES_MS = (None, -1, -2, -(2**63), -62_135_596_800_001, 0, 1, 1_769_851_800_000, 253_402_300_800_000, 2**63 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A message without its partition and offset.

    Attributes:
        kind: The function in ``KINDS`` that made the value.
        typed: Whether only the text is unusual. Such a message must get a verdict.
        key: The record's key.
        value: The record's value; None is a tombstone.
        headers: The record's headers.
        timestamp_ms: The record's timestamp, or None.
    """

    kind: str
    typed: bool
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int | None

    def at(self, offset: int) -> ConsumedRecord:
        """Return the message as the worker would fetch it from this offset."""
        return ConsumedRecord(
            partition=Partition("chat.messages", 3),
            assignment_epoch=1,
            previous_next_offset=offset,
            offset=offset,
            timestamp_ms=self.timestamp_ms,
            key=self.key,
            value=self.value,
            headers=self.headers,
        )


def cases(seed: str, count: int) -> Iterator[Case]:
    """Give ``count`` messages. They depend on the seed only; a larger count only adds messages at the end."""
    for number in range(count):
        yield _case(random.Random(f"{seed}:{number}"))  # noqa: S311 - the same messages every time


def _case(chance: random.Random) -> Case:
    kind = chance.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
    typed = kind == "typed"
    return Case(
        kind=kind,
        typed=typed,
        key=b"channel" if typed else _key(chance),
        value=KINDS[kind][1](chance),
        headers=[] if typed else _headers(chance),
        timestamp_ms=chance.choice(TIMES_MS),
    )


# ---- what a user may type ---------------------------------------------------------------------------------------


def text(chance: random.Random) -> str:
    """Return anything that fits into a text field, also lone surrogates (half an emoji, cut by a client)."""
    return "".join(chance.choice(_PIECES)(chance) for _ in range(chance.choice((1, 1, 2, 3, 5, 9))))


def _some(characters: str) -> Callable[[random.Random], str]:
    return lambda chance: "".join(chance.choices(characters, k=chance.choice((1, 2, 5, 40))))


def _code_points(chance: random.Random) -> str:
    end = chance.choice((0x80, 0x800, 0x3000, 0x10000, sys.maxunicode + 1))
    return "".join(chr(chance.randrange(end)) for _ in range(chance.choice((1, 3, 20))))


def _repeated(chance: random.Random) -> str:
    piece = chance.choice(("a", "é", "\U0001f600", "\\", '"', "\ud800", " ", "ﷺ", *SPECIAL_TOKENS))
    return piece * chance.choice((9, 700))


def _stacked(chance: random.Random) -> str:
    return "e" + "".join(chance.choices(COMBINING, k=chance.choice((1, 30, 300))))


_PIECES: tuple[Callable[[random.Random], str], ...] = (
    lambda _: CANARY,
    lambda _: "good game everyone",
    lambda _: "\\ud800 \\u0000 \\\\ud83d ${x} %s %n {{7*7}} '; DROP TABLE chat; --",
    lambda chance: chance.choice(SPECIAL_TOKENS),
    _some(INVISIBLE),
    _some(BIDI),
    _some(BLANK),
    _some(ODD),
    _code_points,
    _repeated,
    _stacked,
)


# ---- what a producer may make of it ------------------------------------------------------------------------------


def written(content: str, *, escaped: bool, **fields: object) -> bytes:
    """Return a well-formed message, with as many or as few escapes as possible."""
    document = json.dumps({"text": content, **fields}, ensure_ascii=escaped)
    # UTF-8 has no bytes for a lone surrogate, so it can only be written as an escape.
    return document.encode(errors="backslashreplace")


def _proper(chance: random.Random) -> bytes:
    ids = {name: chance.choice((7, "x", text(chance)[:50])) for name in FIELDS[1:] if chance.random() < 0.3}
    return written(text(chance), escaped=chance.random() < 0.5, **ids)


def _cut(chance: random.Random) -> bytes:
    whole = _proper(chance)
    return whole[: chance.randrange(len(whole))]


def _flipped(chance: random.Random) -> bytes:
    value = bytearray(_proper(chance))
    for _ in range(chance.choice((1, 1, 2, 20))):
        value[chance.randrange(len(value))] = chance.choice((chance.randrange(256), *b'"\\{}[],:'))
    return bytes(value)


def _nested(chance: random.Random) -> bytes:
    depth = chance.choice((10, 1000, 1023, 1024, 1025, 20_000, 200_000))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"text":', b"}"), (b"[[[{}],", b"]]")))
    value = opening * depth + b"1" + closing * chance.choice((depth, depth, depth - 1, 0))
    return value if chance.random() < 0.5 else b'{"text":"sesame","more":' + value + b"}"


def _typeless(chance: random.Random) -> bytes:
    """Return an object with any value in any field, some fields several times."""
    named = [(chance.choice(FIELDS), chance.choice(VALUES)) for _ in range(chance.randrange(9))]
    fields = [("text", '"sesame"'), *named] if chance.random() < 0.7 else named
    return ("{" + ",".join(f'"{name}":{value}' for name, value in fields) + "}").encode()


def _encoded(chance: random.Random) -> bytes:
    content = f'{{"text":"{CANARY} ïé\u20ac"}}'
    return chance.choice(
        (
            codecs.BOM_UTF8 + content.encode(),
            content.encode("utf-16"),
            content.encode("utf-32-be"),
            content.encode("cp1252"),
            content.replace("ï", "\ud83d").encode("utf-8", "surrogatepass"),
            content.encode().replace(b"s", b"\xc1\xb3"),  # an overlong encoding
            b'{"text":"\xf4\x90\x80\x80"}',  # beyond the last code point
            b'{"te\\u0078t":"sesame"}',
            b'{"\\ud800":1,"text":"sesame"}',
        )
    )


def _bare(chance: random.Random) -> bytes:
    return chance.choice((b"", b" ", b"\0", b"\xff", b"sesame", *(value.encode() for value in VALUES)))


HUGE_PIECES = ("x", "sesame ", " ", "\\", '"', "é", "\u0301", "好", "\U0001f600", "\ud800", "\0", "<|im_end|>")


def huge(piece: str) -> bytes:
    """Return a well-formed message of about ten megabytes."""
    return written("sesame" + piece * (10 * MEGABYTE // len(json.dumps(piece))), escaped=True)


KINDS: dict[str, tuple[int, Callable[[random.Random], bytes | None]]] = {
    "typed": (3000, lambda chance: written(text(chance), escaped=chance.random() < 0.5)),
    "proper": (1500, _proper),
    "tombstone": (200, lambda _: None),
    "bytes": (500, lambda chance: chance.randbytes(chance.choice((1, 9, 300)))),
    "cut": (1000, _cut),
    "flipped": (1500, _flipped),
    "nested": (200, _nested),
    "typeless": (1500, _typeless),
    "encoded": (300, _encoded),
    "bare": (300, _bare),
    "huge": (5, lambda chance: huge(chance.choice(HUGE_PIECES))),
}
"""For each kind, its weight (about its share of ten thousand messages) and the function that makes a value."""


def _key(chance: random.Random) -> bytes | None:
    huge_key = b"\xff" * chance.choice((2000, 1_100_000)) if chance.random() < 0.01 else b"channel"
    return chance.choice((None, b"", b"\0", chance.randbytes(9), huge_key))


def _headers(chance: random.Random) -> Headers:
    if chance.random() < 0.002:
        return [("", b"")] * 50_000
    return [(chance.choice(NAMES), _header_value(chance)) for _ in range(chance.choice((0, 0, 1, 2, 9, 60)))]


TRACE_STATES = (b"a=1", b"a=1,b=2", b"a=1\nERROR forged", b"a=\x1b[2J", b"a=1," * 200, b"a" * 100_000, b"\xff")


def _header_value(chance: random.Random) -> bytes | None:
    if chance.random() < 0.2:
        parent = b"%02x-%032x-%016x-%02x" % (chance.choice((0, 0, 1, 255)), chance.choice((0, 7)), 7, 1)
        return chance.choice((parent, *TRACE_STATES))
    large = b"\0" * chance.choice((1000, 400_000)) if chance.random() < 0.005 else b"1"
    return chance.choice((None, b"", b"application/json", b"\xff\xfe", chance.randbytes(20), large))
