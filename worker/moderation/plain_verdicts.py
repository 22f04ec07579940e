"""Build the verdicts of the common case from a template, column by column. Pure.

This takes half the time of the general way.

Invariant: a plain verdict has the bytes that ``OutputBuilder`` would encode from a dictionary. A test compares both
ways for any message. The template is made of such a dictionary, so the fields and their order are in one place.

A verdict is plain if its text was scored, neither the policy nor a candidate flags it, the input record has no
headers and is not an array, and every field could be read. Every other record gets None here, and its outputs are
built in the general way.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import orjson

from schemas.chat import MessageContext
from schemas.labels import CATEGORY_SLUGS
from schemas.verdict import ContextJson, Verdict, encode, encode_numbers, encode_rows
from schemas.verdict_template import VerdictTemplate
from worker.moderation.evidence import parts_json
from worker.moderation.output_headers import CONTENT_TYPE, size_bytes
from worker.moderation.policies import Policy, Resolution
from worker.records import Headers, OutputRecord, Partition, PreparedMessage, ScoredRecord, Topic

PLAIN_HEADERS: Headers = (CONTENT_TYPE,)
PLAIN_HEADERS_BYTES = size_bytes(None, None, PLAIN_HEADERS)
_UNSCORED = np.zeros(len(CATEGORY_SLUGS), np.float32)


class PlainVerdicts:
    """Builds plain verdicts.

    Args:
        policy: The thresholds.
        model: Model revision and dtype: the first two strings that ``verdict.identify`` makes an id of.
        record_bytes_max: Largest size of key, value and headers of a verdict together.
        example: Returns the verdict on a record as a dictionary. Its arguments are the record and the time.
        truncated_alerts: Whether a message alerts when a part of its text was not scored.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        model: Sequence[str],
        record_bytes_max: int,
        example: Callable[[ScoredRecord, str], Verdict],
        truncated_alerts: bool = False,
    ) -> None:
        self._truncated_alerts = truncated_alerts
        self._policy = policy
        self._model = model
        self._value_bytes_max = record_bytes_max - PLAIN_HEADERS_BYTES
        self._example = example
        self._templates: dict[Partition, VerdictTemplate] = {}

    def build(
        self, results: Sequence[ScoredRecord], resolutions: Sequence[Resolution], judged_at: str
    ) -> list[OutputRecord | None]:
        """Return the verdict of each result, in order; None where the verdict is not plain.

        Args:
            results: Scored records.
            resolutions: What the policy says about each of them.
            judged_at: The time: RFC 3339, UTC, milliseconds.
        """
        if not results:
            return []
        scores = [result.scores if isinstance(result.scores, np.ndarray) else _UNSCORED for result in results]
        matrix = np.concatenate(scores).reshape(len(results), len(CATEGORY_SLUGS))
        quiet = self._policy.are_quiet(matrix, resolutions)
        tops, highest = matrix.argmax(axis=1).tolist(), encode_numbers(matrix.max(axis=1))
        topic, templates, encoded_time = Topic.VERDICT, self._templates, orjson.dumps(judged_at)
        outputs: list[OutputRecord | None] = []
        columns = zip(results, resolutions, quiet.tolist(), encode_rows(matrix), highest, tops, strict=True)
        for result, resolution, is_quiet, encoded, max_score, top in columns:
            source, message = result.record.source, result.record.content
            if (
                not is_quiet
                or not resolution.is_scored
                or source.headers
                or not isinstance(message, PreparedMessage)
                or not isinstance(result.scores, np.ndarray)
                or message.ignored
                or (self._truncated_alerts and message.truncated)
                or result.record.item is not None
            ):
                outputs.append(None)
                continue
            if (template := templates.get(source.partition)) is None:
                example = self._example(result, judged_at)
                template = templates[source.partition] = VerdictTemplate(example, model=self._model)
            parts = b"" if result.evidence is None else _fields(parts_json(result.evidence))
            last = b"" if resolution.exempt is None else _fields({"exempt": resolution.exempt})
            if message.context is not None:
                last += _context_fields(message.context)
            key = source.key
            value = template.fill(source, message, encoded, max_score, top, resolution, parts, encoded_time, last)
            outputs.append(
                None
                if len(value) + len(key or b"") > self._value_bytes_max
                else OutputRecord(topic, source, key, value, PLAIN_HEADERS, (), None, resolution.labels)
            )
        return outputs


def _fields(document: Mapping[str, object]) -> bytes:
    """Return the encoded fields of a document with a comma in front of each."""
    return b"," + encode(document)[1:-1] if document else b""


def _context_fields(context: MessageContext) -> bytes:
    """Return the encoded fields of ``context_json`` with a comma in front of each, in two thirds of the time."""
    if context.language is not None or context.edited:
        return _fields(context_json(context))
    tenant_id, roles = context.tenant_id, context.roles
    found = b"" if tenant_id is None else b',"tenant_id":' + orjson.dumps(tenant_id)
    return found + b',"roles":' + orjson.dumps(roles) if roles else found


def context_json(context: MessageContext) -> ContextJson:
    """Return the fields of a verdict that a message's context gives, each only if the message has it."""
    found: ContextJson = {}
    if context.tenant_id is not None:
        found["tenant_id"] = context.tenant_id
    if context.roles:
        found["roles"] = context.roles
    if context.language is not None:
        found["language"] = context.language
    if context.edited:
        found["edited"] = True
    return found
