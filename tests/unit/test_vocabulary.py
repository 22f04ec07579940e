"""How a word is read with the words that the model knows."""

import math

import pytest

from worker.moderation.text_views.vocabulary import Vocabulary

WORDS = Vocabulary(["to", "the", "god", "good", "kill", "too", "you", "all"], ["er", "s", "ing"])


@pytest.mark.parametrize(
    ("word", "is_known"), [("kill", True), ("Killer", True), ("kil", False), ("killxq", False)]
)
def test_a_known_word_is_a_token_or_a_token_with_an_ending(word: str, *, is_known: bool) -> None:
    assert WORDS.is_known(word) is is_known


def test_a_frequent_word_costs_less() -> None:
    assert WORDS.cost("the") < WORDS.cost("all") < WORDS.cost("killer") < math.inf


@pytest.mark.parametrize(
    ("runs", "word"),
    [
        ([("g", 1), ("o", 1), ("d", 3)], "god"),
        ([("g", 1), ("o", 2), ("d", 3)], "good"),  # who repeats a letter writes it at least three times
        ([("g", 3), ("o", 5), ("d", 1)], "god"),  # both fit, and this one is more frequent
        ([("x", 3), ("y", 1)], None),
    ],
)
def test_runs_are_shortened_to_a_word(runs: list[tuple[str, int]], word: str | None) -> None:
    assert WORDS.shortened(runs) == word


def test_letters_are_read_as_the_word_of_the_fewest_pieces() -> None:
    assert WORDS.read(["k", "il", "l", "l", "e", "r"]) == "killer"
    assert WORDS.read(["q"]) is None


def test_letters_without_spaces_are_divided_into_words() -> None:
    assert WORDS.divided("killyouall") == ["kill", "you", "all"]
    assert WORDS.divided("killq") is None


def test_an_empty_vocabulary_knows_nothing() -> None:
    assert not Vocabulary()
    assert not Vocabulary().is_known("the")
