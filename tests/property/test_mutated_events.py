"""Documented events with random damage: no shape ever raises, and what it reads can be judged and written.

``MUTATED_EVENTS`` says how many for each shape, ``HOSTILE_SEED`` which.
"""

import json
import os
import random

import orjson
import pytest

from schemas.chat import ChatMessage
from schemas.dead_letter import REASONS
from tests.damaged_events import documented, mutated, places
from worker.moderation.markup import render
from worker.moderation.shapes import builtin_envelopes, builtin_shapes, compile_shape, load_envelope, load_shape
from worker.moderation.shapes.common_object import common_object
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


def test_a_message_in_one_object_reads_as_if_its_places_were_anywhere() -> None:
    shape = load_shape("discord")
    assert common_object(shape) is not None
    # With a place outside the object, every place is looked up from the top of the event.
    anywhere = shape.model_copy(update={"language": [*shape.language, "/no such name"]})
    read, read_from_top = compile_shape(shape), compile_shape(anywhere)
    for number in range(COUNT):
        value = mutated("discord", number, random.Random(f"{SEED}:{number}"))  # noqa: S311 - the same every time
        assert read(value, ()) == read_from_top(value, ())
