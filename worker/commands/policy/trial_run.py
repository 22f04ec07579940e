"""Try a policy on stored verdicts, from the chunks to the report."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS
from schemas.verdict import nearest_rfc3339
from worker.commands.policy.stored_verdicts import Chunks
from worker.commands.policy.trial import NewDecisions, TrialTally, VerdictDecider
from worker.commands.policy.trial_alerts import AlertTally
from worker.commands.policy.trial_report import (
    CategoryChanges,
    ChannelChanges,
    FlagChanges,
    JudgingPolicy,
    LevelChange,
    RuleChanges,
    TrialReport,
    TriedPolicy,
    TriedVerdicts,
    UntriedField,
)
from worker.commands.policy.used_fields import OPTIONAL, used_fields
from worker.commands.policy.verdict_columns import VerdictColumns, decode_verdicts
from worker.moderation.policies import MessageFields, Policy, PolicySource

SHOWN_MAX = 20
"""Channels, and versions of judging policies, in the report."""

_FLAGS = ("before", "after", "newly_flagged", "newly_passed")


def run_trial(
    source: PolicySource, file: str, chunks: Chunks, *, examples: int, against: PolicySource | None = None
) -> TrialReport:
    """Return what a policy decides differently.

    Args:
        source: The policy.
        file: The name of its file.
        chunks: The values of stored verdicts.
        examples: Number of examples of each change.
        against: A policy that judged messages; None: none is known.
    """
    policy, used = Policy.of_file(source), used_fields(source.file)
    decider, alerts = VerdictDecider(policy), AlertTally(policy, Policy.of_file(against) if against else None)
    tally = TrialTally(levels=policy.levels, rules=len(source.file.rules), examples=examples)
    verdicts, fields = VerdictTally(), FieldTally(used)
    for chunk in chunks:
        new = decider.decide(decode_verdicts(chunk, used))
        verdicts.add(len(chunk), new)
        fields.add(new.columns)
        tally.add(new)
        alerts.add(new)
    channels = {channel for channel, _ in tally.channels}
    return TrialReport(
        schema="policy-trial/1",
        policy=TriedPolicy(file=file, version=policy.version, levels=policy.levels),
        judged_by=[
            JudgingPolicy(version=version, verdicts=count)
            for version, count in verdicts.policies.most_common(SHOWN_MAX)
        ],
        verdicts=verdicts.report(),
        flagged=FlagChanges(**_named(tally.flagged)),
        categories=list(_categories(tally)),
        levels=list(_levels(tally, policy)),
        rules=list(_rules(tally, [rule.name for rule in source.file.rules])),
        channels=_channels(tally, channels),
        channels_changed=len(channels),
        alerts=alerts.report(),
        untried=list(fields.report()),
    )


class VerdictTally:
    """Counts the stored verdicts, and those that can't be decided again.

    Attributes:
        policies: Verdicts by the version of the policy that decided.
    """

    def __init__(self) -> None:
        self.policies: Counter[str] = Counter()
        self._read = 0
        self._verdicts = 0
        self._decided = 0
        self._times_ms: tuple[int, int] | None = None

    def add(self, read: int, new: NewDecisions) -> None:
        """Count the verdicts of a chunk of values."""
        self._read += read
        self._verdicts += len(new.columns)
        self._decided += int(new.decided.sum())
        self.policies.update(new.columns.policies)
        times_ms = [one.timestamp_ms for one in new.columns.positions if one and one.timestamp_ms is not None]
        if times_ms:
            first, last = self._times_ms or (times_ms[0], times_ms[0])
            self._times_ms = min(first, *times_ms), max(last, *times_ms)

    def report(self) -> TriedVerdicts:
        """Return the counts."""
        first, last = self._times_ms or (None, None)
        return TriedVerdicts(
            read=self._read,
            decided=self._decided,
            not_scored=self._verdicts - self._decided,
            unreadable=self._read - self._verdicts,
            first=None if first is None else nearest_rfc3339(first),
            last=None if last is None else nearest_rfc3339(last),
        )


class FieldTally:
    """Finds the topics whose verdicts never have a field that the policy uses.

    Args:
        used: The keys of ``when`` that the policy uses, with the names of the entries.
    """

    def __init__(self, used: Mapping[str, Sequence[str]]) -> None:
        self._used = {key: used[key] for key in OPTIONAL if key in used}
        self._present: Counter[tuple[str | None, tuple[bool, ...]]] = Counter()

    def add(self, columns: VerdictColumns) -> None:
        """Count the verdicts by topic and by the fields that they have."""
        if self._used:
            topics = (one and one.topic for one in columns.positions)
            self._present.update(zip(topics, map(_present, columns.fields), strict=True))

    def report(self) -> Iterator[UntriedField]:
        """Yield each field that no verdict of a topic has."""
        for topic in dict.fromkeys(topic for topic, _ in self._present):
            found = {present: count for (one, present), count in self._present.items() if one == topic}
            for key, names in self._used.items():
                if not any(present[OPTIONAL.index(key)] for present in found):
                    yield UntriedField(field=key, topic=topic, verdicts=sum(found.values()), entries=names)


def _present(fields: MessageFields) -> tuple[bool, ...]:
    """Return for each of ``OPTIONAL`` whether a message has the field."""
    return fields.tenant_id is not None, bool(fields.roles), fields.language is not None, fields.edited


def _named(counts: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(_FLAGS, counts.tolist(), strict=True))


def _categories(tally: TrialTally) -> Iterator[CategoryChanges]:
    for index, slug in enumerate(CATEGORY_SLUGS):
        yield CategoryChanges(
            category=slug,
            **_named(tally.categories[:, index]),
            examples_flagged=tally.samples.of((slug, True)),
            examples_passed=tally.samples.of((slug, False)),
        )


def _levels(tally: TrialTally, policy: Policy) -> Iterator[LevelChange]:
    """Yield the pairs of levels: no level first, then the policy's, mildest first, then those that it lacks."""
    order = {level: number for number, level in enumerate((None, *policy.levels))}
    others = sorted({level for pair in tally.levels for level in pair if level is not None and level not in order})
    order |= {level: len(order) + number for number, level in enumerate(others)}
    for before, after in sorted(tally.levels, key=lambda pair: (order[pair[0]], order[pair[1]])):
        yield LevelChange(
            before=before,
            after=after,
            verdicts=tally.levels[before, after],
            examples=tally.samples.of((before, after)),
        )


def _rules(tally: TrialTally, names: Sequence[str]) -> Iterator[RuleChanges]:
    for number, name in enumerate((None, *names)):
        verdicts, *counts = tally.rules[:, number]
        if verdicts:
            yield RuleChanges(rule=name, verdicts=int(verdicts), **_named(np.array(counts)))


def _channels(tally: TrialTally, channels: set[str | None]) -> list[ChannelChanges]:
    counted = [
        ChannelChanges(
            channel_id=one, newly_flagged=tally.channels[one, True], newly_passed=tally.channels[one, False]
        )
        for one in channels
    ]
    counted.sort(key=lambda one: (-one.newly_flagged - one.newly_passed, one.channel_id or ""))
    return counted[:SHOWN_MAX]
