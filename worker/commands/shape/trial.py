"""What a shape makes of events: which are judged, which are skipped and which are refused."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.chat import ChatMessage, MessageContext
from worker.commands.shape.samples import SampleRecord
from worker.logs import escaped
from worker.moderation.markup import Markup, render
from worker.moderation.shapes import ItemReading, ReadRecord
from worker.records import Skipped
from worker.scores import DeadLetterReason

TEXT_CHARACTERS_MAX = 300
REASONS_MAX = 10


class EventOutcome(Enum):
    """What becomes of an event, with its style on a terminal."""

    JUDGED = ("judged", "green")
    NO_TEXT = ("no_text", "yellow")
    BLANK = ("blank", "yellow")
    SKIPPED = ("skipped", "dim")
    REFUSED = ("refused", "bold red")

    @property
    def word(self) -> str:
        """The outcome as the table shows it."""
        return self.value[0]

    @property
    def style(self) -> str:
        """The outcome's style on a terminal."""
        return self.value[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedEvent:
    """An event as a shape reads it.

    Attributes:
        place: Where the event comes from. An element of an array has its number after ``#``.
        outcome: What becomes of the event.
        reason: Why it is skipped or refused; empty for a message.
        message: The message; None if it is skipped or refused.
    """

    place: str
    outcome: EventOutcome
    reason: str = ""
    message: ChatMessage | None = None


def tried(samples: Iterable[SampleRecord], read: ReadRecord) -> Iterator[TriedEvent]:
    """Give for each event what a shape makes of it. An array gives several."""
    for sample in samples:
        if sample.value is None:
            yield TriedEvent(place=sample.place, outcome=EventOutcome.SKIPPED, reason="The record is a tombstone.")
            continue
        reading = read(sample.value, sample.headers)
        if not isinstance(reading, tuple):
            yield _tried(sample.place, reading)
            continue
        for number, item in enumerate(reading):
            yield _tried(f"{sample.place}#{number}", item)


def _tried(place: str, reading: ItemReading) -> TriedEvent:
    if isinstance(reading, Skipped):
        return TriedEvent(place=place, outcome=EventOutcome.SKIPPED, reason=reading.reason)
    if isinstance(reading, DeadLetterReason):
        reason = f"{reading.reason}: {reading.message}"
        return TriedEvent(place=place, outcome=EventOutcome.REFUSED, reason=reason)
    outcome = (
        EventOutcome.JUDGED
        if reading.text.strip()
        else EventOutcome.BLANK
        if reading.text
        else EventOutcome.NO_TEXT
    )
    return TriedEvent(place=place, outcome=outcome, message=reading)


def show_events(events: Sequence[TriedEvent], console: Console, markup: Markup) -> None:
    """Print a row for each event: where it is, what becomes of it, its text and ids or the reason."""
    table = Table("event", "outcome", "text and ids, or reason", box=None, pad_edge=False)
    for event in events:
        table.add_row(
            Text(escaped(event.place)), Text(event.outcome.word, style=event.outcome.style), _what(event, markup)
        )
    console.print(table)


def _what(event: TriedEvent, markup: Markup) -> Text:
    if event.message is None:
        return Text(escaped(event.reason, TEXT_CHARACTERS_MAX))
    text = event.message.text
    lines = [escaped(text, TEXT_CHARACTERS_MAX)] if text else []
    if (seen := render(text, markup)) != text:
        lines.append(f"a reader sees: {escaped(seen, TEXT_CHARACTERS_MAX)}")
    return Text("\n".join(lines)).append("\n" if lines else "").append(_fields(event.message), style="dim")


def _fields(message: ChatMessage) -> str:
    """Return the ids and the other fields of a message, on one line."""
    context = message.context or MessageContext()
    named = {
        "message": message.message_id,
        "channel": message.channel_id,
        "user": message.user_id,
        "tenant": context.tenant_id,
        "sent at": message.sent_at,
        "language": context.language,
        "roles": " ".join(context.roles) or None,
        "edited": "yes" if context.edited else None,
        "not readable": " ".join(message.ignored) or None,
    }
    given = [f"{name} {escaped(str(value), 80)}" for name, value in named.items() if value is not None]
    return ", ".join(given) or "no ids"


def show_counts(events: Sequence[TriedEvent], console: Console) -> None:
    """Print how many events have each outcome, and the most frequent reasons. There is at least one event."""
    counts = Counter(event.outcome for event in events)
    parts = (f"{counts[outcome]} {outcome.word}" for outcome in EventOutcome if counts[outcome])
    console.print(Text(f"\nevents {len(events)}: {', '.join(parts)}", style="bold"))
    for outcome in (EventOutcome.SKIPPED, EventOutcome.REFUSED):
        reasons = Counter(event.reason for event in events if event.outcome is outcome)
        for reason, count in reasons.most_common(REASONS_MAX):
            console.print(Text(f"  {outcome.word} {count}: {escaped(reason, TEXT_CHARACTERS_MAX)}"), soft_wrap=True)
