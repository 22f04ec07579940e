"""What the worker reads of the documented events of every shape and envelope."""

from typing import Any

import pytest

from schemas.chat import ChatMessage, MessageContext
from schemas.dead_letter import REASONS
from tests.documented_events import DocumentedEvent, documented_events
from worker.moderation.shapes import (
    ItemReading,
    builtin_envelopes,
    builtin_shapes,
    compile_shape,
    load_envelope,
    load_shape,
)
from worker.records import Skipped
from worker.scores import DeadLetterReason

EVENTS = [*documented_events()]


def found(item: ItemReading) -> dict[str, Any]:
    """Return a reading as an event's ``expected`` writes it."""
    match item:
        case Skipped():
            return {"skipped": True}
        case DeadLetterReason():
            return {"dead_letter": item.reason}
        case ChatMessage():
            context = item.context or MessageContext()
            fields = {
                "text": item.text,
                "message_id": item.message_id,
                "channel_id": item.channel_id,
                "user_id": item.user_id,
                "sent_at": item.sent_at,
                "tenant_id": context.tenant_id,
                "language": context.language,
                "roles": list(context.roles) or None,
                "edited": context.edited or None,
                "ignored": list(item.ignored) or None,
                "outcome": None if item.text.strip() else "blank" if item.text else "no_text",
            }
            return {name: value for name, value in fields.items() if value is not None}


@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_a_documented_event_is_read(event: DocumentedEvent) -> None:
    envelope = None if event.envelope is None else load_envelope(event.envelope)
    reading = compile_shape(load_shape(event.shape), envelope=envelope)(event.value, event.headers)
    items = reading if isinstance(reading, tuple) else (reading,)
    expected = [{name: one[name] for name in one.keys() - {"pointer", "rendered"}} for _, one in event.items]
    assert isinstance(reading, tuple) == isinstance(event.expected, list)
    assert [found(item) for item in items] == expected
    for item, (_, one) in zip(items, event.items, strict=True):
        if isinstance(item, DeadLetterReason):
            assert item.reason in REASONS
            assert one.get("pointer", "") in item.message


def test_every_built_in_shape_and_envelope_has_documented_events() -> None:
    assert {event.shape for event in EVENTS} == {*builtin_shapes()}
    assert {event.envelope for event in EVENTS if event.envelope} == {*builtin_envelopes()}


def test_every_shape_has_a_message_that_is_judged_and_an_event_that_is_not() -> None:
    for shape in builtin_shapes():
        found_kinds = {
            next(iter(one.keys() & {"text", "skipped", "dead_letter"}))
            for event in EVENTS
            if event.shape == shape
            for _, one in event.items
        }
        assert found_kinds & {"text"}, shape
        assert found_kinds & {"skipped", "dead_letter"}, shape
