"""Which output a broker refuses, and whether the record or the topic is at fault. Pure.

The answers of the brokers [Kafka 4.3, librdkafka 2.16]:

- MSG_SIZE_TOO_LARGE: every output of the batch gets this error, also the small ones.
- INVALID_RECORD: the broker names the faulty records of the batch. librdkafka reports INVALID_RECORD for these and
  ``_INVALID_DIFFERENT_RECORD`` for the others.
- INVALID_TIMESTAMP: if the batch holds several records, librdkafka reports INVALID_RECORD for the faulty ones too.
  Only a batch of one record gets the true error. So no record is blamed before it was refused alone.

The search: the outputs that were sent to a partition between two flushes are a batch. After a refusal the next
pass flushes more often, until the faulty output is alone. 1,000 outputs become 33 batches, then 7, then 3, then
one output. Where the broker names the faulty output, one pass is enough.

The decision about an output that was refused alone:

1. An output that is too large is rejected: its message becomes a dead letter.
2. An output with INVALID_RECORD is rejected if the broker has accepted another output of the same kind (same topic,
   and both with a key or both without). So the topic works, and the record is at fault.
3. Otherwise the output is a suspect. The next pass is a trial: it sends all other outputs before the suspect, and
   is aborted at its end, since the outputs are out of order. If others are accepted, rule 2 holds.
4. If none is accepted, the topic is at fault, and no message may become a dead letter because of it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

from worker.records import MessagePosition, OutputRecord, Partition, Topic

OutputId = tuple[Topic, Partition, int, int | None]
"""The topic of an output, and the position of its input message."""
OutputKind = tuple[Topic, bool]
"""The topic of an output, and whether the output has a key. A compacted topic refuses outputs without a key."""
Destination = Callable[[OutputRecord], tuple[str, int]]
"""Returns the name and the partition of the topic that an output goes to."""

TOO_LARGE, REFUSED = "output_too_large", "output_refused"

# Source: the errors that https://kafka.apache.org/protocol lists for Produce and that concern single records.
_SIZE = frozenset({"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"})
_INVALID = frozenset({"INVALID_RECORD"})
_UNNAMED = "_INVALID_DIFFERENT_RECORD"
_RECORD_ERRORS = _SIZE | _INVALID | {_UNNAMED}
_CLOCK = "INVALID_TIMESTAMP"
_NAMED_MAX = 16  # with more faulty records in a batch, a flush for each would cost more than the search
# One refused record may be an accident. Three records, or one record three times without another one, are the
# topic.
_SUSPECTS_MAX = 3
_PASSES_MAX = 3
_COMMITS_MAX = 100  # after 100 commits without a refusal, another worker has the refused record


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFault:
    """A topic that refuses all outputs of a kind.

    Attributes:
        output: An output that the topic refused.
        reason: The dead-letter reason that the message of the output would have had.
    """

    output: OutputRecord
    reason: str


class RejectedBatches:
    """The outputs that the brokers have accepted and refused during a search.

    Attributes:
        rejected: The input messages whose outputs a broker refuses, each with its dead-letter reason.
        topic_fault: The topic that is at fault; None while there is no such topic.
    """

    def __init__(self) -> None:
        self.rejected: dict[MessagePosition, str] = {}
        self.topic_fault: TopicFault | None = None
        self._flush_before: set[OutputId] = set()
        self._suspects: dict[OutputId, OutputRecord] = {}
        self._accepted: set[OutputKind] = set()
        self._passes_without_success: Counter[OutputKind] = Counter()
        self._reports: list[tuple[OutputRecord, str]] = []
        self._commits: int | None = None  # since the last failed transaction; None: there is no search

    @property
    def is_searching(self) -> bool:
        """Whether the next pass needs delivery reports."""
        return self._commits is not None

    @property
    def has_reports(self) -> bool:
        """Whether the broker refused a batch in this pass."""
        return bool(self._reports)

    def holds_suspect(self, outputs: Sequence[OutputRecord]) -> bool:
        """Return whether there is a suspect among the outputs."""
        return bool(self._suspects) and any(output_id(output) in self._suspects for output in outputs)

    def suspects_last(self, outputs: Sequence[OutputRecord]) -> Sequence[OutputRecord]:
        """Return the outputs in the order of a trial, which must not be committed."""
        return sorted(outputs, key=lambda output: output_id(output) in self._suspects)

    def flush_before(self, output: OutputRecord) -> bool:
        """Return whether all earlier outputs must be flushed before this one."""
        return bool(self._flush_before) and output_id(output) in self._flush_before

    def report(self, output: OutputRecord, code: str | None) -> None:
        """Record a delivery report; ``code`` is librdkafka's name of the error, None for an accepted output."""
        if code is None:
            self._accepted.add(_kind(output))
            self._suspects.pop(output_id(output), None)
        elif code in _RECORD_ERRORS or code == _CLOCK:
            self._reports.append((output, code))

    def reject_too_large(self, output: OutputRecord) -> None:
        """Reject an output that is too large for the client."""
        self._reject(output, TOO_LARGE)

    def settle(self, destination: Destination, code: str) -> bool:
        """Draw the conclusions from the reports of a pass that was not committed.

        Args:
            destination: Returns the topic and the partition of an output.
            code: librdkafka's name of the transaction's error.

        Returns:
            Whether the pass has narrowed the search. If so, the next pass need not wait.
        """
        reports, self._reports = self._reports, []
        self._commits = 0
        if _CLOCK in {code, *(one for _, one in reports)}:
            return False  # no record is at fault, even if the reports name some
        before = len(self._flush_before), len(self.rejected), set(self._suspects)
        alone, further = bisect(reports, destination, self._flush_before)
        self._flush_before |= further
        for output, one in alone:
            if one in _SIZE:
                self._reject(output, TOO_LARGE)
            elif one in _INVALID:
                self._suspects[output_id(output)] = output
                self._flush_before.add(output_id(output))
        self._judge_suspects({_kind(output) for output, _ in reports if output_id(output) in further})
        return before != (len(self._flush_before), len(self.rejected), set(self._suspects))

    def committed(self, next_offsets: Mapping[Partition, int]) -> None:
        """Forget the outputs of records that the committed offsets cover.

        The search ends if no refused output is left. A refused output that is not covered may still belong to this
        worker.
        """
        commits = self._commits = (self._commits or 0) + 1

        def is_open(partition: Partition, offset: int, _item: int | None) -> bool:
            return commits < _COMMITS_MAX and offset >= next_offsets.get(partition, 0)

        self._reports.clear()
        self.rejected = {record: reason for record, reason in self.rejected.items() if is_open(*record)}
        self._flush_before = {one for one in self._flush_before if is_open(*one[1:])}
        self._suspects = {one: output for one, output in self._suspects.items() if is_open(*one[1:])}
        if not self._flush_before and not self.rejected:
            self._accepted.clear()
            self._passes_without_success.clear()
            self._commits = None

    def _judge_suspects(self, searched: Collection[OutputKind]) -> None:
        """Decide about the suspects; ``searched`` are the kinds whose batches the next pass splits further."""
        for kind in {_kind(output) for output in self._suspects.values()}:
            suspects = [output for output in self._suspects.values() if _kind(output) == kind]
            if kind in self._accepted:
                for output in suspects:
                    del self._suspects[output_id(output)]
                    self._reject(output, REFUSED)
                continue
            self._passes_without_success[kind] += kind not in searched
            if len(suspects) >= _SUSPECTS_MAX or self._passes_without_success[kind] >= _PASSES_MAX:
                self.topic_fault = TopicFault(output=suspects[0], reason=REFUSED)

    def _reject(self, output: OutputRecord, reason: str) -> None:
        record = output.source.partition, output.source.offset, output.item
        # A smaller dead letter is not possible. A summary cannot become a dead letter: its messages have verdicts
        # already. It cannot be left out either: then its messages would be in no alert and in no count.
        if output.is_summary or (record in self.rejected and output.topic is Topic.DEAD_LETTER):
            self.topic_fault = TopicFault(output=output, reason=reason)
        self.rejected[record] = reason


def output_id(output: OutputRecord) -> OutputId:
    """Return what identifies an output in all passes."""
    return output.topic, output.source.partition, output.source.offset, output.item


def _kind(output: OutputRecord) -> OutputKind:
    return output.topic, output.key is not None


def bisect(
    reports: Sequence[tuple[OutputRecord, str]], destination: Destination, flush_before: Collection[OutputId]
) -> tuple[list[tuple[OutputRecord, str]], set[OutputId]]:
    """Split the batches that were refused.

    Args:
        reports: The outputs of refused batches in the order of sending, each with the name of its error.
        destination: Returns the topic and the partition of an output.
        flush_before: The outputs before which this pass has flushed.

    Returns:
        The outputs that were refused alone, and further outputs before which the next pass must flush.
    """
    batches: dict[tuple[str, int], list[list[tuple[OutputRecord, str]]]] = {}
    for output, code in reports:
        of_partition = batches.setdefault(destination(output), [])
        if not of_partition or output_id(output) in flush_before:
            of_partition.append([])
        of_partition[-1].append((output, code))
    alone, further = [], set()
    for batch in (batch for of_partition in batches.values() for batch in of_partition):
        if len(batch) == 1:
            alone += batch
        else:
            further |= _boundaries(batch)
    return alone, further


def _boundaries(batch: Sequence[tuple[OutputRecord, str]]) -> set[OutputId]:
    """Return where to split a batch: around the records that the broker named, or into pieces of equal length."""
    named = [at for at, (_, code) in enumerate(batch) if code != _UNNAMED]
    if len(named) == len(batch) or not 0 < len(named) <= _NAMED_MAX:
        return {output_id(output) for output, _ in batch[:: isqrt(len(batch))]}
    return {output_id(batch[at][0]) for start in named for at in (start, start + 1) if at < len(batch)}
