"""What a reader sees of the documented events of each platform."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.moderation.markup import render
from worker.moderation.shapes import builtin_shapes, load_shape

EVENTS = Path(__file__).parents[1] / "events"
EXPECTED = [
    pytest.param(shape, expected, id=f"{shape}: {event['name']}")
    for shape in builtin_shapes()
    if (EVENTS / f"{shape}.json").exists()
    for event in json.loads((EVENTS / f"{shape}.json").read_bytes())["events"]
    for expected in (event["expected"] if isinstance(event["expected"], list) else [event["expected"]])
    if "text" in expected
]


@pytest.mark.parametrize(("shape", "expected"), EXPECTED)
def test_a_reader_of_a_documented_event_sees(shape: str, expected: dict[str, Any]) -> None:
    text = expected["text"]
    assert render(text, load_shape(shape).markup) == expected.get("rendered", text)


def test_every_platform_has_documented_events() -> None:
    assert {path.stem for path in EVENTS.glob("*.json") if "+" not in path.stem} >= {*builtin_shapes()} - {"plain"}
