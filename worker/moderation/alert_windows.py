"""The open windows of a partition as the state that is committed with its offset. Pure.

The state is ASCII without white space, because it becomes a part of the offset's metadata. ``1,`` names the
version. Then each window has its fields, with ``:`` between them, and a ``,`` at its end:

- digest of the key, alert id, time, length in seconds;
- if it has counted messages: verdict id of the last one, count, first offset, last offset, number of the last one
  in its record, first time, last time, categories, level.

Digests and ids are in base64 (URL alphabet, without padding), and numbers in hexadecimal. The last offset is the
difference from the first offset, and the times are differences from the window's time. A window takes about 50
characters, and about 105 once it has counted a message: 3,450 characters hold 68 windows, or 32 that have counted
messages.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import NamedTuple
from urllib.parse import quote, unquote

import numpy as np

STATE_HEAD = "1,"
_END, _BETWEEN = ",", ":"
_CATEGORY = Struct("<Bff")
NEVER_MS = 2**63


class FlaggedCategory(NamedTuple):
    """A category whose score is above its threshold.

    Attributes:
        category: Its place in the model card's order.
        score: The score, in [0, 1].
        threshold: The threshold, in [0, 1].
    """

    category: int
    score: np.float32
    threshold: np.float32


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedMessages:
    """The messages that a window has counted.

    Attributes:
        count: Their number. The message that opened the window is not among them.
        first_offset: Offset of the first one.
        first_ms: Time of the first one; None when it has none.
        last_offset: Offset of the last one.
        last_item: Number of the last one in its record; None if the record is not an array.
        last_ms: Time of the last one; None when it has none.
        last_verdict_id: Id of the verdict of the last one.
        categories: The categories that any of them has, each with its highest score and the threshold of this
            score.
        level: The highest level among them; None without levels.
    """

    count: int
    first_offset: int
    first_ms: int | None
    last_offset: int
    last_item: int | None
    last_ms: int | None
    last_verdict_id: str
    categories: Sequence[FlaggedCategory]
    level: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertWindow:
    """A time in which messages of one key are counted.

    Attributes:
        key: The digest of the key.
        alert_id: The id of the alert that opened the window.
        opened_ms: The time of the message that opened the window; None when that message has none.
        length_s: Length, in seconds.
        counted: The messages that were counted; None if there are none.
    """

    key: bytes
    alert_id: str
    opened_ms: int | None
    length_s: int
    counted: CountedMessages | None = None

    @property
    def end_ms(self) -> int:
        """The first time after the window. A window without a time has no such time."""
        return NEVER_MS if self.opened_ms is None else self.opened_ms + 1000 * self.length_s


def encode_window(window: AlertWindow) -> str:
    """Return the text of a window."""
    opened_ms = window.opened_ms
    fields = [
        _base64(window.key),
        _base64(bytes.fromhex(window.alert_id)),
        _number(opened_ms),
        _number(window.length_s),
    ]
    if (counted := window.counted) is not None:
        categories = b"".join(_CATEGORY.pack(*one) for one in counted.categories)
        fields += [
            _base64(bytes.fromhex(counted.last_verdict_id)),
            _number(counted.count),
            _number(counted.first_offset),
            _number(counted.last_offset, counted.first_offset),
            _number(counted.last_item),
            _number(counted.first_ms, opened_ms),
            _number(counted.last_ms, opened_ms),
            _base64(categories),
            "" if counted.level is None else quote(counted.level, safe=""),
        ]
    return _BETWEEN.join(fields) + _END


def encode_state(windows: Iterable[str]) -> str:
    """Return the state of windows, which are given as their texts."""
    return STATE_HEAD + "".join(windows)


def split_state(state: str) -> list[str]:
    """Return the texts of the windows of a state; none for an empty state.

    Raises:
        ValueError: A later release wrote the state, or it is damaged.
    """
    if state and not state.startswith(STATE_HEAD):
        raise ValueError("the state has another version")
    return [text + _END for text in state.removeprefix(STATE_HEAD).split(_END)[:-1]]


def decode_state(state: str) -> list[AlertWindow]:
    """Return the windows of a state.

    Raises:
        ValueError: As for ``split_state``.
    """
    return [decode_window(text) for text in split_state(state)]


def count_windows(state: str) -> int:
    """Return the number of windows in a state, without decoding it."""
    return max(0, state.count(_END) - 1)


@lru_cache(maxsize=4096)  # most windows do not change from one transaction to the next
def decode_window(text: str) -> AlertWindow:
    """Return the window of a text.

    Raises:
        ValueError: The text is damaged.
    """
    key, alert_id, opened, length, *rest = text.removesuffix(_END).split(_BETWEEN)
    opened_ms, length_s, counted = _optional(opened), _integer(length), None
    if rest:
        verdict, count, first, last, item, first_time, last_time, categories, level = rest
        first_offset = _integer(first)
        counted = CountedMessages(
            count=_integer(count),
            first_offset=first_offset,
            first_ms=_optional(first_time, opened_ms),
            last_offset=_integer(last) + first_offset,
            last_item=_optional(item),
            last_ms=_optional(last_time, opened_ms),
            last_verdict_id=_bytes(verdict).hex(),
            categories=tuple(
                FlaggedCategory(category, np.float32(score), np.float32(threshold))
                for category, score, threshold in _CATEGORY.iter_unpack(_bytes(categories))
            ),
            level=unquote(level) if level else None,
        )
    return AlertWindow(
        key=_bytes(key), alert_id=_bytes(alert_id).hex(), opened_ms=opened_ms, length_s=length_s, counted=counted
    )


def _base64(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(value: int | None, base: int | None = None) -> str:
    return "" if value is None else f"{value - (base or 0):x}"


def _integer(text: str) -> int:
    return int(text, 16)


def _optional(text: str, base: int | None = None) -> int | None:
    return _integer(text) + (base or 0) if text else None
