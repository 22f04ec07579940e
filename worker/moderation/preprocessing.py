"""Decode and tokenise consumed records. Pure except for the tokenizer and the cache."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from schemas.chat import ChatMessage, InputShape, Undecodable, decode
from worker.moderation.cache import ScoreCache
from worker.records import CachedScores, ConsumedRecord, DeadLetterReason, PreparedMessage, PreparedRecord


class TokenizedText(Protocol):
    """A text as token ids."""

    @property
    def tokens(self) -> Sequence[int]:
        """Token ids, including special tokens; at most as many as the model's bound."""

    @property
    def truncated(self) -> bool:
        """Whether the bound shortened the text."""


Encode = Callable[[Sequence[str]], Sequence[TokenizedText]]
"""The tokenizer: texts to token ids, one result for each text, in order."""


PORTION_BYTES_MAX = 2**20
"""Bytes of values that are decoded together. A decoded text can take four times as many. A chunk of chat is one
portion."""


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
    """Return the id of a message that has none."""
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
    """Return each record of a chunk decoded and tokenised, in order.

    One call of the tokenizer encodes all texts that the cache does not hold, each text once.

    Args:
        chunk: Consumed records.
        shape: How to read a value.
        characters_max: Characters to tokenise. A longer text is cut first, because the cost of tokenising grows
            with the whole length, and the model's bound would then cut the tokens.
        encode: The tokenizer.
        cache: The scores of texts that were scored before.
        message_id: Returns the id of a message that has none.
    """
    decoded = [None if source.value is None else _decoded(source.value, shape) for source in chunk]
    digests = [
        cache.digest(chat.text) if isinstance(chat, ChatMessage) and not _is_blank(chat) else b""
        for chat in decoded
    ]
    found: dict[bytes, CachedScores | TokenizedText | DeadLetterReason] = {**cache.get_many(filter(None, digests))}
    uncached = {
        digest: chat.text[:characters_max]
        for digest, chat in zip(digests, decoded, strict=True)
        if digest and digest not in found and isinstance(chat, ChatMessage)
    }
    found.update(zip(uncached, _encoded([*uncached.values()], encode), strict=True))
    records = []
    for source, chat, digest in zip(chunk, decoded, digests, strict=True):
        content: PreparedMessage | DeadLetterReason | None
        if chat is None or isinstance(chat, DeadLetterReason):
            content = chat
        else:
            id_ = message_id(source) if chat.message_id is None else chat.message_id
            content = _content(chat, id_, digest, found.get(digest), characters_max)
        records.append(PreparedRecord(source=source, content=content))
    return records


def _decoded(value: bytes, shape: InputShape) -> ChatMessage | DeadLetterReason:
    try:
        return decode(value, shape)
    except Undecodable as error:
        return DeadLetterReason(reason=error.reason, message=error.message)


def _is_blank(chat: ChatMessage) -> bool:
    """Return whether the whole text is blank, before any cut: words after many spaces are judged."""
    return not chat.text.strip()


def _content(
    chat: ChatMessage,
    message_id: str,
    digest: bytes,
    found: CachedScores | TokenizedText | DeadLetterReason | None,
    characters_max: int,
) -> PreparedMessage | DeadLetterReason:
    if isinstance(found, DeadLetterReason):
        return found
    cached = found if isinstance(found, CachedScores) else None
    characters = len(chat.text)
    return PreparedMessage(
        message_id=message_id,
        channel_id=chat.channel_id,
        user_id=chat.user_id,
        sent_at=chat.sent_at,
        characters=characters,
        text_digest=digest,
        tokens=() if found is None or isinstance(found, CachedScores) else found.tokens,
        truncated=found is not None and (found.truncated or characters > characters_max),
        cached=cached,
        ignored=chat.ignored,
    )


def _encoded(texts: Sequence[str], encode: Encode) -> Sequence[TokenizedText | DeadLetterReason]:
    if not texts:
        return ()
    try:
        encodings: Sequence[TokenizedText | DeadLetterReason] = encode(texts)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in the tokenizer's Rust code derives from BaseException and cannot be imported
        failure = DeadLetterReason(
            reason="tokenizer_failed", message=f"The tokenizer raised {type(error).__name__}."
        )
        return [failure] if len(texts) == 1 else [_encoded([text], encode)[0] for text in texts]
    # A text that is not blank must not get a verdict without being scored.
    return [
        encoding
        if isinstance(encoding, DeadLetterReason) or len(encoding.tokens)
        else DeadLetterReason(
            reason="tokenizer_failed", message="The tokenizer made no token of a text that is not blank."
        )
        for encoding in encodings
    ]
