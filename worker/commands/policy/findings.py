"""What is doubtful in a policy file that is right: entries that never apply, or change nothing. Pure."""

from collections.abc import Iterator, Sequence
from itertools import takewhile

from schemas.labels import CATEGORY_SLUGS
from worker.commands.policy.glob_cover import covers, matched_string
from worker.moderation.policies import (
    MessageFields,
    PolicyFile,
    PolicySource,
    effective_thresholds,
    threshold_text,
    threshold_values,
)
from worker.moderation.policies.globs import Matcher, members
from worker.moderation.policies.policy_file import DEFAULT, When
from worker.moderation.yaml_document import Path
from worker.moderation.yaml_events import YamlFault

_KEYS = tuple(key for key in When.model_fields if key != "edited")


def findings(source: PolicySource) -> Iterator[YamlFault]:
    """Yield what is doubtful, each at its place in the file."""
    file, document = source.file, source.document
    unscored = dict(_never_scored(file))
    doubts = [
        *((path, said) for path, said in _never_reached(file) if path not in unscored),
        *_never_allowed(file),
        *unscored.items(),
        *_without_effect(file),
        *_weakened(source),
        *_without_alerts(file),
    ]
    yield from sorted((document.fault(path, said) for path, said in doubts), key=lambda one: (one.line, one.column))


def same_version(source: PolicySource, old: PolicySource) -> list[YamlFault]:
    """Return the doubt about a policy that decides differently from an older one of the same version."""
    version = source.file.version
    if version is None or version != old.file.version or source.file == old.file:
        return []
    said = (
        f"the version {version!r} is also that of the other file, which differs: verdicts would not show which of "
        "the two decided; change the version"
    )
    return [source.document.fault(("version",), said)]


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


def _never_scored(file: PolicyFile) -> Iterator[tuple[Path, str]]:
    """Yield each rule whose messages the model never scores. The first exemption that matches a message decides."""
    unscored = list(takewhile(lambda one: not one.score, file.exempt))
    matcher = Matcher([one.when for one in unscored])
    for index, rule in enumerate(file.rules):
        takers = [
            one for one in members(_candidates(matcher, rule.when)) if takes_all(unscored[one].when, rule.when)
        ]
        if takers:
            yield (
                ("rules", index, "name"),
                (
                    f"the rule {rule.name!r} changes nothing: the exemption {unscored[takers[0]].name!r} keeps all "
                    "its messages from the model (score: false); remove the rule, or write score: true in the "
                    "exemption"
                ),
            )


def _takers(whens: Sequence[When | None]) -> Iterator[tuple[int, list[int]]]:
    """Yield each entry all of whose messages earlier entries match, with these earlier entries."""
    matcher = Matcher(whens)
    for index, when in enumerate(whens):
        earlier = _candidates(matcher, when) & ((1 << index) - 1)
        if takers := [one for one in members(earlier) if takes_all(whens[one], when)]:
            yield index, takers


def _candidates(matcher: Matcher, when: When | None) -> int:
    """Return the set of entries that match one example of a condition's messages.

    Only these can match all of its messages. So few pairs are compared, even of 10,000 rules.
    """
    example = _example(when)
    return 0 if example is None else matcher.matches(example)


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
        inherited = [one for one in CATEGORY_SLUGS if one in file.thresholds and one not in rule.thresholds]
        for slug in inherited:
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


def _without_alerts(file: PolicyFile) -> Iterator[tuple[Path, str]]:
    """Yield why no message can raise an alert. A policy without thresholds is meant, if it tries candidates."""
    level = file.alerts.level or file.levels[0]
    is_trial = bool(file.shadow) and not _is_reached(file, file.levels[0])
    if not is_trial and not _is_reached(file, level):
        path: Path = ("thresholds", DEFAULT) if file.alerts.level is None else ("alerts", "level")
        yield path, f"no category can reach the level {level!r}, from which alerts are raised"
    for index, entry in enumerate(file.exempt):
        # Every message has a topic. Any other field may be absent.
        if entry.when.model_fields_set == {"topic"} and covers(tuple(entry.when.topic), "*"):
            said = f"the exemption {entry.name!r} takes every message: no message raises an alert"
            yield ("exempt", index, "name"), said


def _is_reached(file: PolicyFile, level: str) -> bool:
    """Return whether some score of some category is greater than its threshold at a level."""
    return any(
        one.value is not None and one.value < 1
        for rule in (None, *range(len(file.rules)))
        for one in (levels[level] for levels in effective_thresholds(file, rule=rule).values())
    )


def _values(file: PolicyFile, rule: int | None = None, candidate: int | None = None) -> object:
    return threshold_values(effective_thresholds(file, rule=rule, candidate=candidate))
