"""Compile all fields of a message other than its text: none of them costs a message its verdict. Pure.

Most fields are strings at the top of the event. They are looked up here, without a function for each field: to call
a function takes twice as long as the look-up.
"""

from collections.abc import Callable, Sequence
from typing import Any

from schemas.chat import ChatMessage, MessageContext
from worker.moderation.shapes import fields
from worker.moderation.shapes.fields import ReadField, Unreadable, identity_of, instant_of
from worker.moderation.shapes.finding import find_one, only_name
from worker.moderation.shapes.shape_file import Shape
from worker.records import Headers

ReadFields = Callable[[Any, Headers, str], ChatMessage]
"""Returns the message of an event that has this text."""


def message_fields(shape: Shape) -> ReadFields:
    """Return the function that reads the fields. It leaves out those that cannot be read, and names them."""
    id_name, find_id = _place(shape.message_id, fields.identity)
    channel_name, find_channel = _place(shape.channel_id, fields.identity)
    user_name, find_user = _place(shape.user_id, fields.identity)
    sent_name, find_sent = _place(shape.sent_at, fields.instant)
    read_context, tolerant = _context(shape), _tolerant(shape)

    def read(event: Any, headers: Headers, text: str) -> ChatMessage:
        try:
            message_id = event.get(id_name) if find_id is None else find_id(event, headers)
            channel_id = event.get(channel_name) if find_channel is None else find_channel(event, headers)
            user_id = event.get(user_name) if find_user is None else find_user(event, headers)
            sent_at = event.get(sent_name) if find_sent is None else find_sent(event, headers)
            return ChatMessage(
                text,
                message_id if type(message_id) is str else identity_of(message_id),
                channel_id if type(channel_id) is str else identity_of(channel_id),
                user_id if type(user_id) is str else identity_of(user_id),
                sent_at if type(sent_at) is str else instant_of(sent_at),
                (),
                None if read_context is None else read_context(event, headers),
            )
        except Unreadable:
            return tolerant(event, headers, text)

    return read


def _place(
    places: Sequence[str], several: Callable[[Sequence[str]], ReadField]
) -> tuple[str | None, ReadField | None]:
    """Return the name at the top where a field is, or the function that finds it.

    A field without a place has neither. The look-up of None then finds nothing: no key of a JSON object is None.
    """
    if not places:
        return None, None
    if len(places) > 1 or "*" in places[0]:
        return None, several(places)
    name = only_name(places[0])
    return name, find_one(places[0]) if name is None else None


def _context(shape: Shape) -> Callable[[Any, Headers], MessageContext | None] | None:
    """Return the function that reads the context; None when the shape reads none of its fields."""
    if not (shape.tenant_id or shape.roles or shape.language or shape.edited):
        return None
    tenant_name, find_tenant = _place(shape.tenant_id, fields.identity)
    language_name, find_language = _place(shape.language, fields.identity)
    read_roles, read_edited = fields.roles(shape.roles), fields.edited(shape.edited)
    names = [only_name(place) if isinstance(place, str) else None for place in shape.edited]
    edited_name = names[0] if len(names) == 1 else None
    make = MessageContext._make  # takes two thirds of the time of a call of the class

    def read(event: Any, headers: Headers) -> MessageContext | None:
        tenant_id = event.get(tenant_name) if find_tenant is None else find_tenant(event, headers)
        if tenant_id is not None and type(tenant_id) is not str:
            tenant_id = identity_of(tenant_id)
        language = event.get(language_name) if find_language is None else find_language(event, headers)
        if language is not None and type(language) is not str:
            language = identity_of(language)
        roles = read_roles(event, headers)
        if edited_name is None:
            edited = read_edited(event, headers)
        else:
            at_name = event.get(edited_name)
            edited = at_name is not None and at_name is not False
        if roles or edited or tenant_id is not None or language is not None:
            return make((tenant_id, roles, language, edited))
        return None

    return read


def _tolerant(shape: Shape) -> ReadFields:
    """Return the function that leaves out the fields that cannot be read, and names these fields."""
    of_message: dict[str, ReadField] = {
        "message_id": fields.identity(shape.message_id),
        "channel_id": fields.identity(shape.channel_id),
        "user_id": fields.identity(shape.user_id),
        "sent_at": fields.instant(shape.sent_at),
    }
    of_context: dict[str, ReadField] = {
        "tenant_id": fields.identity(shape.tenant_id),
        "roles": fields.roles(shape.roles),
        "language": fields.identity(shape.language),
        "edited": fields.edited(shape.edited),
    }

    def read(event: Any, headers: Headers, text: str) -> ChatMessage:
        values, unreadable = {}, []
        for name, reader in (of_message | of_context).items():
            try:
                values[name] = reader(event, headers)
            except Unreadable:
                unreadable.append(name)
        context = MessageContext(**{name: values.pop(name) for name in of_context if name in values})
        return ChatMessage(
            **values,
            text=text,
            ignored=tuple(unreadable),
            context=None if context == MessageContext() else context,
        )

    return read
