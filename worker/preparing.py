"""A fetched chunk becomes records that know what they owe. Pure, but for the tokenizer that it is given."""

from collections.abc import Callable, Sequence
from typing import Protocol

from schemas.chat import ChatMessage, InputShape, Undecodable, decode
from worker.records import Fault, Fetched, Message, Record


class Encoded(Protocol):
    """A text as the tokenizer sees it."""

    @property
    def tokens(self) -> Sequence[int]:
        """Ids, special tokens included, within the model's bound."""

    @property
    def truncated(self) -> bool:
        """Whether that bound took something away."""


Encode = Callable[[Sequence[str]], Sequence[Encoded]]
"""Texts to tokens, one answer a text, in order."""


def by_source(source: Fetched) -> str:
    """The id of a message that came without one."""
    return f"{source.partition.topic}:{source.partition.number}:{source.offset}"


def prepare(
    chunk: Sequence[Fetched],
    *,
    shape: InputShape,
    characters_max: int,
    encode: Encode,
    message_id: Callable[[Fetched], str] = by_source,
) -> list[Record]:
    """A record for each message, in order; all texts are tokenised in one call.

    Args:
        chunk: As polled.
        shape: How to read a value.
        characters_max: A longer text is cut before it is tokenised, whose cost grows with what is then cut.
        encode: The tokenizer.
        message_id: Names a message that came without an id.
    """
    decoded = [None if source.value is None else _decoded(source.value, shape) for source in chunk]
    texts = [chat.text[:characters_max] for chat in decoded if isinstance(chat, ChatMessage) and not _blank(chat)]
    encodings = iter(_encoded(texts, encode))
    records = []
    for source, chat in zip(chunk, decoded, strict=True):
        content: Message | Fault | None
        if chat is None or isinstance(chat, Fault):
            content = chat
        else:
            name = message_id(source) if chat.message_id is None else chat.message_id
            encoding = None if _blank(chat) else next(encodings)
            content = _content(chat, name, encoding, characters_max)
        records.append(Record(source=source, content=content))
    return records


def _decoded(value: bytes, shape: InputShape) -> ChatMessage | Fault:
    try:
        return decode(value, shape)
    except Undecodable as error:
        return Fault(reason=error.reason, message=error.message)


def _blank(chat: ChatMessage) -> bool:
    """Of the whole text, before any cut: what stands behind a screen of spaces is judged."""
    return not chat.text.strip()


def _content(
    chat: ChatMessage, message_id: str, encoding: Encoded | Fault | None, characters_max: int
) -> Message | Fault:
    if isinstance(encoding, Fault):
        return encoding
    characters = len(chat.text)
    return Message(
        message_id=message_id,
        channel_id=chat.channel_id,
        user_id=chat.user_id,
        sent_at=chat.sent_at,
        characters=characters,
        tokens=() if encoding is None else encoding.tokens,
        truncated=encoding is not None and (encoding.truncated or characters > characters_max),
    )


def _encoded(texts: Sequence[str], encode: Encode) -> Sequence[Encoded | Fault]:
    if not texts:
        return ()
    try:
        encodings: Sequence[Encoded | Fault] = encode(texts)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a tokenizer's panic derives from BaseException, with no name to import
        fault = Fault(reason="tokenizer_failed", message=f"The tokenizer raised {type(error).__name__}.")
        return [fault] if len(texts) == 1 else [_encoded([text], encode)[0] for text in texts]
    # A text that is not blank must not pass unscored for want of tokens.
    return [
        encoding
        if isinstance(encoding, Fault) or len(encoding.tokens)
        else Fault(reason="tokenizer_failed", message="The tokenizer made no token of a text that is not blank.")
        for encoding in encodings
    ]
