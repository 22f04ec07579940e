"""The documented events of the platforms, and the same events with random damage."""

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from tests.hostile import text, written

EVENTS = Path(__file__).parent / "events"
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
    if event == []:
        event.append("hello")
    if event == {}:
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
