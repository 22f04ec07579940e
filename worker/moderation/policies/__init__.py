"""Policies: which thresholds decide about a message, and what raises an alert.

``policy_file`` has the fields of a policy file, ``reading`` reads one, ``inheritance`` works out its thresholds,
and ``globs`` finds the entries that match a message. Read ``policy_file`` first.
"""

from worker.moderation.policies.inheritance import EffectiveThreshold, effective_thresholds
from worker.moderation.policies.policy_file import CoalesceRule, PolicyFile
from worker.moderation.policies.reading import PolicySource, parse_policy, read_policy

__all__ = [
    "CoalesceRule",
    "EffectiveThreshold",
    "PolicyFile",
    "PolicySource",
    "effective_thresholds",
    "parse_policy",
    "read_policy",
]
