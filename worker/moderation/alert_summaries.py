"""The alert that summarises a window, and what a window needs to know about a message. Pure.

A summary says only what the committed state holds, because the worker that ends a window may not have read its
messages. So it names no channel, no user and no text: the alert that it is ``of`` does.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from schemas import verdict
from schemas.labels import CATEGORY_SLUGS
from worker.moderation.alert_windows import AlertWindow, CountedMessages, FlaggedCategory
from worker.moderation.coalescing import AlertCandidate, KeyField
from worker.moderation.preprocessing import source_id
from worker.records import ConsumedRecord, Partition, PreparedRecord

_NUMBERS = {slug: number for number, slug in enumerate(CATEGORY_SLUGS)}
KeyValues = Sequence[tuple[KeyField, str | Sequence[str] | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryParts:
    """What all summaries of a transaction have in common.

    Attributes:
        model: The model, as the alerts name it.
        policy: The policy in force, as the verdicts publish it where no rule matches.
        judged_at: The time: RFC 3339, UTC, milliseconds.
    """

    model: verdict.ModelJson | orjson.Fragment
    policy: verdict.PolicyJson | orjson.Fragment
    judged_at: str


def key_values(by: Sequence[KeyField], alert: verdict.Alert, text: str) -> KeyValues:
    """Return the fields of an alert's key. ``category`` is all flagged categories together, in the card's order.

    So each message has one key, and a message with a category more than its predecessors alerts.
    """
    categories = sorted((one["category"] for one in alert["categories"]), key=_NUMBERS.__getitem__)
    values: dict[KeyField, str | Sequence[str] | None] = {
        "channel_id": alert["channel_id"],
        "user_id": alert["user_id"],
        "text": text,
        "message_id": alert["message_id"],
        "category": categories,
    }
    return [(field, values[field]) for field in by]


def candidate_of(record: PreparedRecord, alert: verdict.Alert, key: bytes) -> AlertCandidate:
    """Return what a window needs to know about a message that should raise an alert."""
    return AlertCandidate(
        key=key,
        alert_id=alert["alert_id"],
        verdict_id=alert["verdict_id"],
        time_ms=record.source.timestamp_ms,
        offset=record.source.offset,
        item=record.item,
        categories=[
            FlaggedCategory(_NUMBERS[one["category"]], one["score"], one["threshold"])
            for one in alert["categories"]
        ],
        level=alert.get("level"),
    )


def last_counted(partition: Partition, counted: CountedMessages) -> PreparedRecord:
    """Return the last counted message as far as the state knows it: its position and its time."""
    offset = counted.last_offset
    source = ConsumedRecord(partition, 0, offset, offset, counted.last_ms, None, None, ())
    return PreparedRecord(source, None, counted.last_item)


def summary(
    record: PreparedRecord, window: AlertWindow, counted: CountedMessages, parts: SummaryParts
) -> verdict.Alert:
    """Return the alert that summarises a window.

    Args:
        record: The last counted message, as ``last_counted`` returns it.
        window: The window.
        counted: What it has counted.
        parts: What all summaries have in common.
    """
    categories = sorted(counted.categories, key=lambda one: -one.score)
    highest = categories[0] if categories else FlaggedCategory(0, np.float32(0), np.float32(0))
    alert: verdict.Alert = {
        "schema": "alert/1",
        "alert_id": identify_summary(window),
        "verdict_id": counted.last_verdict_id,
        "message_id": source_id(record.source, record.item),
        "channel_id": None,
        "user_id": None,
        "sent_at": None,
        "categories": [
            {"category": CATEGORY_SLUGS[one.category], "score": one.score, "threshold": one.threshold}
            for one in categories
        ],
        "max_score": highest.score,
        "top_category": CATEGORY_SLUGS[highest.category],
        "model": parts.model,
        "policy": parts.policy,
        "source": verdict.source_json(record.source, record.item),
        "judged_at": parts.judged_at,
    }
    if counted.level is not None:
        alert["level"], alert["rule"] = counted.level, None
    alert["repeat"] = {
        "of": window.alert_id,
        "count": counted.count,
        "first_offset": counted.first_offset,
        "last_offset": counted.last_offset,
        "from": _rfc3339(counted.first_ms),
        "to": _rfc3339(counted.last_ms),
    }
    return alert


def identify_summary(window: AlertWindow) -> str:
    """Return the ``alert_id`` of a summary, which is the same whenever the same window is summarised.

    It is the first 32 hexadecimal digits of the SHA-256 of a JSON array without spaces: ``alert/1``, ``repeat``,
    the id of the alert that opened the window, the window's time, and its length in seconds.
    """
    parts = ["alert/1", "repeat", window.alert_id, window.opened_ms, window.length_s]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


def _rfc3339(time_ms: int | None) -> str | None:
    return None if time_ms is None or not 0 <= time_ms <= verdict.LATEST_MS else verdict.rfc3339(time_ms)
