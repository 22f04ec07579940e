"""The types of the settings: what the text of a variable may be.

pydantic's ``Field`` has ranges and patterns, and the module ``wants`` turns them into words. The functions of this
module check what neither a range nor a pattern can express. The message of a ``ValueError`` completes the sentence
"wants ...".
"""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, Secret
from pydantic_core import PydanticKnownError

from schemas.chat import parse_pointer
from schemas.labels import CATEGORY_SLUGS
from worker.settings.brokers import brokers

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OWN_HEADERS = re.compile(r"(content-type|traceparent|tracestate)$|ce_|moderation\.", re.IGNORECASE)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _digits(text: str) -> str:
    """Refuse other texts that pydantic reads as a whole number: ``1_000``, ``+5``, ``5.0`` and spaces."""
    if not re.fullmatch("[0-9]+", text):
        raise PydanticKnownError("int_parsing")
    return text


def _json_object(text: str, holds: str) -> dict[str, object]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"a JSON object of {holds}; this is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object of {holds}")  # noqa: TRY004 - pydantic reports a ValueError, raises a TypeError
    return value


def _thresholds(text: str) -> dict[str, object]:
    value = _json_object(text, "{slug: number}")
    if unknown := [slug for slug in value if slug not in CATEGORY_SLUGS]:
        raise ValueError(f"no {', '.join(map(repr, unknown))}; the slugs are {', '.join(CATEGORY_SLUGS)}")
    wrong = [slug for slug, number in value.items() if not _is_share(number)]
    if wrong:
        raise ValueError(f"a number from 0 to 1 for {', '.join(wrong)}")
    return value


def _is_share(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= 1


def _properties(text: str) -> dict[str, object]:
    value = _json_object(text, "librdkafka properties")
    if wrong := [name for name, entry in value.items() if not isinstance(entry, str | int | float | bool)]:
        raise ValueError(f"a string, a number, true or false for {', '.join(map(repr, wrong))}")
    return value


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("each topic only once")
    return names


def _start(text: str) -> str | datetime:
    if text in {"earliest", "error"}:
        return text
    try:
        start = datetime.fromisoformat(text) if _RFC_3339.fullmatch(text) else None
    except ValueError:
        start = None
    # Kafka reads the negative times -1 and -2 as "the end" and "the beginning".
    if start is None or start < _EPOCH:
        raise ValueError("earliest, error, or an RFC 3339 time with its zone, such as 2026-01-31T00:00:00Z")
    return start


def _pointer(text: str) -> str:
    try:
        parse_pointer(text)
    except ValueError as error:
        raise ValueError(f"a JSON Pointer (RFC 6901); {error}") from error
    return text


def _header_names(text: str) -> tuple[str, ...]:
    names = tuple(_split(text))
    if "" in names or len(set(names)) < len(names):
        raise ValueError("names of headers, separated by commas, each name only once")
    if own := [name for name in names if _OWN_HEADERS.match(name)]:
        raise ValueError(
            f"no {', '.join(map(repr, own))}: the worker writes content-type, traceparent, tracestate, ce_* and "
            "moderation.* itself, in any letter case"
        )
    return names


def _views(text: str) -> tuple[str, ...]:
    names = tuple(_split(text))
    if names not in {("raw",), ("raw", "plain")}:
        raise ValueError("raw or raw,plain: the text as received is always scored")
    return names


def _switch(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("true or false")
    return text == "true"


def _readable_file(text: str) -> str:
    if not (Path(text).is_file() and os.access(text, os.R_OK)):
        raise ValueError("a file that can be read")
    return text


def _certificate_authorities(text: str) -> str:
    # Source: librdkafka, CONFIGURATION.md, ssl.ca.location: a file, a folder, or `probe`, which looks for one.
    if text != "probe" and not (Path(text).exists() and os.access(text, os.R_OK)):
        raise ValueError("a file or folder that can be read, or probe")
    return text


def _sasl_mechanism(text: str) -> str:
    if text == "AWS_MSK_IAM":
        raise ValueError(
            "'SCRAM-SHA-512', or no mechanism, WORKER_KAFKA__SECURITY_PROTOCOL=SSL and a client certificate: IAM "
            "of Amazon MSK is not supported, because it needs a callback in code that signs tokens"
        )
    return text


DIGITS = BeforeValidator(_digits)
"""Put this after the ``Field`` of a whole number: pydantic applies the range to the texts that pass this check."""
Share = Annotated[float, Field(ge=0, le=1)]
Thresholds = Annotated[dict[str, float], BeforeValidator(_thresholds)]
Scalar = str | int | float | bool
Properties = Annotated[dict[str, Secret[Scalar]], BeforeValidator(_properties)]
"""Any value may be a secret: ``properties.shown_value`` decides which may be shown."""
TopicName = Annotated[
    str,
    # Source: org.apache.kafka.common.internals.Topic, which also refuses the names "." and "..".
    Field(
        max_length=249,
        pattern=r"^([.]*[a-zA-Z0-9_-][a-zA-Z0-9._-]*|[.]{3,})$",
        json_schema_extra={"wants": "a topic name: 1 to 249 letters, digits, dots, hyphens and underscores"},
    ),
]
TopicNames = Annotated[tuple[TopicName, ...], BeforeValidator(_split), AfterValidator(_unique)]
Brokers = Annotated[str, AfterValidator(brokers)]
Start = Annotated[Literal["earliest", "error"] | AwareDatetime, BeforeValidator(_start)]
HeaderNames = Annotated[tuple[str, ...], BeforeValidator(_header_names)]
Views = Annotated[tuple[str, ...], BeforeValidator(_views)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Pointer = Annotated[str, AfterValidator(_pointer)]
Device = Annotated[
    str,
    Field(pattern="^(auto|cpu|cuda(:[0-9]{1,3})?)$", json_schema_extra={"wants": "auto, cpu, cuda, or cuda:N"}),
]
ContentDigest = Annotated[
    str,
    Field(
        pattern="^[0-9a-fA-F]{16,64}$",
        json_schema_extra={
            "wants": "16 to 64 hexadecimal digits: the digest that `moderation-worker check` shows",
        },
    ),
    AfterValidator(str.lower),
]
ReadableFile = Annotated[str, AfterValidator(_readable_file)]
SaslMechanism = Annotated[
    Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"], BeforeValidator(_sasl_mechanism)
]
CertificateAuthorities = Annotated[str, AfterValidator(_certificate_authorities)]
