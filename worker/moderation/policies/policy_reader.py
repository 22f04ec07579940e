"""Read a policy file, and report every fault with its line and column."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from schemas.labels import CATEGORY_SLUGS
from worker.errors import ConfigurationError
from worker.moderation.policies.inheritance import level_faults
from worker.moderation.policies.policy_file import DEFAULT, PolicyFile
from worker.moderation.yaml_document import Path, YamlDocument, near, read_yaml, validated
from worker.moderation.yaml_events import YamlFault, YamlFaults

FILE_BYTES_MAX = 8 * 2**20
"""A file of 1,000 rules that name 100 channels each has 2 MB."""

_NAMED = ("rules", "exempt", "allow", "shadow")
_DECIDING = ("schema", "levels", "thresholds", "rules", "shadow")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySource:
    """A policy file that is right.

    Attributes:
        file: What the file says.
        document: The line and column of each key and value.
        digest: The first 16 hexadecimal digits of the SHA-256 of the file's content.
    """

    file: PolicyFile
    document: YamlDocument
    digest: str


def read_policy(path: str) -> PolicySource:
    """Return the policy in a file.

    Raises:
        ConfigurationError: The file cannot be read, or it is wrong. The message has a line for each fault, with
            file, line and column.
    """
    try:
        content = read_content(path)
    except OSError as error:
        raise unreadable(path, str(error.strerror)) from error
    return parse_policy(content, path)


def unreadable(path: str, reason: str) -> ConfigurationError:
    """Return the error of a policy file that can't be read."""
    return ConfigurationError(f"the policy file {path} can't be read ({reason}): name a YAML file")


def read_content(path: str) -> bytes:
    """Return the content of a policy file, and of a too large file one byte more than is allowed.

    Raises:
        OSError: The file cannot be read.
    """
    with FilePath(path).open("rb") as file:
        return file.read(FILE_BYTES_MAX + 1)


def digest_of(content: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()[:16]


def parse_policy(content: bytes, file: str) -> PolicySource:
    """Return the policy in the content of a file.

    Args:
        content: The content.
        file: The file's name, for the errors.

    Raises:
        ConfigurationError: The content is wrong, as in ``read_policy``.
    """
    if len(content) > FILE_BYTES_MAX:
        raise ConfigurationError(f"the policy file {file} has more than {FILE_BYTES_MAX} bytes; shorten it")
    try:
        document = read_yaml(content)
        policy = validated(PolicyFile, document, [*_contradictions(document), *_levels_out_of_order(document)])
    except YamlFaults as error:
        raise error.configuration_error(file) from None
    return PolicySource(file=policy, document=document, digest=digest_of(content))


def _contradictions(document: YamlDocument) -> Iterator[YamlFault]:
    """Yield what is wrong between several keys of the file. Other keys may have faults of their own."""
    data = document.data
    if not isinstance(data, dict):
        return
    names = [_level_name(document, index) for index in range(len(_entries(data, "levels")))]
    levels = [name for name in names if name is not None] or None
    yield from (_at_key(document, ("levels", index), said) for index, said in _repeated(names))
    for path, thresholds in _threshold_maps(data):
        yield from _threshold_faults(document, path, thresholds, levels)
    if isinstance(data.get("thresholds"), dict):
        yield from _default_faults(document, data["thresholds"], levels or ())
    for section in _NAMED:
        names = [one.get("name") if isinstance(one, dict) else None for one in _entries(data, section)]
        yield from (document.fault((section, index, "name"), said) for index, said in _repeated(names))
    yield from _alert_faults(document, data, levels)


def _threshold_maps(data: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every map of thresholds by category, with its path."""
    holders: list[tuple[Path, Any]] = [((), data)]
    for section in ("rules", "shadow"):
        holders += [((section, index), one) for index, one in enumerate(_entries(data, section))]
    for path, holder in holders:
        if isinstance(holder, dict) and isinstance(holder.get("thresholds"), dict):
            yield (*path, "thresholds"), holder["thresholds"]


def _threshold_faults(
    document: YamlDocument, path: Path, thresholds: dict[str, Any], levels: Sequence[str] | None
) -> Iterator[YamlFault]:
    for slug, given in thresholds.items():
        if slug != DEFAULT and slug not in CATEGORY_SLUGS:
            said = f"unknown category {slug!r}{near(slug, (DEFAULT, *CATEGORY_SLUGS))}"
            yield _at_key(document, (*path, slug), f"{said}; the categories are {', '.join(CATEGORY_SLUGS)}")
        if isinstance(given, dict) and levels is not None:
            for level in given:
                if level not in levels:
                    said = f"unknown level {level!r}{near(level, levels)}; the levels are {', '.join(levels)}"
                    yield _at_key(document, (*path, slug, level), said)


def _default_faults(
    document: YamlDocument, thresholds: dict[str, Any], levels: Sequence[str]
) -> Iterator[YamlFault]:
    if DEFAULT not in thresholds:
        yield document.fault(
            ("thresholds",), f"thresholds: the key {DEFAULT!r} is missing; it holds for every category"
        )
    elif isinstance(given := thresholds[DEFAULT], dict):
        for level in levels:
            if level not in given:
                said = f"thresholds.{DEFAULT}: the level {level!r} is missing; write a threshold for it, or off"
                yield document.fault(("thresholds", DEFAULT), said)


def _alert_faults(
    document: YamlDocument, data: dict[str, Any], levels: Sequence[str] | None
) -> Iterator[YamlFault]:
    alerts = data.get("alerts")
    if not isinstance(alerts, dict):
        return
    level = alerts.get("level")
    if isinstance(level, str) and levels is not None and level not in levels:
        said = f"alerts.level: unknown level {level!r}{near(level, levels)}; the levels are {', '.join(levels)}"
        yield document.fault(("alerts", "level"), said)
    coalesce = alerts.get("coalesce")
    keys = coalesce.get("by") if isinstance(coalesce, dict) else None
    for index, said in _repeated(keys if isinstance(keys, list) else ()):
        yield document.fault(("alerts", "coalesce", "by", index), said)


def _levels_out_of_order(document: YamlDocument) -> list[YamlFault]:
    """Return the faults of levels in the wrong order; none if the levels and thresholds have other faults."""
    data = document.data
    if not isinstance(data, dict):
        return []
    deciding = {name: data[name] for name in _DECIDING if name in data}
    if any(True for _ in _contradictions(replace(document, data=deciding))):
        return []
    try:
        file = PolicyFile.model_validate(deciding)
    except ValidationError:
        return []
    return [_at_key(document, fault.path, fault.message) for fault in level_faults(file)]


def _repeated(names: Sequence[Any]) -> Iterator[tuple[int, str]]:
    """Yield the index of each name that has occurred before, and a sentence about it."""
    seen = set()
    for index, name in enumerate(names):
        if isinstance(name, str) and name in seen:
            yield index, f"the name {name!r} occurs twice; use each name once"
        seen.add(name if isinstance(name, str) else None)


def _entries(data: dict[str, Any], section: str) -> list[Any]:
    given = data.get(section)
    return given if isinstance(given, list) else []


def _level_name(document: YamlDocument, index: int) -> str | None:
    """Return a level as it is written in the file, with or without quotes; None if it is a list or an object."""
    given = document.data["levels"][index]
    return given if isinstance(given, str) else document.written.get(("levels", index))


def _at_key(document: YamlDocument, path: Path, message: str) -> YamlFault:
    """Return a fault at a key. An element of a list, which has no key, has the place of its value."""
    if path not in document.keys:
        return document.fault(path, message)
    line, column = document.keys[path]
    return YamlFault(line=line, column=column, message=message)
