"""Build the output records of scored records: a verdict, an alert when it is flagged, or a dead letter. Pure.

What holds for every list that ``OutputBuilder.build`` returns:

1. Each scored record has exactly one verdict or one dead letter. A tombstone has neither.
2. An alert follows each flagged verdict.
3. The outputs have the order of the scored records.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import orjson

from schemas import chat, verdict
from schemas.labels import CATEGORY_SLUGS
from worker.moderation.dead_letters import DeadLetterBuilder
from worker.moderation.output_headers import cloud_event, output_headers, size_bytes
from worker.moderation.plain_verdicts import PLAIN_HEADERS, PLAIN_HEADERS_BYTES, PlainVerdicts
from worker.moderation.policy import Judgement, Policy
from worker.records import (
    ConsumedRecord,
    DeadLetterReason,
    OutputRecord,
    Partition,
    PreparedMessage,
    ScoredRecord,
    Scores,
    Topic,
)

_NO_CATEGORY = orjson.Fragment(verdict.encode(dict.fromkeys(CATEGORY_SLUGS, False)))
_NONE_REJECTED: Mapping[tuple[Partition, int], str] = MappingProxyType({})


class _Row(NamedTuple):
    """One record's row of the batch.

    Attributes:
        scores: ``[L]`` probabilities.
        scores_json: The same probabilities, encoded.
        judgement: The policy's judgement of these probabilities.
    """

    scores: Scores
    scores_json: bytes
    judgement: Judgement


class OutputBuilder:
    """Builds the outputs of scored records.

    Args:
        model: The model, as verdicts name it.
        policy: The thresholds.
        shape: How to read an input value. A flagged message is decoded again for its text, because few are flagged.
        alert_text: Whether alerts carry the text.
        record_bytes_max: Largest size of key, value and headers of an output together.
        worker_version: Version of this worker, for the dead letters.
        header_names: Names of the input's headers to copy to verdicts and alerts.
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
        self._dead_letters = DeadLetterBuilder(record_bytes_max=record_bytes_max, worker_version=worker_version)
        self._header_names = frozenset(header_names)
        self._cloudevents = cloudevents
        self._judge_id = (model["revision"], model["dtype"], policy.fingerprint)
        # The parts that all documents share are encoded once.
        self._model_json = orjson.Fragment(verdict.encode(model))
        self._policy_json = orjson.Fragment(verdict.encode(policy.document))
        self._plain = PlainVerdicts(
            policy=policy, judge=self._judge_id, record_bytes_max=record_bytes_max, example=self._example
        )

    def build(
        self,
        results: Sequence[ScoredRecord],
        *,
        judged_at: str,
        rejected: Mapping[tuple[Partition, int], str] = _NONE_REJECTED,
    ) -> list[OutputRecord]:
        """Return the outputs of scored records.

        Args:
            results: Scored records, each partition's in the order in which it was read.
            judged_at: The time: RFC 3339, UTC, milliseconds.
            rejected: Records whose outputs a broker rejects: (partition, offset) to the reason of the dead letter.
        """
        are_plain = not rejected and not self._cloudevents
        plain = self._plain.build(results, judged_at) if are_plain else [None] * len(results)
        others = [result for result, output in zip(results, plain, strict=True) if output is None]
        if not others:
            return [output for output in plain if output is not None]
        rows = self._rows(others)
        outputs: list[OutputRecord] = []
        for plain_verdict in plain:
            if plain_verdict is not None:
                outputs.append(plain_verdict)
                continue
            result, row = next(rows)
            source, outcome = result.record.source, _outcome(result)
            if outcome is None:
                continue
            if rejected and (reason := rejected.get((source.partition, source.offset))):
                own = outcome if isinstance(outcome, DeadLetterReason) else None
                outputs.append(self._dead_letters.of_rejected(source, own, reason))
            elif isinstance(outcome, DeadLetterReason):
                outputs.append(self._dead_letters.build(source, outcome))
            else:
                outputs += self._verdict_and_alert(source, outcome, row, judged_at)
        return outputs

    def json_lines(self, results: Sequence[ScoredRecord], *, judged_at: str) -> list[bytes]:
        """Return a line of JSON for each result: a verdict that names no source, or an error."""
        return [
            verdict.encode({"error": {"reason": outcome.reason, "message": outcome.message}})
            if isinstance(outcome, DeadLetterReason)
            else verdict.encode(self._verdict(None, outcome, row, judged_at))
            for result, row in self._rows(results)
            if (outcome := _outcome(result)) is not None
        ]

    def _example(self, result: ScoredRecord, judged_at: str) -> verdict.Verdict:
        [(_, row)] = self._rows([result])
        message = _outcome(result)
        assert isinstance(message, PreparedMessage), "an example of a verdict"  # noqa: S101 - a bug of ours
        return self._verdict(result.record.source, message, row, judged_at)

    def _rows(self, results: Sequence[ScoredRecord]) -> Iterator[tuple[ScoredRecord, _Row]]:
        """Return each result with its row. A result without scores has a row of 0.0, the scores of a blank text."""
        matrix = np.zeros((len(results), len(CATEGORY_SLUGS)), np.float32)
        for index, result in enumerate(results):
            if isinstance(result.scores, np.ndarray):
                matrix[index] = result.scores
        columns = (matrix, verdict.encode_scores(matrix), self._policy.judge(matrix))
        return zip(results, map(_Row, *columns), strict=True)

    def _verdict_and_alert(
        self, source: ConsumedRecord, message: PreparedMessage, row: _Row, judged_at: str
    ) -> list[OutputRecord]:
        """Return a verdict, and an alert if flagged; or one dead letter when one of them would be too large."""
        headers = PLAIN_HEADERS
        overhead_bytes = PLAIN_HEADERS_BYTES + len(source.key or b"")
        if source.headers:
            headers = output_headers(source.headers, self._header_names)
            overhead_bytes = size_bytes(source.key, None, headers)
        document = self._verdict(source, message, row, judged_at)
        value = verdict.encode(document)
        verdict_headers = headers
        if self._cloudevents:
            event = cloud_event(source, "verdict", document["verdict_id"] or "", judged_at)
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
            )
        ]
        if row.judgement.flagged:
            alert = self._alert(source, document, row)
            value = self._alert_value(alert, source, self._record_bytes_max - overhead_bytes)
            largest_bytes = max(largest_bytes, overhead_bytes + len(value))
            if self._cloudevents:
                headers = [*headers, *cloud_event(source, "alert", alert["alert_id"], judged_at)]
            outputs.append(
                OutputRecord(
                    topic=Topic.ALERT,
                    source=source,
                    key=source.key,
                    value=value,
                    headers=headers,
                    metric_values=[category["category"] for category in alert["categories"]],
                )
            )
        if largest_bytes > self._record_bytes_max:
            sentence = f"An output would have {largest_bytes} bytes; the limit is {self._record_bytes_max}."
            return [self._dead_letters.build(source, DeadLetterReason(reason="output_too_large", message=sentence))]
        return outputs

    def _verdict(
        self, source: ConsumedRecord | None, message: PreparedMessage, row: _Row, judged_at: str
    ) -> verdict.Verdict:
        source_json = None if source is None else _source_json(source)
        judgement, tokens = row.judgement, message.token_count
        document: verdict.Verdict = {
            "schema": "verdict/1",
            "verdict_id": None if source_json is None else self._identify("verdict/1", source_json),
            "message_id": message.message_id,
            "channel_id": message.channel_id,
            "user_id": message.user_id,
            "sent_at": message.sent_at,
            "flagged": judgement.flagged,
            "categories": dict(zip(CATEGORY_SLUGS, judgement.flags, strict=True))
            if judgement.flagged
            else _NO_CATEGORY,
            "category_scores": orjson.Fragment(row.scores_json),
            "max_score": judgement.max_score,
            "top_category": CATEGORY_SLUGS[judgement.top] if tokens else None,
            "model": self._model_json,
            "policy": self._policy_json,
            "input": {
                "characters": message.characters,
                "tokens": tokens,
                "truncated": message.truncated,
            },
            "source": source_json,
            "judged_at": judged_at,
        }
        if not tokens:
            document["outcome"] = "blank" if message.characters else "no_text"
        if message.ignored:
            document["ignored"] = message.ignored
        return document

    def _alert(self, source: ConsumedRecord, document: verdict.Verdict, row: _Row) -> verdict.Alert:
        source_json = _source_json(source)
        flagged = [index for index, flag in enumerate(row.judgement.flags) if flag]
        flagged.sort(key=lambda index: -row.scores[index])
        return {
            "schema": "alert/1",
            "alert_id": self._identify("alert/1", source_json),
            "verdict_id": self._identify("verdict/1", source_json),
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
            "source": source_json,
            "judged_at": document["judged_at"],
        }

    def _alert_value(self, alert: verdict.Alert, source: ConsumedRecord, bytes_max: int) -> bytes:
        """Return the alert's bytes, with the text if it is wanted and fits.

        A text that does not fit is left out, so that nobody evades the alert with a long text.
        """
        without_text = verdict.encode(alert)
        if self._alert_text == "none" or source.value is None:
            return without_text
        with_text = verdict.encode({**alert, "text": chat.decode(source.value, self._shape).text})
        return with_text if len(with_text) <= bytes_max else without_text

    def _identify(self, schema: str, source_json: verdict.SourceJson) -> str:
        return verdict.identify(schema, judge=self._judge_id, source=source_json)


def _outcome(result: ScoredRecord) -> PreparedMessage | DeadLetterReason | None:
    """Return the message to give a verdict on, the reason of a dead letter, or None for a tombstone."""
    if isinstance(result.scores, DeadLetterReason):
        return result.scores
    content = result.record.content
    # The verdict of a blank text has scores of 0.0. A text that the scorer left out must not pass with these
    # scores.
    if isinstance(content, PreparedMessage):
        assert not content.token_count or result.scores is not None, "unscored"  # noqa: S101 - a bug of ours
    return content


def _source_json(source: ConsumedRecord) -> verdict.SourceJson:
    return {
        "topic": source.partition.topic,
        "partition": source.partition.number,
        "offset": source.offset,
        "timestamp_ms": source.timestamp_ms,
    }
