"""The documented events of all shapes and envelopes, each with what the worker must find in it."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVENTS = Path(__file__).parent / "events"
FIELDS = ("message_id", "channel_id", "user_id", "sent_at", "tenant_id", "language", "edited", "outcome")
"""The fields that an event's ``expected`` may have besides the text and the lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentedEvent:
    """One record.

    Attributes:
        shape: The shape that reads it.
        envelope: The envelope around it; None if there is none.
        name: What it is, in plain words.
        value: The value of the record.
        headers: The headers of the record.
        expected: What the worker must find: one object, or for an array one object for each element.
    """

    shape: str
    envelope: str | None
    name: str
    value: bytes
    headers: list[tuple[str, bytes | None]]
    expected: Any

    def __str__(self) -> str:
        return f"{self.shape}, {self.envelope or 'no envelope'}: {self.name}"

    @property
    def items(self) -> list[tuple[int | None, Any]]:
        """What must be found, each with the number of its element."""
        return [*enumerate(self.expected)] if isinstance(self.expected, list) else [(None, self.expected)]


def documented_events() -> Iterator[DocumentedEvent]:
    """Yield all events, file by file."""
    for path in sorted(EVENTS.glob("*.json")):
        document = json.loads(path.read_bytes())
        for event in document["events"]:
            if "value_base64" in event:
                value = base64.b64decode(event["value_base64"])
            else:
                value = event["value"].encode() if "value" in event else json.dumps(event["event"]).encode()
            yield DocumentedEvent(
                shape=path.stem.partition("+")[0],
                envelope=document["envelope"],
                name=event["name"],
                value=value,
                headers=[(name, text.encode()) for name, text in event.get("headers", {}).items()],
                expected=event["expected"],
            )
