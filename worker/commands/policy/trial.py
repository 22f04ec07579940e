"""Decide stored verdicts again by another policy, in arrays, and count what differs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS
from schemas.verdict import nearest_rfc3339
from worker.commands.policy.examples import ExampleSample
from worker.commands.policy.trial_report import TrialExample
from worker.commands.policy.verdict_columns import VerdictColumns
from worker.moderation.policies import MessageFields, Policy, Resolution

FLAGGED = "flagged"
"""The level before, in a verdict of a worker without a policy file."""
CHANNELS_MAX = 100_000
"""Channels with changes that are counted one by one. A count takes about 200 bytes."""
RESOLUTIONS_MAX = 200_000
"""Resolutions that are remembered, of messages with different fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDecisions:
    """What the tried policy decides about ``B`` stored verdicts.

    Attributes:
        columns: The stored verdicts.
        resolutions: Which thresholds, exemption and allowed texts apply to each message.
        flags: ``[B, L]`` flags.
        levels: ``[B]`` index of the highest level that is reached; -1: none.
        decided: ``[B]``, False for a verdict without the scores that the policy needs.
    """

    columns: VerdictColumns
    resolutions: Sequence[Resolution]
    flags: NDArray[np.bool_]
    levels: NDArray[np.intp]
    decided: NDArray[np.bool_]


class VerdictDecider:
    """Decides stored verdicts again.

    Args:
        policy: The policy to try.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._known: dict[MessageFields, Resolution] = {}

    def decide(self, columns: VerdictColumns) -> NewDecisions:
        """Return what the policy decides."""
        resolutions = [self._known.get(fields) or self._resolved(fields) for fields in columns.fields]
        decisions = self._policy.decide(columns.scores, resolutions)
        scored = np.array([one.is_scored for one in resolutions], np.bool_)
        return NewDecisions(
            columns=columns,
            resolutions=resolutions,
            flags=decisions.flags & scored[:, np.newaxis],
            levels=np.where(scored, decisions.levels, -1),
            decided=~(columns.unscored & scored),
        )

    def _resolved(self, fields: MessageFields) -> Resolution:
        if len(self._known) >= RESOLUTIONS_MAX:
            self._known.clear()
        found = self._known[fields] = self._policy.resolve(fields)
        return found


class TrialTally:
    """Counts what a policy decides differently. Its size is bounded, whatever the number of verdicts.

    Args:
        levels: The names of the policy's levels, mildest first.
        rules: Number of the policy's rules.
        examples: Number of examples of each change.

    Attributes:
        flagged: ``[4]`` messages: flagged before, flagged after, newly flagged, newly passed.
        categories: ``[4, L]``, the same by category.
        rules: ``[5, R + 1]`` first the messages without a rule, then by rule of the policy: messages, and then as
            in ``flagged``.
        levels: Messages by level before and after.
        channels: Newly flagged and newly passed messages, by channel and whether they are newly flagged.
        samples: Examples, by category and whether they are newly flagged, or by level before and after.
    """

    def __init__(self, *, levels: Sequence[str], rules: int, examples: int) -> None:
        categories = len(CATEGORY_SLUGS)
        self.flagged = np.zeros(4, np.int64)
        self.categories = np.zeros((4, categories), np.int64)
        self.rules = np.zeros((5, rules + 1), np.int64)
        self.levels: Counter[tuple[str | None, str | None]] = Counter()
        self.channels: Counter[tuple[str | None, bool]] = Counter()
        self.samples: ExampleSample[TrialExample] = ExampleSample(examples)
        self._level_names = (*levels, None)  # -1 is none
        self._channels_seen: set[str | None] = set()

    def add(self, new: NewDecisions) -> None:
        """Count verdicts. Those that the policy can't decide count nowhere."""
        decided, before = new.decided, new.columns.flags
        categories = _changes(before & decided[:, np.newaxis], new.flags & decided[:, np.newaxis])
        flagged = _changes(before.any(axis=1) & decided, new.flags.any(axis=1) & decided)
        self.categories += categories.sum(axis=1)
        self.flagged += flagged.sum(axis=1)
        self._add_rules(new, flagged)
        levels = self._levels(new)
        self.levels.update(pair for pair, is_decided in zip(levels, decided.tolist(), strict=True) if is_decided)
        self._add_channels(new.columns.channels, flagged)
        self._add_examples(new, categories, levels)

    def _add_rules(self, new: NewDecisions, flagged: NDArray[np.bool_]) -> None:
        rules = self.rules.shape[1]
        of_row = np.array([one.row for one in new.resolutions], np.int64)
        for number, chosen in enumerate([new.decided, *flagged]):
            self.rules[number] += np.bincount(of_row[chosen], minlength=rules)

    def _levels(self, new: NewDecisions) -> list[tuple[str | None, str | None]]:
        flagged = new.columns.flags.max(axis=1).tolist()
        before = (
            FLAGGED if level is None and is_flagged else level
            for level, is_flagged in zip(new.columns.levels, flagged, strict=True)
        )
        after = (self._level_names[level] for level in new.levels.tolist())
        return list(zip(before, after, strict=True))

    def _add_channels(self, channels: Sequence[str | None], flagged: NDArray[np.bool_]) -> None:
        for is_new, changed in ((True, flagged[2]), (False, flagged[3])):
            for row in np.flatnonzero(changed).tolist():
                channel = channels[row]
                if channel in self._channels_seen or len(self._channels_seen) < CHANNELS_MAX:
                    self._channels_seen.add(channel)
                    self.channels[channel, is_new] += 1

    def _add_examples(
        self, new: NewDecisions, categories: NDArray[np.bool_], levels: Sequence[tuple[str | None, str | None]]
    ) -> None:
        positions = new.columns.positions

        def offer(group: object, rows: NDArray[np.int64], category: int | None) -> None:
            pairs = [(row, positions[row]) for row in rows.tolist()]
            self.samples.offer(group, pairs, lambda row: _example(new, row, category, levels[row]))

        for is_new, changed in ((True, categories[2]), (False, categories[3])):
            for category in np.flatnonzero(changed.any(axis=0)).tolist():
                offer((CATEGORY_SLUGS[category], is_new), np.flatnonzero(changed[:, category]), category)
        differ = np.array([before != after for before, after in levels], np.bool_) & new.decided
        moved: dict[tuple[str | None, str | None], list[int]] = {}
        for row in np.flatnonzero(differ).tolist():
            if None not in levels[row]:
                moved.setdefault(levels[row], []).append(row)
        for pair, rows in moved.items():
            offer(pair, np.array(rows), None)


def _changes(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return before, after, newly flagged and newly passed, along a new first axis."""
    return np.stack([before, after, after & ~before, before & ~after])


def _example(
    new: NewDecisions, row: int, category: int | None, levels: tuple[str | None, str | None]
) -> TrialExample:
    position, resolution = new.columns.positions[row], new.resolutions[row]
    threshold = None if category is None else float(str(resolution.thresholds[0][category]))
    return TrialExample(
        message_id=new.columns.messages[row],
        topic=position and position.topic,
        partition=None if position is None else position.partition,
        offset=None if position is None else position.offset,
        item=None if position is None else position.item,
        timestamp=None
        if position is None or position.timestamp_ms is None
        else nearest_rfc3339(position.timestamp_ms),
        channel_id=new.columns.channels[row],
        rule=resolution.rule,
        score=None if category is None else float(str(new.columns.scores[row, category])),
        threshold=None if threshold is None or threshold > 1 else threshold,
        level_before=levels[0],
        level_after=levels[1],
    )
