"""Compile a shape into the function that reads a record: its bytes and headers, to messages. Pure.

The function never raises for any bytes. A record is one of these:

1. A message, with its text and ids.
2. Skipped: the shape says that it is not a chat message.
3. A dead letter, with a reason that names the place in the event.
4. A JSON array: one of the three for each element.

Only the text can cost a message its verdict. A field that cannot be read becomes None, and ``ignored`` names it.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

from schemas.chat import ChatMessage, MessageContext, Undecodable, kind, read_json, read_text
from worker.moderation.shapes.common_object import common_object
from worker.moderation.shapes.envelopes import ITSELF, edit_marker, envelope_opener
from worker.moderation.shapes.finding import Accepts, Find, accepts, find_one
from worker.moderation.shapes.message_fields import message_fields
from worker.moderation.shapes.parsing import parser
from worker.moderation.shapes.shape_file import Envelope, Shape, WhereRule
from worker.moderation.shapes.skipping import absence, skip_reason
from worker.moderation.shapes.text import FoundText, joiner, text
from worker.moderation.shapes.unpacking import unwrapper
from worker.moderation.shapes.usual_event import usual_reader
from worker.records import Headers, Skipped
from worker.scores import DeadLetterReason

ItemReading = ChatMessage | Skipped | DeadLetterReason
Reading = ItemReading | tuple[ItemReading, ...]
"""What is in a record; a tuple when the record is a JSON array."""
ReadRecord = Callable[[bytes, Headers], Reading]

ITEMS_MAX = 10_000
"""Largest number of elements of an array. All outputs of a record are in one transaction."""

TEXT_SHAPE = Shape.model_validate({"schema": "shape/1", "wire": "text"})
"""The shape of a value that is the text itself."""

_ReadEvent = Callable[[Any, Headers], Reading]
_ReadMessage = Callable[[Any, Headers], ChatMessage]
"""Reads the message of an event. Raises ``Undecodable``."""
_ReadEnvelope = Callable[[Any, Headers, Any], Reading]
"""Reads a document. The last argument is the event where the document is not an envelope."""


def compile_shape(shape: Shape, *, envelope: Envelope | None = None, bytes_max: int = 1_048_576) -> ReadRecord:
    """Return the function that reads a record.

    Args:
        shape: How to read an event.
        envelope: What is around the event; None if the record is the event.
        bytes_max: Largest size of a value, in bytes, packed and unpacked.
    """
    unwrap = unwrapper(shape.unwrap, bytes_max) if shape.unwrap else None
    read_usual = usual_reader(shape) if envelope is None else None
    if shape.wire == "json":
        read_event = _json_event(shape)
        if shape.event:
            read_event = _located(shape.event, read_event)
        if envelope is not None:
            read_event = _json_itself(_enveloped(envelope, shape, bytes_max, read_event))
        whole = _of_json(read_event)
    elif envelope is None:
        whole = _text_event(shape)
    else:
        whole = _text_itself(_enveloped(envelope, shape, bytes_max, _text_event(shape)))

    def read(value: bytes, headers: Headers) -> Reading:
        try:
            if len(value) > bytes_max:
                sentence = f"The value has {len(value)} bytes; the limit is {bytes_max}."
                raise Undecodable("too_large", sentence)  # noqa: TRY301 - every refusal has one handler
            if unwrap is not None:
                value = unwrap(value)
            if read_usual is not None and (reading := read_usual(value)) is not None:
                return reading
            return whole(value, headers)
        except Undecodable as error:
            return DeadLetterReason(reason=error.reason, message=error.message)

    return read


def is_readable(read: ReadRecord, value: bytes) -> bool:
    """Return whether a value holds a chat message, or is skipped; an array, whether any of its elements is."""
    found = read(value, ())
    items = found if isinstance(found, tuple) else (found,)
    return any(type(item) is not DeadLetterReason for item in items)


def _of_json(read_event: _ReadEvent) -> ReadRecord:
    def read(value: bytes, headers: Headers) -> Reading:
        document = read_json(value)
        return _items(read_event, document, headers) if type(document) is list else read_event(document, headers)

    return read


def _located(places: Sequence[str], read_event: _ReadEvent) -> _ReadEvent:
    """Return the function that reads the event at the first place that has an object or an array."""
    finds: list[Find] = [find_one(place) if place else (lambda document, _: document) for place in places]
    absent = Skipped(reason=absence("object and no array", [*filter(None, places)]))

    def read(document: Any, headers: Headers) -> Reading:
        if type(document) is not dict:
            raise Undecodable("not_an_object", f"The value is {kind(document)}, not an object.")
        for find in finds:
            found = find(document, headers)
            if type(found) is dict:
                return read_event(found, headers)
            if type(found) is list:
                return _items(read_event, found, headers)
        return absent

    return read


def _items(read_event: _ReadEvent, elements: Sequence[Any], headers: Headers) -> Reading:
    """Return what is in an array: a reading for each element, or for each element of an array in an element."""
    if not elements:
        return Skipped(reason="The array is empty.")
    if len(elements) > ITEMS_MAX:
        raise Undecodable("too_large", f"The array has {len(elements)} elements; the limit is {ITEMS_MAX}.")
    found: list[ItemReading] = []
    for element in elements:
        reading = _item(read_event, element, headers)
        if type(reading) is tuple:
            found += reading
        else:
            found.append(cast("ItemReading", reading))
        if len(found) > ITEMS_MAX:
            raise Undecodable("too_large", f"The arrays have more than {ITEMS_MAX} elements.")
    return tuple(found)


def _item(read_event: _ReadEvent, element: Any, headers: Headers) -> Reading:
    try:
        return read_event(element, headers)
    except Undecodable as error:
        return DeadLetterReason(reason=error.reason, message=error.message)


def _json_event(shape: Shape) -> _ReadEvent:
    """Return the function that reads an event: its JSON, or bytes or a string that hold its JSON."""
    parse = parser(shape.parse) if shape.parse else None
    rules, read_message = compiled_rules(shape.where), _message(shape)

    def read(event: Any, headers: Headers) -> Reading:
        if type(event) is not dict:
            raise Undecodable("not_an_object", f"The value is {kind(event)}, not an object.")
        refusal = None if parse is None else parse(event)
        for is_met, skipped in rules:
            if not is_met(event, headers):
                return skipped
        if refusal is not None:
            raise refusal
        return read_message(event, headers)

    return read


def _message(shape: Shape) -> _ReadMessage:
    """Return the function that reads the message of an event that meets the rules."""
    if (common := common_object(shape)) is None:
        return _message_at(shape)
    (name, inner_shape), read_whole = common, _message_at(shape)
    read_text_of, read_fields, read_inner = text(inner_shape), message_fields(inner_shape), _message_at(inner_shape)

    def read(event: Any, headers: Headers) -> ChatMessage:
        inner = event.get(name)
        if type(inner) is dict:
            try:
                found = read_text_of(inner)
                return read_fields(inner, headers, found) if type(found) is str else read_inner(inner, headers)
            except Undecodable:
                pass  # the reason must name the places of the whole event
        return read_whole(event, headers)

    return read


def _message_at(shape: Shape) -> _ReadMessage:
    read_text_of, read_fields = text(shape), message_fields(shape)

    def read(event: Any, headers: Headers) -> ChatMessage:
        found = read_text_of(event)
        message = read_fields(event, headers, found if type(found) is str else found[0])
        if type(found) is FoundText:
            message.ignored = (*message.ignored, "text")
        return message

    return read


def _text_event(shape: Shape) -> _ReadEvent:
    """Return the function that reads an event that is the text itself."""
    rules, read_fields, join = compiled_rules(shape.where), message_fields(shape), joiner(shape)

    def read(event: Any, headers: Headers) -> Reading:
        for is_met, skipped in rules:
            if not is_met({}, headers):
                return skipped
        if type(event) is bytes:
            event = read_text(event)
        elif type(event) is not str:
            raise Undecodable("wrong_type", f"The value is {kind(event)}, not a string.")
        return read_fields({}, headers, join([event]))

    return read


def compiled_rules(rules: Sequence[WhereRule]) -> list[tuple[Accepts, Skipped]]:
    """Return each rule as a function, and what a record is that does not meet the rule."""
    return [(accepts(rule), Skipped(reason=skip_reason(rule))) for rule in rules]


def _enveloped(envelope: Envelope, shape: Shape, bytes_max: int, read_event: _ReadEvent) -> _ReadEnvelope:
    opened, is_edit = envelope_opener(envelope, shape.wire, bytes_max), edit_marker(envelope)

    def read(document: Any, headers: Headers, itself: Any) -> Reading:
        event = opened(document, headers)
        if type(event) is Skipped:
            return event
        if event is ITSELF:
            return read_event(itself, headers)
        reading = read_event(event, headers)
        if is_edit(document, headers):
            for one in reading if type(reading) is tuple else (reading,):
                if type(one) is ChatMessage:
                    one.context = (one.context or MessageContext())._replace(edited=True)
        return reading

    return read


def _json_itself(read_envelope: _ReadEnvelope) -> _ReadEvent:
    return lambda document, headers: read_envelope(document, headers, document)


def _text_itself(read_envelope: _ReadEnvelope) -> ReadRecord:
    """Return the function that reads an envelope around a text, or a value that is the text itself."""

    def read(value: bytes, headers: Headers) -> Reading:
        try:
            document = read_json(value)
        except Undecodable:
            document = None  # the value is the text itself, if the envelope allows that
        return read_envelope(document, headers, value)

    return read
