"""Which fields of a message a policy file uses, and which entries use each."""

from collections.abc import Iterator, Mapping, Sequence

from worker.moderation.policies import PolicyFile
from worker.moderation.policies.policy_file import AllowedTexts, Exemption, PolicyRule, When

OPTIONAL = ("tenant_id", "role", "language", "edited")
"""The keys of ``when`` whose fields a verdict lacks when the shape of the events reads none."""


def conditions(file: PolicyFile) -> Iterator[tuple[str, int, str, When]]:
    """Yield the section, index, name and condition of each rule, exemption and group of allowed texts."""
    sections: Mapping[str, Sequence[PolicyRule | Exemption | AllowedTexts]]
    sections = {"rules": file.rules, "exempt": file.exempt, "allow": file.allow}
    for section, entries in sections.items():
        for index, entry in enumerate(entries):
            if entry.when is not None:
                yield section, index, entry.name, entry.when


def used_fields(file: PolicyFile) -> Mapping[str, Sequence[str]]:
    """Return the keys of ``when`` that the file uses, each with the names of the entries that use it."""
    found: dict[str, list[str]] = {}
    for _, _, name, when in conditions(file):
        for key in When.model_fields:
            if getattr(when, key) not in ([], None):
                found.setdefault(key, []).append(name)
    return found
