"""What is doubtful in a policy file that is right: entries that never apply, or change nothing. Pure."""

from collections.abc import Iterator, Sequence

from worker.commands.policy.glob_cover import covers, matched_string
from worker.moderation.policies import MessageFields, PolicyFile, PolicySource, effective_thresholds, threshold_text
from worker.moderation.policies.globs import Matcher, members
from worker.moderation.policies.policy_file import DEFAULT, When
from worker.moderation.yaml_document import Path
from worker.moderation.yaml_events import YamlFault

_KEYS = tuple(key for key in When.model_fields if key != "edited")


def findings(source: PolicySource) -> Iterator[YamlFault]:
    """Yield what is doubtful, each at its place in the file."""
    file, document = source.file, source.document
    doubts = [*_never_reached(file), *_never_allowed(file), *_without_effect(file), *_weakened(source)]
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
        for index, takers in _takers([entry.when for entry in entries]):
            name, earlier = entries[index].name, entries[takers[0]].name
            yield (
                (section, index, "name"),
                (
                    f"the {kind} {name!r} never applies: the earlier {kind} {earlier!r} takes all its "
                    f"messages; move {name!r} before {earlier!r}, or remove it"
                ),
            )


def _never_allowed(file: PolicyFile) -> Iterator[tuple[Path, str]]:
    for index, takers in _takers([entry.when for entry in file.allow]):
        entry = file.allow[index]
        for earlier in (file.allow[taker] for taker in takers):
            if set(entry.texts) <= set(earlier.texts) and set(entry.categories) <= set(earlier.categories):
                yield (
                    ("allow", index, "name"),
                    (
                        f"the allowed texts {entry.name!r} never apply: the earlier entry {earlier.name!r} allows "
                        f"all of them; remove {entry.name!r}"
                    ),
                )
                break


def _takers(whens: Sequence[When | None]) -> Iterator[tuple[int, list[int]]]:
    """Yield each entry all of whose messages earlier entries match, with these earlier entries.

    An earlier entry can only match all messages of an entry if it matches one example of them. So few pairs are
    compared, even of 10,000 rules.
    """
    matcher = Matcher(whens)
    for index, when in enumerate(whens):
        example = _example(when)
        candidates = 0 if example is None else matcher.matches(example) & ((1 << index) - 1)
        if takers := [one for one in members(candidates) if takes_all(whens[one], when)]:
            yield index, takers


def _example(when: When | None) -> MessageFields | None:
    """Return the fields of a message that a condition matches; None if it matches none."""
    if when is None:
        return MessageFields()
    values = {key: matched_string(getattr(when, key)[0]) for key in _KEYS if getattr(when, key)}
    if None in values.values():
        return None
    role = values.pop("role", None)
    return MessageFields(**values, roles=() if role is None else (role,), edited=when.edited is True)


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


def _weakened(source: PolicySource) -> Iterator[tuple[Path, str]]:
    """Yield each category with a stricter threshold than the base's default that the default of a rule weakens."""
    file = source.file
    base, default = effective_thresholds(file), file.thresholds[DEFAULT] or {}
    for index, rule in enumerate(file.rules):
        if DEFAULT not in rule.thresholds:
            continue
        inside = effective_thresholds(file, rule=index)
        for slug in file.thresholds.keys() - rule.thresholds.keys():
            for level, own in base[slug].items():
                one = inside[slug][level]
                is_meant = one.value is None or not _is_stricter(own.value, default.get(level))
                if not is_meant and _is_stricter(own.value, one.value):
                    line, _ = source.document.keys[own.path]
                    yield (
                        one.path,
                        (
                            f"the default of the rule {rule.name!r} also holds for {slug}: for the level {level!r} "
                            f"{threshold_text(own.value)} (line {line}) becomes {threshold_text(one.value)}, which "
                            f"flags less; name {slug} in the rule"
                        ),
                    )


def _is_stricter(one: float | None, other: float | None) -> bool:
    """Return whether a threshold is less than another one, or only the other one is off."""
    return one is not None and (other is None or one < other)


def _values(file: PolicyFile, rule: int | None = None, candidate: int | None = None) -> object:
    effective = effective_thresholds(file, rule=rule, candidate=candidate)
    return {slug: {level: one.value for level, one in levels.items()} for slug, levels in effective.items()}
