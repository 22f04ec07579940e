"""Decode and tokenise consumed records. Pure except for the tokenizer and the cache."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from schemas.chat import ChatMessage
from worker.moderation.cache import ScoreCache
from worker.moderation.policies import FindUnscored
from worker.moderation.shapes import Reading, ReadRecord
from worker.moderation.text_rows import Encode, TextRows, TokenizedText
from worker.records import CachedScores, ConsumedRecord, PreparedMessage, PreparedRecord, Skipped
from worker.scores import DeadLetterReason

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


def source_id(source: ConsumedRecord, item: int | None = None) -> str:
    """Return the id that this worker gives to a message without an id: the position of its record."""
    record = f"{source.partition.topic}:{source.partition.number}:{source.offset}"
    return record if item is None else f"{record}#{item}"


def prepare(
    chunk: Sequence[ConsumedRecord],
    *,
    read: ReadRecord,
    encode: Encode,
    cache: ScoreCache,
    message_id: Callable[[ConsumedRecord, int | None], str] = source_id,
    find_unscored: FindUnscored | None = None,
) -> list[PreparedRecord]:
    """Return each record of a chunk decoded and tokenised, in order; a JSON array as its elements, in order.

    One call of the tokenizer encodes all texts that the cache does not hold, each text once.

    Args:
        chunk: Consumed records.
        read: Reads a record.
        encode: The tokenizer, which bounds what it tokenises of a long text.
        cache: The scores of texts that were scored before.
        message_id: Returns the id of a message that has none, from its record and the number of its element.
        find_unscored: Finds the messages that the model does not score; None: it scores every message.
    """
    readings = [None if source.value is None else read(source.value, source.headers) for source in chunk]
    numbers: Sequence[int | None] = [None] * len(chunk)
    is_split = tuple in map(type, readings)
    if is_split:
        chunk, readings, numbers = _split_arrays(chunk, readings)
    digests = [
        cache.digest(reading.text) if isinstance(reading, ChatMessage) and not _is_blank(reading) else b""
        for reading in readings
    ]
    unscored = () if find_unscored is None else find_unscored(chunk, readings)
    for index in unscored:
        digests[index] = b""
    found: dict[bytes, CachedScores | TokenizedText | DeadLetterReason] = {**cache.get_many(filter(None, digests))}
    uncached = {
        digest: reading.text
        for digest, reading in zip(digests, readings, strict=True)
        if digest and digest not in found and isinstance(reading, ChatMessage)
    }
    found.update(zip(uncached, _encoded([*uncached.values()], encode), strict=True))
    records = []
    for source, reading, digest, number in zip(chunk, readings, digests, numbers, strict=True):
        content: PreparedMessage | DeadLetterReason | Skipped | None
        if isinstance(reading, ChatMessage):
            id_ = message_id(source, number) if reading.message_id is None else reading.message_id
            content = _content(reading, id_, digest, found.get(digest))
        else:
            assert not isinstance(reading, tuple)  # noqa: S101 - split above
            content = reading
            if isinstance(reading, Skipped) and number is None:
                source.messages = 0
        records.append(PreparedRecord(source, content, number))
    for index in unscored:
        message = records[index].content
        assert isinstance(message, PreparedMessage)  # noqa: S101 - only such messages are unscored
        message.is_unscored = True
    if is_split:
        for record, following in pairwise(records):
            record.is_last = following.source is not record.source
    return records


def _split_arrays(
    chunk: Sequence[ConsumedRecord], readings: Sequence[Reading | None]
) -> tuple[list[ConsumedRecord], list[Reading | None], list[int | None]]:
    """Repeat the record of an array for each of its elements, and count the messages in the record."""
    sources: list[ConsumedRecord] = []
    items: list[Reading | None] = []
    numbers: list[int | None] = []
    for source, reading in zip(chunk, readings, strict=True):
        if isinstance(reading, tuple):
            source.messages = sum(not isinstance(item, Skipped) for item in reading)
            sources += [source] * len(reading)
            items += reading
            numbers += range(len(reading))
        else:
            sources.append(source)
            items.append(reading)
            numbers.append(None)
    return sources, items, numbers


def _is_blank(chat: ChatMessage) -> bool:
    """Return whether the whole text is blank, before any cut: words after many spaces are judged."""
    return not chat.text.strip()


def _content(
    chat: ChatMessage,
    message_id: str,
    digest: bytes,
    found: CachedScores | TokenizedText | DeadLetterReason | None,
) -> PreparedMessage | DeadLetterReason:
    if isinstance(found, DeadLetterReason):
        return found
    cached = found if isinstance(found, CachedScores) else None
    tokens = () if found is None or isinstance(found, CachedScores) else found.tokens
    message = PreparedMessage(
        message_id,
        chat.channel_id,
        chat.user_id,
        chat.sent_at,
        len(chat.text),
        digest,
        tokens,
        found is not None and found.truncated,
        cached,
        chat.ignored,
        chat.context,
    )
    if isinstance(found, TextRows):
        message.further_rows, message.passages = found.further_rows, found.passages
    return message


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
