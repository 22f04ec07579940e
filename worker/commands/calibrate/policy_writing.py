"""Write calibrated thresholds as a policy file. Pure.

The thresholds are those of the mildest level, which decides what is flagged. A stricter level whose threshold would
be below the new one is raised to it. Everything else of the policy in force stays.
"""

import glob
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from schemas.labels import CATEGORY_SLUGS
from worker.moderation.policies import PolicySource, effective_thresholds, parse_policy, read_policy
from worker.settings import Settings

LEVEL = "review"
"""The level of a policy that is written where none is in force."""
RULE = "language "
"""Begins the name of a rule for a language."""

Thresholds = Mapping[str, float]
"""Thresholds by category slug; ``default`` stands for all categories."""


def policy_in_force(settings: Settings) -> PolicySource:
    """Return the policy file of the settings; without one, the thresholds of the settings as a file with one level.

    Raises:
        ConfigurationError: The policy file can't be read, or it is wrong.
    """
    given = settings.policy
    if given.path is not None:
        return read_policy(given.path)
    document = {
        "schema": "policy/1",
        "levels": [LEVEL],
        "thresholds": {
            "default": {LEVEL: given.threshold},
            **{slug: {LEVEL: value} for slug, value in given.thresholds.items()},
        },
    }
    return parse_policy(yaml.safe_dump(document, sort_keys=False).encode(), "the settings")


def calibrated_policy(
    base: PolicySource, thresholds: Thresholds, by_language: Mapping[str, Thresholds], *, head: Sequence[str]
) -> tuple[str, list[str]]:
    """Return a policy file with other thresholds at the mildest level, and what else had to change, as sentences.

    Args:
        base: The policy in force.
        thresholds: The new thresholds for all languages.
        by_language: The new thresholds of languages, which become rules after the rules in force.
        head: Lines of the comment at the top of the file.
    """
    document: dict[str, Any] = base.document.data
    mildest = base.file.levels[0]
    notes: list[str] = []
    written = {**document["thresholds"]}
    in_force = {
        slug: {level: one.value for level, one in levels.items()}
        for slug, levels in effective_thresholds(base.file).items()
    }
    for slug, value in _by_category(thresholds):
        if in_force[slug][mildest] is None:  # the policy switches the category off
            continue
        written[slug] = {mildest: value, **_stricter(slug, value, in_force[slug], mildest, notes)}
        in_force[slug] = {**in_force[slug], **written[slug]}
    rules = list(document.get("rules") or [])
    for language, own in by_language.items():
        layer = {
            slug: {mildest: value, **_stricter(f"{slug} in {language}", value, in_force[slug], mildest, notes)}
            for slug, value in _by_category(own)
            if in_force[slug][mildest] is not None
        }
        rules.append(
            {"name": f"{RULE}{language}", "when": {"language": [glob.escape(language)]}, "thresholds": layer}
        )
    changed = {**document, "thresholds": written, **({"rules": rules} if rules else {})}
    if changed.pop("version", None) is not None:
        notes.append(
            "The policy's version was left out, because the thresholds differ: give the file a new version."
        )
    comment = "".join(f"# {line}\n" for line in head)
    return comment + yaml.safe_dump(changed, sort_keys=False, allow_unicode=True), notes


def _by_category(thresholds: Thresholds) -> Iterator[tuple[str, float]]:
    for slug, value in thresholds.items():
        yield from ((one, value) for one in (CATEGORY_SLUGS if slug == "default" else (slug,)))


def _stricter(
    name: str, value: float, levels: Mapping[str, float | None], mildest: str, notes: list[str]
) -> dict[str, float]:
    """Return the stricter levels that must be raised, so that no category reaches a level without a milder one."""
    below = {
        level: threshold
        for level, threshold in levels.items()
        if level != mildest and threshold is not None and np.float32(threshold) < np.float32(value)
    }
    notes += [
        f"{name}: the level {level} was raised from {threshold:g} to {value:g}."
        for level, threshold in below.items()
    ]
    return dict.fromkeys(below, value)
