"""Encode verdicts and alerts, ``verdict/1`` and ``alert/1``, with keys in the contract's order.

A ``np.float32`` is written as the shortest decimal that reads as the same float32. So the published scores and
thresholds reproduce the published flags.
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
    """The model that scored.

    Attributes:
        name: The model's name on the hub, or its folder's name.
        revision: Hash of weights, configuration and tokenizer.
        commit: The hub's commit, when it is known.
        dtype: ``float32`` or ``bfloat16``.
    """

    name: str
    revision: str
    commit: str | None
    dtype: str


class PolicyJson(TypedDict):
    """The thresholds that judged.

    Attributes:
        version: The team's name of the policy, or a hash of the thresholds.
        threshold: The general threshold, in [0, 1].
        thresholds: Category slug to threshold, for the thresholds that differ from ``threshold``.
    """

    version: str
    threshold: np.float32
    thresholds: Mapping[str, np.float32]


class InputJson(TypedDict):
    """How much of the text was scored.

    Attributes:
        characters: Code points of the whole text, before any cut.
        tokens: Number of tokens that were scored.
        truncated: Whether a cut, by characters or by tokens, shortened the text.
    """

    characters: int
    tokens: int
    truncated: bool


class SourceJson(TypedDict):
    """The input record.

    Attributes:
        topic: The input topic.
        partition: The partition.
        offset: The offset.
        timestamp_ms: Kafka's timestamp, in milliseconds since 1970; None when the record has none.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None


class Verdict(TypedDict):
    """The verdict on a message. An ``orjson.Fragment`` is the same object, already encoded.

    ``outcome`` is absent when the text was scored. ``ignored`` is absent when every field could be read.
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
    """A flagged category: its score is above its threshold."""

    category: str
    score: np.float32
    threshold: np.float32


class Alert(TypedDict):
    """The alert on a flagged message. Its categories are in descending order of their scores."""

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
    """Return a document as JSON, with the keys in the given order."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


_SCORES = orjson.dumps(dict.fromkeys(CATEGORY_SLUGS, 0)).replace(b":0", b":%b")


def encode_scores(scores: NDArray[np.float32]) -> list[orjson.Fragment]:
    """Return the ``category_scores`` of each row of ``[B, L]`` probabilities.

    One call formats all numbers, then the text is split at commas and brackets, which a number does not hold. That
    takes half the time of encoding an object for each row.
    """
    rows = orjson.dumps(scores, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
    return [orjson.Fragment(_SCORES % tuple(row.split(b","))) for row in rows if row]


def identify(schema: str, *, judge: Sequence[str], source: SourceJson) -> str:
    """Return a ``verdict_id`` or ``alert_id``, which is the same whenever the same judge judges the same message.

    It is the first 32 hexadecimal digits of the SHA-256 of a JSON array without spaces: the schema's name, the
    strings of ``judge``, then topic, partition and offset.

    Args:
        schema: ``verdict/1`` or ``alert/1``.
        judge: Model revision, dtype, and the thresholds' fingerprint.
        source: The input record; its timestamp is not part of the id.
    """
    parts = [schema, *judge, source["topic"], source["partition"], source["offset"]]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


def rfc3339(epoch_ms: int) -> str:
    """Return milliseconds since 1970 as an RFC 3339 time in UTC, such as ``2026-01-31T09:30:00.250Z``."""
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
