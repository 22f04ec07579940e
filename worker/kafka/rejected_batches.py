"""Which output a broker refuses, and whether the record or the topic is to blame. Pure.

What the brokers answer [Kafka 4.3, librdkafka 2.16]:

- MSG_SIZE_TOO_LARGE: every output of the batch gets this error, also the small ones.
- INVALID_RECORD: the broker names the faulty records of the batch. librdkafka reports INVALID_RECORD for these and
  ``_INVALID_DIFFERENT_RECORD`` for the others.
- INVALID_TIMESTAMP: if the batch holds several records, librdkafka reports INVALID_RECORD for the faulty ones too.
  Only a batch of one record gets the true error. So no record is blamed before it was refused alone.

The search: what was sent to a partition between two flushes is a batch. After a refusal the next pass flushes more
often, until the culprit is alone. 1,000 outputs become 33 batches, then 7, then 3, then one output. Where the
broker names the culprit, one pass is enough.

The verdict on an output that was refused alone:

1. An output that is too large is rejected: its message becomes a dead letter.
2. An output with INVALID_RECORD is rejected if the broker has accepted another output of the same kind (same topic,
   and both with a key or both without). So the topic works, and the record is at fault.
3. Otherwise the output is a suspect. The next pass sends all others before it and is aborted at its end, since the
   outputs are out of order then. If others are accepted, rule 2 holds.
4. If none is accepted, the topic is at fault, and no message may become a dead letter because of it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

from worker.records import OutputRecord, Partition, Topic

Name = tuple[Topic, Partition, int]
"""Of an output: its topic, and its input's partition and offset."""
Kind = tuple[Topic, bool]
"""Of an output: its topic, and whether it has a key. A compacted topic refuses outputs without a key."""
Place = tuple[Partition, int]
"""Of an input record: its partition and offset."""
Target = Callable[[OutputRecord], tuple[str, int]]
"""Gives the name and the partition of the topic that an output goes to."""

TOO_LARGE, REFUSED = "output_too_large", "output_refused"

# Source: the errors that https://kafka.apache.org/protocol lists for Produce and that concern single records.
_SIZE = frozenset({"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"})
_INVALID = frozenset({"INVALID_RECORD"})
_UNNAMED = "_INVALID_DIFFERENT_RECORD"
_RECORD_ERRORS = _SIZE | _INVALID | {_UNNAMED}
_CLOCK = "INVALID_TIMESTAMP"
_NAMED_MAX = 16  # with more faulty records in a batch, a flush for each would cost more than the search
# One may be bad luck. Three records, or one record three times with nothing else to send, are the topic.
_SUSPECTS_MAX = 3
_PASSES_MAX = 3
_COMMITS_MAX = 100  # after so many commits without a refusal the refused record is another worker's


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFault:
    """A topic that takes none of our outputs.

    Attributes:
        output: One that it refused.
        reason: The dead letter's reason that the output's message would have had.
    """

    output: OutputRecord
    reason: str


class RejectedBatches:
    """What the brokers have accepted and refused during a search.

    Attributes:
        rejected: The input records whose outputs a broker refuses, each with the dead letter's reason.
        topic_fault: The topic that is at fault; None while there is no such topic.
    """

    def __init__(self) -> None:
        self.rejected: dict[Place, str] = {}
        self.topic_fault: TopicFault | None = None
        self._apart: set[Name] = set()
        self._suspects: dict[Name, OutputRecord] = {}
        self._accepted: set[Kind] = set()
        self._in_vain: Counter[Kind] = Counter()
        self._reports: list[tuple[OutputRecord, str]] = []
        self._commits = 0

    @property
    def has_reports(self) -> bool:
        """Whether a batch of this pass was refused."""
        return bool(self._reports)

    def holds_suspect(self, outputs: Sequence[OutputRecord]) -> bool:
        """Whether there is a suspect among the outputs."""
        return bool(self._suspects) and any(name_of(output) in self._suspects for output in outputs)

    def suspects_last(self, outputs: Sequence[OutputRecord]) -> Sequence[OutputRecord]:
        """Gives the outputs in the order of a trial, which must not be committed."""
        return sorted(outputs, key=lambda output: name_of(output) in self._suspects)

    def is_apart(self, output: OutputRecord) -> bool:
        """Whether everything before this output must be flushed first."""
        return bool(self._apart) and name_of(output) in self._apart

    def report(self, output: OutputRecord, code: str | None) -> None:
        """Notes a delivery report; ``code`` is librdkafka's name of the error, None for an accepted output."""
        if code is None:
            self._accepted.add(_kind(output))
            self._suspects.pop(name_of(output), None)
        elif code in _RECORD_ERRORS or code == _CLOCK:
            self._reports.append((output, code))

    def refuse(self, output: OutputRecord) -> None:
        """Notes an output that the client finds too large."""
        self._reject(output, TOO_LARGE)

    def settle(self, target: Target, code: str) -> bool:
        """Draws the conclusions from the reports of a pass that was not committed.

        Args:
            target: Gives the topic and the partition of an output.
            code: librdkafka's name of the transaction's error.

        Returns:
            Whether the pass has narrowed the search, so that the next one is worth an immediate try.
        """
        reports, self._reports = self._reports, []
        self._commits = 0
        if _CLOCK in {code, *(one for _, one in reports)}:
            return False  # no record is at fault, whatever the reports name
        known = len(self._apart), len(self.rejected), set(self._suspects)
        alone, further = bisect(reports, target, self._apart)
        self._apart |= further
        for output, one in alone:
            if one in _SIZE:
                self._reject(output, TOO_LARGE)
            elif one in _INVALID:
                self._suspects[name_of(output)] = output
                self._apart.add(name_of(output))
        self._judge_suspects({_kind(output) for output, _ in reports if name_of(output) in further})
        return known != (len(self._apart), len(self.rejected), set(self._suspects))

    def committed(self, next_offsets: Mapping[Partition, int]) -> bool:
        """Forgets what the committed offsets cover.

        Returns:
            Whether the search goes on: a refused output is not covered, and may still be this worker's.
        """

        def is_open(partition: Partition, offset: int) -> bool:
            return self._commits < _COMMITS_MAX and offset >= next_offsets.get(partition, 0)

        self._commits += 1
        self._reports.clear()
        self.rejected = {place: reason for place, reason in self.rejected.items() if is_open(*place)}
        self._apart = {name for name in self._apart if is_open(*name[1:])}
        self._suspects = {name: output for name, output in self._suspects.items() if is_open(*name[1:])}
        if self._apart or self.rejected:
            return True
        self._accepted.clear()
        self._in_vain.clear()
        return False

    def _judge_suspects(self, searched: Collection[Kind]) -> None:
        for kind in {_kind(output) for output in self._suspects.values()}:
            suspects = [output for output in self._suspects.values() if _kind(output) == kind]
            if kind in self._accepted:
                for output in suspects:
                    del self._suspects[name_of(output)]
                    self._reject(output, REFUSED)
                continue
            self._in_vain[kind] += kind not in searched
            if len(suspects) >= _SUSPECTS_MAX or self._in_vain[kind] >= _PASSES_MAX:
                self.topic_fault = TopicFault(output=suspects[0], reason=REFUSED)

    def _reject(self, output: OutputRecord, reason: str) -> None:
        place = output.source.partition, output.source.offset
        if place in self.rejected and output.topic is Topic.DEAD_LETTER:  # it was as small as it can be already
            self.topic_fault = TopicFault(output=output, reason=reason)
        self.rejected[place] = reason


def name_of(output: OutputRecord) -> Name:
    """Names an output."""
    return output.topic, output.source.partition, output.source.offset


def _kind(output: OutputRecord) -> Kind:
    return output.topic, output.key is not None


def bisect(
    reports: Sequence[tuple[OutputRecord, str]], target: Target, apart: Collection[Name]
) -> tuple[list[tuple[OutputRecord, str]], set[Name]]:
    """Splits the batches that were refused.

    Args:
        reports: The outputs of refused batches, in the order in which they were sent, with the errors' names.
        target: The topic and partition that an output went to.
        apart: The outputs before which there was a flush.

    Returns:
        The outputs that were refused alone, and those before which the next pass is to flush as well.
    """
    batches: dict[tuple[str, int], list[list[tuple[OutputRecord, str]]]] = {}
    for output, code in reports:
        of_partition = batches.setdefault(target(output), [])
        if not of_partition or name_of(output) in apart:
            of_partition.append([])
        of_partition[-1].append((output, code))
    alone, further = [], set()
    for batch in (batch for of_partition in batches.values() for batch in of_partition):
        if len(batch) == 1:
            alone += batch
        else:
            further |= _boundaries(batch)
    return alone, further


def _boundaries(batch: Sequence[tuple[OutputRecord, str]]) -> set[Name]:
    """Where to split a batch: around the records that the broker named, or into pieces of equal length."""
    named = [at for at, (_, code) in enumerate(batch) if code != _UNNAMED]
    if len(named) == len(batch) or not 0 < len(named) <= _NAMED_MAX:
        return {name_of(output) for output, _ in batch[:: isqrt(len(batch))]}
    return {name_of(batch[at][0]) for start in named for at in (start, start + 1) if at < len(batch)}
