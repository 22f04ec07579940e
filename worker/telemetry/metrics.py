"""The metrics: measured around the worker's parts, never inside. The worker never decides by a metric.

Counts are summed for a transaction or a batch before they are recorded, so that counting a message costs a few
additions.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from worker.records import ConsumedRecord, OutputRecord, Partition, Topic
from worker.reported import NO_NAME, PolicyStatus, ShadowOutcome, VerdictLabels
from worker.status import StatusSnapshot
from worker.telemetry import names
from worker.telemetry.names import METRICS, InstrumentKind, Metric

NS = 1e-9
"""The value of an attribute for verdicts without a level or a rule."""
_FLAG_OUTCOMES = (ShadowOutcome.AGREE, ShadowOutcome.NEWLY_FLAGGED, ShadowOutcome.NEWLY_PASSED)
TOGETHER = 64
"""Number of messages whose oldest one is recorded as the end-to-end latency. Recording each message would take a
tenth of the worker's time."""

OPERATIONS = {
    "init_transactions": ("init_transactions", None),
    "produce": ("send", "send"),
    "send_offsets_to_transaction": ("send_offsets", None),
    "commit_transaction": ("commit", "settle"),
    "abort_transaction": ("abort", None),
}
"""The calls of a transaction that talk to a broker: the operation's name, and its type in the conventions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagingAttributes:
    """Attributes that say where the points come from.

    Attributes:
        group_id: The consumer group.
        input_topics: Names of the input topics.
        topics: Names of the output topics.
    """

    group_id: str
    input_topics: Sequence[str]
    topics: Mapping[Topic, str]


class Instruments:
    """The instruments of all metrics.

    Args:
        meter: Creates the instruments.
        messaging: Attributes of the points.
        snapshot: Returns the latest snapshot of the worker, for the observed metrics.
    """

    def __init__(
        self, meter: Meter, messaging: MessagingAttributes, snapshot: Callable[[], StatusSnapshot]
    ) -> None:
        self._messaging = messaging
        self._instruments: dict[Metric, Any] = {
            metric: _made(meter, metric, snapshot, messaging) for metric in METRICS
        }
        self._kafka = {names.SYSTEM: "kafka"}
        self._group = self._kafka | {names.GROUP: messaging.group_id}

    def polled(self, fetched: Sequence[ConsumedRecord], took_ns: int) -> None:
        """Record a poll that returned messages."""
        topics = self._messaging.input_topics
        counts = (
            {topics[0]: len(fetched)} if len(topics) == 1 else Counter(map(attrgetter("partition.topic"), fetched))
        )
        self._add(names.CONSUMED, names.DESTINATION, counts, self._group | {names.OPERATION: "poll"})
        self.called("poll", "receive", took_ns, "")

    def called(self, operation: str, kind: str | None, took_ns: int, error: str) -> None:
        """Record a finished call to Kafka."""
        at = self._group | {names.OPERATION: operation}
        if kind is not None:
            at[names.OPERATION_TYPE] = kind
        if error:
            at[names.ERROR] = error
        self._instruments[names.OPERATION_DURATION].record(took_ns * NS, at)

    def prepared(self, took_ns: int) -> None:
        """Record that a chunk was decoded and tokenised."""
        self._instruments[names.PREPARE_DURATION].record(took_ns * NS)

    def scored(self, records: int, tokens: int, fill: float, waited_ns: int, took_ns: int) -> None:
        """Record a scored batch; called on the device's thread."""
        self._instruments[names.BATCH_RECORDS].record(records)
        self._instruments[names.BATCH_TOKENS].record(tokens)
        self._instruments[names.BATCH_FILL].record(fill)
        self._instruments[names.BATCH_WAIT].record(waited_ns * NS)
        self._instruments[names.SCORE_DURATION].record(took_ns * NS)
        self._instruments[names.DEVICE_BUSY].add(took_ns * NS)

    def committed(
        self, records: Sequence[ConsumedRecord], outputs: Sequence[OutputRecord], now_ms: int, took_ns: int
    ) -> None:
        """Record a committed transaction.

        Args:
            records: The records that it covers.
            outputs: The records that it produced.
            now_ms: Present time, in milliseconds of the epoch.
            took_ns: Nanoseconds since the poll of the oldest record.
        """
        verdict = Topic.VERDICT
        others = [output for output in outputs if output.topic is not verdict]
        alerts = [output for output in others if output.topic is Topic.ALERT]
        letters = [output for output in others if output.topic is Topic.DEAD_LETTER]
        verdicts = len(outputs) - len(others)
        ignored = [output.metric_values for output in outputs if output.metric_values and output.topic is verdict]
        counts = {Topic.VERDICT: verdicts, Topic.ALERT: len(alerts), Topic.DEAD_LETTER: len(letters)}
        sent = {self._messaging.topics[topic]: count for topic, count in counts.items()}
        self._add(names.SENT, names.DESTINATION, sent, self._kafka | {names.OPERATION: "send"})
        labels = Counter([output.labels for output in outputs if output.labels is not None])
        if labels:
            flagged = sum(count for one, count in labels.items() if one.level is not None)
            flags = _counted((slug, count) for one, count in labels.items() for slug in one.categories)
            self._decided_by_file(labels)
        else:
            flagged = sum([bool(alert.metric_values) for alert in alerts])
            flags = Counter(slug for alert in alerts for slug in alert.metric_values)
        self._add(names.VERDICTS, names.FLAGGED, {True: flagged, False: verdicts - flagged})
        self._add(names.FLAGS, names.CATEGORY, flags)
        self._add(names.DEAD_LETTERS, names.REASON, Counter(letter.metric_values[0] for letter in letters))
        self._add(names.FIELDS_IGNORED, names.FIELD, Counter(field for fields in ignored for field in fields))
        self._add(names.ALERTS, names.CAUSE, Counter(map(_cause, alerts)))
        self._transaction("committed", took_ns, "")
        for since_ms in oldest(records):
            self._instruments[names.END_TO_END].record(max(0, now_ms - since_ms) / 1000)

    def _decided_by_file(self, labels: Mapping[VerdictLabels, int]) -> None:
        """Record what a policy file decided about the verdicts of a committed transaction."""
        counts: dict[tuple[Metric, frozenset[tuple[str, str | bool]]], int] = Counter()
        for one, count in labels.items():
            for metric, at in _points_of(one):
                counts[metric, frozenset(at.items())] += count
        for (metric, attributes), count in counts.items():
            self._instruments[metric].add(count, dict(attributes))

    def aborted(self, outputs: Sequence[OutputRecord], took_ns: int, error: str) -> None:
        """Record a transaction that was aborted or whose outcome is unknown."""
        counts = Counter(self._messaging.topics[output.topic] for output in outputs)
        self._add(names.ABORTED, names.DESTINATION, counts)
        self._transaction("aborted", took_ns, error)

    def _transaction(self, outcome: str, took_ns: int, error: str) -> None:
        self._instruments[names.TRANSACTIONS].add(1, {names.OUTCOME: outcome})
        at = self._group | {names.OPERATION: "process", names.OPERATION_TYPE: "process"}
        self._instruments[names.PROCESS_DURATION].record(took_ns * NS, at | {names.ERROR: error} if error else at)

    def _add(
        self, metric: Metric, attribute: str, counts: Mapping[Any, int], others: Mapping[str, str] | None = None
    ) -> None:
        """Add each count that is not 0, with its value of the attribute."""
        for value, count in counts.items():
            if count:
                self._instruments[metric].add(count, {**(others or {}), attribute: value})


def oldest(records: Sequence[ConsumedRecord]) -> list[int]:
    """Return the least timestamp of each group of 64 records, in milliseconds of the epoch."""
    times = [record.timestamp_ms for record in records if record.timestamp_ms is not None]
    return [min(times[at : at + TOGETHER]) for at in range(0, len(times), TOGETHER)]


def _cause(alert: OutputRecord) -> str:
    """Return why an alert was raised. Without a category, a part of the text was not scored."""
    if alert.is_summary:
        return "window"
    return "flagged" if alert.metric_values else "truncated"


def _counted(pairs: Iterable[tuple[str, int]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for value, count in pairs:
        counts[value] += count
    return counts


def _points_of(labels: VerdictLabels) -> Iterator[tuple[Metric, Mapping[str, str | bool]]]:
    """Yield the metrics that a verdict counts in, with the attributes of each."""
    yield names.VERDICTS_BY_POLICY, {names.LEVEL: labels.level or NO_NAME, names.RULE: labels.rule or NO_NAME}
    if labels.exempt is not None:
        yield names.EXEMPT, {names.EXEMPTION: labels.exempt, names.FLAGGED: labels.level is not None}
    if labels.allowed is not None:
        yield names.ALLOWED_TEXTS, {names.ALLOWED: labels.allowed}
    for name, outcome, *slugs in labels.candidates:
        yield names.SHADOW_VERDICTS, {names.CANDIDATE: name, names.OUTCOME: outcome.value}
        for kind, named in zip(_FLAG_OUTCOMES, slugs, strict=True):
            for slug in named:
                yield (
                    names.SHADOW_FLAGS,
                    {
                        names.CANDIDATE: name,
                        names.CATEGORY: slug,
                        names.OUTCOME: kind.value,
                    },
                )


Point = tuple[float, Mapping[str, str]]

OBSERVED: dict[Metric, Callable[[StatusSnapshot], Iterable[Point]]] = {
    names.TRANSACTION_EVENTS: lambda snapshot: _each(names.EVENT, snapshot.session.events),
    names.REBALANCES: lambda snapshot: _each(names.CHANGE, snapshot.session.rebalances),
    names.THROTTLE_TIME: lambda snapshot: _each(names.CLIENT, snapshot.session.throttled_s),
    names.PARTITIONS: lambda snapshot: _running(snapshot, len(snapshot.session.assigned)),
    names.QUARANTINED: lambda snapshot: _of_partitions(dict.fromkeys(snapshot.session.quarantined, 1)),
    names.IN_FLIGHT: lambda snapshot: _running(snapshot, snapshot.in_flight),
    names.BACKLOG: lambda snapshot: _of_partitions(snapshot.session.backlog),
    names.BACKLOG_UNKNOWN: lambda snapshot: _running(
        snapshot, len(snapshot.session.assigned) - len(snapshot.session.backlog) - len(snapshot.session.quarantined)
    ),
    names.INPUT_BLOCKED: lambda snapshot: _of_partitions(snapshot.session.blocked_s),
    names.DEVICE_TOKENS: lambda snapshot: _running(snapshot, snapshot.usage.tokens),
    names.DEVICE_ROWS: lambda snapshot: _running(snapshot, snapshot.usage.rows),
    names.TOP_SHARE: lambda snapshot: [] if snapshot.top_share is None else [(snapshot.top_share, {})],
    names.DEVICE_PADDING: lambda snapshot: _running(snapshot, snapshot.usage.padding),
    names.DEVICE_MEMORY: lambda snapshot: (
        [] if snapshot.usage.memory_bytes is None else [(snapshot.usage.memory_bytes, {})]
    ),
    names.CACHE_LOOKUPS: lambda snapshot: _each(
        names.LOOKUP, {"hit": snapshot.cache_hits, "miss": snapshot.cache_misses}
    ),
    names.SKIPPED: lambda snapshot: _running(snapshot, snapshot.skipped),
    names.TRUNCATED: lambda snapshot: _running(snapshot, snapshot.truncated),
    names.DRIFT: lambda snapshot: _each(names.CATEGORY, snapshot.drift),
    names.COALESCED: lambda snapshot: _running(snapshot, snapshot.counted),
    names.WINDOWS: lambda snapshot: _running(snapshot, snapshot.windows),
    names.UNFIT_KEYS: lambda snapshot: _running(snapshot, snapshot.keys_without_room),
    names.POLICY_INFO: lambda snapshot: [
        (1, {names.POLICY_VERSION: policy.version, names.POLICY_DIGEST: policy.digest})
        for policy in [snapshot.policy]
        if policy is not None
    ],
    names.POLICY_REFUSED: lambda snapshot: [
        (int(policy.is_refused), {}) for policy in _of_files(snapshot) if policy.is_refused is not None
    ],
    names.POLICY_RELOADS: lambda snapshot: [
        point
        for policy in _of_files(snapshot)
        for point in _each(names.OUTCOME, {"adopted": policy.adopted, "refused": policy.refused})
    ],
    names.MODEL_INFO: lambda snapshot: [
        (
            1,
            {
                **dict(zip(names.MODEL, (model.name, model.revision, model.dtype, model.device), strict=True)),
                names.POLICY: snapshot.policy.fingerprint,
            },
        )
        for model in [snapshot.model]
        if model is not None and snapshot.policy is not None
    ],
}
"""How each observed metric is read from the snapshot."""


def _each(attribute: str, counts: Mapping[str, float]) -> list[Point]:
    return [(count, {attribute: value}) for value, count in counts.items()]


def _of_partitions(values: Mapping[Partition, float]) -> list[Point]:
    return [(value, {names.DESTINATION: at.topic, names.PARTITION: str(at.number)}) for at, value in values.items()]


def _of_files(snapshot: StatusSnapshot) -> list[PolicyStatus]:
    """Return the policy's status if the policy has a file."""
    return [policy for policy in [snapshot.policy] if policy is not None and policy.is_refused is not None]


def _running(snapshot: StatusSnapshot, value: int) -> list[Point]:
    """Return no point before the model is loaded: 0 would be wrong."""
    return [] if snapshot.model is None else [(value, {})]


_WITH_GROUP = {names.MODEL_INFO, names.POLICY_INFO}


def _made(
    meter: Meter, metric: Metric, snapshot: Callable[[], StatusSnapshot], messaging: MessagingAttributes
) -> object:
    constant = {names.GROUP: messaging.group_id} if metric in _WITH_GROUP else {}

    def observe(_options: CallbackOptions) -> list[Observation]:
        return [
            Observation(value, {**attributes, **constant}) for value, attributes in OBSERVED[metric](snapshot())
        ]

    said = {"unit": metric.unit, "description": metric.about}
    match metric.kind:
        case InstrumentKind.COUNTER:
            return meter.create_counter(metric.name, **said)
        case InstrumentKind.HISTOGRAM:
            return meter.create_histogram(
                metric.name, **said, explicit_bucket_boundaries_advisory=list(metric.buckets)
            )
        case InstrumentKind.OBSERVED_COUNTER:
            return meter.create_observable_counter(metric.name, [observe], **said)
        case InstrumentKind.OBSERVED_GAUGE:
            return meter.create_observable_gauge(metric.name, [observe], **said)
