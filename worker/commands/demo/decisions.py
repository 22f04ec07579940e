"""What the demo's policy decided, as a reader of verdicts and alerts sees it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any


class DecisionTally:
    """Counts levels, exemptions and coalesced alerts.

    Attributes:
        levels: Flagged messages by level.
        exempt: Flagged messages by the exemption that kept them from raising an alert.
        alerts: Alerts about one message.
        coalesced: For each alert that summarises others, the number of messages in its count.
    """

    def __init__(self) -> None:
        self.levels: Counter[str] = Counter()
        self.exempt: Counter[str] = Counter()
        self.alerts = 0
        self.coalesced: list[int] = []

    def add_verdict(self, verdict: Mapping[str, Any]) -> None:
        """Count a verdict. A verdict of a message that is not flagged counts nowhere."""
        if verdict["flagged"]:
            self.levels[verdict["level"]] += 1
            if "exempt" in verdict:
                self.exempt[verdict["exempt"]] += 1

    def add_alert(self, alert: Mapping[str, Any]) -> None:
        """Count an alert."""
        if "repeat" in alert:
            self.coalesced.append(alert["repeat"]["count"])
        else:
            self.alerts += 1

    def sentence(self) -> str:
        """Return the counts in one line."""
        levels = ", ".join(f"{level} {count}" for level, count in self.levels.items())
        exempt = "".join(f"; exempt as {name}: {count}" for name, count in self.exempt.items())
        raid = "".join(f"; one alert with the count {count}, for a raid" for count in self.coalesced)
        return f"flagged by level: {levels or 'none'}{exempt}; alerts about one message: {self.alerts}{raid}"
