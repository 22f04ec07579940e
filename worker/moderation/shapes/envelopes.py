"""Compile an envelope into the function that finds the event in a document. Pure."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from schemas.chat import Undecodable, kind, parse_pointer, read_json, written
from worker.moderation.shapes import fields
from worker.moderation.shapes.finding import accepts, find_one
from worker.moderation.shapes.shape_file import Envelope, PackedPayload
from worker.moderation.shapes.skipping import absence, skip_reason
from worker.moderation.shapes.unpacking import unwrapper
from worker.records import Headers, Skipped

OpenEnvelope = Callable[[Any, Headers], Any]
"""Returns the event of a document, ``ITSELF``, or ``Skipped``. Raises ``Undecodable``."""
IsEdit = Callable[[Any, Headers], bool]

ITSELF = object()
"""The record is not an envelope, so the record itself is the event."""

_FindPayload = Callable[[Any], Any]
"""Returns a payload: ``_ABSENT`` if there is none, None if it is null."""
_ABSENT = object()


def envelope_opener(envelope: Envelope, wire: Literal["json", "text"], bytes_max: int) -> OpenEnvelope:
    """Return the function that opens an envelope.

    Args:
        envelope: The envelope.
        wire: What a payload is that is a string or base64: JSON, or the text itself.
        bytes_max: Largest size of an unpacked payload, in bytes.
    """
    applies = [accepts(rule) for rule in envelope.when]
    rules = [(accepts(rule), Skipped(reason=skip_reason(rule))) for rule in envelope.where]
    first_payload = _first_payload([_payload(one, wire, bytes_max) for one in envelope.payload])
    sentence = absence("event", [one if isinstance(one, str) else one.at for one in envelope.payload])

    def opened(document: Any, headers: Headers) -> Any:
        if applies and not (type(document) is dict and all(rule(document, headers) for rule in applies)):
            return ITSELF
        if type(document) is not dict:
            raise Undecodable("not_an_object", f"The value is {kind(document)}, not an object.")
        for is_met, skipped in rules:
            if not is_met(document, headers):
                return skipped
        found: Any = first_payload(document)
        if found is not _ABSENT and found is not None:
            return found
        if (envelope.if_absent if found is _ABSENT else envelope.if_null) == "skip":
            return Skipped(reason=sentence)
        raise Undecodable("no_text", sentence)

    return opened


def _first_payload(payloads: Sequence[_FindPayload]) -> _FindPayload:
    def find(document: Any) -> Any:
        found = _ABSENT
        for payload in payloads:
            if (further := payload(document)) is not _ABSENT:
                found = further
            if found is not _ABSENT and found is not None:
                break
        return found

    return find


def edit_marker(envelope: Envelope) -> IsEdit:
    """Return the function that tells whether an envelope says that its event is an edit."""
    return fields.edited(envelope.edited)


def _payload(payload: str | PackedPayload, wire: Literal["json", "text"], bytes_max: int) -> _FindPayload:
    place = payload if isinstance(payload, str) else payload.at
    *above, name = parse_pointer(place)
    holder_of = find_one(written(tuple(above))) if above else (lambda document, _: document)
    unwrap = None if isinstance(payload, str) else unwrapper(payload.unwrap, bytes_max)

    def find(document: Any) -> Any:
        holder = holder_of(document, ())
        found: Any = holder.get(name, _ABSENT) if type(holder) is dict else _ABSENT
        if found is None or found is _ABSENT:
            return found
        if unwrap is not None:
            if type(found) is not str:
                raise Undecodable("wrong_type", f"The value at {place} is {kind(found)}, not a string.")
            found = unwrap(found.encode())
        return read_json(found, f"The value at {place}") if wire == "json" and type(found) in _PACKED else found

    return find


_PACKED = {str, bytes}
