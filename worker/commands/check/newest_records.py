"""What the worker would make of the newest records of an input topic. Reads only, and joins no group."""

from collections import Counter
from collections.abc import Callable, Sequence

from worker.commands.check.report import Doubtful
from worker.commands.shape.guess import Fit, fits
from worker.commands.shape.samples import SampleRecord
from worker.commands.shape.trial import EventOutcome, TriedEvent, tried
from worker.moderation.shapes import ReadRecord

RECORDS = 100
"""How many records of each topic are read."""
REASONS_SHOWN = 3


def newest_records(samples: Sequence[SampleRecord], read: ReadRecord, topic: str) -> str:
    """Return how many of the newest records would be judged, skipped and refused.

    Args:
        samples: The newest records of the topic.
        read: The function that reads a record, as the settings say.
        topic: The topic.

    Raises:
        Doubtful: Records would be dead letters, or none would be judged, or another shape reads more of them.
    """
    events = list(tried(samples, read))
    if not events:
        return "there are none yet"
    counts = Counter(event.outcome for event in events)
    summary = ", ".join(f"{counts[outcome]} {outcome.word}" for outcome in EventOutcome if counts[outcome])
    if counts[EventOutcome.REFUSED] == 0 and counts[EventOutcome.JUDGED] > 0:
        return f"of {len(events)}: {summary}"
    lines = [f"of {len(events)}: {summary}", *_reasons(events)]
    remedy = f"moderation-worker shape try SHAPE --topic {topic}"
    if better := _better(lambda: fits(samples), counts[EventOutcome.JUDGED]):
        lines.append(f"{better.shape} reads a text in {better.judged} of them")
        remedy = f"{better.settings}; before that: {remedy.replace('SHAPE', better.shape, 1)}"
    raise Doubtful("\n".join(lines), remedy)


def _reasons(events: Sequence[TriedEvent]) -> list[str]:
    """Return the most frequent reasons of dead letters, and of skipped records if there are no dead letters."""
    refused = [event.reason for event in events if event.outcome is EventOutcome.REFUSED]
    reasons = refused or [event.reason for event in events if event.outcome is EventOutcome.SKIPPED]
    return [f"{count} {reason}" for reason, count in Counter(reasons).most_common(REASONS_SHOWN)]


def _better(find: Callable[[], Sequence[Fit]], judged: int) -> Fit | None:
    """Return the built-in shape that reads a text in more records; None if there is none."""
    best = next(iter(find()), None)
    return best if best is not None and best.judged > judged else None
