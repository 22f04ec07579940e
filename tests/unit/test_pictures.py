"""The pictures of the docs show the stored figures of the benchmarks."""

import re
from pathlib import Path

import pytest

from tests.bench.pictures import DRAWINGS, PICTURES, draw


def words(picture: Path) -> list[str]:
    return re.findall("<text[^>]*>([^<]*)<", picture.read_text())


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_shows_the_stored_figures_and_is_the_same_at_each_drawing(name: str, tmp_path: Path) -> None:
    drawn = draw(name, tmp_path)
    first = drawn.read_bytes()
    assert words(drawn) == words(PICTURES / f"{name}.svg"), f"run: python -m tests.bench.pictures {name}"
    assert draw(name, tmp_path).read_bytes() == first
