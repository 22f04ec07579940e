"""A fetched chunk becomes records that know what they owe. Pure, but for the tokenizer and the cache."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from schemas.chat import ChatMessage, InputShape, Undecodable, decode
from worker.moderation.cache import ScoreCache
from worker.records import CachedScores, ConsumedRecord, DeadLetterReason, PreparedMessage, PreparedRecord


class TokenizedText(Protocol):
    """A text as the tokenizer sees it."""

    @property
    def tokens(self) -> Sequence[int]:
        """Ids, special tokens included, within the model's bound."""

    @property
    def truncated(self) -> bool:
        """Whether that bound took something away."""


Encode = Callable[[Sequence[str]], Sequence[TokenizedText]]
"""Texts to tokens, one answer a text, in order."""


PORTION_BYTES_MAX = 2**20
"""Of values decoded together. A decoded text can have four times as many. A chunk of chat is one portion."""


def split_by_bytes(chunk: Sequence[ConsumedRecord]) -> Iterator[Sequence[ConsumedRecord]]:
    """Split a chunk into parts of at most ``PORTION_BYTES_MAX`` of values; a larger value is alone in one."""
    start = size_bytes = 0
    for index, source in enumerate(chunk):
        value_bytes = len(source.value or b"")
        size_bytes += value_bytes
        if size_bytes > PORTION_BYTES_MAX and index > start:
            yield chunk[start:index]
            start, size_bytes = index, value_bytes
    if start < len(chunk):
        yield chunk[start:]


def by_source(source: ConsumedRecord) -> str:
    """The id of a message that came without one."""
    return f"{source.partition.topic}:{source.partition.number}:{source.offset}"


def prepare(
    chunk: Sequence[ConsumedRecord],
    *,
    shape: InputShape,
    characters_max: int,
    encode: Encode,
    cache: ScoreCache,
    message_id: Callable[[ConsumedRecord], str] = by_source,
) -> list[PreparedRecord]:
    """A record for each message, in order; all texts that are not known are tokenised in one call, each once.

    Args:
        chunk: As polled.
        shape: How to read a value.
        characters_max: A longer text is cut before it is tokenised, whose cost grows with what is then cut.
        encode: The tokenizer.
        cache: What is known of texts.
        message_id: Names a message that came without an id.
    """
    decoded = [None if source.value is None else _decoded(source.value, shape) for source in chunk]
    names = [
        cache.digest(chat.text) if isinstance(chat, ChatMessage) and not _blank(chat) else b"" for chat in decoded
    ]
    found: dict[bytes, CachedScores | TokenizedText | DeadLetterReason] = {**cache.get_many(filter(None, names))}
    new = {
        name: chat.text[:characters_max]
        for name, chat in zip(names, decoded, strict=True)
        if name and name not in found and isinstance(chat, ChatMessage)
    }
    found.update(zip(new, _encoded([*new.values()], encode), strict=True))
    records = []
    for source, chat, name in zip(chunk, decoded, names, strict=True):
        content: PreparedMessage | DeadLetterReason | None
        if chat is None or isinstance(chat, DeadLetterReason):
            content = chat
        else:
            id_ = message_id(source) if chat.message_id is None else chat.message_id
            content = _content(chat, id_, name, found.get(name), characters_max)
        records.append(PreparedRecord(source=source, content=content))
    return records


def _decoded(value: bytes, shape: InputShape) -> ChatMessage | DeadLetterReason:
    try:
        return decode(value, shape)
    except Undecodable as error:
        return DeadLetterReason(reason=error.reason, message=error.message)


def _blank(chat: ChatMessage) -> bool:
    """Of the whole text, before any cut: what stands behind a screen of spaces is judged."""
    return not chat.text.strip()


def _content(
    chat: ChatMessage,
    message_id: str,
    name: bytes,
    found: CachedScores | TokenizedText | DeadLetterReason | None,
    characters_max: int,
) -> PreparedMessage | DeadLetterReason:
    if isinstance(found, DeadLetterReason):
        return found
    known = found if isinstance(found, CachedScores) else None
    characters = len(chat.text)
    return PreparedMessage(
        message_id=message_id,
        channel_id=chat.channel_id,
        user_id=chat.user_id,
        sent_at=chat.sent_at,
        characters=characters,
        text_digest=name,
        tokens=() if found is None or isinstance(found, CachedScores) else found.tokens,
        truncated=found is not None and (found.truncated or characters > characters_max),
        cached=known,
        ignored=chat.ignored,
    )


def _encoded(texts: Sequence[str], encode: Encode) -> Sequence[TokenizedText | DeadLetterReason]:
    if not texts:
        return ()
    try:
        encodings: Sequence[TokenizedText | DeadLetterReason] = encode(texts)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a tokenizer's panic derives from BaseException, with no name to import
        fault = DeadLetterReason(reason="tokenizer_failed", message=f"The tokenizer raised {type(error).__name__}.")
        return [fault] if len(texts) == 1 else [_encoded([text], encode)[0] for text in texts]
    # A text that is not blank must not pass unscored for want of tokens.
    return [
        encoding
        if isinstance(encoding, DeadLetterReason) or len(encoding.tokens)
        else DeadLetterReason(
            reason="tokenizer_failed", message="The tokenizer made no token of a text that is not blank."
        )
        for encoding in encodings
    ]
