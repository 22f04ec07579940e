"""Why a producer must be replaced before its next transaction. Pure; the time is an argument."""

from dataclasses import dataclass

SLOW_MS = 5_000
_SLOWNESS_COUNTS_AGAIN_MS = 30_000
_TRANSPORT = frozenset({"_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE", "_TIMED_OUT"})


@dataclass(slots=True)
class Suspicion:
    """What has happened to a producer since its last transaction.

    Attributes:
        reason: The first reason; empty: none.
    """

    reason: str = ""
    _slow_at_ms: int | None = None

    def add(self, reason: str) -> None:
        """Notes a reason."""
        self.reason = self.reason or reason

    def transport_error(self, code: str, text: str) -> None:
        """Notes an error that the client reports by itself, if it concerns the connection."""
        if code in _TRANSPORT:
            self.add(text)

    def committed(self, now_ms: int, took_ms: int) -> None:
        """Notes how long a transaction took: one slow commit in half a minute is a reason."""
        counts = self._slow_at_ms is None or now_ms - self._slow_at_ms >= _SLOWNESS_COUNTS_AGAIN_MS
        if took_ms >= SLOW_MS and counts:
            self._slow_at_ms = now_ms
            self.add(f"a transaction took {took_ms} ms")
