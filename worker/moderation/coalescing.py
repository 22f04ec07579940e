"""Which messages alert, and which are only counted: the open windows of one input partition. Pure.

The first message of a key alerts and opens a window. Later messages of the key are counted and do not alert. When
the window has ended and has counted messages, one alert summarises them.

Every message that should alert is in exactly one alert or in exactly one count. Why this holds:

1. ``count`` and ``open`` are the only ways of a message through this module. ``count`` returns True for a message
   that is in a count; any other message alerts.
2. A window with a count leaves ``OpenWindows`` in one way only: into ``take_ended``, and each of these gets its
   summary. So a window that has counted messages is never dropped to make room, and never replaced.
3. The state after the messages is committed in the transaction that publishes their alerts and the summaries
   (``worker/kafka/ownership.py``). So a message that is read again after an abort or a crash meets the windows as
   they were before it, whatever was decided in the aborted transaction.

The times are the messages' own (Kafka's timestamps), in milliseconds since 1970:

- A window covers the time from the message that opened it, for its length. A message at or after its end ends it,
  whether or not this message is flagged. A message from before its beginning, which came late, is counted too.
- Each message ends windows by its own time, and the latest time is not remembered. So one message with a time in
  the far future ends some windows early, and does not switch coalescing off.
- A message without a time ends no window. It is counted if its key has a window. A window that it opens has no end
  in message time: only the clock ends it (``AlertWindowClock``).

A window keeps the length that it was opened with. So a new policy changes only later windows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from typing import Literal

import orjson

from worker.moderation.alert_windows import (
    NEVER_MS,
    STATE_HEAD,
    AlertWindow,
    CountedMessages,
    FlaggedCategory,
    decode_window,
    encode_state,
    encode_window,
    split_state,
)

KeyField = Literal["channel_id", "user_id", "text", "message_id", "category"]
DIGEST_BYTES = 8
"""A new key has the digest of one of a partition's 68 open keys once in 10^17 keys. Nobody can search for such a
key, because the digests are keyed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoalescingOptions:
    """How alerts are coalesced.

    Attributes:
        by: The fields that make the key.
        window_s: Length of a window, in seconds.
    """

    by: Sequence[KeyField]
    window_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertCandidate:
    """A message that should alert.

    Attributes:
        key: The digest of its key.
        alert_id: The id of its alert.
        verdict_id: The id of its verdict.
        time_ms: Kafka's timestamp; None when the message has none.
        offset: The offset of its record.
        item: The number of the element in its record; None if the record is not an array.
        categories: The flagged categories.
        level: The highest level that the message reaches; None without levels.
    """

    key: bytes
    alert_id: str
    verdict_id: str
    time_ms: int | None
    offset: int
    item: int | None
    categories: Sequence[FlaggedCategory]
    level: str | None = None


class KeyDigest:
    """Makes digests of keys, which are the same in each worker and after each restart.

    The digests are readable for everybody who may describe the group. With the secret, only a holder of the secret
    can test whether a digest belongs to a known text or user. The fields of the key are hashed too, so keys of
    different fields never meet, for example after a change of the policy.

    Args:
        secret: The secret, or what all workers of the group have in common.
    """

    def __init__(self, secret: bytes) -> None:
        self._keyed = blake2b(digest_size=DIGEST_BYTES, key=sha256(secret).digest(), person=b"alert-key")

    def digest(self, values: Sequence[tuple[KeyField, str | Sequence[str] | None]]) -> bytes | None:
        """Return the digest of a key; None if the message has none of the key's fields, and therefore no key.

        Messages without a ``user_id`` have nothing in common with each other. So they must not silence each other.

        Args:
            values: Each field of the key with its value; None if the message does not have the field.
        """
        if all(value is None for _, value in values):
            return None
        hasher = self._keyed.copy()
        hasher.update(orjson.dumps(values))
        return hasher.digest()


class OpenWindows:
    """The open windows of a partition, within the number of characters that fit into the committed metadata.

    Args:
        state: The committed state.
        characters_max: Longest state, in characters.
        levels: The levels, mildest first.

    Attributes:
        counted: How many messages were counted.
        keys_without_room: How many keys had no room: their window was not opened, not continued, or closed early.

    Raises:
        ValueError: A later release wrote the state, or it is damaged.
    """

    def __init__(self, state: str, *, characters_max: int, levels: Sequence[str] = ()) -> None:
        self.counted = 0
        self.keys_without_room = 0
        self._ended: list[AlertWindow] = []
        self._first_end_ms = NEVER_MS  # never later than the end of any window
        self._levels = levels
        self._characters_max = characters_max - len(STATE_HEAD)
        self._windows: dict[bytes, tuple[AlertWindow, str]] = {}  # in the order of opening, with their texts
        self._characters = 0
        for text in split_state(state):
            self._put(decode_window(text), text)
        self._shorten()

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[AlertWindow]:
        """Yield the windows, in the order of their opening."""
        return (window for window, _ in self._windows.values())

    def advance(self, time_ms: int | None) -> None:
        """End the windows that a message of this time ends."""
        if time_ms is not None and time_ms >= self._first_end_ms:
            for window in [one for one in self if one.end_ms <= time_ms]:
                self.end(window)
            self._first_end_ms = min([one.end_ms for one in self], default=NEVER_MS)

    def end(self, window: AlertWindow) -> None:
        """End a window."""
        self._remove(window.key)
        if window.counted is not None:
            self._ended.append(window)

    def count(self, candidate: AlertCandidate) -> bool:
        """Count a message if its key has a window. Return whether it was counted; otherwise it alerts."""
        if candidate.key not in self._windows:
            return False
        window, _ = self._windows[candidate.key]
        grown = replace(window, counted=self._with(window.counted, candidate))
        text = encode_window(grown)
        if not self._make_room(text, candidate.key):
            self.keys_without_room += 1
            return False
        self._put(grown, text)
        self.counted += 1
        return True

    def open(self, candidate: AlertCandidate, length_s: int) -> None:
        """Open a window for the key of a message that alerts, if there is room."""
        if candidate.key in self._windows:
            return  # the window has no room for the message: what it has counted must still be summarised
        window = AlertWindow(
            key=candidate.key, alert_id=candidate.alert_id, opened_ms=candidate.time_ms, length_s=length_s
        )
        text = encode_window(window)
        if self._make_room(text, candidate.key):
            self._put(window, text)
        else:
            self.keys_without_room += 1

    def take_ended(self) -> list[AlertWindow]:
        """Return the windows that have ended and have counted messages, each of them once."""
        ended, self._ended = self._ended, []
        return ended

    def encode(self) -> str:
        """Return the state; empty without windows."""
        return encode_state(text for _, text in self._windows.values()) if self._windows else ""

    def _with(self, counted: CountedMessages | None, candidate: AlertCandidate) -> CountedMessages:
        best: dict[int, FlaggedCategory] = {}
        for one in (*(counted.categories if counted else ()), *candidate.categories):
            if one.category not in best or one.score > best[one.category].score:
                best[one.category] = one
        return CountedMessages(
            count=counted.count + 1 if counted else 1,
            first_offset=counted.first_offset if counted else candidate.offset,
            first_ms=counted.first_ms if counted else candidate.time_ms,
            last_offset=candidate.offset,
            last_item=candidate.item,
            last_ms=candidate.time_ms,
            last_verdict_id=candidate.verdict_id,
            categories=tuple(best[category] for category in sorted(best)),
            level=max((counted.level, candidate.level), key=self._rank) if counted else candidate.level,
        )

    def _rank(self, level: str | None) -> int:
        """Return the place of a level. A level of an earlier policy that no longer exists is the mildest."""
        return self._levels.index(level) if level in self._levels else -1

    def _put(self, window: AlertWindow, text: str) -> None:
        self._characters += len(text) - self._length(window.key)
        self._windows[window.key] = window, text
        self._first_end_ms = min(self._first_end_ms, window.end_ms)

    def _remove(self, key: bytes) -> None:
        self._characters -= self._length(key)
        del self._windows[key]

    def _length(self, key: bytes) -> int:
        return len(self._windows[key][1]) if key in self._windows else 0

    def _make_room(self, text: str, key: bytes) -> bool:
        """Make room for the text of a key's window. Return whether it fits.

        Windows that have counted nothing are closed, the oldest first. Such a window owes nothing: without it, the
        next message of its key alerts. So a raid finds room also where many different messages alert.
        """
        surplus = self._characters + len(text) - self._length(key) - self._characters_max
        if surplus <= 0:
            return True
        free = [one for one, (window, _) in self._windows.items() if window.counted is None and one != key]
        if surplus > sum(map(self._length, free)):
            return False
        while self._characters + len(text) - self._length(key) > self._characters_max:
            self._remove(free.pop(0))
            self.keys_without_room += 1
        return True

    def _shorten(self) -> None:
        """Close windows until the committed state fits: the broker has a smaller limit than before."""
        by_count = sorted(self._windows.values(), key=lambda one: one[0].counted is not None)
        while by_count and self._characters > self._characters_max:
            self.end(by_count.pop(0)[0])
            self.keys_without_room += 1
