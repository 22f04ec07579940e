"""``make sbom`` names what the worker runs on: all of it, and none of the tests' tools; the docs name its CUDA."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
VENV = Path(sys.executable).parents[1]
LOCKS = [ROOT / "deploy" / f"{name}.lock" for name in ("runtime", "torch-cuda")]
ALL_BUT_THE_INSTALL = ("make", "--old-file=install", "sbom")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the target's own recipe writes, in a folder of its own, from what the install left in uv's cache."""
    folder = tmp_path_factory.mktemp("sbom")
    for name in ("deploy", "Makefile", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(VENV)
    made = subprocess.run(
        ALL_BUT_THE_INSTALL,
        cwd=folder,
        env={**os.environ, "UV_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "cache" in made.stderr and os.environ.get("TOOLS") != "required":
        pytest.skip("uv's cache no longer holds the packages: `make clean install` brings them back")
    assert made.returncode == 0, made.stderr
    return (folder / "dist" / "sbom.cdx.json").read_text()


def pinned() -> dict[str, str]:
    """The version that the lock holds of each package, on this Python and platform."""
    lines = re.findall(r"^\w[^\n\\]+", "".join(lock.read_text() for lock in LOCKS), re.MULTILINE)
    pins = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate()]
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}


def components(sbom: str) -> dict[str, dict[str, Any]]:
    return {canonicalize_name(component["name"]): component for component in json.loads(sbom)["components"]}


def needed(requirement: Requirement, seen: set[tuple[str, str]]) -> Iterator[str]:
    """The names that an installed package brings with it here, its own first."""
    for extra in ["", *requirement.extras]:
        if (requirement.name, extra) not in seen:
            seen.add((requirement.name, extra))
            yield canonicalize_name(requirement.name)
            for below in map(Requirement, requires(requirement.name) or ()):
                if below.marker is None or below.marker.evaluate({"extra": extra}):
                    yield from needed(below, seen)


def test_the_sbom_satisfies_the_schema_of_cyclonedx(written: str) -> None:
    version = SchemaVersion.from_version(json.loads(written)["specVersion"])
    assert JsonStrictValidator(version).validate_str(written) is None


def test_the_sbom_lists_what_the_worker_runs_on_as_it_is_locked_and_nothing_else(written: str) -> None:
    pins = pinned()
    mine = {name for name in needed(Requirement("moderation-worker"), set()) if name != "moderation-worker"}
    listed = components(written)
    assert listed.keys() == mine
    assert {name: component["version"] for name, component in listed.items()} == {name: pins[name] for name in mine}


def test_each_package_can_be_looked_up_and_followed_to_what_it_needs(written: str) -> None:
    sbom = json.loads(written)
    listed = components(written)
    for name, component in listed.items():
        assert component["purl"] == f"pkg:pypi/{name}@{component['version']}"
    edges = {dependency["ref"]: dependency.get("dependsOn", []) for dependency in sbom["dependencies"]}
    reached, ahead = set[str](), ["root-component"]
    while ahead:
        ref = ahead.pop()
        if ref not in reached:
            reached.add(ref)
            ahead += edges[ref]
    assert reached == {"root-component", *(component["bom-ref"] for component in listed.values())}


def test_the_sbom_names_no_path_of_the_machine_that_wrote_it(written: str) -> None:
    assert str(ROOT) not in written
    assert "file:" not in written


def test_the_driver_in_the_docs_is_for_the_cuda_of_the_locked_torch() -> None:
    lock = "".join(lock.read_text() for lock in LOCKS)
    torch, cuda = (re.findall(rf"^{name}==([\d.]+)", lock, re.MULTILINE) for name in ("torch", "cuda-toolkit"))
    minor = ".".join(cuda[0].split(".")[:2])
    assert f"torch {torch[0]} bring CUDA {minor}" in (ROOT / "docs" / "images.md").read_text()
