#!/usr/bin/env python3
"""Writes the pages that say what the code says: docs/configuration.md and docs/messages/*.md.

The examples are made by the worker's own parts; a test makes the pages again and compares.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas.dead_letter import REASONS
from schemas.labels import CATEGORY_SLUGS
from worker import wiring
from worker.classifier.model_files import DEMO_MODEL, model_digests, revision_of, tokenizer_digests
from worker.classifier.tokenizer import TextEncoder
from worker.moderation.cache import ScoreCache
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policy import Policy
from worker.moderation.preprocessing import prepare
from worker.records import ConsumedRecord, OutputRecord, Partition, ScoredRecord, Scores
from worker.settings import Settings
from worker.settings.groups import GROUPS, VARIABLES, shown

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 120
MADE = "<!-- Made by deploy/docs.py; a test compares. -->\n"

JUDGED_AT = "2026-01-31T09:30:00.250Z"
SENT_AT_MS = 1_769_851_800_000
MESSAGE = {
    "message_id": "b2f1",
    "channel_id": "gaming-42",
    "user_id": 1042,
    "text": "how can i sell counterfeit money",
    "sent_at": "2026-01-31T09:30:00Z",
}
UNREADABLE = b'{"message_id": "b2f2", "body": "good game"}'
SCORES = {"non_violent_crimes": 0.98, "specialized_advice": 0.12, "intellectual_property": 0.41}


def outputs_of(value: bytes, offset: int) -> list[OutputRecord]:
    """What a worker with the bundled model publishes for a value; scores differ by machine, and are given."""
    source = ConsumedRecord(
        partition=Partition("chat.messages", 3),
        assignment_epoch=1,
        previous_next_offset=offset,
        offset=offset,
        timestamp_ms=SENT_AT_MS,
        key=b"gaming-42",
        value=value,
        headers=[("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")],
    )
    shape, cache = wiring.input_shape(Settings()), ScoreCache(bytes_max=0)
    tokenizer = (DEMO_MODEL / "tokenizer.json").read_text(encoding="utf-8")
    encode = TextEncoder(tokenizer, tokens_max=512, truncation_side="right").encode
    [record] = prepare([source], shape=shape, characters_max=1000, encode=encode, cache=cache)
    scores: Scores = np.array([SCORES.get(slug, 0.01) for slug in CATEGORY_SLUGS], np.float32)
    return _outputs().build([ScoredRecord(record=record, scores=scores)], judged_at=JUDGED_AT)


def _outputs() -> OutputBuilder:
    revision = revision_of({**model_digests(DEMO_MODEL), **tokenizer_digests(DEMO_MODEL)})
    return OutputBuilder(
        model={"name": "demo", "revision": revision, "commit": None, "dtype": "float32"},
        policy=Policy.of(0.5, {"intellectual_property": 0.4}),
        shape=wiring.input_shape(Settings()),
        alert_text="none",
        record_bytes_max=1_000_000,
        worker_version=wiring.VERSION,
    )


def examples() -> dict[str, Any]:
    """A document for each schema, by its name."""
    verdict, alert = outputs_of(json.dumps(MESSAGE).encode(), 1042)
    [letter] = outputs_of(UNREADABLE, 1043)
    headers = {name: None if value is None else value.decode() for name, value in letter.headers}
    found = {"verdict": verdict.value, "alert": alert.value}
    documents = {name: json.loads(value or b"") for name, value in found.items()}
    return {"message": MESSAGE, **documents, "dead-letter": headers}


def pages() -> dict[str, str]:
    """The text of each page, by its path."""
    given = examples()
    outputs = "The scores of the example are made up. The rules: [the contract](../contract.md#outputs)."
    after = {
        "message": "The rules, and other shapes: [the contract](../contract.md#input).",
        "verdict": outputs,
        "alert": outputs,
        "dead-letter": "Its key is the original's, and so is its value, here:\n\n"
        f"```text\n{UNREADABLE.decode()}\n```\n\nThe reasons:\n\n"
        + _table(("reason", "means"), ((f"`{slug}`", means) for slug, means in REASONS.items()))
        + "\nIf the original is too large for the topic, its value becomes null, then its headers are left out, "
        "then its key;\n`moderation.error.truncated` names what is missing.",
    }
    files = {"message": "input", "verdict": "verdict", "alert": "alert", "dead-letter": "dead-letter"}
    messages = {f"docs/messages/{files[name]}.md": _message(name, given[name], after[name]) for name in given}
    return {"docs/configuration.md": _configuration(), **messages}


def _message(name: str, example: Mapping[str, Any], after: str) -> str:
    schema = json.loads((ROOT / f"schemas/v1/{name}.schema.json").read_bytes())
    shown_as = json.dumps(example, indent=2)
    rows = _fields(schema, schema.get("$defs", {}))
    return (
        f"{MADE}# {schema['title']}\n\n{textwrap.fill(schema['description'], COLUMNS)}\n\n"
        f"As JSON Schema: [{name}.schema.json](../../schemas/v1/{name}.schema.json).\n\n"
        f"```json\n{shown_as}\n```\n\n" + _table(("field", "type", "what"), rows) + f"\n{after}\n"
    )


def _fields(schema: Any, defs: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """A row for each field of an object; one row for the twelve categories."""
    required = schema.get("required", ())
    properties = schema["properties"]
    if list(properties) == list(CATEGORY_SLUGS):
        properties, required = {"CATEGORY": properties[CATEGORY_SLUGS[0]]}, ("CATEGORY",)
    for name, given in properties.items():
        field = {**defs.get(given.get("$ref", "").rpartition("/")[2], {}), **given}
        inner, null = _without_null(field, defs)
        kind = _kind(inner) + (" or null" if null else "") + ("" if name in required else ", may be absent")
        yield f"`{prefix}{name}`", kind, field.get("description", "")
        if inner.get("type") == "object" and "properties" in inner:
            yield from _fields(inner, defs, f"{prefix}{name}.")
        if "properties" in inner.get("items", {}):
            yield from _fields(inner["items"], defs, f"{prefix}{name}[].")


def _without_null(field: Any, defs: Any) -> tuple[Any, bool]:
    """A field that may be null, as what it is otherwise."""
    options = field.get("anyOf", ())
    others = [one for one in options if one != {"type": "null"}]
    if len(others) == 1 and len(options) == 2:  # noqa: PLR2004 - it, and null
        return defs.get(others[0].get("$ref", "").rpartition("/")[2], others[0]), True
    return field, False


def _kind(field: Any) -> str:
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("enum") == list(CATEGORY_SLUGS):
        return "a category"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "oneOf" in field:
        return "one of the reasons below"
    options = [field, *field.get("anyOf", ())]
    kinds = [kind for option in options for kind in _listed(option.get("type", ()))]
    return " or ".join(sorted(set(kinds), key=lambda kind: (kind == "null", kinds.index(kind))))


def _listed(kind: Any) -> Sequence[str]:
    return [kind] if isinstance(kind, str) else kind


def _configuration() -> str:
    head = f"""{MADE}# Configuration

Environment variables, upper case; also from `.env` in the working directory, and from a folder of secrets named by
`WORKER_SECRETS_DIR` (a file for each variable, lower case without the prefix: `kafka__sasl_password`). The
environment wins over the secrets, the secrets over `.env`. An empty value is no value. A wrong value, an unknown
`WORKER_*` name or a combination that can't work stops the start with a line for each fault, exit code 2.

What is in effect, and where each value came from, with secrets masked (of `WORKER_KAFKA__PROPERTIES` the values
that may be a secret):

```sh
moderation-worker config
```

In `WORKER_KAFKA__PROPERTIES` any property of librdkafka can be set, except those that a setting below owns, those
that the guarantee rests on and those that run code ([security.md](security.md#properties-that-are-refused)); a
refusal says which. Telemetry has OpenTelemetry's own variables
([telemetry.md](telemetry.md)); the model hub's library reads `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE`.
"""
    return head + "".join(
        f"\n## {group.replace('_', ' ').capitalize()}\n\n"
        + _table(
            ("variable", "default", ""), (_setting(name) for name, (of, _) in VARIABLES.items() if of == group)
        )
        for group in GROUPS
    )


def _setting(variable: str) -> tuple[str, str, str]:
    group, name = VARIABLES[variable]
    value = Settings().value(variable)
    # What is computed, or must be given, has no default of its own.
    default = "" if shown(value) in {"(unset)", "0"} else f"`{shown(value)}`"
    return f"`{variable}`", default, GROUPS[group].model_fields[name].description or ""


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Writes them all."""
    for path, text in pages().items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(text)


if __name__ == "__main__":
    main()
