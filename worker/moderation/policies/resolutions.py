"""Find what a policy says about a message, or about each message of a batch. Pure.

Messages that match the same entries share one resolution.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas import verdict
from schemas.labels import CATEGORY_SLUGS
from worker.moderation.policies.globs import EntrySet, Matcher, MatchKey, MessageFields, first, members
from worker.moderation.policies.policy_file import AllowedTexts, PolicyFile
from worker.reported import CandidateLabels, ShadowOutcome, VerdictLabels

RESOLUTIONS_MAX = 16_384
"""Resolutions that a policy remembers. Each takes a kilobyte."""
_OFF = np.float32(np.inf)


class AllowEntry(NamedTuple):
    """Texts that raise no alert.

    Attributes:
        name: The entry's name.
        texts: The whole texts.
        categories: ``[L]`` whether the texts may reach the category without an alert.
    """

    name: str
    texts: frozenset[str]
    categories: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resolution:
    """What a policy says about some messages: those that match the same entries.

    Attributes:
        row: Row of the messages in the policy's tables of thresholds.
        rule: Name of the rule; None: no rule matches.
        exempt: Name of the exemption; None: no exemption matches.
        is_scored: Whether the model scores the messages.
        allow: The entries of allowed texts that match, in order.
        thresholds: ``[levels][L]`` thresholds, in [0, 1]; infinity: off.
        fingerprint: The first 16 hexadecimal digits of the SHA-256 of ``thresholds`` as little-endian float32.
        fingerprint_bytes: ``fingerprint`` as ASCII.
        document: The policy as the verdicts publish it.
        document_json: ``document`` as JSON.
        labels: What metrics count of an unflagged verdict; None without a policy file.
    """

    row: int
    rule: str | None
    exempt: str | None
    is_scored: bool
    allow: tuple[AllowEntry, ...]
    thresholds: NDArray[np.float32]
    fingerprint: str
    fingerprint_bytes: bytes
    document: verdict.PolicyJson
    document_json: bytes
    labels: VerdictLabels | None


class Resolutions:
    """The resolutions of a policy. One thread uses it.

    Args:
        thresholds: ``[1 + R, levels, L]`` the policy's thresholds: without a rule, and with each of ``R`` rules.
        general: ``[1 + R]`` the mildest threshold of a category that nothing names; infinity: off.
        version: The team's name of the policy, or a hash.
        file: The policy file; None: the policy comes from the settings.

    Attributes:
        fields: The fields of a message that decide which entries match it.
    """

    def __init__(
        self,
        *,
        thresholds: NDArray[np.float32],
        general: NDArray[np.float32],
        version: str,
        file: PolicyFile | None,
    ) -> None:
        self._thresholds = thresholds
        self._general = general
        self._version = version
        self._has_file = file is not None
        self._candidates = [one.name for one in file.shadow] if file else []
        rules, exempt, allow = (file.rules, file.exempt, file.allow) if file else ([], [], [])
        self._rule_names = [rule.name for rule in rules]
        self._exemptions = exempt
        self._allow_entries = [_allow_entry(one) for one in allow]
        conditions = [*(one.when for one in rules), *(one.when for one in exempt), *(one.when for one in allow)]
        only_first = (1 << len(rules)) - 1, ((1 << len(exempt)) - 1) << len(rules)
        self._entries = Matcher(conditions, alternatives=only_first)
        self.fields = self._entries.fields
        self._found: dict[tuple[int | None, int | None, int], Resolution] = {}
        self._by_key: dict[MatchKey, Resolution] = {}
        self._answered: list[EntrySet] = []  # sets that hold their resolution

    def of(self, fields: MessageFields) -> Resolution:
        """Return what the policy says about a message."""
        return self._of_entries(self._entries.matches(fields))

    def of_each(self, columns: Mapping[str, Sequence[Any]], count: int) -> list[Resolution]:
        """Return what the policy says about each message. The arguments are those of ``Matcher.keys``."""
        keys: Iterable[Any] = self._entries.keys(columns, count)
        if self._entries.is_of_one_field:
            return [key.answer or self._answer(key) for key in keys]
        find = self._by_key.get
        return [find(key) or self._of_key(key) for key in keys]

    def _answer(self, key: EntrySet) -> Resolution:
        if len(self._answered) >= RESOLUTIONS_MAX:
            for one in self._answered:
                one.answer = None
            self._answered.clear()
        self._answered.append(key)
        found: Resolution = self._of_entries(self._entries.entries_of(key))
        key.answer = found
        return found

    def _of_key(self, key: MatchKey) -> Resolution:
        if len(self._by_key) >= RESOLUTIONS_MAX:
            self._by_key.clear()
        found = self._by_key[key] = self._of_entries(self._entries.entries_of(key))
        return found

    def _of_entries(self, entries: int) -> Resolution:
        """Return what the policy says about messages that match these rules, exemptions and allowed texts."""
        rules, exempt = len(self._rule_names), len(self._exemptions)
        rest = entries >> rules
        key = first(entries & ((1 << rules) - 1)), first(rest & ((1 << exempt) - 1)), rest >> exempt
        if (found := self._found.get(key)) is None:
            if len(self._found) >= RESOLUTIONS_MAX:
                self._found.clear()
            found = self._found[key] = self._resolution(*key)
        return found

    def _resolution(self, rule: int | None, exempt: int | None, allow: int) -> Resolution:
        row = 0 if rule is None else rule + 1
        thresholds = self._thresholds[row]
        name = None if rule is None else self._rule_names[rule]
        fingerprint = fingerprint_of(thresholds)
        exemption = None if exempt is None else self._exemptions[exempt]
        document = self._document(row, name)
        labels = VerdictLabels(
            rule=name,
            exempt=exemption.name if exemption else None,
            candidates=[CandidateLabels(one, ShadowOutcome.AGREE) for one in self._candidates],
        )
        return Resolution(
            row=row,
            rule=name,
            exempt=labels.exempt,
            is_scored=exemption is None or exemption.score,
            allow=tuple(self._allow_entries[number] for number in members(allow)),
            thresholds=thresholds,
            fingerprint=fingerprint,
            fingerprint_bytes=fingerprint.encode(),
            document=document,
            document_json=verdict.encode(document),
            labels=labels if self._has_file else None,
        )

    def _document(self, row: int, rule: str | None) -> verdict.PolicyJson:
        general = self._general[row]
        own = {
            slug: _published(value)
            for slug, value in zip(CATEGORY_SLUGS, self._thresholds[row, 0], strict=True)
            if value != general
        }
        document: verdict.PolicyJson = {
            "version": self._version,
            "threshold": _published(general),
            "thresholds": own,
        }
        if self._has_file:
            return {"version": self._version, "rule": rule, "threshold": _published(general), "thresholds": own}
        return document


def fingerprint_of(thresholds: NDArray[np.float32]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of thresholds as little-endian float32."""
    return hashlib.sha256(thresholds.astype("<f4").tobytes()).hexdigest()[:16]


def _published(threshold: np.float32) -> np.float32 | None:
    return None if threshold == _OFF else threshold


def _allow_entry(entry: AllowedTexts) -> AllowEntry:
    categories = np.array([slug in entry.categories for slug in CATEGORY_SLUGS])
    return AllowEntry(entry.name, frozenset(entry.texts), categories)
