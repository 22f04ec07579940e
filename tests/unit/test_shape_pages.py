"""The pages about shapes say what the shapes do: the script that writes them makes the same text again."""

import runpy
from typing import Any

import pytest

from tests.pages import ROOT
from worker.moderation.shapes import Shape, builtin_envelopes, builtin_shapes

MADE: dict[str, Any] = runpy.run_path(str(ROOT / "deploy" / "shape_pages.py"))
GENERATED: dict[str, str] = MADE["pages"]()
INDEX = (ROOT / "docs/shapes.md").read_text()


@pytest.mark.parametrize("path", GENERATED)
def test_the_page_of_a_platform_is_what_its_script_writes(path: str) -> None:
    assert (ROOT / path).read_text() == GENERATED[path], "run: make docs"


def test_every_shape_has_a_page_and_stands_in_the_list() -> None:
    assert {*GENERATED} == {f"docs/shapes/{name}.md" for name in builtin_shapes() if name != "plain"}
    assert all(f"`{name}`" in INDEX for name in (*builtin_shapes(), *builtin_envelopes()))


def test_every_key_of_a_shape_file_is_explained() -> None:
    keys = {field.alias or name for name, field in Shape.model_fields.items()}
    assert {key for key in keys if f"`{key}`" not in INDEX} == set()
