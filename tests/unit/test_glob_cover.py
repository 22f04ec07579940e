"""Whether globs match everything that another glob matches: compared with trying all short strings."""

from fnmatch import fnmatchcase
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.commands.policy.glob_cover import covers, matched_string

WORDS = ["".join(letters) for length in range(5) for letters in product("abc", repeat=length)]
GLOBS = st.lists(st.sampled_from(["a", "b", "?", "*", "[ab]", "[!a]"]), max_size=4).map("".join)


@given(globs=st.lists(GLOBS, min_size=1, max_size=3), glob=GLOBS)
def test_globs_cover_a_glob_exactly_if_they_match_all_that_it_matches(globs: list[str], glob: str) -> None:
    matched = [word for word in WORDS if fnmatchcase(word, glob)]
    uncovered = [word for word in matched if not any(fnmatchcase(word, one) for one in globs)]
    assert covers(tuple(globs), glob) == (not uncovered)


@pytest.mark.parametrize(
    ("globs", "glob", "covered"),
    [
        (("kids-*",), "kids-7", True),
        (("kids-*",), "kids-*-de", True),
        (("kids-*",), "kids", False),
        (("*",), "", True),
        (("[a-m]*", "[!a-m]*", ""), "*", True),
        (("[a-m]*", "[o-z]*"), "[a-z]*", False),
        (("a[", "a[]]"), "a[", True),
        (("?",), "*", False),
        ((), "a", False),
    ],
)
def test_classes_and_broken_brackets_are_read_as_the_worker_reads_them(
    globs: tuple[str, ...], glob: str, covered: object
) -> None:
    assert covers(globs, glob) is covered


def test_globs_with_many_stars_get_an_answer_and_it_is_never_a_false_yes() -> None:
    many = "*".join("abcdefghijklmnop")
    assert covers((many,), many)
    assert not covers((f"{many}*z",), f"*{many}*")


@given(
    glob=st.lists(st.sampled_from(["a", "?", "*", "[ab]", "[!a]", "[!\ufffc]", "[z-a]", "["]), max_size=5).map(
        "".join
    )
)
def test_a_glob_that_matches_anything_has_a_string_that_it_matches(glob: str) -> None:
    found = matched_string(glob)
    assert fnmatchcase(found, glob) if found is not None else "[z-a]" in glob or "[[z-a]" in glob
