"""Which entries of a policy match a message, compared with Python's ``fnmatchcase``."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.moderation.policies.globs import Matcher, MessageFields, first, members
from worker.moderation.policies.policy_file import When

LETTERS = st.text("ab*?[]!-\n", max_size=6)


def matched(conditions: list[When | None], message: MessageFields) -> list[int]:
    return [*members(Matcher(conditions).matches(message))]


@given(st.lists(st.lists(LETTERS, min_size=1, max_size=3), min_size=1, max_size=6), LETTERS)
def test_a_glob_matches_what_fnmatchcase_says(globs: list[list[str]], value: str) -> None:
    expected = [number for number, given in enumerate(globs) if any(fnmatchcase(value, glob) for glob in given)]
    assert matched([When(channel_id=given) for given in globs], MessageFields(channel_id=value)) == expected


def test_all_keys_must_match_and_an_absent_field_matches_nothing() -> None:
    conditions: list[When | None] = [
        When(channel_id=["kids-*"], tenant_id=["acme"]),
        When(channel_id=["*"]),
        None,
        When(tenant_id=["*"]),
    ]
    assert matched(conditions, MessageFields(channel_id="kids-1", tenant_id="acme")) == [0, 1, 2, 3]
    assert matched(conditions, MessageFields(channel_id="kids-1")) == [1, 2]
    assert matched(conditions, MessageFields(channel_id="")) == [1, 2]
    assert matched(conditions, MessageFields()) == [2]


def test_one_of_the_roles_is_enough_and_letters_have_a_case() -> None:
    conditions: list[When | None] = [When(role=["mod*", "bot"]), When(role=["Mod*"])]
    assert matched(conditions, MessageFields(roles=("member", "moderator"))) == [0]
    assert matched(conditions, MessageFields(roles=("member",))) == []
    assert matched(conditions, MessageFields()) == []


def test_edited_tells_edits_from_other_messages() -> None:
    conditions: list[When | None] = [When(edited=True), When(edited=False), When(topic=["*"])]
    assert matched(conditions, MessageFields(topic="chat", edited=True)) == [0, 2]
    assert matched(conditions, MessageFields(topic="chat")) == [1, 2]


def test_only_the_fields_that_a_condition_names_are_needed() -> None:
    assert Matcher([When(role=["a"]), None]).fields == {"roles"}
    assert Matcher([When(edited=True, topic=["a"])]).fields == {"edited", "topic"}
    assert Matcher([]).fields == set()


def test_the_first_entry_of_a_set() -> None:
    assert first(0) is None
    assert first(0b10100) == 2


@pytest.mark.parametrize("glob", ["*a" * 30 + "b", "*" * 60 + "b", "*?" * 30 + "b", "[a!]*" * 30 + "b"])
def test_no_glob_takes_exponential_time(glob: str) -> None:
    """With backtracking, one of these would never end."""
    matcher = Matcher([When(user_id=[glob])])
    assert matcher.matches(MessageFields(user_id="a" * 20_000)) == 0
