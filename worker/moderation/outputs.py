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
from schemas.chat import ChatMessage
from schemas.labels import CATEGORY_SLUGS
from worker.moderation.alert_summaries import SummaryParts, candidate_of, key_values, last_counted, summary
from worker.moderation.alert_windows import AlertWindow
from worker.moderation.coalesced_alerts import CommittedStates, TransactionWindows
from worker.moderation.coalescing import AlertCandidate, CoalescingOptions, KeyDigest, OpenWindows
from worker.moderation.dead_letters import DeadLetterBuilder
from worker.moderation.documents import Documents, JudgedRow
from worker.moderation.output_headers import cloud_event, output_headers, size_bytes
from worker.moderation.plain_verdicts import PLAIN_HEADERS, PLAIN_HEADERS_BYTES, PlainVerdicts
from worker.moderation.policies import Decision, Policy, Resolution, allowed_by, decide_each, resolve_all
from worker.moderation.shapes import Reading, ReadRecord
from worker.records import (
    ConsumedRecord,
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
        self._read = read
        self._key_digest = key_digest or KeyDigest(b"")
        self._last_read: tuple[ConsumedRecord, Reading] | None = None
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
                outputs += self._verdict_and_alert(record, outcome, row, judged_at, of_partition)
        self._last_read = None
        return outputs

    def json_lines(self, results: Sequence[ScoredRecord], *, judged_at: str) -> list[bytes]:
        """Return a line of JSON for each result: a verdict that names no source, an error, or why it is skipped."""
        return [
            self._json_line(outcome, row, judged_at)
            for result, row in self._rows(results, resolve_all(self._policy, results))
            if (outcome := _outcome(result)) is not None
        ]

    def _json_line(
        self, outcome: PreparedMessage | DeadLetterReason | Skipped, row: JudgedRow, judged_at: str
    ) -> bytes:
        match outcome:
            case DeadLetterReason():
                return verdict.encode({"error": {"reason": outcome.reason, "message": outcome.message}})
            case Skipped():
                return verdict.encode({"skipped": {"reason": outcome.reason}})
            case _:
                return verdict.encode(self._documents.verdict_on(None, outcome, row, judged_at))

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

    def _verdict_and_alert(
        self,
        record: PreparedRecord,
        message: PreparedMessage,
        row: JudgedRow,
        judged_at: str,
        windows: OpenWindows | None,
    ) -> list[OutputRecord]:
        """Return a verdict, and an alert if one is due; or one dead letter when one of them would be too large.

        A message is counted, or opens a window, only when its outputs are known to fit: a dead letter does neither.
        """
        source = record.source
        headers = PLAIN_HEADERS
        overhead_bytes = PLAIN_HEADERS_BYTES + len(source.key or b"")
        if source.headers:
            headers = output_headers(source.headers, self._header_names)
            overhead_bytes = size_bytes(source.key, None, headers)
        allowed, alerts = None, self._may_alert(row.decision)
        is_unread = self._truncated_alerts and message.truncated and row.decision.resolution.exempt is None
        if alerts and row.decision.resolution.allow and not is_unread:
            allowed = allowed_by(self._policy, row.decision, row.scores, self._text_of(record))
        document = self._documents.verdict_on(record, message, row, judged_at, allowed=allowed)
        value = verdict.encode(document)
        verdict_headers = headers
        if self._cloudevents:
            event = cloud_event(record, "verdict", document["verdict_id"] or "", judged_at)
            overhead_bytes += size_bytes(None, None, event)  # the event of an alert is not larger
            verdict_headers = [*headers, *event]
        largest_bytes = overhead_bytes + len(value)
        outputs = [
            OutputRecord(
                topic=Topic.VERDICT,
                source=source,
                key=source.key,
                value=value,
                headers=verdict_headers,
                metric_values=message.ignored,
                item=record.item,
                labels=row.decision.labels(allowed),
            )
        ]
        may_alert = (alerts and allowed is None) or is_unread
        alert = self._documents.alert_on(record, document, row) if may_alert else None
        candidate = None if windows is None or alert is None else self._candidate(record, alert)
        if windows is not None and candidate is not None and largest_bytes <= self._record_bytes_max:
            alert = None if windows.count(candidate) else alert
        if alert is not None:
            value = self._alert_value(alert, record, self._record_bytes_max - overhead_bytes)
            largest_bytes = max(largest_bytes, overhead_bytes + len(value))
            if self._cloudevents:
                headers = [*headers, *cloud_event(record, "alert", alert["alert_id"], judged_at)]
            outputs.append(
                OutputRecord(
                    topic=Topic.ALERT,
                    source=source,
                    key=source.key,
                    value=value,
                    headers=headers,
                    metric_values=[category["category"] for category in alert["categories"]],
                    item=record.item,
                )
            )
        if largest_bytes > self._record_bytes_max:
            sentence = f"An output would have {largest_bytes} bytes; the limit is {self._record_bytes_max}."
            failure = DeadLetterReason(reason="output_too_large", message=sentence)
            return [self._dead_letters.build(source, failure, record.item)]
        if windows is not None and candidate is not None and alert is not None and self._coalescing is not None:
            windows.open(candidate, self._coalescing.window_s)
        return outputs

    def _candidate(self, record: PreparedRecord, alert: verdict.Alert) -> AlertCandidate | None:
        """Return what a window needs to know about a message; None if the message has no key.

        An alert without a category, on a text that was not scored as a whole, has no key.
        """
        if self._coalescing is None or not alert["categories"]:
            return None
        by = self._coalescing.by
        text = self._text_of(record) if "text" in by else ""
        key = self._key_digest.digest(key_values(by, alert, text))
        return None if key is None else candidate_of(record, alert, key)

    def _may_alert(self, decision: Decision) -> bool:
        """Return whether a message raises an alert, unless its text is an allowed one."""
        return decision.level >= self._policy.alert_level and decision.resolution.exempt is None

    def _alert_value(self, alert: verdict.Alert, record: PreparedRecord, bytes_max: int) -> bytes:
        """Return the alert's bytes, with the text if it is wanted and fits.

        A text that does not fit is left out, so that nobody evades the alert with a long text.
        """
        without_text = verdict.encode(alert)
        if self._policy.alert_text == "none":
            return without_text
        with_text = verdict.encode({**alert, "text": self._text_of(record)})
        return with_text if len(with_text) <= bytes_max else without_text

    def _text_of(self, record: PreparedRecord) -> str:
        """Return the text of a flagged message. An array is decoded once for all its elements."""
        source = record.source
        if self._last_read is None or self._last_read[0] is not source:
            self._last_read = source, self._read(source.value or b"", source.headers)
        found = self._last_read[1]
        if isinstance(found, tuple):
            found = found[record.item or 0]
        assert isinstance(found, ChatMessage), "flagged without a text"  # noqa: S101 - a bug of ours
        return found.text


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
