"""Build the output records of scored records: a verdict, an alert when it is flagged, or a dead letter. Pure.

What holds for every list that ``OutputBuilder.build`` returns:

1. Each scored record has exactly one verdict or one dead letter. A tombstone and a skipped record have neither.
2. An alert follows each flagged verdict that a policy file does not keep from alerting, unless the message is
   counted in a window (``coalescing.py``). A dead letter is never counted.
3. The outputs have the order of the scored records.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import orjson
from msgspec.structs import replace

from schemas import verdict
from schemas.labels import CATEGORY_SLUGS
from worker.moderation.alert_summaries import SummaryParts, last_counted, summary
from worker.moderation.alert_windows import AlertWindow
from worker.moderation.coalesced_alerts import CommittedStates, TransactionWindows
from worker.moderation.coalescing import CoalescingOptions, KeyDigest
from worker.moderation.dead_letters import DeadLetterBuilder
from worker.moderation.documents import Documents, JudgedRow
from worker.moderation.message_outputs import FlaggedTexts, MessageOutputs
from worker.moderation.output_headers import cloud_event
from worker.moderation.plain_verdicts import PLAIN_HEADERS, PlainVerdicts
from worker.moderation.policies import Policy, Resolution, decide_each, resolve_all
from worker.moderation.shapes import ReadRecord
from worker.records import (
    Judged,
    MessagePosition,
    OutputRecord,
    Partition,
    PreparedMessage,
    PreparedRecord,
    ScoredRecord,
    Skipped,
    Topic,
)
from worker.scores import DeadLetterReason

_NONE_REJECTED: Mapping[MessagePosition, str] = MappingProxyType({})
LETTERS_WITH_VALUE_MAX = 10
"""Dead letters of one array's elements that have the record's value. Further ones have none: a megabyte of 10,000
broken elements would become 10 GB."""
TOGETHER = 1024
"""Records that are resolved and written together. Each is looked at several times, and so many stay in a cache of
the CPU. The 6,000 of a large transaction do not."""


class OutputBuilder:
    """Builds the outputs of scored records.

    Args:
        model: The model, as verdicts name it.
        policy: The policy. All outputs of one call of ``build`` have the same policy.
        read: Reads an input record. A flagged message is decoded again for its text, because few are flagged.
        record_bytes_max: Largest size of key, value and headers of an output together.
        worker_version: Version of this worker, for the dead letters.
        header_names: Names of the input's headers to copy to verdicts and alerts.
        cloudevents: Whether verdicts and alerts carry the attributes of a CloudEvent as headers.
        key_digest: Makes the digests of the alerts' keys.
        truncated_alerts: Whether a message alerts when a part of its text was not scored.
    """

    def __init__(
        self,
        *,
        model: verdict.ModelJson,
        policy: Policy,
        read: ReadRecord,
        record_bytes_max: int,
        worker_version: str,
        header_names: Collection[str] = (),
        cloudevents: bool = False,
        key_digest: KeyDigest | None = None,
        truncated_alerts: bool = False,
    ) -> None:
        self._texts = FlaggedTexts(read)
        self._key_digest = key_digest or KeyDigest(b"")
        self._record_bytes_max = record_bytes_max
        self._dead_letters = DeadLetterBuilder(record_bytes_max=record_bytes_max, worker_version=worker_version)
        self._header_names = frozenset(header_names)
        self._cloudevents = cloudevents
        self._truncated_alerts = truncated_alerts
        self._model = model
        self._take(policy)

    def use(self, policy: Policy) -> None:
        """Decide by this policy from the next call on."""
        if policy is not self._policy:
            self._take(policy)

    def _take(self, policy: Policy) -> None:
        self._policy = policy
        self._documents = Documents(self._model, policy, truncated_alerts=self._truncated_alerts)
        rule = policy.coalesce
        self._coalescing = CoalescingOptions(by=tuple(rule.by), window_s=rule.window_s) if rule else None
        self._plain = PlainVerdicts(
            policy=policy,
            model=self._documents.model_id,
            record_bytes_max=self._record_bytes_max,
            example=self._example,
            truncated_alerts=self._truncated_alerts,
        )
        self._messages = MessageOutputs(
            documents=self._documents,
            texts=self._texts,
            dead_letters=self._dead_letters,
            record_bytes_max=self._record_bytes_max,
            header_names=self._header_names,
            cloudevents=self._cloudevents,
            truncated_alerts=self._truncated_alerts,
            coalescing=self._coalescing,
            key_digest=self._key_digest,
        )

    def judge(
        self,
        results: Sequence[ScoredRecord],
        *,
        judged_at: str,
        rejected: Mapping[MessagePosition, str],
        committed: CommittedStates,
    ) -> Judged:
        """Return what a transaction publishes: the outputs, the summaries of ended windows, and the new states.

        Args:
            results: As for ``build``.
            judged_at: As for ``build``.
            rejected: As for ``build``.
            committed: The committed states of the partitions, with the open windows.
        """
        if self._coalescing is None and not committed.states:
            return Judged(outputs=self.build(results, judged_at=judged_at, rejected=rejected))
        windows = TransactionWindows(results, committed, self._policy.levels)
        outputs = self.build(results, judged_at=judged_at, rejected=rejected, windows=windows)
        states = windows.finish()
        outputs += self.summaries(windows.ended(), judged_at=judged_at)
        return Judged(
            outputs=outputs, states=states, counted=windows.counted, keys_without_room=windows.keys_without_room
        )

    def summaries(self, ended: Iterable[tuple[Partition, AlertWindow]], *, judged_at: str) -> list[OutputRecord]:
        """Return an alert for each window that has ended.

        Its key is the id of the alert that opened the window: the state does not hold the key of the input.
        """
        policy = orjson.Fragment(self._policy.base.document_json)
        parts = SummaryParts(model=self._documents.model_json, policy=policy, judged_at=judged_at)
        outputs = []
        for partition, window in ended:
            assert window.counted is not None, "a summary of nothing"  # noqa: S101 - a bug of ours
            record = last_counted(partition, window.counted)
            alert = summary(record, window, window.counted, parts)
            event = cloud_event(record, "alert", alert["alert_id"], judged_at) if self._cloudevents else ()
            outputs.append(
                OutputRecord(
                    topic=Topic.ALERT,
                    source=record.source,
                    key=window.alert_id.encode(),
                    value=verdict.encode(alert),
                    headers=[*PLAIN_HEADERS, *event],
                    item=record.item,
                )
            )
        return outputs

    def build(
        self,
        results: Sequence[ScoredRecord],
        *,
        judged_at: str,
        rejected: Mapping[MessagePosition, str] = _NONE_REJECTED,
        windows: TransactionWindows | None = None,
    ) -> list[OutputRecord]:
        """Return the outputs of scored records.

        Args:
            results: Scored records, each partition's in the order in which it was read.
            judged_at: The time: RFC 3339, UTC, milliseconds.
            rejected: Messages whose outputs a broker rejects: position to the reason of the dead letter.
            windows: The open windows; None: every message that should alert alerts.
        """
        are_plain = not rejected and not self._cloudevents
        resolutions: list[Resolution] = []
        plain: list[OutputRecord | None] = []
        for at in range(0, len(results), TOGETHER):
            some = results[at : at + TOGETHER]
            found = resolve_all(self._policy, some)
            resolutions += found
            plain += self._plain.build(some, found, judged_at) if are_plain else [None] * len(some)
        not_plain = [index for index, output in enumerate(plain) if output is None]
        if not not_plain:
            return [output for output in plain if output is not None]
        rows = self._rows([results[index] for index in not_plain], [resolutions[index] for index in not_plain])
        outputs: list[OutputRecord] = []
        letters: Counter[int] = Counter()  # of arrays
        for index, plain_verdict in enumerate(plain):
            if plain_verdict is not None:
                outputs.append(plain_verdict)
                continue
            result, row = next(rows)
            record, outcome = result.record, _outcome(result)
            source = record.source
            if outcome is None or isinstance(outcome, Skipped):
                continue
            if rejected and (reason := rejected.get((source.partition, source.offset, record.item))):
                own = outcome if isinstance(outcome, DeadLetterReason) else None
                outputs.append(self._dead_letters.of_rejected(source, own, reason, record.item))
            elif isinstance(outcome, DeadLetterReason):
                letters[id(source)] += record.item is not None
                with_value = letters[id(source)] <= LETTERS_WITH_VALUE_MAX
                outputs.append(self._dead_letters.build(source, outcome, record.item, with_value=with_value))
            else:
                of_partition = None if windows is None else windows.at(index)
                outputs += self._messages.build(record, outcome, row, judged_at, of_partition)
        self._texts.forget()
        return outputs

    def json_lines(self, results: Sequence[ScoredRecord], *, judged_at: str) -> list[bytes]:
        """Return a line of JSON for each result: a verdict that names no source, an error, or why it is skipped."""
        lines = [
            self._json_line(result.record, outcome, row, judged_at)
            for result, row in self._rows(results, resolve_all(self._policy, results))
            if (outcome := _outcome(result)) is not None
        ]
        self._texts.forget()
        return lines

    def _json_line(
        self,
        record: PreparedRecord,
        outcome: PreparedMessage | DeadLetterReason | Skipped,
        row: JudgedRow,
        judged_at: str,
    ) -> bytes:
        match outcome:
            case DeadLetterReason():
                return verdict.encode({"error": {"reason": outcome.reason, "message": outcome.message}})
            case Skipped():
                return verdict.encode({"skipped": {"reason": outcome.reason}})
            case _:
                allowed = self._messages.allowed(record, outcome, row)
                return verdict.encode(self._documents.verdict_on(None, outcome, row, judged_at, allowed=allowed))

    def _example(self, result: ScoredRecord, judged_at: str) -> verdict.Verdict:
        """Return the verdict on a record, without its optional fields."""
        [(_, row)] = self._rows([replace(result, evidence=None)], resolve_all(self._policy, [result]))
        message = _outcome(result)
        assert isinstance(message, PreparedMessage), "an example of a verdict"  # noqa: S101 - a bug of ours
        document = self._documents.verdict_on(result.record, replace(message, context=None), row, judged_at)
        document.pop("exempt", None)  # the template is for the other messages of the partition too
        return document

    def _rows(
        self, results: Sequence[ScoredRecord], resolutions: Sequence[Resolution]
    ) -> Iterator[tuple[ScoredRecord, JudgedRow]]:
        """Return each result with its row. A result without scores has a row of 0.0, the scores of a blank text."""
        matrix = np.zeros((len(results), len(CATEGORY_SLUGS)), np.float32)
        for index, result in enumerate(results):
            if isinstance(result.scores, np.ndarray):
                matrix[index] = result.scores
        decisions = decide_each(self._policy, matrix, resolutions)
        columns = (matrix, verdict.encode_scores(matrix), decisions, [result.evidence for result in results])
        return zip(results, map(JudgedRow, *columns), strict=True)


def _outcome(result: ScoredRecord) -> PreparedMessage | DeadLetterReason | Skipped | None:
    """Return the message to judge, the reason of a dead letter or of skipping, or None for a tombstone."""
    if isinstance(result.scores, DeadLetterReason):
        return result.scores
    content = result.record.content
    # The verdict of a blank text has scores of 0.0. A text that the scorer left out must not pass with these
    # scores.
    if isinstance(content, PreparedMessage):
        assert not content.token_count or result.scores is not None, "unscored"  # noqa: S101 - a bug of ours
    return content
