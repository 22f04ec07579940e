"""What differs between two policy files, key by key. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from worker.moderation.policies import PolicyFile, threshold_text

ABSENT = ""
OFF = "off"


class PolicyDifference(NamedTuple):
    """A key with another value.

    Attributes:
        key: The key, with the entry's name in place of its number.
        before: The value in the old file; empty if the key is absent.
        after: The value in the new file; empty if the key is absent.
    """

    key: str
    before: str
    after: str


def differences(old: PolicyFile, new: PolicyFile) -> list[PolicyDifference]:
    """Return the keys that differ, in the order of the new file, then those that only the old file has."""
    before, after = _flattened(old), _flattened(new)
    found = [
        PolicyDifference(key, before.get(key, ABSENT), after.get(key, ABSENT))
        for key in dict.fromkeys((*after, *before))
        if before.get(key) != after.get(key)
    ]
    return [*found, *_reordered(old, new)]


def _reordered(old: PolicyFile, new: PolicyFile) -> Iterator[PolicyDifference]:
    """Yield the order of rules, exemptions and allowed texts, if the entries of both files have another order."""
    for section in ("rules", "exempt", "allow"):
        names = [[one.name for one in getattr(file, section)] for file in (old, new)]
        common = [[name for name in one if name in set(other)] for one, other in (names, names[::-1])]
        if common[0] != common[1]:
            yield PolicyDifference(f"{section}: order", *(", ".join(one) for one in common))


def _flattened(file: PolicyFile) -> Mapping[str, str]:
    document = file.model_dump(exclude={"schema_"})
    return {key: value for key, value in _leaves("", document) if value != ABSENT}


def _leaves(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name != "name":
                yield from _leaves(f"{key}.{name}".lstrip("."), inner)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for entry in value:
            yield from _leaves(f"{key}[{entry['name']}]", entry)
    elif key.endswith(".texts"):
        yield key, f"{len(value)} texts: {', '.join(value)}"
    elif isinstance(value, list):
        yield key, ", ".join(map(str, value))
    elif value is None:
        yield key, OFF if "thresholds" in key else ABSENT
    else:
        yield key, threshold_text(value) if isinstance(value, float) else str(value)
