"""The work for the plain view grows with the length of the text and not faster, whatever the text is.

Work is counted in calls of functions, those of Python and those of C, so that the speed of the machine has no part.
"""

import sys
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.moderation.text_views import PlainText, Vocabulary
from worker.moderation.text_views.plain import PIECES_CHARACTERS_MAX


def new_view() -> PlainText:
    """Return a plain view whose words are in no cache."""
    return PlainText.of(Vocabulary(["the", "to", "kill", "them", "x"], [*"bcdfghijklmnpqrstuvwxz"]))


VIEW = new_view()
ATOMS = [
    *"abklAKI\u00e9\u00df .-_*~|`<>&#;[]!@$13407+\u20ac'/:,\n",
    *("kiII", "klll", "kIlL", "kILL", "tHeM", "k\u00edll the", ":letter_k:", ":letter-k", "k#", "\u00a1", "Iike"),
    *("  ", "***", "__", "||", "</b>", "&shy;", "<!--", "http://", "www.", "aaa", "k1ll", "q1x", "zzzqq", "qaaaz"),
    *"\u0430\u0456\u043a\u0442\u03c9\u0501\u1d0b\u13aa\u0561\u05d0\u0628\u0e44\ud55c\u314b\u6f22\u304b",
    *"\u200b\u00ad\u202d\u202e\u202c\u200f\u2067\u0301\u0336\u20dd\u034f\ufe0f\u200d\U000e0067\U000e007f\x00\x85",
    *"\uff4b\uff01\u3000\U0001d4f4\u1d4f\u00b2\ufb01\ufefc\u24da\U0001f17a\U0001f1f0\U0001f468\U0001f3f4\u1100\u115f",
]
UNITS = st.lists(st.sampled_from(ATOMS), min_size=1, max_size=5).map("".join)
SHORT, LONG = PIECES_CHARACTERS_MAX // 4, 2 * PIECES_CHARACTERS_MAX
"""A text up to the maximum is read in pieces, a longer one as a whole. Each way has its own work a character."""
CALLS_PER_CHARACTER_MAX = 25
UNKNOWN_CALLS_PER_CHARACTER_MAX = 13


def calls(view: Callable[[str], object], text: str) -> int:
    """Return the number of calls that are made for the view of a text."""
    number = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal number
        number += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        view(text)
    finally:
        sys.setprofile(before)
    return number


def words(count: int) -> str:
    """Return different words that no vocabulary has, each with a digit and a repeated letter."""
    letters = "bcdfghjklmnpqrstvwxz"
    different = ((letters[n % 20], letters[n // 20 % 20], letters[n // 400 % 20]) for n in range(count))
    return "k1ll th3m " + " ".join(f"x{a}1{b}6{c} {a}x{b}uuu{c}" for a, b, c in different)


@given(UNITS)
@settings(max_examples=40, deadline=None)
def test_four_times_the_text_is_at_most_four_times_the_work(unit: str) -> None:
    for length in (SHORT, LONG):
        text = unit * (length // len(unit))
        longer = 4 * text
        for view in (VIEW.plain, VIEW.traced):
            view(text)  # fills the caches
            view(longer)
            once, four_times = calls(view, text), calls(view, longer)
            assert four_times <= 4.2 * once + 100
            assert four_times <= CALLS_PER_CHARACTER_MAX * len(longer)


@pytest.mark.parametrize("count", [1000, 8000])
def test_work_is_bounded_for_a_text_of_unknown_words_in_disguise(count: int) -> None:
    VIEW.plain("\u0430")  # fills the tables of characters
    text = words(count)
    for view in (new_view().plain, new_view().traced):
        assert calls(view, text) <= UNKNOWN_CALLS_PER_CHARACTER_MAX * len(text)


def test_words_in_the_middle_of_a_very_long_text_stay() -> None:
    text = "k1ll them " * 10_000
    view = VIEW.plain(text)
    assert view.startswith("kill them kill")
    assert view.endswith("kill them ")
    assert "k1ll" in view


def test_invisible_characters_push_no_word_into_the_middle() -> None:
    padding = "\u200b" * 40_000
    assert VIEW.plain(f"{padding}k1ll them{padding}") == "kill them"
