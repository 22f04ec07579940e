"""Where a shape finds what it reads: several forms of an event, conditions, and events inside a record."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chat import ChatMessage, MessageContext
from worker.errors import ConfigurationError
from worker.moderation.markup import slack_blocks
from worker.moderation.shapes import Reading, ReadRecord, compile_shape
from worker.moderation.shapes.files import parse_shape
from worker.moderation.shapes.finding import find_all
from worker.moderation.shapes.place_tree import PlaceTree
from worker.records import Skipped
from worker.scores import DeadLetterReason


def reader(lines: str) -> ReadRecord:
    return compile_shape(parse_shape(f"schema: shape/1\n{lines}", "test.yaml"))


def reading(lines: str, event: object) -> Reading:
    return reader(lines)(orjson.dumps(event), ())


def message(lines: str, event: object) -> ChatMessage:
    found = reading(lines, event)
    assert isinstance(found, ChatMessage), found
    return found


# ---- conditions --------------------------------------------------------------------------------------------------


def test_a_rule_may_name_the_places_of_two_forms() -> None:
    lines = "where: [{at: [/type, /payload/type], in: [chat]}]\ntext: [/text, /payload/text]"
    assert message(lines, {"type": "chat", "text": "a"}).text == "a"
    assert message(lines, {"payload": {"type": "chat", "text": "b"}}).text == "b"
    assert isinstance(reading(lines, {"type": "join", "payload": {"type": "chat"}}), Skipped)
    assert reading(lines, {}) == Skipped(reason="The value at these places is not chat: /type, /payload/type.")


def test_a_role_may_follow_from_presence_or_from_another_value() -> None:
    lines = """text: [/text]
roles:
  - {at: /webhook, present: true, role: webhook}
  - {at: /bot, not_in: [false, null], role: bot}
  - {at: "/badges/*/id", in: [mod], role: moderator}
"""
    event = {"text": "a", "webhook": "1", "bot": {"i": 1}, "badges": [{"id": "vip"}, {"id": "mod"}]}
    assert message(lines, event).context == MessageContext(roles=("webhook", "bot", "moderator"))
    assert message(lines, {"text": "a", "bot": False}).context is None


def test_an_edit_may_follow_from_a_value_that_is_not_zero() -> None:
    lines = "text: [/text]\nedited: [{at: /edit_at, not_in: [0, null]}]"
    assert message(lines, {"text": "a", "edit_at": 5}).context == MessageContext(edited=True)
    assert message(lines, {"text": "a", "edit_at": 0}).context is None
    assert message(lines, {"text": "a"}).context is None


# ---- texts -------------------------------------------------------------------------------------------------------


def test_of_a_list_inside_text_only_the_first_with_characters_is_read() -> None:
    lines = "text: [[/blocks, /text], /more]"
    assert message(lines, {"blocks": "b", "text": "t", "more": "m"}).text == "b\nm"
    assert message(lines, {"blocks": "", "text": "t", "more": "m"}).text == "t\nm"
    assert message(lines, {"text": "t"}).text == "t"


def test_a_text_with_a_condition_is_read_only_where_the_condition_holds() -> None:
    lines = "text: [/body, {at: /new/body, when: [{at: /relates/type, in: [replace]}]}]"
    assert message(lines, {"body": "real", "new": {"body": "decoy"}}).text == "real"
    edit = {"body": "* nice", "new": {"body": "real"}, "relates": {"type": "replace"}}
    assert message(lines, edit).text == "* nice\nreal"


def test_a_condition_of_a_text_cannot_name_a_header() -> None:
    with pytest.raises(ConfigurationError, match="no header"):
        reader("text: [{at: /a, when: [{at: 'header:x', present: true}]}]")


def test_a_place_that_is_not_a_string_is_named() -> None:
    found = reading("text: [[/a/text, /a]]", {"a": {"example": "message"}})
    assert isinstance(found, DeadLetterReason)
    assert (found.reason, found.message) == ("wrong_type", "The value at /a is an object, not a string.")


def test_markup_stays_in_the_text_and_quotes_of_others_do_not() -> None:
    lines = "text: [/a, /b]\nmarkup: discord\nquotes: drop"
    assert message(lines, {"a": "> theirs\n**mine**", "b": "> theirs"}).text == "**mine**"
    assert message(lines, {"a": "> theirs"}).text == "> theirs"


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        ([{"type": "section", "text": {"type": "mrkdwn", "text": "*a*"}, "fields": [{"text": "b"}]}], "*a*\nb"),
        (
            [{"type": "markdown", "text": "# a"}, {"type": "divider"}, {"type": "image", "title": {"text": "b"}}],
            "# a\nb",
        ),
        (
            [{"type": "table", "rows": [[{"type": "raw_text", "text": "a"}, {"type": "raw_text", "text": "b"}]]}],
            "a\nb",
        ),
        ([{"type": "rich_text_quote", "elements": [{"type": "text", "text": "a\nb"}]}], "&gt; a\n&gt; b"),
        (
            [
                {
                    "type": "rich_text_section",
                    "elements": [
                        *({"type": "text", "text": "Hel"}, {"type": "text", "text": "lo", "style": {"bold": True}}),
                        *({"type": "emoji", "name": "wave"}, {"type": "user", "user_id": "U1"}),
                        *({"type": "link", "url": "https://a.example"}, {"type": "broadcast", "range": "here"}),
                        *({"type": "unknown"}, 7, {"type": "text", "text": 7}, {"type": ["text"]}),
                    ],
                }
            ],
            "Hello:wave:<@U1>https://a.example<!here>",
        ),
        ("a string", ""),
        (None, ""),
    ],
)
def test_the_words_of_slack_blocks_are_read_in_the_order_of_the_screen(blocks: object, text: str) -> None:
    assert slack_blocks.text_of(blocks) == text


def test_blocks_that_are_nested_too_deeply_are_not_read() -> None:
    blocks: Any = {"type": "section", "text": {"text": "deep"}}
    for _ in range(900):
        blocks = {"elements": [blocks]}
    assert slack_blocks.text_of(blocks) == ""


# ---- events inside a record --------------------------------------------------------------------------------------


def test_an_event_may_be_inside_the_record_or_the_record_itself() -> None:
    lines = "event: [/payload, '']\ntext: [/text]"
    assert message(lines, {"payload": {"text": "a"}, "text": "b"}).text == "a"
    assert message(lines, {"text": "b"}).text == "b"


def test_a_record_without_the_event_is_skipped() -> None:
    found = reading("event: [/message, /edited_message]\ntext: [/text]", {"poll": {}})
    assert found == Skipped(
        reason="There is no object and no array at any of these places: /message, /edited_message."
    )


def test_an_array_inside_the_record_holds_several_messages() -> None:
    lines = "event: [/data]\ntext: [/text]\nno_text: dead_letter"
    found = reading(lines, {"data": [{"text": "a"}, {"text": 1}, 7]})
    assert isinstance(found, tuple)
    first, second, third = found
    assert isinstance(first, ChatMessage)
    assert first.text == "a"
    assert [one.reason for one in (second, third) if isinstance(one, DeadLetterReason)] == [
        "wrong_type",
        "not_an_object",
    ]


def test_an_array_of_records_with_arrays_is_read_as_one_list() -> None:
    found = reading(
        "event: [/data]\ntext: [/text]", [{"data": [{"text": "a"}, {"text": "b"}]}, {"data": {"text": "c"}}]
    )
    assert isinstance(found, tuple)
    assert [one.text for one in found if isinstance(one, ChatMessage)] == ["a", "b", "c"]


def test_the_place_of_an_event_has_no_star() -> None:
    with pytest.raises(ConfigurationError, match=r"test.yaml:2:\d+: .*without '\*'"):
        reader("event: ['/data/*']\ntext: [/text]")


# ---- fields ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_as", "read_as"),
    [
        ({"$date": 1772478600120}, 1772478600120),
        ({"$date": "2026-03-02T19:10:00Z"}, "2026-03-02T19:10:00Z"),
        ({"$date": {"$numberLong": "1772478600120"}}, "1772478600120"),
    ],
)
def test_a_date_of_mongodb_is_a_time(given_as: object, read_as: object) -> None:
    assert message("text: [/text]\nsent_at: [/ts]", {"text": "a", "ts": given_as}).sent_at == read_as


def test_an_object_that_is_no_date_costs_only_the_time() -> None:
    found = message("text: [/text]\nsent_at: [/ts]", {"text": "a", "ts": {"$date": {"a": 1}}})
    assert (found.sent_at, found.ignored) == (None, ("sent_at",))


def test_an_empty_id_is_passed_over_where_another_place_may_have_one() -> None:
    lines = "text: [/text]\nchannel_id: [/a, /b]"
    assert message(lines, {"text": "t", "a": "", "b": "7"}).channel_id == "7"
    assert message(lines, {"text": "t", "a": "", "b": ""}).channel_id is None


def test_a_string_that_is_not_json_stays_where_others_may_be_json() -> None:
    lines = "parse: ['/cards/*']\ntext: [/text, '/cards/*/title']"
    assert message(lines, {"text": "a", "cards": ["not JSON", '{"title": "b"}']}).text == "a\nb"


# ---- the walk ----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "0", "1", "*"])
PLACES = st.lists(st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names)), max_size=6)
EVENTS = st.dictionaries(
    st.sampled_from(["a", "b", "0"]),
    st.recursive(
        st.none() | st.integers(0, 9) | st.just("s"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "0"]), inner),
        max_leaves=12,
    ),
)


@given(places=PLACES, event=EVENTS)
def test_one_walk_finds_what_a_walk_for_each_place_finds(places: list[str], event: Any) -> None:
    found = PlaceTree.of(places).find(event)
    assert {number: list(values) for number, values in found.items()} == {
        number: values for number, place in enumerate(places) if (values := list(find_all(place)(event, ())))
    }
