from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from schemas.chat import ChatMessage
from tests.shapes import plain
from worker.moderation.cache import ScoreCache
from worker.moderation.preprocessing import PORTION_BYTES_MAX, prepare, split_by_bytes
from worker.moderation.text_rows import first_rows_only
from worker.records import ConsumedRecord, Partition, PreparedMessage, PreparedRecord
from worker.scores import DeadLetterReason

READ = plain()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterTokens:
    """A text as tokens: each letter is a token, at most eight."""

    tokens: Sequence[int]
    truncated: bool


def letters(texts: Sequence[str]) -> list[LetterTokens]:
    return [LetterTokens(tokens=[ord(letter) for letter in text[:8]], truncated=len(text) > 8) for text in texts]


class Panic(BaseException):
    """An error of a tokenizer's native code, which is not an Exception."""


def consumed(offset: int, value: bytes | None) -> ConsumedRecord:
    return ConsumedRecord(
        partition=Partition("chat", 3),
        assignment_epoch=1,
        previous_next_offset=offset,
        offset=offset,
        timestamp_ms=None,
        key=None,
        value=value,
        headers=[],
    )


def prepared(
    *values: bytes | None,
    encode: Callable[[Sequence[str]], Sequence[LetterTokens]] = letters,
    cache: ScoreCache | None = None,
) -> list[PreparedRecord]:
    cache = cache or ScoreCache(bytes_max=0)
    chunk = [consumed(offset, value) for offset, value in enumerate(values)]
    records = prepare(chunk, read=READ, encode=first_rows_only(encode, 12), cache=cache)
    assert [record.source for record in records] == chunk
    return records


def message(record: PreparedRecord) -> PreparedMessage:
    assert isinstance(record.content, PreparedMessage)
    return record.content


def reason(record: PreparedRecord) -> str:
    assert isinstance(record.content, DeadLetterReason)
    return record.content.reason


def test_a_message_is_decoded_and_tokenised() -> None:
    cache = ScoreCache(bytes_max=0)
    (record,) = prepared(b'{"message_id":7,"channel_id":"c","user_id":"u","sent_at":1.5,"text":"hey"}', cache=cache)
    assert message(record) == PreparedMessage(
        message_id="7",
        channel_id="c",
        user_id="u",
        sent_at=1.5,
        characters=3,
        text_digest=cache.digest("hey"),
        tokens=[104, 101, 121],
        truncated=False,
    )


def test_a_tombstone_has_no_content() -> None:
    assert prepared(None)[0].content is None


def test_a_value_that_cannot_be_decoded_carries_its_reason() -> None:
    assert reason(prepared(b"7")[0]) == "not_an_object"


def test_records_of_all_kinds_keep_their_order_in_a_chunk() -> None:
    asked: list[Sequence[str]] = []

    def encode(texts: Sequence[str]) -> list[LetterTokens]:
        asked.append(texts)
        return letters(texts)

    records = prepared(b'{"text":"a"}', None, b'{"text":" "}', b"?", b'{"text":"bb"}', encode=encode)
    assert asked == [["a", "bb"]]
    assert [record.tokens_to_score for record in records] == [1, 0, 0, 0, 2]
    assert [message(records[index]).tokens for index in (0, 4)] == [[97], [98, 98]]


def test_a_message_without_an_id_gets_topic_partition_and_offset_as_its_id() -> None:
    assert [message(r).message_id for r in prepared(b'{"text":"a"}', b'{"text":""}')] == ["chat:3:0", "chat:3:1"]


def test_an_empty_id_is_an_id() -> None:
    assert message(prepared(b'{"text":"a","message_id":""}')[0]).message_id == ""


def test_the_caller_can_choose_the_id_of_messages_without_an_id() -> None:
    (record,) = prepare(
        [consumed(4, b'{"text":"a"}')],
        read=READ,
        encode=letters,
        cache=ScoreCache(bytes_max=0),
        message_id=lambda source, _: f"line:{source.offset}",
    )
    assert message(record).message_id == "line:4"


@pytest.mark.parametrize("text", ["", " ", r"\n\t ", r"\u00a0\u2003", " " * 50])
def test_a_blank_text_is_not_tokenised(text: str) -> None:
    found = message(prepared(f'{{"text":"{text}"}}'.encode())[0])
    assert (found.tokens, found.truncated) == ((), False)


def test_a_text_with_words_after_many_spaces_is_not_blank() -> None:
    found = message(prepared(b'{"text":"' + b" " * 50 + b'word"}')[0])
    assert (len(found.tokens), found.characters, found.truncated) == (8, 54, True)


@pytest.mark.parametrize(
    ("length", "asked", "truncated"), [(8, 8, False), (9, 9, True), (12, 12, True), (13, 12, True)]
)
def test_a_cut_by_characters_or_tokens_is_reported_and_characters_are_counted_before_it(
    length: int, asked: int, *, truncated: bool
) -> None:
    lengths: list[int] = []

    def encode(texts: Sequence[str]) -> list[LetterTokens]:
        lengths.extend(map(len, texts))
        return letters(texts)

    found = message(prepared(b'{"text":"%b"}' % (b"x" * length), encode=encode)[0])
    assert (lengths, found.characters, found.truncated) == ([asked], length, truncated)


def test_a_cut_by_characters_alone_is_reported() -> None:
    def first_only(texts: Sequence[str]) -> list[LetterTokens]:
        return [LetterTokens(tokens=[1], truncated=False) for _ in texts]

    cut, whole = prepared(b'{"text":"0123456789abc"}', b'{"text":"0123456789ab"}', encode=first_only)
    assert (message(cut).truncated, message(whole).truncated) == (True, False)


@pytest.mark.parametrize("error", [RuntimeError, ValueError, Panic])
def test_only_the_text_that_breaks_the_tokenizer_becomes_a_dead_letter(error: type[BaseException]) -> None:
    def encode(texts: Sequence[str]) -> list[LetterTokens]:
        if "bad" in texts:
            raise error("bad")
        return letters(texts)

    first, culprit, last = prepared(b'{"text":"a"}', b'{"text":"bad"}', b'{"text":"b"}', encode=encode)
    assert (message(first).tokens, message(last).tokens) == ([97], [98])
    assert culprit.content == DeadLetterReason(
        reason="tokenizer_failed", message=f"The tokenizer raised {error.__name__}."
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_error_that_ends_the_process_is_not_a_dead_letter(error: type[BaseException]) -> None:
    def encode(texts: Sequence[str]) -> list[LetterTokens]:
        raise error(texts)

    with pytest.raises(error):
        prepared(b'{"text":"a"}', encode=encode)


def test_a_text_without_tokens_is_a_dead_letter_not_a_blank_text() -> None:
    def encode(texts: Sequence[str]) -> list[LetterTokens]:
        return [LetterTokens(tokens=[], truncated=False) for _ in texts]

    assert reason(prepared(b'{"text":"a"}', encode=encode)[0]) == "tokenizer_failed"


def test_two_equal_texts_are_tokenised_once() -> None:
    asked: list[Sequence[str]] = []

    def encode(texts: Sequence[str]) -> list[LetterTokens]:
        asked.append(texts)
        return letters(texts)

    same = b'{"text":"a"}'
    records = prepared(same, b'{"text":"b"}', same, encode=encode)
    assert asked == [["a", "b"]]
    assert [message(record).tokens for record in records] == [[97], [98], [97]]


def test_a_cached_text_is_not_tokenised_and_has_everything_for_its_verdict() -> None:
    cache = ScoreCache(bytes_max=100_000)
    scores = np.linspace(0, 1, 12, dtype=np.float32)
    value = b'{"text":"0123456789"}'  # cut by the tokenizer alone
    first = message(prepared(value, cache=cache)[0])
    cache.put_many([first], [scores])
    again = message(prepared(value, cache=cache, encode=lambda _: [])[0])
    assert (len(first.tokens), len(again.tokens)) == (8, 0)
    assert (again.token_count, again.truncated, again.characters) == (8, True, 10)
    assert again.cached is not None
    assert again.cached.scores.tobytes() == scores.tobytes()


def test_texts_that_differ_only_after_the_cut_are_cached_separately() -> None:
    cache = ScoreCache(bytes_max=100_000)
    whole, cut = b'{"text":"0123456789ab"}', b'{"text":"0123456789abc"}'
    first_only = lambda texts: [LetterTokens(tokens=[1], truncated=False) for _ in texts]  # noqa: E731 - as short as it is
    cache.put_many(
        [message(one) for one in prepared(cut, cache=cache, encode=first_only)], [np.zeros(12, np.float32)]
    )
    (found,) = prepared(whole, cache=cache, encode=first_only)
    assert (message(found).cached, message(found).truncated) == (None, False)


def sizes(*values: bytes | None) -> list[list[int]]:
    chunk = [consumed(offset, value) for offset, value in enumerate(values)]
    parts = list(split_by_bytes(chunk))
    assert [source for part in parts for source in part] == chunk
    return [[len(source.value or b"") for source in part] for part in parts]


def test_a_chunk_of_chat_is_one_portion_and_a_chunk_of_large_messages_is_several() -> None:
    half = bytes(PORTION_BYTES_MAX // 2)
    assert sizes() == []
    assert sizes(*[b"chat" * 50] * 1024) == [[200] * 1024]
    assert sizes(half, half, None, half + b"1", b"2") == [[len(half), len(half), 0], [len(half) + 1, 1]]
    assert sizes(b"1", 3 * half, b"2", b"3") == [[1], [3 * len(half)], [1, 1]]


def test_a_message_that_the_policy_does_not_want_scored_is_neither_tokenised_nor_looked_up() -> None:
    cache = ScoreCache(bytes_max=1_000_000)
    values = [b'{"text":"one","user_id":"bot"}', b'{"text":"two"}', b'[{"text":"three","user_id":"bot"}]']
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> Sequence[LetterTokens]:
        asked.extend(texts)
        return letters(texts)

    records = prepare(
        [consumed(offset, value) for offset, value in enumerate(values)],
        read=READ,
        encode=encode,
        cache=cache,
        find_unscored=lambda _, readings: [
            number
            for number, chat in enumerate(readings)
            if isinstance(chat, ChatMessage) and chat.user_id == "bot"
        ],
    )
    unscored = [(one.is_unscored, one.token_count, one.characters) for one in map(message, records)]
    assert unscored == [(True, 0, 3), (False, 3, 3), (True, 0, 5)]
    assert asked == ["two"]
    assert [record.text_digest == b"" for record in records] == [True, False, True]
