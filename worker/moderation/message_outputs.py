"""Build the outputs of one message that has no plain verdict: a verdict, and an alert if one is due. Pure."""

from collections.abc import Collection, Sequence
from typing import Literal

from schemas import verdict
from schemas.chat import ChatMessage
from schemas.labels import CATEGORY_SLUGS
from worker.moderation.alert_summaries import candidate_of, key_values
from worker.moderation.coalescing import AlertCandidate, CoalescingOptions, KeyDigest, KeyField, OpenWindows
from worker.moderation.dead_letters import DeadLetterBuilder
from worker.moderation.documents import Documents, JudgedRow
from worker.moderation.output_headers import cloud_event, output_headers, size_bytes
from worker.moderation.plain_verdicts import PLAIN_HEADERS
from worker.moderation.policies import Decision, allowed_by
from worker.moderation.shapes import Reading, ReadRecord
from worker.records import ConsumedRecord, Headers, OutputRecord, PreparedMessage, PreparedRecord, Topic
from worker.scores import DeadLetterReason


class FlaggedTexts:
    """Reads the texts of flagged messages again: few are flagged, so no text is kept until then.

    Args:
        read: Reads an input record.
    """

    def __init__(self, read: ReadRecord) -> None:
        self._read = read
        self._last: tuple[ConsumedRecord, Reading] | None = None

    def of(self, record: PreparedRecord) -> str:
        """Return the text of a message. An array is decoded once for all its elements."""
        source = record.source
        if self._last is None or self._last[0] is not source:
            self._last = source, self._read(source.value or b"", source.headers)
        found = self._last[1]
        if isinstance(found, tuple):
            found = found[record.item or 0]
        assert isinstance(found, ChatMessage), "flagged without a text"  # noqa: S101 - a bug of ours
        return found.text

    def forget(self) -> None:
        """Free the record that was read last."""
        self._last = None


class MessageOutputs:
    """Builds the outputs of one message.

    Args:
        documents: Writes the verdict and the alert, by the policy that decides.
        texts: The texts of flagged messages.
        dead_letters: Builds the dead letter of a message whose outputs are too large.
        record_bytes_max: Largest size of key, value and headers of an output together.
        header_names: Names of the input's headers to copy to verdicts and alerts.
        cloudevents: Whether verdicts and alerts carry the attributes of a CloudEvent as headers.
        truncated_alerts: Whether a message alerts when a part of its text was not scored.
        coalescing: How alerts are coalesced; None: they are not.
        key_digest: Makes the digests of the alerts' keys.
    """

    def __init__(
        self,
        *,
        documents: Documents,
        texts: FlaggedTexts,
        dead_letters: DeadLetterBuilder,
        record_bytes_max: int,
        header_names: Collection[str],
        cloudevents: bool,
        truncated_alerts: bool,
        coalescing: CoalescingOptions | None,
        key_digest: KeyDigest,
    ) -> None:
        self._documents = documents
        self._policy = documents.policy
        self._texts = texts
        self._dead_letters = dead_letters
        self._record_bytes_max = record_bytes_max
        self._header_names = header_names
        self._cloudevents = cloudevents
        self._truncated_alerts = truncated_alerts
        self._coalescing = coalescing
        self._key_digest = key_digest

    def build(
        self,
        record: PreparedRecord,
        message: PreparedMessage,
        row: JudgedRow,
        judged_at: str,
        windows: OpenWindows | None,
    ) -> list[OutputRecord]:
        """Return a verdict, and an alert if one is due; or one dead letter when one of them would be too large.

        A message is counted, or opens a window, only when its outputs are known to fit: a dead letter does neither.

        Args:
            record: The message's record.
            message: The message.
            row: Its scores and the policy's decision.
            judged_at: The time: RFC 3339, UTC, milliseconds.
            windows: The open windows of its partition; None: alerts are not coalesced.
        """
        is_unread = self._is_unread(message, row.decision)
        allowed = self.allowed(record, message, row)
        document = self._documents.verdict_on(record, message, row, judged_at, allowed=allowed)
        of_verdict = self._verdict(record, message, row, document, allowed)
        if not is_unread and (not self._alerts(row.decision) or allowed is not None):
            return self._if_they_fit(record, [of_verdict])
        alert = self._documents.alert_on(record, document, row)
        if windows is not None and self._coalescing is not None:
            return self._coalesced(record, of_verdict, alert, windows, self._coalescing)
        return self._if_they_fit(record, [of_verdict, self._alert(record, alert)])

    def allowed(self, record: PreparedRecord, message: PreparedMessage, row: JudgedRow) -> str | None:
        """Return the name of the entry of allowed texts that withholds a message's alert, if one does.

        Args:
            record: The message's record.
            message: The message.
            row: Its scores and the policy's decision.
        """
        decision = row.decision
        if not decision.resolution.allow or not self._alerts(decision) or self._is_unread(message, decision):
            return None
        return allowed_by(self._policy, decision, row.scores, self._texts.of(record))

    def _coalesced(
        self,
        record: PreparedRecord,
        of_verdict: OutputRecord,
        alert: verdict.Alert,
        windows: OpenWindows,
        coalescing: CoalescingOptions,
    ) -> list[OutputRecord]:
        """Count a message that should alert in the window of its key, or open this window with its alert."""
        candidate = self._candidate(record, alert, coalescing.by)
        if candidate is not None and self._fit([of_verdict]) and windows.count(candidate):
            return [of_verdict]
        outputs = [of_verdict, self._alert(record, alert)]
        if candidate is not None and self._fit(outputs):
            windows.open(candidate, coalescing.window_s)
        return self._if_they_fit(record, outputs)

    def _alerts(self, decision: Decision) -> bool:
        """Return whether a message raises an alert, unless its text is an allowed one."""
        return decision.level >= self._policy.alert_level and decision.resolution.exempt is None

    def _is_unread(self, message: PreparedMessage, decision: Decision) -> bool:
        """Return whether a message alerts because a part of its text was not scored, whatever the text is."""
        return self._truncated_alerts and message.truncated and decision.resolution.exempt is None

    def _is_harmless(self, record: PreparedRecord, message: PreparedMessage, decision: Decision) -> bool:
        """Return whether an entry of allowed texts covers all that the policy and its candidates flag.

        Only metrics of candidates ask for it.
        """
        allow = decision.resolution.allow
        if not (allow and decision.candidates) or self._is_unread(message, decision):
            return False
        flagged = {*decision.categories, *(slug for one in decision.candidates for slug in one.newly_flagged)}
        if not flagged:
            return False  # all agree that nothing is flagged, so nobody has to read the text again
        numbers = [CATEGORY_SLUGS.index(slug) for slug in flagged]
        text = self._texts.of(record)
        return any(text in entry.texts and entry.categories[numbers].all() for entry in allow)

    def _verdict(
        self,
        record: PreparedRecord,
        message: PreparedMessage,
        row: JudgedRow,
        document: verdict.Verdict,
        allowed: str | None,
    ) -> OutputRecord:
        headers = self._headers(record, "verdict", document["verdict_id"] or "", document["judged_at"])
        return OutputRecord(
            topic=Topic.VERDICT,
            source=record.source,
            key=record.source.key,
            value=verdict.encode(document),
            headers=headers,
            metric_values=message.ignored,
            item=record.item,
            labels=row.decision.labels(allowed, is_harmless=self._is_harmless(record, message, row.decision)),
        )

    def _alert(self, record: PreparedRecord, alert: verdict.Alert) -> OutputRecord:
        """Return an alert, with the text if it is wanted and fits.

        A text that does not fit is left out, so that nobody evades the alert with a long text.
        """
        headers = self._headers(record, "alert", alert["alert_id"], alert["judged_at"])
        value = verdict.encode(alert)
        if self._policy.alert_text != "none":
            with_text = verdict.encode({**alert, "text": self._texts.of(record)})
            if size_bytes(record.source.key, with_text, headers) <= self._record_bytes_max:
                value = with_text
        return OutputRecord(
            topic=Topic.ALERT,
            source=record.source,
            key=record.source.key,
            value=value,
            headers=headers,
            metric_values=[category["category"] for category in alert["categories"]],
            item=record.item,
        )

    def _headers(
        self, record: PreparedRecord, kind: Literal["verdict", "alert"], id_: str, judged_at: str
    ) -> Headers:
        given = record.source.headers
        headers = output_headers(given, self._header_names) if given else PLAIN_HEADERS
        return [*headers, *cloud_event(record, kind, id_, judged_at)] if self._cloudevents else headers

    def _candidate(
        self, record: PreparedRecord, alert: verdict.Alert, by: Sequence[KeyField]
    ) -> AlertCandidate | None:
        """Return what a window needs to know about a message; None if the message has no key.

        An alert without a category, on a text that was not scored as a whole, has no key.
        """
        if not alert["categories"]:
            return None
        text = self._texts.of(record) if "text" in by else ""
        key = self._key_digest.digest(key_values(by, alert, text))
        return None if key is None else candidate_of(record, alert, key)

    def _fit(self, outputs: Sequence[OutputRecord]) -> bool:
        return _largest_bytes(outputs) <= self._record_bytes_max

    def _if_they_fit(self, record: PreparedRecord, outputs: list[OutputRecord]) -> list[OutputRecord]:
        """Return the outputs, or one dead letter when one of them is too large."""
        if self._fit(outputs):
            return outputs
        sentence = f"An output would have {_largest_bytes(outputs)} bytes; the limit is {self._record_bytes_max}."
        failure = DeadLetterReason(reason="output_too_large", message=sentence)
        return [self._dead_letters.build(record.source, failure, record.item)]


def _largest_bytes(outputs: Sequence[OutputRecord]) -> int:
    return max(size_bytes(output.key, output.value, output.headers) for output in outputs)
