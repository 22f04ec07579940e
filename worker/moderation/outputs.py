"""Results become the records they owe: a verdict, an alert when it is flagged, or a dead letter. Pure.

What holds of every list that ``build`` returns: each result has exactly one verdict or one dead letter (a
tombstone: neither), an alert follows each flagged verdict, and the order is that of the results.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import orjson

from schemas import chat, dead_letter, verdict
from schemas.labels import CATEGORY_SLUGS
from worker.moderation.output_headers import OURS, cloud_event, passed_on
from worker.moderation.policy import Judgement, Policy
from worker.records import (
    ConsumedRecord,
    DeadLetterReason,
    Headers,
    OutputRecord,
    Partition,
    PreparedMessage,
    ScoredRecord,
    Scores,
    Topic,
)

STUB_KEY_BYTES_MAX = 1024
"""The longest key that a stub keeps: the limit of the broker that refused the record is not known to us."""

_CALM = orjson.Fragment(verdict.encode(dict.fromkeys(CATEGORY_SLUGS, False)))
_NONE_REJECTED: Mapping[tuple[Partition, int], str] = MappingProxyType({})


class _Row(NamedTuple):
    """One result's part of the batch.

    Attributes:
        scores: ``[L]``.
        scores_json: The same, encoded.
        judgement: What follows from them.
    """

    scores: Scores
    scores_json: orjson.Fragment
    judgement: Judgement


class OutputBuilder:
    """Writes what results owe. It holds nothing but what it was given.

    Args:
        model: Who judges.
        policy: By which thresholds.
        shape: How inputs are read: the alerts' text is read again, flagged messages being few.
        alert_text: Whether alerts carry the text.
        record_bytes_max: Bound of key, value and headers together of any output.
        worker_version: For the dead letters.
        header_names: The input's headers to copy to verdicts and alerts.
        cloudevents: Whether verdicts and alerts carry the attributes of a CloudEvent as headers.
    """

    def __init__(
        self,
        *,
        model: verdict.ModelJson,
        policy: Policy,
        shape: chat.InputShape,
        alert_text: Literal["none", "full"],
        record_bytes_max: int,
        worker_version: str,
        header_names: Collection[str] = (),
        cloudevents: bool = False,
    ) -> None:
        self._policy = policy
        self._shape = shape
        self._alert_text = alert_text
        self._record_bytes_max = record_bytes_max
        self._worker_version = worker_version
        self._header_names = frozenset(header_names)
        self._cloudevents = cloudevents
        self._judge_name = (model["revision"], model["dtype"], policy.fingerprint)
        # What all documents share is encoded once.
        self._model_json = orjson.Fragment(verdict.encode(model))
        self._policy_json = orjson.Fragment(verdict.encode(policy.document))

    def build(
        self,
        results: Sequence[ScoredRecord],
        *,
        judged_at: str,
        rejected: Mapping[tuple[Partition, int], str] = _NONE_REJECTED,
    ) -> list[OutputRecord]:
        """The outputs that the results owe.

        Args:
            results: In the order in which each partition was read.
            judged_at: RFC 3339, UTC, milliseconds.
            rejected: Partition and offset of the messages whose outputs a broker refuses, with the reason.
        """
        outputs: list[OutputRecord] = []
        for result, row in self._rows(results):
            source, owed = result.record.source, _owed(result)
            if owed is None:
                continue
            if rejected and (reason := rejected.get((source.partition, source.offset))):
                outputs.append(self._of_rejected(source, owed, reason))
            elif isinstance(owed, DeadLetterReason):
                outputs.append(self._dead_letter(source, owed))
            else:
                outputs += self._verdict_and_alert(source, owed, row, judged_at)
        return outputs

    def json_lines(self, results: Sequence[ScoredRecord], *, judged_at: str) -> list[bytes]:
        """A line of JSON for each result: a verdict that names no source, or an error."""
        return [
            verdict.encode({"error": {"reason": owed.reason, "message": owed.message}})
            if isinstance(owed, DeadLetterReason)
            else verdict.encode(self._verdict(None, owed, row, judged_at))
            for result, row in self._rows(results)
            if (owed := _owed(result)) is not None
        ]

    def _rows(self, results: Sequence[ScoredRecord]) -> Iterator[tuple[ScoredRecord, _Row]]:
        """Each result beside its row; one without scores is all 0.0: what blank texts get."""
        matrix = np.zeros((len(results), len(CATEGORY_SLUGS)), np.float32)
        for index, result in enumerate(results):
            if isinstance(result.scores, np.ndarray):
                matrix[index] = result.scores
        columns = (matrix, verdict.encode_scores(matrix), self._policy.judge(matrix))
        return zip(results, map(_Row, *columns), strict=True)

    def _verdict_and_alert(
        self, source: ConsumedRecord, message: PreparedMessage, row: _Row, judged_at: str
    ) -> list[OutputRecord]:
        """Both, or one dead letter when either would be too large."""
        headers = OURS
        beside_bytes = _OURS_BYTES + len(source.key or b"")
        if source.headers:
            headers = passed_on(source.headers, self._header_names)
            beside_bytes = _size_bytes(source.key, None, headers)
        document = self._verdict(source, message, row, judged_at)
        value = verdict.encode(document)
        of_verdict = headers
        if self._cloudevents:
            event = cloud_event(source, "verdict", document["verdict_id"] or "", judged_at)
            beside_bytes += _size_bytes(None, None, event)  # an alert's event is not larger
            of_verdict = [*headers, *event]
        size_bytes = beside_bytes + len(value)
        metric_values: Sequence[str] = message.ignored
        outputs = [
            OutputRecord(
                topic=Topic.VERDICT,
                source=source,
                key=source.key,
                value=value,
                headers=of_verdict,
                metric_values=metric_values,
            )
        ]
        if row.judgement.flagged:
            alert = self._alert(source, document, row)
            value = self._with_text(alert, source, self._record_bytes_max - beside_bytes)
            size_bytes = max(size_bytes, beside_bytes + len(value))
            metric_values = [category["category"] for category in alert["categories"]]
            if self._cloudevents:
                headers = [*headers, *cloud_event(source, "alert", alert["alert_id"], judged_at)]
            outputs.append(
                OutputRecord(
                    topic=Topic.ALERT,
                    source=source,
                    key=source.key,
                    value=value,
                    headers=headers,
                    metric_values=metric_values,
                )
            )
        if size_bytes > self._record_bytes_max:
            sentence = f"An output would have {size_bytes} bytes; the limit is {self._record_bytes_max}."
            return [self._dead_letter(source, DeadLetterReason(reason="output_too_large", message=sentence))]
        return outputs

    def _verdict(
        self, source: ConsumedRecord | None, message: PreparedMessage, row: _Row, judged_at: str
    ) -> verdict.Verdict:
        where = None if source is None else _where(source)
        judgement, tokens = row.judgement, message.token_count
        document: verdict.Verdict = {
            "schema": "verdict/1",
            "verdict_id": None if where is None else self._identify("verdict/1", where),
            "message_id": message.message_id,
            "channel_id": message.channel_id,
            "user_id": message.user_id,
            "sent_at": message.sent_at,
            "flagged": judgement.flagged,
            "categories": dict(zip(CATEGORY_SLUGS, judgement.flags, strict=True)) if judgement.flagged else _CALM,
            "category_scores": row.scores_json,
            "max_score": judgement.max_score,
            "top_category": CATEGORY_SLUGS[judgement.top] if tokens else None,
            "model": self._model_json,
            "policy": self._policy_json,
            "input": {
                "characters": message.characters,
                "tokens": tokens,
                "truncated": message.truncated,
            },
            "source": where,
            "judged_at": judged_at,
        }
        if not tokens:
            document["outcome"] = "blank" if message.characters else "no_text"
        if message.ignored:
            document["ignored"] = message.ignored
        return document

    def _alert(self, source: ConsumedRecord, document: verdict.Verdict, row: _Row) -> verdict.Alert:
        where = _where(source)
        flagged = [index for index, flag in enumerate(row.judgement.flags) if flag]
        flagged.sort(key=lambda index: -row.scores[index])
        return {
            "schema": "alert/1",
            "alert_id": self._identify("alert/1", where),
            "verdict_id": self._identify("verdict/1", where),
            "message_id": document["message_id"],
            "channel_id": document["channel_id"],
            "user_id": document["user_id"],
            "sent_at": document["sent_at"],
            "categories": [
                {
                    "category": CATEGORY_SLUGS[index],
                    "score": row.scores[index],
                    "threshold": self._policy.values[index],
                }
                for index in flagged
            ],
            "max_score": document["max_score"],
            "top_category": CATEGORY_SLUGS[row.judgement.top],
            "model": self._model_json,
            "policy": self._policy_json,
            "source": where,
            "judged_at": document["judged_at"],
        }

    def _with_text(self, alert: verdict.Alert, source: ConsumedRecord, bytes_max: int) -> bytes:
        """The alert's bytes, with the text if wanted and if it fits: a long text is no way past the alert."""
        bare = verdict.encode(alert)
        if self._alert_text == "none" or source.value is None:
            return bare
        full = verdict.encode({**alert, "text": chat.decode(source.value, self._shape).text})
        return full if len(full) <= bytes_max else bare

    def _identify(self, schema: str, where: verdict.SourceJson) -> str:
        return verdict.identify(schema, judge=self._judge_name, source=where)

    def _dead_letter(self, source: ConsumedRecord, fault: DeadLetterReason) -> OutputRecord:
        """With as much of the original as there is room for."""
        for missing in _MISSING:
            letter = self._without(missing, source, fault)
            if _size_bytes(letter.key, letter.value, letter.headers) <= self._record_bytes_max:
                return letter
        return letter  # a limit below our own headers: the broker has the last word

    def _of_rejected(
        self, source: ConsumedRecord, owed: PreparedMessage | DeadLetterReason, reason: str
    ) -> OutputRecord:
        """The dead letter of a record whose output a broker refuses: a stub, unless its size was no reason."""
        if isinstance(owed, DeadLetterReason):
            return self._stub(source, owed)
        fault = _REFUSED[reason]
        return self._dead_letter(source, fault) if reason == "output_refused" else self._stub(source, fault)

    def _stub(self, source: ConsumedRecord, fault: DeadLetterReason) -> OutputRecord:
        """A dead letter so small that it won't be refused for its size."""
        return self._without(_MISSING[2 if len(source.key or b"") <= STUB_KEY_BYTES_MAX else 3], source, fault)

    def _without(self, missing: tuple[str, ...], source: ConsumedRecord, fault: DeadLetterReason) -> OutputRecord:
        ours = {
            "error.reason": fault.reason,
            "error.message": fault.message[: dead_letter.MESSAGE_CHARACTERS_MAX],
            "error.truncated": ",".join(missing) or None,
            "source.topic": source.partition.topic,
            "source.partition": source.partition.number,
            "source.offset": source.offset,
            "source.timestamp_ms": source.timestamp_ms,
            "worker": self._worker_version,
        }
        return OutputRecord(
            topic=Topic.DEAD_LETTER,
            source=source,
            key=None if "key" in missing else source.key,
            value=None if "value" in missing else source.value,
            headers=[
                *([] if "headers" in missing else _originals(source.headers)),
                *((dead_letter.PREFIX + name, str(v).encode()) for name, v in ours.items() if v is not None),
            ],
            metric_values=(fault.reason,),
        )


_MISSING = ((), ("value",), ("value", "headers"), ("value", "headers", "key"))
"""What a dead letter leaves out, from the least."""

_REFUSED = {
    fault.reason: fault
    for fault in (
        DeadLetterReason(
            reason="output_too_large",
            message="The broker refused an output of this message: it is too large for the topic.",
        ),
        DeadLetterReason(
            reason="output_refused",
            message="The broker refused an output of this message (INVALID_RECORD), and accepted others like it.",
        ),
    )
}


def _owed(result: ScoredRecord) -> PreparedMessage | DeadLetterReason | None:
    """The message to give a verdict on, the fault to report, or None for a tombstone."""
    if isinstance(result.scores, DeadLetterReason):
        return result.scores
    content = result.record.content
    # All 0.0 is the verdict of a blank text; given to one that was forgotten it would be a silent pass.
    if isinstance(content, PreparedMessage):
        assert not content.token_count or result.scores is not None, "unscored"  # noqa: S101 - a bug of ours
    return content


def _where(source: ConsumedRecord) -> verdict.SourceJson:
    return {
        "topic": source.partition.topic,
        "partition": source.partition.number,
        "offset": source.offset,
        "timestamp_ms": source.timestamp_ms,
    }


def _originals(headers: Headers) -> list[tuple[str, bytes | None]]:
    """The headers of a dead letter that are the input's: all, except those that could be taken for ours."""
    return [(name, value) for name, value in headers if not name.lower().startswith(dead_letter.PREFIX)]


def _size_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    return len(key or b"") + len(value or b"") + sum(len(n.encode()) + len(v or b"") for n, v in headers)


_OURS_BYTES = _size_bytes(None, None, OURS)
