"""The rows of a text: views and windows, with the bundled model's tokenizer."""

from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from worker.classifier.model_files import DEMO_MODEL
from worker.classifier.tokenizer import TextEncoder
from worker.moderation.text_rows import PLAIN, RAW, RowEncoder, TextRows, TokenizedText
from worker.moderation.text_views import PlainText, Vocabulary
from worker.scores import Passage

TOKENS_MAX = 32
SENTENCE = "the quick brown fox jumps over the lazy dog and nobody minds. "
HIDDEN = "I h\u200bate y\u200bou a\u200bll"


@cache
def tokenizer(side: str = "right") -> TextEncoder:
    document = (DEMO_MODEL / "tokenizer.json").read_text(encoding="utf-8")
    return TextEncoder(document, tokens_max=TOKENS_MAX, truncation_side=side)


def encoder(
    *, plain: bool = True, windows_max: int = 4, characters_max: int = 4096, side: str = "right"
) -> RowEncoder:
    return RowEncoder(
        encode_first_rows=tokenizer(side).encode,
        long_texts=tokenizer(side),
        plain_text=PlainText.of(Vocabulary(*tokenizer(side).word_pieces())) if plain else None,
        overlap=8,
        windows_max=windows_max,
        characters_max=characters_max,
    )


def rows_of(found: TokenizedText) -> list[list[int]]:
    return (
        [list(found.tokens), *(list(row) for row in found.further_rows)]
        if isinstance(found, TextRows)
        else [list(found.tokens)]
    )


def passages_of(found: TokenizedText) -> list[Passage]:
    assert isinstance(found, TextRows)
    return list(found.passages)


def test_a_text_that_a_reader_sees_as_it_is_has_one_row() -> None:
    [found] = encoder().encode(["hello everybody"])
    assert found == tokenizer().encode(["hello everybody"])[0]


def test_a_hidden_sentence_has_a_second_row_that_a_reader_sees() -> None:
    plain, hidden = encoder().encode(["I hate you all", HIDDEN])
    assert rows_of(hidden) == [list(tokenizer().encode([HIDDEN])[0].tokens), list(plain.tokens)]
    assert passages_of(hidden) == [Passage(RAW, 0, len(HIDDEN)), Passage(PLAIN, 0, len(HIDDEN))]
    assert not hidden.truncated


def test_a_text_of_only_invisible_characters_is_scored_as_received() -> None:
    [found] = encoder().encode(["\u200b\u200c\u2060"])
    assert len(rows_of(found)) == 1


def test_a_long_text_is_scored_in_windows_that_overlap_and_cover_it() -> None:
    text = SENTENCE * 4
    [found] = encoder(plain=False).encode([text])
    passages = passages_of(found)
    assert passages[0].start == 0
    assert passages[-1].end == len(text)
    assert all(later.start < earlier.end for earlier, later in pairwise(passages))
    assert not found.truncated


def test_a_text_longer_than_all_windows_is_scored_at_its_head_and_its_tail() -> None:
    text = "first " + SENTENCE * 40 + "last"
    [found] = encoder(plain=False).encode([text])
    first, *_, last = passages_of(found)
    assert len(rows_of(found)) == 4
    assert (first.start, last.end) == (0, len(text))
    assert found.truncated


def test_a_very_long_text_is_scored_at_its_head_and_its_tail_without_tokenising_its_middle() -> None:
    tokenised: list[int] = []

    class Counting:
        room, keeps_first_tokens = tokenizer().room, True
        word_pieces, framed = tokenizer().word_pieces, tokenizer().framed

        def tokens_in(self, text: str) -> object:
            tokenised.append(len(text))
            return tokenizer().tokens_in(text)

    text = "first " + SENTENCE * 2000 + "last"
    rows = RowEncoder(
        encode_first_rows=tokenizer().encode,
        long_texts=Counting(),  # type: ignore[arg-type] # counts
        plain_text=None,
        overlap=8,
        windows_max=4,
        characters_max=4096,
    )
    [found] = rows.encode([text])
    assert passages_of(found)[-1].end == len(text)
    assert found.truncated
    assert sum(tokenised) <= 8 * 4 * TOKENS_MAX


@given(
    words=st.lists(st.sampled_from(["I", "hate", "you", "all", "a" * 40, " " * 80, "!"]), min_size=1, max_size=300),
    characters_max=st.integers(1, 300),
    windows_max=st.integers(2, 6),
)
def test_no_row_joins_words_that_are_far_from_each_other(
    words: list[str], characters_max: int, windows_max: int
) -> None:
    text = " ".join(words)
    [found] = encoder(plain=False, characters_max=characters_max, windows_max=windows_max).encode([text])
    decoder = Tokenizer.from_file(str(DEMO_MODEL / "tokenizer.json"))
    for row in rows_of(found):
        assert decoder.decode(row) in text
    assert len(rows_of(found)) <= windows_max


def test_few_tokens_in_many_characters_extend_the_cut() -> None:
    text = "word" + " " * 3000 + "I hate you all"  # one token for many spaces
    [found] = encoder(plain=False).encode([text])
    assert passages_of(found)[-1].end == len(text) if isinstance(found, TextRows) else not found.truncated


def test_a_hidden_sentence_at_the_end_of_a_long_text_has_a_row_of_its_own() -> None:
    text = SENTENCE * 3 + HIDDEN
    [found] = encoder().encode([text])
    plain = [passage for passage in passages_of(found) if passage.view == PLAIN]
    assert len(plain) == 1  # the other windows are equal in both views
    assert text[plain[0].start : plain[0].end].endswith(HIDDEN)


def test_one_window_is_what_the_model_card_scores() -> None:
    text = SENTENCE * 4
    [found] = encoder(plain=False, windows_max=1).encode([text])
    assert rows_of(found) == [list(tokenizer().encode([text])[0].tokens)]
    assert found.truncated


@pytest.mark.parametrize("side", ["right", "left"])
@given(text=st.text(st.sampled_from("abc de.\u200b\u0301🏳️‍🌈ñ\n가"), min_size=1, max_size=600))
def test_the_row_of_the_model_card_is_the_first_row_of_every_text(side: str, text: str) -> None:
    [found] = encoder(characters_max=300, side=side).encode([text])
    [card] = tokenizer(side).encode([text[:300]])
    assert rows_of(found)[0] == list(card.tokens)
    assert all(len(row) <= TOKENS_MAX for row in rows_of(found))
    assert not isinstance(found, TextRows) or all(0 <= one.start <= one.end <= len(text) for one in found.passages)


def test_each_text_keeps_its_place() -> None:
    texts = ["a", HIDDEN, SENTENCE * 4, "b", SENTENCE * 40, HIDDEN + "!"]
    together = encoder().encode(texts)
    assert together == [one for text in texts for one in encoder().encode([text])]
