"""The pages about shapes say what the shapes do: the script that writes them makes the same text again."""

import json
import runpy
from typing import Any

import pytest
import yaml

from schemas.chat import ChatMessage
from tests.pages import ROOT
from worker.moderation.shapes import Shape, builtin_envelopes, builtin_shapes, compile_shape, shape_source

MADE: dict[str, Any] = runpy.run_path(str(ROOT / "deploy" / "shape_pages.py"))
GENERATED: dict[str, str] = MADE["pages"]()
INDEX = (ROOT / "docs/shapes.md").read_text()


@pytest.mark.parametrize("path", GENERATED)
def test_the_page_of_a_platform_is_what_its_script_writes(path: str) -> None:
    assert (ROOT / path).read_text() == GENERATED[path], "run: make docs"


def test_every_shape_has_a_page_and_stands_in_the_list() -> None:
    assert {*GENERATED} == {f"docs/shapes/{name}.md" for name in builtin_shapes() if name != "plain"}
    assert all(f"`{name}`" in INDEX for name in (*builtin_shapes(), *builtin_envelopes()))


@pytest.mark.parametrize("name", MADE["PROSE"])
def test_the_page_of_a_platform_names_a_way_to_kafka_with_its_source_or_says_that_none_was_found(name: str) -> None:
    ways: list[str] = MADE["PROSE"][name]["connectors"]
    assert ways
    for way in ways:
        assert "](https://" in way or "](../shapes.md#from-a-webhook-to-kafka)" in way or "was found" in way


def test_every_key_of_a_shape_file_is_explained() -> None:
    keys = {field.alias or name for name, field in Shape.model_fields.items()}
    assert {key for key in keys if f"`{key}`" not in INDEX} == set()


def first_event(name: str) -> dict[str, Any]:
    events: list[dict[str, Any]] = json.loads((ROOT / f"tests/events/{name}.json").read_bytes())["events"]
    event: dict[str, Any] = events[0]["event"]
    return event


def test_the_copies_that_the_pages_describe_read_what_the_connectors_give() -> None:
    """Redpanda Connect gives the message without ``t`` and ``d``, and Camel the message without its Update."""
    discord: dict[str, Any] = yaml.safe_load(shape_source("discord").replace("/d/", "/"))
    del discord["where"][0]
    telegram: dict[str, Any] = yaml.safe_load(shape_source("telegram")) | {"event": [""]}
    for copy, event in (
        (discord, first_event("discord")["d"]),
        (telegram, first_event("telegram")["message"]),
    ):
        read = compile_shape(Shape.model_validate(copy))
        assert isinstance(read(json.dumps(event).encode(), ()), ChatMessage)
