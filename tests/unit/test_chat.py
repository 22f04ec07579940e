import contextlib
import json
import re
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chat import ChatMessage, Undecodable, parse_pointer
from tests.shapes import decode, of_text, plain
from worker.moderation.shapes import ReadRecord

READ = plain()


def refusal(value: bytes, read: ReadRecord = READ) -> Undecodable:
    with pytest.raises(Undecodable) as caught:
        decode(value, read)
    return caught.value


def text_of(value: bytes) -> str:
    return decode(value, READ).text


def test_all_five_fields_are_read_and_unknown_ones_ignored() -> None:
    value = b'{"message_id":"m","channel_id":"c","user_id":"u","text":"hi","sent_at":"noon","x":[1]}'
    assert decode(value, READ) == ChatMessage(
        message_id="m", channel_id="c", user_id="u", text="hi", sent_at="noon"
    )


def test_only_the_text_is_required_and_null_is_the_same_as_absent() -> None:
    nothing_else = ChatMessage(text="")
    assert decode(b'{"text":""}', READ) == nothing_else
    nulls = b'{"text":"","message_id":null,"channel_id":null,"user_id":null,"sent_at":null}'
    assert decode(nulls, READ) == nothing_else


@pytest.mark.parametrize("number", [0, -1, -(2**63), 2**64 - 1])
def test_integer_ids_become_decimal_strings(number: int) -> None:
    for more in (b"1", b"NaN"):
        assert decode(b'{"text":"","user_id":%d,"x":%b}' % (number, more), READ).user_id == str(number)


UNREADABLE = (
    *("true", "18446744073709551616", "-9223372036854775809", "[]", "{}", "NaN", "-Infinity", "1e999", "9" * 5000),
)


@pytest.mark.parametrize("field", ["message_id", "channel_id", "user_id", "sent_at"])
@pytest.mark.parametrize("value", UNREADABLE)
def test_a_field_that_cannot_be_read_is_ignored_and_named(field: str, value: str) -> None:
    # With NaN elsewhere the tolerant reader reads the value, and must find the same.
    for more in ("1", "NaN"):
        found = decode(f'{{"text":"hi","{field}":{value},"x":{more}}}'.encode(), READ)
        assert found == ChatMessage(text="hi", ignored=(field,))


def test_an_id_is_not_a_fraction() -> None:
    found = decode(b'{"text":"hi","user_id":1.0,"sent_at":1.0}', READ)
    assert found == ChatMessage(text="hi", sent_at=1.0, ignored=("user_id",))


def test_each_ignored_field_is_named_and_the_others_are_read() -> None:
    value = b'{"message_id":[],"channel_id":7,"user_id":{},"text":"hi","sent_at":false}'
    ignored = ("message_id", "user_id", "sent_at")
    assert decode(value, READ) == ChatMessage(channel_id="7", text="hi", ignored=ignored)


@pytest.mark.parametrize("sent_at", ["noon", "", 0, 1.5, -1, 1700000000000, 2**64 - 1])
def test_the_time_of_sending_is_kept_unchanged(sent_at: str | float) -> None:
    found = decode(orjson.dumps({"text": "", "sent_at": sent_at}), READ).sent_at
    assert (found, type(found)) == (sent_at, type(sent_at))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not_json"),
        (b" \n", "not_json"),
        (b"hello", "not_json"),
        (b'{"text":NaN}', "no_text"),
        (b'{"text":-1e400}', "no_text"),
        (b'{"text":"",NaN:1}', "not_json"),
        (b'{"text":"","x":nan}', "not_json"),
        (b'{"text":"","x":+Infinity}', "not_json"),
        (b'{"text":"","x":01e999}', "not_json"),
        (b'{"text":"","x":NaN,}', "not_json"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"text":""}', "not_json"),
        ('{"text":""}'.encode("utf-16"), "not_json"),
        (b'{"text":""} x', "not_json"),
        (b'{"text":"\n"}', "not_json"),
        (b'{"text":"\\ud83d", x}', "not_json"),
        (b'{"text":"\\ud83', "not_json"),
        (b'{"text":"","x":' + b"[" * 2000 + b"]" * 2000 + b"}", "not_json"),
        (b"hello \xff", "not_json"),
        (b'{"text":"",\xff:1}', "not_json"),
        (b"7", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"{}", "no_text"),
        (b'{"text":null}', "no_text"),
        (b'{"text":1}', "wrong_type"),
        (b'{"text":["a"]}', "wrong_type"),
        (b'{"text":[NaN]}', "wrong_type"),
    ],
)
def test_a_value_without_a_chat_message_is_refused_with_its_reason(value: bytes, reason: str) -> None:
    assert refusal(value).reason == reason


def test_the_last_of_duplicate_keys_counts() -> None:
    assert text_of(b'{"text":1,"text":"a","text":"b"}') == "b"


def test_the_largest_value_is_read_and_one_byte_more_is_too_large() -> None:
    value = b'{"text":"hello"}'
    assert decode(value, plain(bytes_max=len(value))).text == "hello"
    assert refusal(value, plain(bytes_max=len(value) - 1)).reason == "too_large"
    assert refusal(b"hello", of_text(bytes_max=4)).reason == "too_large"


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


def test_half_an_emoji_in_a_key_or_an_id_does_not_prevent_decoding() -> None:
    value = rb'{"\udead":{"\ud83d":"\ud83d"},"text":"hi","user_id":"u\udead","sent_at":"\ud83d"}'
    assert decode(value, READ) == ChatMessage(text="hi", user_id="u\ufffd", sent_at="\ufffd")


WILD = st.text(
    st.one_of(
        st.sampled_from('\\"ud83dDE00\n\ud83d\ude00\udbff\udfff'),
        st.characters(),
        st.characters(categories=["Cs"]),
    )
)


@given(text=WILD, key=WILD)
def test_any_text_that_a_user_can_type_is_read(text: str, key: str) -> None:
    # Python's own reader keeps lone surrogates, and joins the two halves of a pair.
    document = json.dumps({key: text, "text": text})
    expected = re.sub("[\ud800-\udfff]", "\ufffd", json.loads(document)["text"])
    assert text_of(document.encode()) == expected


TOKENS = st.sampled_from(
    [
        *"[]{},:",
        '"a":',
        '"text":',
        '"NaN"',
        '"\\ud83d 1e999 \\\\"',
        "NaN",
        "-Infinity",
        "1e999",
        "-1e-999",
        "01",
        "1",
    ]
)


@given(tokens=st.lists(TOKENS), broken=st.binary(max_size=3), at=st.integers(0, 20))
def test_a_document_is_read_like_pythons_tolerant_reader_reads_it(
    tokens: list[str], broken: bytes, at: int
) -> None:
    document = '{"text":"NaN, \\ud83d\\ude00 1e999","more":[' + ",".join(tokens) + "]}"
    value = document[:at].encode() + broken + document[at:].encode()
    # The reference decodes the text in Python, then reads JSON with NaN and numbers of any size.
    try:
        reference = json.loads(value.decode(errors="replace").removeprefix("\ufeff"))
    except ValueError:
        reference = None
    try:
        found: str | None = decode(value, READ).text
    except Undecodable:
        found = None
    expected = reference.get("text") if isinstance(reference, dict) else None
    assert found == (re.sub("[\ud800-\udfff]", "\ufffd", expected) if isinstance(expected, str) else None)


@given(text=st.text(), number=st.sampled_from(["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400]))
def test_nan_and_infinity_do_not_change_the_text(text: str, number: str) -> None:
    value = f'{{"text":{json.dumps(text)},"x":[{number},{{"y":{number}}}],"{number}":{number}}}'
    assert text_of(value.encode()) == text


@given(before=st.text(), broken=st.sampled_from([b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98"]), after=st.text())
def test_bytes_that_are_not_utf8_become_replacement_characters(before: str, broken: bytes, after: str) -> None:
    plain = before.encode() + broken + after.encode()
    whole = json.dumps(before, ensure_ascii=False)[:-1].encode() + broken
    whole += json.dumps(after, ensure_ascii=False)[1:].encode()
    expected = f"{before}\ufffd{after}"
    assert text_of(b'{"text":' + whole + b"}") == expected
    if not any(
        ord(character) < 0x20 and character not in "\t\n\v\f\r" for character in plain.decode(errors="replace")
    ):
        assert decode(plain, of_text()).text == expected.removeprefix("\ufeff")


def test_a_byte_order_mark_is_ignored() -> None:
    assert text_of(b'\xef\xbb\xbf{"text":"hi"}') == "hi"


MEGABYTE = 2**20
LONG = {
    "bytes that are not UTF-8": b"\xff",
    "surrogates in UTF-8": b"\xed\xa0\xbd",
    "NaN": b"NaN,",
    "-Infinity": b"-Infinity,",
    "numbers beyond a double": b"1e999,",
    "digits": b"9",
    "an exponent": b"1e9",
    "zeros": b"0",
    "quotes": b'"',
    "backslashes": b"\\",
    "half emojis": b"\\ud83d",
    "brackets": b"[",
    "objects": b'{"a":',
    "byte-order marks": b"\xef\xbb\xbf",
}


@pytest.mark.parametrize("piece", LONG.values(), ids=LONG)
@pytest.mark.parametrize(
    "around", [b"%b", b'{"text":"%b"}', b'{"text":"a","more":[%bNaN]}', b'{"sent_at":1%b,"text":"a"}']
)
def test_a_megabyte_of_anything_is_read_or_refused_in_linear_time(piece: bytes, around: bytes) -> None:
    value = around % (piece * (MEGABYTE // len(piece)))
    began = time.perf_counter()
    with contextlib.suppress(Undecodable):
        decode(value, plain(bytes_max=2 * MEGABYTE))
    # About 0.1 s; in quadratic time it would be hours.
    assert time.perf_counter() - began < 10


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
    shape = plain(text=["/events/1/b~1c"], user_id=["/who/0"])
    value = b'{"events":[{},{"b/c":"hi"}],"who":[7],"user_id":"another"}'
    assert decode(value, shape) == ChatMessage(text="hi", user_id="7")


@pytest.mark.parametrize("pointer", ["/a/2", "/a/01", "/a/-", "/a/-1", "/a/x", "/a/0/b", "/t/0", "/none/b"])
def test_a_pointer_to_nothing_finds_no_text(pointer: str) -> None:
    error = refusal(b'{"a":["x","y"],"t":"hi"}', plain(text=[pointer]))
    assert error.reason == "no_text"
    assert pointer in error.message


def test_with_format_text_the_value_is_the_text() -> None:
    shape = of_text()
    assert decode('{"text":"é"}\n'.encode(), shape) == ChatMessage(text='{"text":"é"}\n')
    assert decode(b"\xef\xbb\xbfcaf\xe9 \xed\xa0\xbd", shape).text == "caf\ufffd \ufffd\ufffd\ufffd"


@pytest.mark.parametrize(
    "value",
    [b"\0\0\0\0\x07\x02H\x0ahello", b"\0\0\0\0\x07hello", b"\0", b"hi\0", b"\x1b[2J", "hi".encode("utf-16-le")],
)
def test_a_serialized_record_or_control_characters_are_not_a_plain_text(value: bytes) -> None:
    assert refusal(value, of_text()).reason == "not_text"


@pytest.mark.parametrize("text", ["a\tb", "a\r\nb", "a\vb\fc", "a\x7fb", "a\x85b\u2028c"])
def test_a_text_with_tabs_and_line_ends_is_a_plain_text(text: str) -> None:
    assert decode(text.encode(), of_text()).text == text


def test_a_json_text_may_hold_any_control_character() -> None:
    text = "".join(map(chr, range(0x20)))
    assert text_of(json.dumps({"text": text}).encode()) == text


@pytest.mark.parametrize(
    "value",
    [
        b'{"text":"MARKER',
        b'"MARKER"',
        b'{"text":{"MARKER":"MARKER"}}',
        b'{"MARKER":"MARKER"}',
        b"MARKER \xff MARKER",
        b'{"MARKER":NaN}',
        b'{"text":"\xff MARKER \\x"}',
        b'{"text":"MARKER\xff",MARKER}',
        b'{"text":"MARKER \\ud83d",MARKER}',
    ],
)
def test_a_refusal_never_holds_the_text(value: bytes) -> None:
    error: Any = refusal(value)
    assert "MARKER" not in error.message
    assert error.message.endswith(".")
    # A traceback would print a chained error, and orjson's holds the whole value.
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
