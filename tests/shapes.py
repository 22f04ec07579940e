"""Readers of input records for the tests."""

from schemas.chat import ChatMessage, Undecodable
from worker.moderation.shapes import TEXT_SHAPE, ReadRecord, compile_shape, load_shape
from worker.scores import DeadLetterReason


def plain(*, bytes_max: int = 1_048_576, **places: list[str]) -> ReadRecord:
    """Return the reader of the shape ``plain``, with other places for some fields."""
    return compile_shape(load_shape("plain").model_copy(update=places), bytes_max=bytes_max)


def of_text(*, bytes_max: int = 1_048_576) -> ReadRecord:
    """Return the reader of values that are the text itself."""
    return compile_shape(TEXT_SHAPE, bytes_max=bytes_max)


def decode(value: bytes, read: ReadRecord) -> ChatMessage:
    """Return the one message in a value.

    Raises:
        Undecodable: The value does not hold one.
    """
    found = read(value, ())
    if isinstance(found, DeadLetterReason):
        raise Undecodable(found.reason, found.message)
    assert isinstance(found, ChatMessage)
    return found
