"""Stored verdicts as columns of arrays. Message text never is in a verdict."""

from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS
from worker.moderation.policies import MessageFields

_CATEGORIES = itemgetter(*CATEGORY_SLUGS)


class VerdictPosition(NamedTuple):
    """The input of a verdict.

    Attributes:
        topic: The input topic.
        partition: The partition.
        offset: The offset.
        item: The number of the element, from 0; None when the record is not a JSON array.
        timestamp_ms: Kafka's timestamp, in milliseconds since 1970; None when the record has none.
    """

    topic: str
    partition: int
    offset: int
    item: int | None
    timestamp_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictColumns:
    """``B`` stored verdicts on messages, over ``L`` categories.

    Attributes:
        scores: ``[B, L]`` scores, in [0, 1]; 0 for a message that was not scored.
        flags: ``[B, L]``, the published flags.
        levels: The published level; None: no level, or a verdict of a worker without a policy file.
        fields: What a policy's ``when`` sees. Fields that no ``when`` uses are left out.
        messages: The message's id.
        channels: The channel's id.
        positions: The input; None for a verdict of ``classify``.
        characters: Number of code points of the text.
        unscored: Whether the model was not asked because of an exemption.
        withheld: Whether an exemption or an allowed text withheld the alert.
        policies: The version of the policy that decided.
    """

    scores: NDArray[np.float32]
    flags: NDArray[np.bool_]
    levels: Sequence[str | None]
    fields: Sequence[MessageFields]
    messages: Sequence[str]
    channels: Sequence[str | None]
    positions: Sequence[VerdictPosition | None]
    characters: Sequence[int]
    unscored: NDArray[np.bool_]
    withheld: NDArray[np.bool_]
    policies: Sequence[str]

    def __len__(self) -> int:
        return len(self.levels)


class _VerdictRow(NamedTuple):
    """A stored verdict before it becomes part of columns."""

    scores: bytes
    flags: bytes
    level: str | None
    fields: MessageFields
    message: str
    channel: str | None
    position: VerdictPosition | None
    characters: int
    is_unscored: bool
    is_withheld: bool
    policy: str


def decode_verdicts(values: Sequence[bytes], used: Collection[str]) -> VerdictColumns:
    """Return the verdicts among these values. A value that is not one, or has a score outside [0, 1], is left out.

    Args:
        values: Values of the verdict topic, or lines of a file.
        used: The names of the fields that the policy's ``when`` uses; the others become None.
    """
    rows = []
    for value in values:
        try:
            rows.append(_row(orjson.loads(value), used))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    found = _columns(rows)
    outside = {*np.flatnonzero(((found.scores < 0) | (found.scores > 1)).any(axis=1)).tolist()}
    return _columns([row for number, row in enumerate(rows) if number not in outside]) if outside else found


def _columns(rows: Sequence[_VerdictRow]) -> VerdictColumns:
    columns = list(zip(*rows, strict=True)) or [()] * len(_VerdictRow._fields)
    scores, flags, levels, fields, messages, channels, positions, characters, unscored, withheld, policies = columns
    categories = len(CATEGORY_SLUGS)
    return VerdictColumns(
        scores=np.frombuffer(b"".join(scores), np.float32).reshape(-1, categories),
        flags=(np.frombuffer(b"".join(flags), np.uint8) != 0).reshape(-1, categories),
        levels=levels,
        fields=fields,
        messages=messages,
        channels=channels,
        positions=positions,
        characters=characters,
        unscored=np.array(unscored, np.bool_),
        withheld=np.array(withheld, np.bool_),
        policies=policies,
    )


def _row(document: Any, used: Collection[str]) -> _VerdictRow:
    """Return a verdict.

    Raises:
        KeyError, TypeError, ValueError or OverflowError: The document is not a verdict.
    """
    if document["schema"] != "verdict/1":
        raise ValueError("another schema")
    position = _position(document["source"])
    channel = _text_or_none(document["channel_id"])
    get = document.get
    return _VerdictRow(
        array("f", _CATEGORIES(document["category_scores"])).tobytes(),
        bytes(_CATEGORIES(document["categories"])),
        _text_or_none(get("level")),
        MessageFields(
            topic=position.topic if position is not None and "topic" in used else None,
            channel_id=channel if "channel_id" in used else None,
            user_id=_text_or_none(document["user_id"]) if "user_id" in used else None,
            tenant_id=_text_or_none(get("tenant_id")) if "tenant_id" in used else None,
            roles=tuple(map(_text, get("roles", ()))) if "role" in used else (),
            language=_text_or_none(get("language")) if "language" in used else None,
            edited="edited" in used and get("edited") is True,
        ),
        _text(document["message_id"]),
        channel,
        position,
        _number(document["input"]["characters"]),
        get("outcome") == "exempt",
        get("exempt") is not None or get("allowed") is not None,
        _text(document["policy"]["version"]),
    )


def _position(source: Any) -> VerdictPosition | None:
    if source is None:
        return None
    item, timestamp_ms = source.get("item"), source["timestamp_ms"]
    return VerdictPosition(
        _text(source["topic"]),
        _number(source["partition"]),
        _number(source["offset"]),
        None if item is None else _number(item),
        None if timestamp_ms is None else _number(timestamp_ms),
    )


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError("wants a string")
    return given


def _text_or_none(given: Any) -> str | None:
    return None if given is None else _text(given)


def _number(given: Any) -> int:
    if not isinstance(given, int):
        raise TypeError("wants a whole number")
    return given
