"""Write the verdict and the alert on a message as dictionaries, with every field. Pure."""

from typing import NamedTuple, cast

import orjson

from schemas import verdict
from schemas.labels import CATEGORY_SLUGS
from worker.moderation.evidence import evidence_json, parts_json
from worker.moderation.plain_verdicts import context_json
from worker.moderation.policies import Decision, Policy, Resolution
from worker.records import PreparedMessage, PreparedRecord
from worker.scores import Evidence, Scores

_NO_CATEGORY = orjson.Fragment(verdict.encode(dict.fromkeys(CATEGORY_SLUGS, False)))


class JudgedRow(NamedTuple):
    """One record's row of the batch.

    Attributes:
        scores: ``[L]`` probabilities.
        scores_json: The same probabilities, encoded.
        decision: What the policy decides.
        evidence: Which parts of the text gave the scores; None when at most one part was scored.
    """

    scores: Scores
    scores_json: bytes
    decision: Decision
    evidence: Evidence | None


class Documents:
    """Writes verdicts and alerts.

    Args:
        model: The model, as verdicts name it.
        policy: The policy that decides.
        truncated_alerts: Whether a message alerts when a part of its text was not scored.

    Attributes:
        policy: The policy that decides.
        model_id: Model revision and dtype: the first two strings that ``verdict.identify`` makes an id of.
        model_json: The model, encoded once for all documents.
    """

    def __init__(self, model: verdict.ModelJson, policy: Policy, *, truncated_alerts: bool) -> None:
        self.policy = policy
        self.model_id = (model["revision"], model["dtype"])
        self.model_json = orjson.Fragment(verdict.encode(model))
        self._truncated_alerts = truncated_alerts

    def verdict_on(
        self,
        record: PreparedRecord | None,
        message: PreparedMessage,
        row: JudgedRow,
        judged_at: str,
        *,
        allowed: str | None = None,
    ) -> verdict.Verdict:
        """Return the verdict on a message.

        Args:
            record: The message's record; None: the verdict names no source.
            message: The message.
            row: Its scores and the policy's decision.
            judged_at: The time: RFC 3339, UTC, milliseconds.
            allowed: Name of the entry of allowed texts that withholds the alert; None: none does.
        """
        source_json = None if record is None else verdict.source_json(record.source, record.item)
        decision, tokens = row.decision, message.token_count
        resolution = decision.resolution
        document: verdict.Verdict = {
            "schema": "verdict/1",
            "verdict_id": None if source_json is None else self._identify("verdict/1", resolution, source_json),
            "message_id": message.message_id,
            "channel_id": message.channel_id,
            "user_id": message.user_id,
            "sent_at": message.sent_at,
            "flagged": decision.flagged,
            "categories": dict(zip(CATEGORY_SLUGS, decision.flags, strict=True))
            if decision.flagged
            else _NO_CATEGORY,
            "category_scores": orjson.Fragment(row.scores_json),
            "max_score": decision.max_score,
            "top_category": CATEGORY_SLUGS[decision.top] if tokens else None,
            "model": self.model_json,
            "policy": orjson.Fragment(resolution.document_json),
            "input": _input_json(message, row.evidence),
            "source": source_json,
            "judged_at": judged_at,
        }
        if self.policy.has_file:
            document["level"] = decision.level_name
        # A message that was not scored must not pass as a clean one under a policy that wants it scored.
        assert not (message.is_unscored and resolution.is_scored), "unscored"  # noqa: S101 - a bug of ours
        if not resolution.is_scored:
            document["outcome"] = "exempt"
        elif not tokens:
            document["outcome"] = "blank" if message.characters else "no_text"
        if message.ignored:
            document["ignored"] = message.ignored
        if resolution.exempt is not None:
            document["exempt"] = resolution.exempt
        if allowed is not None:
            document["allowed"] = allowed
        if decision.shadow:
            document["shadow"] = decision.shadow
        if row.evidence is not None and decision.flagged:
            document["evidence"] = evidence_json(row.evidence, decision.flags)
        if message.context is not None:
            document.update(cast("verdict.Verdict", context_json(message.context)))
        return document

    def alert_on(self, record: PreparedRecord, document: verdict.Verdict, row: JudgedRow) -> verdict.Alert:
        """Return the alert on a message, without its text.

        Args:
            record: The message's record.
            document: The verdict on the message.
            row: Its scores and the policy's decision.
        """
        source_json, decision = verdict.source_json(record.source, record.item), row.decision
        resolution = decision.resolution
        flagged = [index for index, flag in enumerate(decision.flags) if flag]
        flagged.sort(key=lambda index: -row.scores[index])
        alert: verdict.Alert = {
            "schema": "alert/1",
            "alert_id": self._identify("alert/1", resolution, source_json),
            "verdict_id": self._identify("verdict/1", resolution, source_json),
            "message_id": document["message_id"],
            "channel_id": document["channel_id"],
            "user_id": document["user_id"],
            "sent_at": document["sent_at"],
            "categories": [
                {
                    "category": CATEGORY_SLUGS[index],
                    "score": row.scores[index],
                    "threshold": resolution.thresholds[0, index],
                }
                for index in flagged
            ],
            "max_score": document["max_score"],
            "top_category": CATEGORY_SLUGS[decision.top],
            "model": self.model_json,
            "policy": document["policy"],
            "source": source_json,
            "judged_at": document["judged_at"],
        }
        if self.policy.has_file and decision.level_name is not None:
            alert["level"], alert["rule"] = decision.level_name, resolution.rule
        if self._truncated_alerts and document["input"]["truncated"]:
            alert["truncated"] = True
        if "evidence" in document:
            alert["evidence"] = document["evidence"]
        return alert

    def _identify(self, schema: str, resolution: Resolution, source_json: verdict.SourceJson) -> str:
        return verdict.identify(schema, judge=(*self.model_id, resolution.fingerprint), source=source_json)


def _input_json(message: PreparedMessage, evidence: Evidence | None) -> verdict.InputJson:
    found: verdict.InputJson = {
        "characters": message.characters,
        "tokens": message.token_count,
        "truncated": message.truncated,
    }
    return found if evidence is None else {**found, **parts_json(evidence)}
