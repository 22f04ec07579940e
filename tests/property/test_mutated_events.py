"""Documented events with random damage: no shape ever raises, and what it reads can be judged and written.

``MUTATED_EVENTS`` says how many for each shape, ``HOSTILE_SEED`` which.
"""

import json
import os
import random
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.chat import ChatMessage
from schemas.dead_letter import REASONS
from tests.hostile import text, written
from worker.moderation.markup import RENDER
from worker.moderation.shapes import builtin_envelopes, builtin_shapes, compile_shape, load_envelope, load_shape
from worker.records import DeadLetterReason, Skipped

COUNT = int(os.environ.get("MUTATED_EVENTS", "2000"))
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
EVENTS = Path(__file__).parents[1] / "events"
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 2**65, 1.5, 1e308, "", " ", "sesame", "\ud800", "\0", [], {}, [[]], [{}]),
    *([None, 1, "a", {"text": "b"}], {"text": "a"}, {"$date": {"$numberLong": 5}}, {"$date": []}, {"*": "a"}),
    *("{}", "[]", '{"id":', '{"message":5}', "> a", ">>> b", "&gt; c", "<blockquote>", "<mx-reply>", "```"),
)


@cache
def documented(name: str) -> list[Any]:
    path = EVENTS / f"{name}.json"
    if not path.exists():
        return [json.loads(written("hello", escaped=False, message_id="1", sent_at=2))]
    return [one["event"] for one in json.loads(path.read_bytes())["events"] if "event" in one]


def places(found: Any) -> Iterator[tuple[Any, Any]]:
    """Give each object or array of a document, with each of its keys or indexes."""
    keys = list(found) if isinstance(found, dict) else range(len(found)) if isinstance(found, list) else []
    for key in keys:
        yield found, key
        yield from places(found[key])


def damage(event: Any, chance: random.Random) -> None:
    """Change one place of a document: another value, nothing, or itself nested."""
    if not event:
        event["text"] = "hello"
    holder, key = chance.choice(list(places(event)))
    match chance.randrange(7):
        case 0:
            holder[key] = text(chance)
        case 1 if isinstance(holder, dict):
            del holder[key]
        case 2:
            holder[key] = [holder[key]] * chance.choice((1, 2, 30))
        case 3:
            holder[key] = {chance.choice(("text", "0", "", "*", "$date")): holder[key]}
        case 4 if isinstance(holder, dict):
            holder[key + chance.choice(("x", "_", "\0"))] = holder.pop(key)
        case _:
            holder[key] = deepcopy(chance.choice(VALUES))


def mutated(name: str, number: int, chance: random.Random) -> bytes:
    """Return an event with one or more random changes, as JSON or as almost JSON."""
    event = orjson.loads(orjson.dumps(chance.choice(documented(name))))
    for _ in range(chance.choice((1, 1, 2, 5))):
        damage(event, chance)
    value = bytearray(json.dumps(event, ensure_ascii=number % 2 == 0).encode(errors="backslashreplace"))
    if number % 10 == 0:
        for _ in range(chance.choice((1, 5))):
            value[chance.randrange(len(value))] = chance.randrange(256)
    return bytes(value[: chance.randrange(len(value))]) if number % 50 == 0 else bytes(value)


@pytest.mark.parametrize("name", builtin_shapes())
def test_a_damaged_event_is_judged_skipped_or_refused(name: str) -> None:
    shape = load_shape(name)
    reads = [
        compile_shape(shape, envelope=load_envelope(one) if one else None) for one in (None, *builtin_envelopes())
    ]
    render = RENDER[shape.markup]
    for number in range(COUNT):
        chance = random.Random(f"{SEED}:{name}:{number}")  # noqa: S311 - the same events every time
        value = mutated(name, number, chance)
        read = reads[0] if number % 5 else chance.choice(reads)
        reading = read(value, [("ce_id", b"\xff"), ("Twitch-Eventsub-Message-Timestamp", b"\xff")])
        for one in reading if isinstance(reading, tuple) else (reading,):
            if isinstance(one, ChatMessage):
                orjson.dumps(
                    [one.text, one.message_id, one.channel_id, one.user_id, one.sent_at, *(one.context or ())]
                )
                assert isinstance(one.text if render is None else render(one.text), str)
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
