"""The wire of verdicts and alerts, ``verdict/1`` and ``alert/1``: keys in the contract's order.

A ``np.float32`` is written as the shortest decimal that gives the same float32 back, so the published scores
and thresholds reproduce the published flags.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NotRequired, TypedDict

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS


class ModelJson(TypedDict):
    """Which model judged.

    ``revision`` is a content hash of weights, config and tokenizer; ``commit`` the hub's, when known.
    """

    name: str
    revision: str
    commit: str | None
    dtype: str


class PolicyJson(TypedDict):
    """Which thresholds; ``thresholds`` holds only those that differ from ``threshold``."""

    version: str
    threshold: np.float32
    thresholds: Mapping[str, np.float32]


class InputJson(TypedDict):
    """What was read: code points before any cut, tokens scored, and whether a cut took something away."""

    characters: int
    tokens: int
    truncated: bool


class SourceJson(TypedDict):
    """Where the message stands."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None


class Verdict(TypedDict):
    """One for every message that could be judged. A Fragment is such an object, encoded beforehand.

    ``outcome`` and ``ignored`` are left out where they would say nothing: the text was judged, each field was read.
    """

    schema: Literal["verdict/1"]
    verdict_id: str | None
    message_id: str
    channel_id: str | None
    user_id: str | None
    sent_at: str | int | float | None
    flagged: bool
    categories: Mapping[str, bool] | orjson.Fragment
    category_scores: Mapping[str, np.float32] | orjson.Fragment
    max_score: np.float32
    top_category: str | None
    model: ModelJson | orjson.Fragment
    policy: PolicyJson | orjson.Fragment
    input: InputJson
    source: SourceJson | None
    judged_at: str
    outcome: NotRequired[Literal["blank", "no_text"]]
    ignored: NotRequired[Sequence[str]]


class AlertCategory(TypedDict):
    """One flagged category: its score is above its threshold."""

    category: str
    score: np.float32
    threshold: np.float32


class Alert(TypedDict):
    """One for every flagged message: categories by greatest score first."""

    schema: Literal["alert/1"]
    alert_id: str
    verdict_id: str
    message_id: str
    channel_id: str | None
    user_id: str | None
    sent_at: str | int | float | None
    categories: Sequence[AlertCategory]
    max_score: np.float32
    top_category: str
    model: ModelJson | orjson.Fragment
    policy: PolicyJson | orjson.Fragment
    source: SourceJson
    judged_at: str
    text: NotRequired[str]


def encode(document: Mapping[str, object]) -> bytes:
    """The document as JSON, keys in the order given."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


_SCORES = orjson.dumps(dict.fromkeys(CATEGORY_SLUGS, 0)).replace(b":0", b":%b")


def encode_scores(scores: NDArray[np.float32]) -> list[orjson.Fragment]:
    """``[B, L]`` probabilities to the ``category_scores`` of each row.

    All numbers are formatted in one call, and a number holds neither comma nor bracket: half the time of an
    object for each number.
    """
    rows = orjson.dumps(scores, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
    return [orjson.Fragment(_SCORES % tuple(row.split(b","))) for row in rows if row]


def identify(schema: str, *, judge: Sequence[str], source: SourceJson) -> str:
    """A ``verdict_id`` or ``alert_id``: the same whenever the same judge meets the same message.

    The first 32 hexadecimal digits of the SHA-256 of a JSON array without spaces: the schema's name, the
    strings of ``judge``, then topic, partition and offset.

    Args:
        schema: ``verdict/1`` or ``alert/1``.
        judge: Model revision, dtype, and the thresholds' fingerprint.
        source: The message; its timestamp is left out.
    """
    parts = [schema, *judge, source["topic"], source["partition"], source["offset"]]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


def rfc3339(epoch_ms: int) -> str:
    """Milliseconds since 1970 as an RFC 3339 time in UTC, such as ``2026-01-31T09:30:00.250Z``."""
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
