"""Work out the threshold of each category and level from the layers of a policy file. Pure.

The layers lie one over the other: the policy's thresholds, then those of a shadow candidate, then those of the
rule. A layer sets, level by level, the thresholds of each category that it names. Its ``default`` sets those of all
other categories. What a layer does not set comes from the layer below.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from typing import NamedTuple

from schemas.labels import CATEGORY_SLUGS
from worker.moderation.policies.policy_file import DEFAULT, PolicyFile, Thresholds
from worker.moderation.yaml_document import Path


class EffectiveThreshold(NamedTuple):
    """The threshold of a category at a level.

    Attributes:
        value: The threshold, in [0, 1]; None: off.
        path: The path of the key in the file that sets the threshold.
    """

    value: float | None
    path: Path


EffectiveThresholds = Mapping[str, Mapping[str, EffectiveThreshold]]
"""For each category, by slug, its threshold at each level."""


class LevelFault(NamedTuple):
    """Two levels of a category whose thresholds are in the wrong order.

    Attributes:
        path: The path of the key in the file to report.
        message: What is wrong and what to write, as a sentence without its full stop.
    """

    path: Path
    message: str


def effective_thresholds(
    file: PolicyFile, *, rule: int | None = None, candidate: int | None = None
) -> EffectiveThresholds:
    """Return the thresholds that decide about some messages.

    Args:
        file: The policy file. Its base thresholds have a ``default`` for every level.
        rule: The index of the rule that matches the messages; None: no rule does.
        candidate: The index of the shadow candidate; None: the policy itself.
    """
    found = _over({}, file.levels, ("thresholds",), {DEFAULT: file.thresholds[DEFAULT]})
    found = _over(found, file.levels, ("thresholds",), _named(file.thresholds))
    if candidate is not None:
        path: Path = ("shadow", candidate, "thresholds")
        found = _over(found, file.levels, path, file.shadow[candidate].thresholds)
    if rule is not None:
        found = _over(found, file.levels, ("rules", rule, "thresholds"), file.rules[rule].thresholds)
    return found


def threshold_values(thresholds: EffectiveThresholds) -> Mapping[str, Mapping[str, float | None]]:
    """Return the values of the levels by category, without their places in the file; None: off."""
    return {slug: {level: one.value for level, one in levels.items()} for slug, levels in thresholds.items()}


def threshold_text(value: float | None) -> str:
    """Return a threshold as a policy file writes it, with all its digits."""
    return "off" if value is None else repr(value).removesuffix(".0")


def level_faults(file: PolicyFile) -> Iterator[LevelFault]:
    """Yield each place where a milder level has a greater threshold than a stricter one, or only the milder is off.

    A category would then reach a level without a milder one, and the verdict would contradict itself. A candidate
    and a rule are looked at together only if each alone is right.
    """
    rules, candidates = range(len(file.rules)), range(len(file.shadow))
    alone = [(None, None), *((rule, None) for rule in rules), *((None, candidate) for candidate in candidates)]
    found = [*_out_of_order(file, alone)]
    yield from found or _out_of_order(file, product(rules, candidates))


def _named(thresholds: Thresholds) -> Thresholds:
    return {slug: given for slug, given in thresholds.items() if slug != DEFAULT}


def _over(below: EffectiveThresholds, levels: Sequence[str], path: Path, layer: Thresholds) -> EffectiveThresholds:
    """Return the thresholds of a layer over the ones below."""
    found: dict[str, Mapping[str, EffectiveThreshold]] = {}
    for slug in CATEGORY_SLUGS:
        key = slug if slug in layer else DEFAULT
        if key not in layer:
            found[slug] = below[slug]
            continue
        given = layer[key]
        if given is None:
            found[slug] = dict.fromkeys(levels, EffectiveThreshold(None, (*path, key)))
        else:
            own = {level: EffectiveThreshold(value, (*path, key, level)) for level, value in given.items()}
            found[slug] = {**below.get(slug, {}), **own}
    return found


def _out_of_order(file: PolicyFile, layers: Iterable[tuple[int | None, int | None]]) -> Iterator[LevelFault]:
    """Yield the faults of some pairs of a rule and a candidate. Two keys of the file are reported once."""
    seen: set[tuple[Path, Path]] = set()
    for rule, candidate in layers:
        for thresholds in effective_thresholds(file, rule=rule, candidate=candidate).values():
            for mild, strict in pairwise(file.levels):
                one, other = thresholds[mild], thresholds[strict]
                is_right = other.value is None or (one.value is not None and one.value <= other.value)
                if not is_right and (one.path, other.path) not in seen:
                    seen.add((one.path, other.path))
                    yield _level_fault(mild, one, strict, other)


def _level_fault(mild: str, one: EffectiveThreshold, strict: str, other: EffectiveThreshold) -> LevelFault:
    written, limit = threshold_text(one.value), threshold_text(other.value)
    upper = max(one.path, other.path, key=lambda path: (path[0] == "rules", path[0] == "shadow", path is one.path))
    return LevelFault(
        upper,
        f"{_dotted(one.path)} is {written} for the level {mild!r}, and {_dotted(other.path)} is {limit} "
        f"for {strict!r}: what reaches {strict!r} also reaches {mild!r}, so write at most {limit}",
    )


def _dotted(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
