"""Encode verdicts and alerts, ``verdict/1`` and ``alert/1``, with keys in the contract's order.

A ``np.float32`` is written as the shortest decimal that reads as the same float32. So the published scores and
thresholds reproduce the published flags.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NotRequired, TypedDict

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
        version: The team's name of the policy, or a hash.
        rule: Name of the policy file's rule that set the thresholds; None: no rule. Absent without a policy file.
        threshold: The general threshold of the mildest level, in [0, 1]; None: off.
        thresholds: Category slug to threshold, for the thresholds that differ from ``threshold``.
    """

    version: str
    rule: NotRequired[str | None]
    threshold: np.float32 | None
    thresholds: Mapping[str, np.float32 | None]


class ShadowJson(TypedDict):
    """What a candidate of the policy file decides, if it decides differently.

    Attributes:
        name: The candidate's name.
        flagged: Whether the candidate flags the message.
        level: The highest level that the message reaches; None: none.
    """

    name: str
    flagged: bool
    level: str | None


class PartsJson(TypedDict):
    """Which parts of the text were scored.

    Attributes:
        windows: Number of windows that were scored, in all views; absent when it is 1.
        views: Names of the views that were scored; absent when only the text as received was.
    """

    windows: NotRequired[int]
    views: NotRequired[Sequence[str]]


class InputJson(PartsJson):
    """How much of the text was scored.

    Attributes:
        characters: Code points of the whole text, before any cut.
        tokens: Number of tokens that were scored, in all windows and views.
        truncated: Whether a part of the text was not scored.
    """

    characters: int
    tokens: int
    truncated: bool


class EvidenceJson(TypedDict):
    """The part of a text that gave the score of a flagged category.

    Attributes:
        category: The category's slug.
        view: ``raw``, the text as received; or ``plain``, what a reader sees.
        start: Offset of the part's first character in the text as received.
        end: Offset after the part's last character in the text as received.
    """

    category: str
    view: str
    start: int
    end: int


class SourceJson(TypedDict):
    """The input record.

    Attributes:
        topic: The input topic.
        partition: The partition.
        offset: The offset.
        timestamp_ms: Kafka's timestamp, in milliseconds since 1970; None when the record has none.
        item: The number of the element, from 0; absent when the record is not a JSON array.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    item: NotRequired[int]


class ContextJson(TypedDict, total=False):
    """What a message says about its author and itself. A field is absent when the message has none.

    Attributes:
        tenant_id: The customer, community or server of the message.
        roles: The author's roles, each once.
        language: The language that the event names.
        edited: The message replaces an earlier version of itself.
    """

    tenant_id: str
    roles: Sequence[str]
    language: str
    edited: Literal[True]


class Verdict(TypedDict):
    """The verdict on a message. An ``orjson.Fragment`` is the same object, already encoded.

    ``outcome`` is absent when the text was scored. ``ignored`` is absent when every field could be read.
    ``tenant_id``, ``roles``, ``language`` and ``edited`` are absent when the message has none. A policy file adds
    ``level`` to every verdict, and ``exempt``, ``allowed`` and ``shadow`` when they say something. ``evidence`` is
    present when a category is flagged and several parts of the text were scored.
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
    level: NotRequired[str | None]
    outcome: NotRequired[Literal["blank", "no_text", "exempt"]]
    ignored: NotRequired[Sequence[str]]
    exempt: NotRequired[str]
    allowed: NotRequired[str]
    shadow: NotRequired[Sequence[ShadowJson]]
    evidence: NotRequired[Sequence[EvidenceJson]]
    tenant_id: NotRequired[str]
    roles: NotRequired[Sequence[str]]
    language: NotRequired[str]
    edited: NotRequired[Literal[True]]


class AlertCategory(TypedDict):
    """A flagged category: its score is above its threshold."""

    category: str
    score: np.float32
    threshold: np.float32


RepeatJson = TypedDict(
    "RepeatJson",
    {"of": str, "count": int, "first_offset": int, "last_offset": int, "from": str | None, "to": str | None},
)
"""What a summary says: the id of the alert that it belongs to, the number of the messages that were counted, and
the offsets and times of the first and the last one. A time is None when the message has none."""


class Alert(TypedDict):
    """The alert on a flagged message. Its categories are in descending order of their scores.

    ``repeat`` is absent unless the alert is the summary of a window.
    ``truncated`` is present when a part of the text was not scored and the settings want an alert for that. Then
    ``categories`` can be empty. ``evidence`` is as in the verdict.
    """

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
    level: NotRequired[str]
    rule: NotRequired[str | None]
    truncated: NotRequired[Literal[True]]
    evidence: NotRequired[Sequence[EvidenceJson]]
    text: NotRequired[str]
    repeat: NotRequired[RepeatJson]


def encode(document: Mapping[str, object]) -> bytes:
    """Return a document as JSON, with the keys in the given order."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


SCORES = orjson.dumps(dict.fromkeys(CATEGORY_SLUGS, 0)).replace(b":0", b":%b")
"""``category_scores`` with a place for each of the ``L`` numbers."""


def encode_numbers(numbers: NDArray[np.float32]) -> list[bytes]:
    """Return each of ``[B]`` numbers as JSON."""
    return orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",") if len(numbers) else []


def encode_scores(scores: NDArray[np.float32]) -> list[bytes]:
    """Return the ``category_scores`` of each row of ``[B, L]`` probabilities as JSON.

    That takes half the time of encoding an object for each row.
    """
    return [SCORES % tuple(row) for row in encode_rows(scores)]


def encode_rows(scores: NDArray[np.float32]) -> list[list[bytes]]:
    """Return the ``L`` numbers of each row of ``[B, L]`` probabilities as JSON.

    One call formats all numbers, then the text is split at commas and brackets, which a number does not hold.
    """
    rows = orjson.dumps(scores, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
    return [row.split(b",") for row in rows if row]


def identify(schema: str, *, judge: Sequence[str], source: SourceJson) -> str:
    """Return a ``verdict_id`` or ``alert_id``, which is the same whenever the same judge judges the same message.

    It is the first 32 hexadecimal digits of the SHA-256 of a JSON array without spaces: the schema's name, the
    strings of ``judge``, then topic, partition and offset, and the number of the element of an array.

    Args:
        schema: ``verdict/1`` or ``alert/1``.
        judge: Model revision, dtype, and the thresholds' fingerprint.
        source: The input record; its timestamp is not part of the id.
    """
    parts = [schema, *judge, source["topic"], source["partition"], source["offset"]]
    if "item" in source:
        parts.append(source["item"])
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


def source_json(source: Any, item: int | None) -> SourceJson:
    """Return the source of an output.

    Args:
        source: The input record, with the attributes ``partition``, ``offset`` and ``timestamp_ms``.
        item: The number of the element; None when the record is not a JSON array.
    """
    found: SourceJson = {
        "topic": source.partition.topic,
        "partition": source.partition.number,
        "offset": source.offset,
        "timestamp_ms": source.timestamp_ms,
    }
    if item is not None:
        found["item"] = item
    return found


def rfc3339(epoch_ms: int) -> str:
    """Return milliseconds since 1970 as an RFC 3339 time in UTC, such as ``2026-01-31T09:30:00.250Z``."""
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999, the latest time that RFC 3339 can write."""


def nearest_rfc3339(epoch_ms: int) -> str:
    """Return a time from 1970 to 9999 as RFC 3339: the nearest one, because a producer may send any number."""
    return rfc3339(min(max(0, epoch_ms), LATEST_MS))
