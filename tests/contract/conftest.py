"""Workers as processes, and the topics of one test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scene import Scene
from tests.worker_process import Start, workers


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts workers; none outlives the test."""
    with workers(tmp_path) as start:
        yield start


@pytest.fixture
def scene(bootstrap_servers: str) -> Scene:
    """One input topic of three partitions, and the outputs' of as many."""
    made = Scene(bootstrap_servers, "demo")
    made.create()
    return made
