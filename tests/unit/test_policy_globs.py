"""Which entries of a policy match a message, compared with Python's ``fnmatchcase``."""

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.moderation.policies.globs import Matcher, MessageFields, first, members
from worker.moderation.policies.policy_file import When

LETTERS = st.text("ab*?[]!-\n", max_size=6)


def condition(keys: dict[str, Any]) -> When:
    """Return a condition unchecked: a policy file refuses [b-a], and the matcher knows it all the same."""
    return When.model_construct(**keys)


def matched(conditions: list[When | None], message: MessageFields) -> list[int]:
    return [*members(Matcher(conditions).matches(message))]


@given(st.lists(st.lists(LETTERS, min_size=1, max_size=3), min_size=1, max_size=6), LETTERS)
def test_a_glob_matches_what_fnmatchcase_says(globs: list[list[str]], value: str) -> None:
    expected = [number for number, given in enumerate(globs) if any(fnmatchcase(value, glob) for glob in given)]
    assert (
        matched([condition({"channel_id": given}) for given in globs], MessageFields(channel_id=value)) == expected
    )


NAMES = st.tuples(st.text("ab", max_size=6), st.sampled_from(["", "*"])).map("".join)


@given(st.lists(NAMES, min_size=1, max_size=12), st.lists(st.text("ab", max_size=8), min_size=1, max_size=8))
def test_names_and_beginnings_of_many_lengths_match_what_fnmatchcase_says(
    names: list[str], values: list[str]
) -> None:
    matcher = Matcher([When(channel_id=[name]) for name in names])
    found = [matcher.entries_of(key) for key in matcher.keys({"channel_id": values}, len(values))]
    assert [[*members(entries)] for entries in found] == [
        [number for number, name in enumerate(names) if fnmatchcase(value, name)] for value in values
    ]


VALUES = st.lists(st.tuples(st.none() | LETTERS, st.none() | LETTERS, st.booleans()), max_size=20)
GLOBS = st.lists(LETTERS, min_size=1, max_size=2)
KEYS = st.fixed_dictionaries(
    {}, optional={"channel_id": GLOBS, "user_id": GLOBS, "role": GLOBS, "edited": st.booleans()}
)
CONDITIONS = st.lists(st.none() | KEYS.filter(bool).map(condition), max_size=6)


@given(CONDITIONS, VALUES, st.sampled_from([4, 10, 1000]))
def test_many_messages_match_what_each_matches_alone_whatever_is_remembered(
    conditions: list[When | None], rows: list[tuple[str | None, str | None, bool]], remembered_max: int
) -> None:
    matcher, alone = Matcher(conditions, remembered_max), Matcher(conditions)
    for absent in ((), ("channel_id",), ("user_id", "edited")):
        columns: dict[str, list[Any]] = {
            "channel_id": [row[0] for row in rows],
            "user_id": [row[1] for row in rows],
            "edited": [row[2] for row in rows],
        }
        for field in absent:
            del columns[field]
        messages = [
            MessageFields(**{field: values[number] for field, values in columns.items()})
            for number in range(len(rows))
        ]
        found = [matcher.entries_of(key) for key in matcher.keys(columns, len(rows))]
        assert found == [alone.matches(message) for message in messages]
        assert matcher.remembered <= remembered_max


@given(CONDITIONS, VALUES, st.integers(0, 6), st.integers(0, 6))
def test_of_alternatives_the_first_that_matches_is_found(
    conditions: list[When | None], rows: list[tuple[str | None, str | None, bool]], one: int, other: int
) -> None:
    low, high = sorted((one, other))
    rules, exemptions = (1 << low) - 1, (1 << high) - (1 << low)
    matcher, every = Matcher(conditions, alternatives=(rules, exemptions)), Matcher(conditions)
    columns: dict[str, list[Any]] = {
        "channel_id": [row[0] for row in rows],
        "user_id": [row[1] for row in rows],
        "edited": [row[2] for row in rows],
    }
    for key, (channel, user, edited) in zip(matcher.keys(columns, len(rows)), rows, strict=True):
        message = MessageFields(channel_id=channel, user_id=user, edited=edited)
        expected = every.matches(message)
        for found in (matcher.entries_of(key), matcher.matches(message)):
            assert first(found & rules) == first(expected & rules)
            assert first(found & exemptions) == first(expected & exemptions)
            assert found >> high == expected >> high


@pytest.mark.parametrize("further", [{"user_id": ["bot"]}, {"edited": True}])
def test_an_alternative_that_asks_for_more_leaves_the_later_ones(further: dict[str, Any]) -> None:
    conditions = [When(channel_id=["kids"], **further), When(channel_id=["kids"])]
    matcher = Matcher(conditions, alternatives=[0b11])
    assert first(matcher.matches(MessageFields(channel_id="kids", user_id="a"))) == 1
    assert first(matcher.matches(MessageFields(channel_id="kids", user_id="bot", edited=True))) == 0


def test_channels_with_the_same_first_rule_have_one_key() -> None:
    conditions = [When(channel_id=["kids-*"]), When(channel_id=["kids-1"]), When(channel_id=["kids-2"])]
    channels = {"channel_id": ["kids-1", "kids-2", "kids-3"]}
    assert len(set(Matcher(conditions, alternatives=[0b111]).keys(channels, 3))) == 1
    assert len(set(Matcher(conditions).keys(channels, 3))) == 3


def test_names_and_beginnings_are_found_in_a_column_of_many_channels() -> None:
    conditions = [When(channel_id=["kids-*", "k"]), When(channel_id=["general"]), When(channel_id=["kids-1*"])]
    matcher = Matcher(conditions)
    for _ in range(2):  # the second time from memory
        keys = matcher.keys({"channel_id": ["kids-2", "k", "general", "kids-12", "other", ""]}, 6)
        assert [[*members(matcher.entries_of(key))] for key in keys] == [[0], [0], [1], [0, 2], [], []]


def test_the_memory_for_channels_has_a_bound_and_holds_no_long_ids() -> None:
    matcher = Matcher([When(channel_id=["game-*"]), When(user_id=["*bot*"])], 1000)
    for start in range(0, 5000, 500):
        names = [f"game-{number}" for number in range(start, start + 500)]
        assert len(set(matcher.keys({"channel_id": names, "user_id": names}, 500))) == 1
        assert 0 < matcher.remembered <= 1000
    before = matcher.remembered
    assert matcher.matches(MessageFields(user_id="bot" + "c" * 1_000_000)) == 0b10
    assert matcher.remembered == before


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
