"""Compare scores with the thresholds of the messages, as arrays. Pure.

Thresholds are float32 like the scores, so the published scores and thresholds reproduce the published flags.
``off`` is infinity, which no score exceeds.

Invariant: a category that reaches a level has reached all milder levels, because the reader of the file refuses
other thresholds. So a message is flagged if and only if it has reached a level.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from schemas import verdict
from schemas.labels import CATEGORY_SLUGS
from worker.moderation.policies.globs import Matcher, MessageFields, first
from worker.moderation.policies.inheritance import EffectiveThresholds, effective_thresholds
from worker.moderation.policies.policy_file import DEFAULT, CoalesceRule, PolicyFile
from worker.moderation.policies.policy_reader import PolicySource
from worker.moderation.policies.resolutions import Resolution, Resolutions, fingerprint_of


class Decisions(NamedTuple):
    """What a policy and its ``S`` candidates decide about ``B`` messages.

    Attributes:
        flags: ``[B, L]`` whether the category reaches the mildest level.
        levels: ``[B]`` index of the highest level that a category reaches; -1: none.
        shadow_flags: ``[S, B, L]`` the same flags by each candidate.
        shadow_levels: ``[S, B]`` the same levels by each candidate.
    """

    flags: NDArray[np.bool_]
    levels: NDArray[np.intp]
    shadow_flags: NDArray[np.bool_]
    shadow_levels: NDArray[np.intp]


class Policy:
    """The thresholds of all messages, and which messages raise an alert. Immutable.

    Args:
        tables: ``[1 + S, 1 + R, levels, L]`` thresholds: of the policy and of each candidate; without a rule, and
            with each of ``R`` rules.
        general: ``[1 + R]`` the mildest threshold of a category that nothing names; infinity: off.
        version: The team's name of the policy, or a hash.
        digest: A hash of the content.
        alert_text: Whether alerts carry the text.
        file: The policy file; None: the policy comes from the settings.

    Attributes:
        version: The team's name of the policy, or a hash.
        digest: A hash of the file's content, or of the settings' thresholds. A changed content with the
            same version has another digest.
        has_file: Whether the policy comes from a file.
        levels: Names of the levels, mildest first. Without a file, one level, whose name is not published.
        alert_level: Index of the mildest level that raises an alert.
        alert_text: Whether alerts carry the text.
        coalesce: How alerts are coalesced; None: they are not.
        candidates: Names of the shadow candidates.
        fields: The fields of a message that decide which entries match it.
        exempt_fields: The fields of a message that decide whether it is exempt.
        unscored: What decides which messages are not scored. If it is equal, two policies leave the same ones out.
        unscored_have_context: Whether every message without a tenant, roles, a language and an edit is scored.
        base: The resolution of messages that no entry matches.
    """

    def __init__(
        self,
        *,
        tables: NDArray[np.float32],
        general: NDArray[np.float32],
        version: str,
        digest: str,
        alert_text: Literal["none", "full"],
        file: PolicyFile | None = None,
    ) -> None:
        tables.flags.writeable = False
        self.version = version
        self.digest = digest
        self.has_file = file is not None
        self.levels = tuple(file.levels) if file else ("flagged",)
        self.alert_level = self.levels.index(file.alerts.level) if file and file.alerts.level else 0
        self.alert_text = alert_text
        self.coalesce: CoalesceRule | None = file.alerts.coalesce if file else None
        self.candidates = tuple(one.name for one in file.shadow) if file else ()
        self._tables = tables
        self._least = tables[:, :, 0].min(axis=0)
        self._least_of_all = self._least.min(axis=0)
        self._resolutions = Resolutions(thresholds=tables[0], general=general, version=version, file=file)
        self.fields = self._resolutions.fields
        exempt = file.exempt if file else []
        self._exempt_is_scored = [one.score for one in exempt]
        self._exempt = Matcher([one.when for one in exempt])
        self.exempt_fields = self._exempt.fields
        last = max((number for number, one in enumerate(exempt) if not one.score), default=-1)
        self.unscored = tuple((one.score, one.when.model_dump_json()) for one in exempt[: last + 1])
        unscored = [one.when for one in exempt if not one.score]
        self.unscored_have_context = all(
            bool(when.tenant_id or when.role or when.language or when.edited) for when in unscored
        )
        self.base = self.resolve(MessageFields())

    @classmethod
    def of(
        cls,
        threshold: float = 0.5,
        thresholds: Mapping[str, float] | None = None,
        version: str | None = None,
        alert_text: Literal["none", "full"] = "none",
    ) -> Self:
        """Return a policy from settings.

        Args:
            threshold: The general threshold, in [0, 1].
            thresholds: Category slug to its own threshold, in [0, 1].
            version: The team's name of the policy.
            alert_text: Whether alerts carry the text.

        Raises:
            ValueError: A slug is not a category's, or a threshold is outside [0, 1].
        """
        thresholds = thresholds or {}
        if unknown := thresholds.keys() - set(CATEGORY_SLUGS):
            raise ValueError(f"no such category: {', '.join(sorted(unknown))}")
        if not all(0 <= value <= 1 for value in (threshold, *thresholds.values())):
            raise ValueError("a threshold is a number from 0 to 1")
        values = np.array([thresholds.get(slug, threshold) for slug in CATEGORY_SLUGS], np.float32)
        digest = fingerprint_of(values)
        return cls(
            tables=values.reshape(1, 1, 1, -1),
            general=np.array([threshold], np.float32),
            version=version or digest,
            digest=digest,
            alert_text=alert_text,
        )

    @classmethod
    def of_file(cls, source: PolicySource) -> Self:
        """Return the policy of a file."""
        file = source.file
        rules = (None, *range(len(file.rules)))
        tables = [
            [_table(effective_thresholds(file, rule=rule, candidate=candidate), file.levels) for rule in rules]
            for candidate in (None, *range(len(file.shadow)))
        ]
        return cls(
            tables=np.array(tables, np.float32),
            general=np.array([_general_threshold(file, rule) for rule in rules], np.float32),
            version=file.version or source.digest,
            digest=source.digest,
            alert_text=file.alerts.text,
            file=file,
        )

    @property
    def values(self) -> NDArray[np.float32]:
        """``[L]`` thresholds of the mildest level where no rule matches; infinity: off."""
        values: NDArray[np.float32] = self.base.thresholds[0]
        return values

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the thresholds where no rule matches."""
        return self.base.fingerprint

    @property
    def document(self) -> verdict.PolicyJson:
        """The policy as it is published where no rule matches."""
        return self.base.document

    def resolve(self, fields: MessageFields) -> Resolution:
        """Return what the policy says about a message. The owner's thread calls this, as ``resolve_each``."""
        return self._resolutions.of(fields)

    def resolve_each(self, columns: Mapping[str, Sequence[Any]], count: int) -> list[Resolution]:
        """Return what the policy says about each message. The arguments are those of ``Matcher.keys``."""
        return self._resolutions.of_each(columns, count)

    def are_scored(self, columns: Mapping[str, Sequence[Any]], count: int) -> list[bool]:
        """Return whether the model scores each message. The arguments are those of ``Matcher.keys``."""
        keys = [*self._exempt.keys(columns, count)]
        exempt = {key: first(self._exempt.entries_of(key)) for key in set(keys)}
        scored = {key: number is None or self._exempt_is_scored[number] for key, number in exempt.items()}
        return [scored[key] for key in keys]

    def are_quiet(self, scores: NDArray[np.float32], resolutions: Sequence[Resolution]) -> NDArray[np.bool_]:
        """Return whether neither the policy nor a candidate flags each of ``[B, L]`` probabilities."""
        quiet: NDArray[np.bool_] = ~(scores > self._least_of_all).max(axis=1)
        [maybe] = (~quiet).nonzero()
        if len(maybe):  # few messages come near a threshold
            least = self._least[self._rows([resolutions[index] for index in maybe.tolist()])]
            quiet[maybe] = ~(scores[maybe] > least).max(axis=1)
        return quiet

    def decide(self, scores: NDArray[np.float32], resolutions: Sequence[Resolution]) -> Decisions:
        """Return what the policy and its candidates decide about each of ``[B, L]`` probabilities."""
        thresholds = self._tables[:, self._rows(resolutions)]  # [1 + S, B or 1, levels, L]
        reached = scores[np.newaxis, :, np.newaxis] > thresholds
        flags, levels = reached[:, :, 0], np.count_nonzero(reached.any(axis=3), axis=2) - 1
        return Decisions(flags[0], levels[0], flags[1:], levels[1:])

    def _rows(self, resolutions: Sequence[Resolution]) -> NDArray[np.intp]:
        """Return the messages' rows of the tables; one row for all messages if they can only have one."""
        if len(self._least) == 1:
            return np.zeros(1, np.intp)
        return np.fromiter([one.row for one in resolutions], np.intp, len(resolutions))


def _table(thresholds: EffectiveThresholds, levels: Sequence[str]) -> list[list[float]]:
    """Return ``[levels][L]`` thresholds; infinity: off."""
    return [
        [np.inf if (value := thresholds[slug][level].value) is None else value for slug in CATEGORY_SLUGS]
        for level in levels
    ]


def _general_threshold(file: PolicyFile, rule: int | None) -> float:
    """Return the threshold of the mildest level for a category that neither the policy nor the rule names."""
    level = file.levels[0]
    layers = [file.thresholds, *([] if rule is None else [file.rules[rule].thresholds])]
    for layer in reversed(layers):
        if DEFAULT not in layer:
            continue
        given = layer[DEFAULT]
        if given is None:
            return np.inf
        if level in given:
            return np.inf if (value := given[level]) is None else value
    raise AssertionError("the policy's own default has every level")
