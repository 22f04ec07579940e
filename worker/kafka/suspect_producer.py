"""When a producer must be replaced before its next transaction, and when a new producer does not help. Pure.

The time is an argument.
"""

from collections import deque
from dataclasses import dataclass, field

SLOW_MS = 5_000
_SLOWNESS_COUNTS_AGAIN_MS = 30_000
_TRANSPORT = frozenset({"_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE", "_TIMED_OUT"})
# One fatal error is a broker's restart. Two are bad luck. After three a person should look.
_FATAL_ERRORS_MAX = 3
_FATAL_ERRORS_WITHIN_MS = 300_000


@dataclass(slots=True)
class SuspectReason:
    """Why the producer may hang, or why a delayed request may end its next transaction.

    Attributes:
        reason: The first reason since the last replacement; empty if there is none.
    """

    reason: str = ""
    _slow_at_ms: int | None = None

    def add(self, reason: str) -> None:
        """Record a reason."""
        self.reason = self.reason or reason

    def clear(self) -> None:
        """Forget the reason: a new producer has settled the last transaction."""
        self.reason = ""

    def transport_error(self, code: str, text: str) -> None:
        """Record an error that librdkafka reports by its callback, if the error concerns the connection."""
        if code in _TRANSPORT:
            self.add(text)

    def committed(self, now_ms: int, took_ms: int) -> None:
        """Record the duration of a transaction. A slow commit is a reason, once in half a minute."""
        counts = self._slow_at_ms is None or now_ms - self._slow_at_ms >= _SLOWNESS_COUNTS_AGAIN_MS
        if took_ms >= SLOW_MS and counts:
            self._slow_at_ms = now_ms
            self.add(f"a transaction took {took_ms} ms")


@dataclass(slots=True)
class FatalErrors:
    """The latest fatal errors, each of which has cost a producer."""

    _at_ms: deque[int] = field(default_factory=lambda: deque(maxlen=_FATAL_ERRORS_MAX))

    def recur(self, now_ms: int) -> bool:
        """Record a fatal error. Return whether it is the third in five minutes: a new producer does not help."""
        self._at_ms.append(now_ms)
        return len(self._at_ms) == _FATAL_ERRORS_MAX and now_ms - self._at_ms[0] < _FATAL_ERRORS_WITHIN_MS
