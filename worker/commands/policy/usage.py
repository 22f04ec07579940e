"""Which globs and rules of a policy file match nothing in recent verdicts."""

from collections import Counter
from collections.abc import Iterator

from worker.commands.policy.stored_verdicts import Chunks
from worker.commands.policy.trial_run import FieldTally
from worker.commands.policy.trial_sentences import listed
from worker.commands.policy.used_fields import conditions, used_fields
from worker.commands.policy.verdict_columns import decode_verdicts
from worker.moderation.policies import MessageFields, PolicySource
from worker.moderation.policies.globs import Matcher, first
from worker.moderation.policies.policy_file import When
from worker.moderation.yaml_document import Path
from worker.moderation.yaml_events import YamlFault

SEEN_MAX = 200_000
"""Messages with different fields that are remembered, so that each is compared once."""


class PolicyUsage:
    """Remembers which globs and rules have matched a message.

    Args:
        source: The policy.

    Attributes:
        verdicts: Number of verdicts so far.
    """

    def __init__(self, source: PolicySource) -> None:
        self.verdicts = 0
        self._source = source
        self._used = used_fields(source.file)
        self._fields = FieldTally(self._used)
        self._globs = list(_globs(source))
        self._glob_matcher = Matcher([when for _, _, when in self._globs])
        self._rule_matcher = Matcher([rule.when for rule in source.file.rules])
        self._matched_globs = self._deciding_rules = 0
        self._seen: set[MessageFields] = set()

    def add(self, chunks: Chunks) -> None:
        """Look at all verdicts."""
        for chunk in chunks:
            columns = decode_verdicts(chunk, self._used)
            self.verdicts += len(columns)
            self._fields.add(columns)
            for message in set(columns.fields) - self._seen:
                self._matched_globs |= self._glob_matcher.matches(message)
                if (rule := first(self._rule_matcher.matches(message))) is not None:
                    self._deciding_rules |= 1 << rule
            if len(self._seen) < SEEN_MAX:
                self._seen.update(columns.fields)

    def findings(self) -> list[YamlFault]:
        """Return what has matched nothing, in the order of the file."""
        document = self._source.document
        missing = self._missing_everywhere()
        unmatched = {
            path: f"{_key(path)}: {glob!r} matches nothing in these verdicts"
            for number, (path, glob, _) in enumerate(self._globs)
            if not self._matched_globs >> number & 1 and _key(path) not in missing
        }
        explained = {path[:2] for path in unmatched}
        idle = {
            ("rules", number, "name"): f"the rule {rule.name!r} decides about none of these verdicts"
            for number, rule in enumerate(self._source.file.rules)
            if not self._deciding_rules >> number & 1
            and ("rules", number) not in explained
            and not rule.when.model_fields_set & missing
        }
        found = [document.fault(path, said) for path, said in (*unmatched.items(), *idle.items())]
        return sorted(found, key=lambda one: (one.line, one.column))

    def missing_fields(self) -> list[str]:
        """Return a sentence for each field that the file uses and no verdict of a topic has."""
        return [
            f"no verdict of {one.topic or 'the file'} has the field {one.field}, which {listed(one.entries)} use"
            for one in self._fields.report()
        ]

    def _missing_everywhere(self) -> set[str]:
        """Return the keys whose field no verdict has."""
        lacking: Counter[str] = Counter()
        for one in self._fields.report():
            lacking[one.field] += one.verdicts
        return {key for key, verdicts in lacking.items() if verdicts == self.verdicts}


def _key(path: Path) -> str:
    """Return the key of ``when`` that the path of a glob leads to."""
    return str(path[3])


def _globs(source: PolicySource) -> Iterator[tuple[Path, str, When]]:
    """Yield the path of each glob, the glob, and a condition that has only this glob."""
    for section, index, _, when in conditions(source.file):
        for key in When.model_fields:
            given = getattr(when, key)
            path: Path = (section, index, "when", key)
            for number, glob in enumerate(given if isinstance(given, list) else ()):
                is_list = (*path, number) in source.document.values
                yield (*path, number) if is_list else path, glob, When.model_validate({key: [glob]})
