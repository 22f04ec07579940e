"""Write ``verdict/1`` from a template: the common case, in half the time of encoding a dictionary.

The template has the bytes that ``schemas.verdict.encode`` makes of an example, with a place for each value that
differs from message to message.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import orjson

from schemas.labels import CATEGORY_SLUGS
from schemas.verdict import SCORES, Verdict, encode

TEMPLATE_FIELDS = {
    "verdict_id": b'"%b"',
    "message_id": b"%b",
    "channel_id": b"%b",
    "user_id": b"%b",
    "sent_at": b"%b",
    "category_scores": SCORES,
    "max_score": b"%b",
    "top_category": b"%b",
    "policy": b"%b",
    "characters": b"%d",
    "tokens": b"%d",
    "truncated": b"%b%b",
    "offset": b"%d",
    "timestamp_ms": b"%b",
    "judged_at": b"%b",
}
"""The fields of a verdict that differ from message to message, in the contract's order, and how each is written."""

_PLACES = {name: orjson.Fragment(b"\0" + name.encode()) for name in TEMPLATE_FIELDS}
_PLACE = re.compile(rb"\0(\w+)")
_sha256, _dumps = hashlib.sha256, orjson.dumps
_TOP_CATEGORY = [orjson.dumps(slug) for slug in CATEGORY_SLUGS]


class VerdictTemplate:
    """Writes the verdicts on a partition's messages.

    The template is an encoded verdict with a place for each of ``TEMPLATE_FIELDS``. ``encode`` makes it of an
    example, so the fields and their order are the example's. A field with the same value everywhere needs no place.

    Args:
        example: A verdict on any message of the partition, without optional fields. Every verdict has its values
            outside ``TEMPLATE_FIELDS``.
        model: The first two strings of ``judge`` of ``identify``: model revision and dtype.
    """

    def __init__(self, example: Verdict, *, model: Sequence[str]) -> None:
        source = example["source"]
        assert source is not None, "a template names its source"  # noqa: S101 - a bug of ours
        document: dict[str, Any] = {name: _PLACES.get(name, value) for name, value in example.items()}
        document["input"] = {name: _PLACES[name] for name in example["input"]}
        document["source"] = {name: _PLACES.get(name, value) for name, value in source.items()}
        # JSON escapes a NUL in a string, so only a place begins with one.
        encoded = encode(document).replace(b"%", b"%%")
        names = [place.decode() for place in _PLACE.findall(encoded)]
        assert names == [*TEMPLATE_FIELDS], names  # noqa: S101 - a bug of ours
        in_place = _PLACE.sub(lambda place: TEMPLATE_FIELDS[place[1].decode()], encoded)
        self._format = in_place.removesuffix(b"}") + b"%b}"
        judge, place = (
            orjson.dumps(part).replace(b"%", b"%%")
            for part in ([example["schema"], *model], [source["topic"], source["partition"]])
        )
        self._identity = judge[:-1] + b',"%b",' + place[1:-1] + b",%d]"

    def fill(  # noqa: PLR0917 - keywords take time for each message
        self,
        source: Any,
        message: Any,
        scores: Sequence[bytes],
        max_score: bytes,
        top: int,
        policy: Any,
        parts: bytes,
        judged_at: bytes,
        last: bytes,
    ) -> bytes:
        """Return the encoded verdict on a message.

        Args:
            source: The input record, with the attributes ``offset`` and ``timestamp_ms``.
            message: The message, with the attributes ``message_id``, ``channel_id``, ``user_id``, ``sent_at``,
                ``characters``, ``token_count`` and ``truncated``.
            scores: The ``L`` encoded scores.
            max_score: The highest score, encoded.
            top: Index of the category with the highest score.
            policy: What decided, with the attributes ``document_json`` (the policy, encoded) and
                ``fingerprint_bytes`` (the fingerprint of the thresholds: hexadecimal digits).
            parts: The encoded fields of ``PartsJson`` with a comma in front of each; empty if one part was scored.
            judged_at: The time of judging, encoded.
            last: The encoded optional fields at the end of the verdict, with a comma in front of each.
        """
        offset, timestamp_ms = source.offset, source.timestamp_ms
        return self._format % (
            _sha256(self._identity % (policy.fingerprint_bytes, offset)).hexdigest()[:32].encode(),
            _dumps(message.message_id),
            _dumps(message.channel_id),
            _dumps(message.user_id),
            _dumps(message.sent_at),
            *scores,
            max_score,
            _TOP_CATEGORY[top],
            policy.document_json,
            message.characters,
            message.token_count,
            b"true" if message.truncated else b"false",
            parts,
            offset,
            b"null" if timestamp_ms is None else b"%d" % timestamp_ms,
            judged_at,
            last,
        )
