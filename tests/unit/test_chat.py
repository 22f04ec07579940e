import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chat import ChatMessage, InputShape, Undecodable, decode, parse_pointer

SHAPE = InputShape()


def refusal(value: bytes, shape: InputShape = SHAPE) -> Undecodable:
    with pytest.raises(Undecodable) as caught:
        decode(value, shape)
    return caught.value


def text_of(value: bytes) -> str:
    return decode(value, SHAPE).text


def test_all_five_fields_are_read_and_unknown_ones_ignored() -> None:
    value = b'{"message_id":"m","channel_id":"c","user_id":"u","text":"hi","sent_at":"noon","x":[1]}'
    assert decode(value, SHAPE) == ChatMessage(
        message_id="m", channel_id="c", user_id="u", text="hi", sent_at="noon"
    )


def test_only_the_text_is_required_and_null_is_the_same_as_absent() -> None:
    nothing_else = ChatMessage(text="")
    assert decode(b'{"text":""}', SHAPE) == nothing_else
    nulls = b'{"text":"","message_id":null,"channel_id":null,"user_id":null,"sent_at":null}'
    assert decode(nulls, SHAPE) == nothing_else


@pytest.mark.parametrize("number", [0, -1, -(2**63), 2**64 - 1])
def test_integer_ids_become_decimal_strings(number: int) -> None:
    assert decode(b'{"text":"","user_id":%d}' % number, SHAPE).user_id == str(number)


@pytest.mark.parametrize("field", ["message_id", "channel_id", "user_id"])
@pytest.mark.parametrize("value", ["true", "1.0", "18446744073709551616", "-9223372036854775809", "[]", "{}"])
def test_an_id_of_another_type_is_refused_and_named(field: str, value: str) -> None:
    error = refusal(f'{{"text":"","{field}":{value}}}'.encode())
    assert error.reason == "wrong_type"
    assert f"/{field} " in error.message


@pytest.mark.parametrize("sent_at", ["noon", "", 0, 1.5, -1, 1700000000000, 2**64 - 1])
def test_the_time_of_sending_is_passed_on_as_it_came(sent_at: str | float) -> None:
    found = decode(orjson.dumps({"text": "", "sent_at": sent_at}), SHAPE).sent_at
    assert (found, type(found)) == (sent_at, type(sent_at))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not_json"),
        (b" \n", "not_json"),
        (b"hello", "not_json"),
        (b'{"text":NaN}', "not_json"),
        (b'{"text":"","sent_at":1e400}', "not_json"),
        (b'\xef\xbb\xbf{"text":""}', "not_json"),
        (b'{"text":""} x', "not_json"),
        (b'{"text":"\n"}', "not_json"),
        (b'{"text":"\\ud83d", x}', "not_json"),
        (b'{"text":"\\ud83', "not_json"),
        (b'{"text":"","x":' + b"[" * 2000 + b"]" * 2000 + b"}", "not_json"),
        (b'{"text":"\xff"}', "not_utf8"),
        (b'{"text":"\\ud83d\xff"}', "not_utf8"),
        (b'{"text":"\xed\xa0\xbd"}', "not_utf8"),
        (b"hello \xff", "not_utf8"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"{}", "no_text"),
        (b'{"text":null}', "no_text"),
        (b'{"text":1}', "wrong_type"),
        (b'{"text":["a"]}', "wrong_type"),
        (b'{"text":"","sent_at":true}', "wrong_type"),
        (b'{"text":"","sent_at":{}}', "wrong_type"),
    ],
)
def test_what_holds_no_chat_message_is_refused_with_its_reason(value: bytes, reason: str) -> None:
    assert refusal(value).reason == reason


def test_of_duplicate_keys_the_last_one_counts() -> None:
    assert text_of(b'{"text":1,"text":"a","text":"b"}') == "b"


def test_the_largest_value_is_read_and_one_byte_more_is_too_large() -> None:
    value = b'{"text":"hello"}'
    assert decode(value, InputShape(bytes_max=len(value))).text == "hello"
    assert refusal(value, InputShape(bytes_max=len(value) - 1)).reason == "too_large"
    assert refusal(b"hello", InputShape(format="text", bytes_max=4)).reason == "too_large"


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\uDE00", "\ufffd"),
        (r"\uD83D\uDE00", "😀"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\uD83D\uDE00\uD83D", "😀\ufffd"),
        (r"\ud83d\ude00\ude00", "😀\ufffd"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\\ud83d\ud83d", "\\ud83d\ufffd"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\\\\ud83d\ud83d", "\\\\ud83d\ufffd"),
        (r"\\\ud83d\ude00\ud83d", "\\😀\ufffd"),
        (r"\ud83d\\ude00", "\ufffd\\ude00"),
        (r"\ud83d\n\"", '\ufffd\n"'),
        (r"\ud83d\u00e9\uffff", "\ufffdé\uffff"),
    ],
)
def test_half_an_emoji_becomes_a_replacement_character_and_nothing_else_changes(escaped: str, text: str) -> None:
    assert text_of(f'{{"text":"{escaped}"}}'.encode()) == text


def test_half_an_emoji_in_a_key_or_an_id_is_no_obstacle() -> None:
    value = rb'{"\udead":{"\ud83d":"\ud83d"},"text":"hi","user_id":"u\udead","sent_at":"\ud83d"}'
    assert decode(value, SHAPE) == ChatMessage(text="hi", user_id="u\ufffd", sent_at="\ufffd")


WILD = st.text(
    st.one_of(
        st.sampled_from('\\"ud83dDE00\n\ud83d\ude00\udbff\udfff'),
        st.characters(),
        st.characters(categories=["Cs"]),
    )
)


@given(text=WILD, key=WILD)
def test_whatever_a_user_can_type_is_read(text: str, key: str) -> None:
    # Python's own reader keeps lone surrogates, and pairs those that stand together.
    document = json.dumps({key: text, "text": text})
    expected = re.sub("[\ud800-\udfff]", "\ufffd", json.loads(document)["text"])
    assert text_of(document.encode()) == expected


@pytest.mark.parametrize(
    ("pointer", "tokens"),
    [
        ("/text", ("text",)),
        ("/payload/body", ("payload", "body")),
        ("/", ("",)),
        ("/a~1b", ("a/b",)),
        ("/m~0n", ("m~n",)),
        ("/~01", ("~1",)),
        ("/events/0/text", ("events", "0", "text")),
    ],
)
def test_a_pointer_is_read_as_the_rfc_says(pointer: str, tokens: tuple[str, ...]) -> None:
    assert parse_pointer(pointer) == tokens


@pytest.mark.parametrize("pointer", ["", "text", "#/text", "/a~", "/a~2b"])
def test_a_wrong_pointer_is_refused_with_a_sentence(pointer: str) -> None:
    with pytest.raises(ValueError, match="JSON Pointer"):
        parse_pointer(pointer)


def test_pointers_lead_through_objects_and_arrays() -> None:
    shape = InputShape(text=parse_pointer("/events/1/b~1c"), user_id=parse_pointer("/who/0"))
    value = b'{"events":[{},{"b/c":"hi"}],"who":[7],"user_id":"another"}'
    assert decode(value, shape) == ChatMessage(text="hi", user_id="7")


@pytest.mark.parametrize("pointer", ["/a/2", "/a/01", "/a/-", "/a/-1", "/a/x", "/a/0/b", "/t/0", "/none/b"])
def test_a_pointer_that_leads_nowhere_finds_no_text(pointer: str) -> None:
    error = refusal(b'{"a":["x","y"],"t":"hi"}', InputShape(text=parse_pointer(pointer)))
    assert error.reason == "no_text"
    assert pointer in error.message


def test_a_plain_text_is_its_own_message() -> None:
    shape = InputShape(format="text")
    assert decode('{"text":"é"}\x00'.encode(), shape) == ChatMessage(text='{"text":"é"}\x00')
    assert refusal(b"\xff", shape).reason == "not_utf8"


@pytest.mark.parametrize(
    "value",
    [
        b'{"text":"MARKER',
        b'"MARKER"',
        b'{"text":{"MARKER":"MARKER"}}',
        b'{"text":"","user_id":["MARKER"]}',
        b'{"MARKER":"MARKER"}',
        b"MARKER \xff MARKER",
        b'{"text":"MARKER \\ud83d",MARKER}',
    ],
)
def test_a_refusal_never_tells_the_text(value: bytes) -> None:
    error: Any = refusal(value)
    assert "MARKER" not in error.message
    assert error.message.endswith(".")
    # A traceback would print a chained error, and orjson's holds the whole value.
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
