"""What is doubtful in a policy file that is right: entries that never apply, or change nothing. Pure."""

from collections.abc import Iterator, Sequence

from worker.commands.policy.glob_cover import covers
from worker.moderation.policies import PolicyFile, PolicySource, effective_thresholds
from worker.moderation.policies.policy_file import When
from worker.moderation.yaml_document import Path, YamlFault

_KEYS = tuple(key for key in When.model_fields if key != "edited")


def findings(source: PolicySource) -> Iterator[YamlFault]:
    """Yield what is doubtful, each at its place in the file."""
    file, document = source.file, source.document
    doubts = [*_never_reached(file), *_never_allowed(file), *_without_effect(file)]
    yield from sorted((document.fault(path, said) for path, said in doubts), key=lambda one: (one.line, one.column))


def takes_all(earlier: When | None, later: When | None) -> bool:
    """Return whether a condition matches every message that another one matches."""
    if earlier is None:
        return True
    if later is None:
        return False
    if earlier.edited is not None and earlier.edited != later.edited:
        return False
    for key in _KEYS:
        globs, others = getattr(earlier, key), getattr(later, key)
        if globs and not (others and all(covers(tuple(globs), one) for one in others)):
            return False
    return True


def _never_reached(file: PolicyFile) -> Iterator[tuple[Path, str]]:
    for section, kind, entries in (("rules", "rule", file.rules), ("exempt", "exemption", file.exempt)):
        whens = [(entry.name, entry.when) for entry in entries]
        for index, (name, when) in enumerate(whens):
            if (earlier := _taker(whens[:index], when)) is not None:
                yield (
                    (section, index, "name"),
                    (
                        f"the {kind} {name!r} never applies: the earlier {kind} {earlier!r} takes all its "
                        f"messages; move {name!r} before {earlier!r}, or remove it"
                    ),
                )


def _taker(earlier: Sequence[tuple[str, When]], when: When) -> str | None:
    return next((name for name, one in earlier if takes_all(one, when)), None)


def _never_allowed(file: PolicyFile) -> Iterator[tuple[Path, str]]:
    for index, entry in enumerate(file.allow):
        for earlier in file.allow[:index]:
            covered = set(entry.categories) <= set(earlier.categories)
            if covered and set(entry.texts) <= set(earlier.texts) and takes_all(earlier.when, entry.when):
                yield (
                    ("allow", index, "name"),
                    (
                        f"the allowed texts {entry.name!r} never apply: the earlier entry {earlier.name!r} allows "
                        f"all of them; remove {entry.name!r}"
                    ),
                )
                break


def _without_effect(file: PolicyFile) -> Iterator[tuple[Path, str]]:
    base = _values(file)
    for index in reversed(range(len(file.rules))):
        if _values(file, rule=index) != base:
            break  # an earlier rule without other thresholds keeps messages from the rules after it
        yield (
            ("rules", index, "name"),
            (f"the rule {file.rules[index].name!r} changes nothing: its thresholds are those that hold without it"),
        )
    for index, candidate in enumerate(file.shadow):
        rules = (None, *range(len(file.rules)))
        if all(_values(file, rule=rule, candidate=index) == _values(file, rule=rule) for rule in rules):
            yield (
                ("shadow", index, "name"),
                (
                    f"the shadow candidate {candidate.name!r} decides as the policy does: its thresholds do not "
                    "differ"
                ),
            )


def _values(file: PolicyFile, rule: int | None = None, candidate: int | None = None) -> object:
    effective = effective_thresholds(file, rule=rule, candidate=candidate)
    return {slug: {level: one.value for level, one in levels.items()} for slug, levels in effective.items()}
