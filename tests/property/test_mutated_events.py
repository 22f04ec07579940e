"""Documented events with random damage: no shape ever raises, and what it reads can be judged and written.

``MUTATED_EVENTS`` says how many for each shape, ``HOSTILE_SEED`` which.
"""

import json
import os
import random
import sys

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.chat import ChatMessage
from schemas.dead_letter import REASONS
from tests.damaged_events import documented, mutated, places
from tests.hostile import VALUES
from worker.moderation.markup import render
from worker.moderation.shapes import (
    ReadRecord,
    Shape,
    builtin_envelopes,
    builtin_shapes,
    compile_shape,
    load_envelope,
    load_shape,
)
from worker.moderation.shapes.common_object import common_object
from worker.moderation.shapes.usual_event import usual_reader
from worker.records import Skipped
from worker.scores import DeadLetterReason

COUNT = int(os.environ.get("MUTATED_EVENTS", "2000"))
SEED = int(os.environ.get("HOSTILE_SEED", "1"))


@pytest.mark.parametrize("name", builtin_shapes())
def test_a_damaged_event_is_judged_skipped_or_refused(name: str) -> None:
    shape = load_shape(name)
    reads = [
        compile_shape(shape, envelope=load_envelope(one) if one else None) for one in (None, *builtin_envelopes())
    ]
    for number in range(COUNT):
        chance = random.Random(f"{SEED}:{name}:{number}")  # noqa: S311 - the same events every time
        value = mutated("discord", number, chance)
        read = reads[0] if number % 5 else chance.choice(reads)
        reading = read(value, [("ce_id", b"\xff"), ("Twitch-Eventsub-Message-Timestamp", b"\xff")])
        for one in reading if isinstance(reading, tuple) else (reading,):
            if isinstance(one, ChatMessage):
                orjson.dumps(
                    [one.text, one.message_id, one.channel_id, one.user_id, one.sent_at, *(one.context or ())]
                )
                assert isinstance(render(one.text, shape.markup), str)
            elif isinstance(one, DeadLetterReason):
                assert one.reason in REASONS
            else:
                assert isinstance(one, Skipped)


@pytest.mark.parametrize("name", builtin_shapes())
@pytest.mark.parametrize("value", ["{", "[", '{"a":', '{"text":', '{"$date":', '{"elements":['])
def test_a_deeply_nested_event_stops_no_shape(name: str, value: str) -> None:
    read = compile_shape(load_shape(name))
    closing = "".join("}" if one == "{" else "]" for one in reversed(value) if one in "{[")
    for depth in (500, 1000, 100_000):
        whole = value * depth + "1" + closing * depth
        assert read(whole.encode(), ()) is not None
        for event in documented(name)[:3]:
            for holder, key in list(places(event))[:40]:
                kept, holder[key] = holder[key], "PLACE"
                read(json.dumps(event).replace('"PLACE"', whole, 1).encode(), ()) if depth < 1000 else None
                holder[key] = kept


def read_without_the_typed_parser(shape: Shape) -> ReadRecord:
    """Return the reader that makes everything in an event: that of a shape with strings to parse."""
    return compile_shape(shape.model_copy(update={"parse": ["/no such place"]}))


def test_a_message_in_one_object_reads_as_if_its_places_were_anywhere() -> None:
    shape = load_shape("discord")
    assert common_object(shape) is not None
    # With a place outside the object, every place is looked up from the top of the event.
    anywhere = shape.model_copy(update={"language": [*shape.language, "/no such name"]})
    read, read_from_top = read_without_the_typed_parser(shape), read_without_the_typed_parser(anywhere)
    for number in range(COUNT):
        value = mutated("discord", number, random.Random(f"{SEED}:{number}"))  # noqa: S311 - the same every time
        assert read(value, ()) == read_from_top(value, ())


# ---- the parser that makes only what a shape reads ---------------------------------------------------------------


@pytest.mark.parametrize("depth", [1000, 1023, 1024, 1100, 3000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_how_deep_an_event_may_be_does_not_depend_on_the_interpreter(opening: str, depth: int) -> None:
    shape, closing = load_shape("plain"), "]" if opening == "[" else "}"
    value = f'{{"text":"hello","more":{opening * depth}1{closing * depth}}}'.encode()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)  # CPython 3.12 and later do not count a parser's calls against this limit
    try:
        found = compile_shape(shape)(value, ())
        assert found == read_without_the_typed_parser(shape)(value, ())
    finally:
        sys.setrecursionlimit(limit)
    assert isinstance(found, ChatMessage) == (depth < 1024)


@pytest.mark.parametrize("name", ["discord", "plain", "sendbird"])
def test_an_event_reads_the_same_if_only_a_part_of_it_is_parsed(name: str) -> None:
    shape = load_shape(name)
    read, read_whole, read_usual = compile_shape(shape), read_without_the_typed_parser(shape), usual_reader(shape)
    assert read_usual is not None
    assert read_usual(orjson.dumps(documented(name)[0])) is not None
    for number in range(COUNT):
        value = mutated(name, number, random.Random(f"{SEED}:{name}:{number}"))  # noqa: S311 - the same every time
        assert repr(read(value, ())) == repr(read_whole(value, ())), value


EVERYTHING = Shape.model_validate(
    {
        "schema": "shape/1",
        "where": [
            {"at": "/t", "in": ["chat", 5, None, 2**63 - 1]},
            {"at": "/d/kind", "not_in": [0, 1, 7]},
            {"at": "/d/deleted", "present": False},
        ],
        "text": ["/d/text", "/d/parts/*/text", ["/d/more/a", "/d/more/b"]],
        "no_text": "dead_letter",
        "message_id": ["/d/id"],
        "channel_id": ["/d/channel"],
        "user_id": ["/d/author/id"],
        "tenant_id": ["/d/tenant"],
        "language": ["/d/language"],
        "sent_at": ["/d/time"],
        "roles": [
            "/d/author/roles/*",
            {"at": "/d/author/bot", "in": [True], "role": "bot"},
            {"at": "/d/hook", "present": True, "role": "hook"},
            {"at": "/d/level", "not_in": [0, None], "role": "raised"},
        ],
        "edited": ["/d/edited", {"at": "/d/version", "not_in": [1, None]}],
        "markup": "discord",
        "quotes": "drop",
    }
)
"""A shape with each key that the typed parser can read."""
WRITTEN = st.sampled_from(
    [
        *VALUES,
        '"a"',
        '"> b"',
        '"\\u0061\\ud83d\\ude00"',
        '"\\u0000"',
        "1",
        "1.0",
        "-0",
        "2E3",
        '"\x80"',
        '{"$date":1}',
    ]
)
"""JSON as it is written, and what is almost JSON."""


def objects(**values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return objects: most have most of these values; some have other values, or more for a name."""
    pairs = {f'"{name}"': its for name, its in values.items()}
    escaped = [f'"\\u{ord(name[0]):04x}{name[1:]}"' for name in values]
    usual = st.fixed_dictionaries({}, optional=pairs).map(lambda found: [*found.items()])
    others = st.lists(st.tuples(st.sampled_from([*pairs, *escaped, '"?"']), WRITTEN), max_size=2)
    return st.tuples(usual, st.just([]) | others).map(
        lambda found: "{" + ", ".join(f"{name}: {value}" for name, value in (*found[0], *found[1])) + "}"
    )


def arrays(elements: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(elements, max_size=3).map(lambda found: "[" + ",".join(found) + "]")


FURTHER = st.sampled_from(["null", '""', "null", '""', '"more"'])
IDS = st.sampled_from(['"1"', '"channel"', "5", "null"])
MESSAGES = objects(
    text=st.sampled_from(['"hello"', '"> quoted\\nown"', '""']),
    parts=arrays(objects(text=FURTHER)),
    more=objects(a=FURTHER, b=FURTHER),
    id=IDS,
    channel=IDS,
    tenant=IDS,
    time=IDS,
    author=objects(
        id=IDS, roles=arrays(st.sampled_from(['"mod"', '"admin"'])), bot=st.sampled_from(["true", "false"])
    ),
    edited=st.sampled_from(["null", "false", '"now"']),
    version=IDS,
)


@settings(max_examples=500)
@given(written=objects(t=st.sampled_from(['"chat"', "5", "null"]), d=MESSAGES))
def test_any_event_reads_the_same_if_only_a_part_of_it_is_parsed(written: str) -> None:
    value = written.encode("latin-1", errors="ignore")  # U+0080 to U+00FF are then invalid UTF-8
    assert repr(READ(value, ())) == repr(READ_WHOLE(value, ()))


READ, READ_WHOLE = compile_shape(EVERYTHING), read_without_the_typed_parser(EVERYTHING)
