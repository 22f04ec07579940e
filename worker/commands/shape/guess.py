"""Which built-in shape fits events best: the one that reads a text and most fields of the most events. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.chat import ChatMessage, MessageContext
from worker.commands.shape.samples import SampleRecord
from worker.commands.shape.trial import EventOutcome, tried
from worker.moderation.shapes import (
    Envelope,
    ReadRecord,
    builtin_envelopes,
    builtin_shapes,
    compile_shape,
    load_envelope,
    load_shape,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How well a shape fits events.

    Attributes:
        shape: The shape's name.
        envelope: The envelope's name; None without an envelope.
        judged: Events with a text.
        without_text: Events that are messages without a text.
        skipped: Events that are not messages.
        refused: Events that would be dead letters.
        fields: Ids, times and other fields that were read, of all events.
    """

    shape: str
    envelope: str | None
    judged: int
    without_text: int
    skipped: int
    refused: int
    fields: int

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """The better, the larger. A shape without an envelope is better than the same shape with one."""
        return self.judged, self.fields, -self.refused, -(self.envelope is not None)

    @property
    def settings(self) -> str:
        """The variables that choose this shape and envelope."""
        envelope = f" WORKER_INPUT__ENVELOPE={self.envelope}" if self.envelope else ""
        return f"WORKER_INPUT__SHAPE={self.shape}{envelope}"


def fits(samples: Sequence[SampleRecord]) -> list[Fit]:
    """Return the built-in shapes that read a text in some event, the best first. Envelopes are tried too."""
    envelopes: dict[str | None, Envelope | None] = {None: None}
    envelopes |= {name: load_envelope(name) for name in builtin_envelopes()}
    found = []
    for name in builtin_shapes():
        shape = load_shape(name)
        reads = {around: compile_shape(shape, envelope=envelope) for around, envelope in envelopes.items()}
        found += [_fit(samples, read, name, around) for around, read in reads.items()]
    best: dict[str, Fit] = {}
    for fit in sorted(found, key=lambda fit: fit.rank, reverse=True):
        best.setdefault(fit.shape, fit)
    return [fit for fit in best.values() if fit.judged]


def _fit(samples: Sequence[SampleRecord], read: ReadRecord, name: str, envelope: str | None) -> Fit:
    events = list(tried(samples, read))
    outcomes = [event.outcome for event in events]
    return Fit(
        shape=name,
        envelope=envelope,
        judged=outcomes.count(EventOutcome.JUDGED),
        without_text=outcomes.count(EventOutcome.NO_TEXT) + outcomes.count(EventOutcome.BLANK),
        skipped=outcomes.count(EventOutcome.SKIPPED),
        refused=outcomes.count(EventOutcome.REFUSED),
        fields=sum(_fields(event.message) for event in events if event.message is not None),
    )


def _fields(message: ChatMessage) -> int:
    """Return how many fields of a message have a value."""
    context = message.context or MessageContext()
    given = (message.message_id, message.channel_id, message.user_id, message.sent_at, context.tenant_id)
    return sum(one is not None for one in given) + bool(context.roles) + context.edited
