"""When a log line that repeats may be logged again. Pure; the time is an argument."""

from dataclasses import dataclass


@dataclass(slots=True)
class LogInterval:
    """The interval between two log lines with the same news.

    Attributes:
        interval_ms: Shortest time between two lines, in milliseconds.
        last_ms: When the last line was logged; None before the first one.
    """

    interval_ms: int
    last_ms: int | None = None

    def due(self, now_ms: int) -> bool:
        """Return whether to log the line now. If so, the next interval begins now."""
        if self.last_ms is not None and now_ms - self.last_ms < self.interval_ms:
            return False
        self.last_ms = now_ms
        return True

    @property
    def has_logged(self) -> bool:
        """Whether a line has been logged since the last ``reset``."""
        return self.last_ms is not None

    def reset(self) -> None:
        """Let the next line be logged without a wait."""
        self.last_ms = None
