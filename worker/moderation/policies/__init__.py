"""Policies: which thresholds decide about a message, and what raises an alert.

``policy_file`` has the fields of a policy file, ``policy_reader`` reads one, and ``inheritance`` works out its
thresholds. ``globs`` finds the entries that match a message, ``resolutions`` finds their thresholds and their
exemption, and ``policy`` compares scores with thresholds. ``resolving`` asks a policy about the messages of a
batch, ``decision`` says what it decides about one, and ``watcher`` reads a changed file. Read ``policy_file``
first.
"""

from worker.moderation.policies.decision import Decision, allowed_by, decide_each
from worker.moderation.policies.globs import MessageFields
from worker.moderation.policies.inheritance import (
    EffectiveThreshold,
    effective_thresholds,
    threshold_text,
    threshold_values,
)
from worker.moderation.policies.policy import Policy
from worker.moderation.policies.policy_file import CoalesceRule, PolicyFile
from worker.moderation.policies.policy_reader import PolicySource, parse_policy, read_policy
from worker.moderation.policies.resolutions import Resolution
from worker.moderation.policies.resolving import FindUnscored, resolve_all, unscored_by
from worker.moderation.policies.watcher import FixedPolicy, PolicyWatcher

__all__ = [
    "CoalesceRule",
    "Decision",
    "EffectiveThreshold",
    "FindUnscored",
    "FixedPolicy",
    "MessageFields",
    "Policy",
    "PolicyFile",
    "PolicySource",
    "PolicyWatcher",
    "Resolution",
    "allowed_by",
    "decide_each",
    "effective_thresholds",
    "load_policy",
    "parse_policy",
    "read_policy",
    "resolve_all",
    "threshold_text",
    "threshold_values",
    "unscored_by",
]


def load_policy(path: str) -> Policy:
    """Return the policy in a file.

    Raises:
        ConfigurationError: The file cannot be read, or it is wrong. The message has a line for each fault, with
            file, line and column.
    """
    return Policy.of_file(read_policy(path))
