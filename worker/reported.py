"""What the worker reports about its decisions and itself, in metrics, verdicts and start-up lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

NO_NAME = "none"
"""Stands in metrics for the level of a verdict that reached none, and for the rule of one that no rule decided."""


class ShadowOutcome(StrEnum):
    """How a shadow candidate's decision compares with the policy's."""

    AGREE = "agree"
    NEWLY_FLAGGED = "newly_flagged"
    NEWLY_PASSED = "newly_passed"
    OTHER_LEVEL = "other_level"


class CandidateLabels(NamedTuple):
    """What metrics count of a shadow candidate's decision.

    Attributes:
        candidate: The candidate's name.
        outcome: How the decision compares with the policy's.
        agreed: Slugs of the categories that both flag.
        newly_flagged: Slugs of the categories that only the candidate flags.
        newly_passed: Slugs of the categories that only the policy flags.
    """

    candidate: str
    outcome: ShadowOutcome
    agreed: Sequence[str] = ()
    newly_flagged: Sequence[str] = ()
    newly_passed: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VerdictLabels:
    """What metrics count of a verdict that a policy file decided. Unflagged verdicts share one object.

    Attributes:
        level: The highest level reached; None: none.
        rule: Name of the rule that set the thresholds; None: no rule.
        exempt: Name of the exemption; None: not exempt.
        allowed: Name of the entry of allowed texts that withheld the alert; None: none did.
        categories: Slugs of the flagged categories.
        candidates: What each shadow candidate decides.
    """

    level: str | None = None
    rule: str | None = None
    exempt: str | None = None
    allowed: str | None = None
    categories: Sequence[str] = ()
    candidates: Sequence[CandidateLabels] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUsage:
    """What the device has computed and what memory it holds, for telemetry.

    Attributes:
        tokens: Tokens scored so far.
        rows: Rows scored so far: one for each window and view of a text.
        padding: Tokens computed so far only to fill a CUDA graph's shape.
        memory_bytes: Bytes reserved on the GPU now; None on a CPU.
    """

    tokens: int = 0
    rows: int = 0
    padding: int = 0
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStatus:
    """The policy in force and the state of its file, for telemetry.

    Attributes:
        version: The policy's version.
        digest: Hash of the file's content; without a file, of the thresholds.
        fingerprint: Fingerprint of the thresholds where no rule matches.
        is_refused: Whether the file is wrong or cannot be read, so that an older policy stays in force. None: the
            policy has no file.
        adopted: Number of changed files that took effect.
        refused: Number of changed files that were wrong or could not be read.
    """

    version: str
    digest: str
    fingerprint: str
    is_refused: bool | None = None
    adopted: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which model scores, and where, as verdicts and the start-up line name it.

    Attributes:
        name: The model's name on the hub, or its folder's name.
        revision: The first 16 digits of ``digest``.
        digest: Hash of weights, configuration and tokenizer, in hexadecimal, as ``WORKER_MODEL__DIGEST`` takes it.
            It does not depend on where the files are.
        commit: The hub's commit; None when it is not known.
        dtype: ``float32`` or ``bfloat16``.
        device: ``cpu`` or ``cuda:N``.
        attention: The attention implementation in use.
        tokenizer: The library that tokenises: ``tiktoken`` or ``tokenizers``.
        threads: Compute threads on the CPU.
    """

    name: str
    revision: str
    digest: str
    commit: str | None
    dtype: str
    device: str
    attention: str
    tokenizer: str
    threads: int
