from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from schemas.chat import InputShape
from worker.moderation.cache import ScoreCache
from worker.moderation.preprocessing import PORTION_BYTES_MAX, prepare, split_by_bytes
from worker.records import ConsumedRecord, DeadLetterReason, Partition, PreparedMessage, PreparedRecord

SHAPE = InputShape()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """A text of which each letter is a token, eight at most."""

    tokens: Sequence[int]
    truncated: bool


def letters(texts: Sequence[str]) -> list[Letters]:
    return [Letters(tokens=[ord(letter) for letter in text[:8]], truncated=len(text) > 8) for text in texts]


class Panic(BaseException):
    """What a tokenizer's native code may raise: no Exception."""


def fetched(offset: int, value: bytes | None) -> ConsumedRecord:
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
    encode: Callable[[Sequence[str]], Sequence[Letters]] = letters,
    cache: ScoreCache | None = None,
) -> list[PreparedRecord]:
    cache = cache or ScoreCache(bytes_max=0)
    chunk = [fetched(offset, value) for offset, value in enumerate(values)]
    records = prepare(chunk, shape=SHAPE, characters_max=12, encode=encode, cache=cache)
    assert [record.source for record in records] == chunk
    return records


def message(record: PreparedRecord) -> PreparedMessage:
    assert isinstance(record.content, PreparedMessage)
    return record.content


def reason(record: PreparedRecord) -> str:
    assert isinstance(record.content, DeadLetterReason)
    return record.content.reason


def test_a_message_is_ready_to_be_scored() -> None:
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


def test_a_tombstone_owes_nothing() -> None:
    assert prepared(None)[0].content is None


def test_a_value_that_cannot_be_decoded_carries_its_fault() -> None:
    assert reason(prepared(b"[]")[0]) == "not_an_object"


def test_all_kinds_keep_their_places_in_one_chunk() -> None:
    asked: list[Sequence[str]] = []

    def encode(texts: Sequence[str]) -> list[Letters]:
        asked.append(texts)
        return letters(texts)

    records = prepared(b'{"text":"a"}', None, b'{"text":" "}', b"?", b'{"text":"bb"}', encode=encode)
    assert asked == [["a", "bb"]]
    assert [list(record.tokens) for record in records] == [[97], [], [], [], [98, 98]]


def test_a_message_without_an_id_is_named_by_its_place() -> None:
    assert [message(r).message_id for r in prepared(b'{"text":"a"}', b'{"text":""}')] == ["chat:3:0", "chat:3:1"]


def test_an_empty_id_is_an_id() -> None:
    assert message(prepared(b'{"text":"a","message_id":""}')[0]).message_id == ""


def test_another_name_may_be_given_to_messages_without_an_id() -> None:
    (record,) = prepare(
        [fetched(4, b'{"text":"a"}')],
        shape=SHAPE,
        characters_max=12,
        encode=letters,
        cache=ScoreCache(bytes_max=0),
        message_id=lambda source: f"line:{source.offset}",
    )
    assert message(record).message_id == "line:4"


@pytest.mark.parametrize("text", ["", " ", r"\n\t ", r"\u00a0\u2003", " " * 50])
def test_a_blank_text_is_not_tokenised(text: str) -> None:
    found = message(prepared(f'{{"text":"{text}"}}'.encode())[0])
    assert (found.tokens, found.truncated) == ((), False)


def test_words_behind_a_screen_of_spaces_are_no_blank_text() -> None:
    found = message(prepared(b'{"text":"' + b" " * 50 + b'word"}')[0])
    assert (len(found.tokens), found.characters, found.truncated) == (8, 54, True)


@pytest.mark.parametrize(
    ("length", "asked", "truncated"), [(8, 8, False), (9, 9, True), (12, 12, True), (13, 12, True)]
)
def test_either_cut_is_told_and_characters_are_counted_before_it(
    length: int, asked: int, *, truncated: bool
) -> None:
    lengths: list[int] = []

    def encode(texts: Sequence[str]) -> list[Letters]:
        lengths.extend(map(len, texts))
        return letters(texts)

    found = message(prepared(b'{"text":"%b"}' % (b"x" * length), encode=encode)[0])
    assert (lengths, found.characters, found.truncated) == ([asked], length, truncated)


def test_a_cut_by_characters_alone_is_told() -> None:
    def first_only(texts: Sequence[str]) -> list[Letters]:
        return [Letters(tokens=[1], truncated=False) for _ in texts]

    cut, whole = prepared(b'{"text":"0123456789abc"}', b'{"text":"0123456789ab"}', encode=first_only)
    assert (message(cut).truncated, message(whole).truncated) == (True, False)


@pytest.mark.parametrize("error", [RuntimeError, ValueError, Panic])
def test_a_text_that_breaks_the_tokenizer_is_alone_in_its_fault(error: type[BaseException]) -> None:
    def encode(texts: Sequence[str]) -> list[Letters]:
        if "bad" in texts:
            raise error("bad")
        return letters(texts)

    first, culprit, last = prepared(b'{"text":"a"}', b'{"text":"bad"}', b'{"text":"b"}', encode=encode)
    assert (first.tokens, last.tokens) == ([97], [98])
    assert culprit.content == DeadLetterReason(
        reason="tokenizer_failed", message=f"The tokenizer raised {error.__name__}."
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_no_fault_of_a_text(error: type[BaseException]) -> None:
    def encode(texts: Sequence[str]) -> list[Letters]:
        raise error(texts)

    with pytest.raises(error):
        prepared(b'{"text":"a"}', encode=encode)


def test_a_text_without_tokens_does_not_pass_as_blank() -> None:
    def encode(texts: Sequence[str]) -> list[Letters]:
        return [Letters(tokens=[], truncated=False) for _ in texts]

    assert reason(prepared(b'{"text":"a"}', encode=encode)[0]) == "tokenizer_failed"


def test_a_text_that_comes_twice_is_tokenised_once() -> None:
    asked: list[Sequence[str]] = []

    def encode(texts: Sequence[str]) -> list[Letters]:
        asked.append(texts)
        return letters(texts)

    same = b'{"text":"a"}'
    records = prepared(same, b'{"text":"b"}', same, encode=encode)
    assert asked == [["a", "b"]]
    assert [record.tokens for record in records] == [[97], [98], [97]]


def test_a_known_text_is_not_tokenised_and_has_all_that_its_verdict_says() -> None:
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


def test_texts_that_differ_only_behind_the_cut_are_two() -> None:
    cache = ScoreCache(bytes_max=100_000)
    whole, cut = b'{"text":"0123456789ab"}', b'{"text":"0123456789abc"}'
    first_only = lambda texts: [Letters(tokens=[1], truncated=False) for _ in texts]  # noqa: E731 - as short as it is
    cache.put_many(
        [message(one) for one in prepared(cut, cache=cache, encode=first_only)], [np.zeros(12, np.float32)]
    )
    (found,) = prepared(whole, cache=cache, encode=first_only)
    assert (message(found).cached, message(found).truncated) == (None, False)


def sizes(*values: bytes | None) -> list[list[int]]:
    chunk = [fetched(offset, value) for offset, value in enumerate(values)]
    parts = list(split_by_bytes(chunk))
    assert [source for part in parts for source in part] == chunk
    return [[len(source.value or b"") for source in part] for part in parts]


def test_a_chunk_of_chat_is_one_portion_and_a_chunk_of_large_messages_is_several() -> None:
    half = bytes(PORTION_BYTES_MAX // 2)
    assert sizes() == []
    assert sizes(*[b"chat" * 50] * 1024) == [[200] * 1024]
    assert sizes(half, half, None, half + b"1", b"2") == [[len(half), len(half), 0], [len(half) + 1, 1]]
    assert sizes(b"1", 3 * half, b"2", b"3") == [[1], [3 * len(half)], [1, 1]]
