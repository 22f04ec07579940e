"""Verdicts as a verdict topic has them, for tests that decide again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.labels import CATEGORY_SLUGS


def stored_verdict(
    offset: int | None, scores: Mapping[str, float], *, threshold: float = 0.5, **fields: Any
) -> dict[str, Any]:
    """Return a verdict that one threshold decided.

    Args:
        offset: The offset of the input; None for a verdict of ``classify``.
        scores: The scores above 0.01, by category.
        threshold: The threshold.
        fields: Further fields, or other values.
    """
    all_scores = {slug: scores.get(slug, 0.01) for slug in CATEGORY_SLUGS}
    source = {"topic": "chat.messages", "partition": 0, "offset": offset, "timestamp_ms": 1_769_851_800_000}
    return {
        "schema": "verdict/1",
        "verdict_id": "0" * 32,
        "message_id": f"m-{offset}",
        "channel_id": "general",
        "user_id": None,
        "sent_at": None,
        "flagged": any(score > threshold for score in all_scores.values()),
        "categories": {slug: score > threshold for slug, score in all_scores.items()},
        "category_scores": all_scores,
        "max_score": max(all_scores.values()),
        "top_category": max(all_scores, key=lambda slug: all_scores[slug]),
        "model": {"name": "toy", "revision": "0" * 16, "commit": None, "dtype": "float32"},
        "policy": {"version": "before", "threshold": threshold, "thresholds": {}},
        "input": {"characters": 13, "tokens": 4, "truncated": False},
        "source": None if offset is None else source,
        "judged_at": "2026-01-31T09:30:00.250Z",
        **fields,
    }


def write_verdicts(path: Path, *verdicts: object) -> str:
    """Write a file with a verdict a line, and return its name."""
    path.write_text("".join(f"{json.dumps(verdict)}\n" for verdict in verdicts))
    return str(path)
