"""Every name that telemetry uses: dashboards, alert rules and docs depend on them.

The names that begin with ``messaging.`` are OpenTelemetry's, from the pinned schema; the others are this project's.
A rename needs an entry in the changelog. No attribute names a channel, a user or a message. So topics, partitions
and the fixed sets of values below bound the number of series.
"""

from dataclasses import dataclass
from enum import Enum

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions that the names come from."""

SCOPE = "moderation_worker"
"""The instrumentation scope."""

SYSTEM = "messaging.system"
OPERATION = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
GROUP = "messaging.consumer.group.name"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"
BATCH_COUNT = "messaging.batch.message_count"
ERROR = "error.type"
CATEGORY = "moderation.category"
CAUSE = "moderation.cause"
CHANGE = "moderation.change"
CLIENT = "moderation.client"
EVENT = "moderation.event"
FIELD = "moderation.field"
FLAGGED = "moderation.flagged"
LINKS_DROPPED = "moderation.links.dropped"
LOOKUP = "moderation.lookup"
OUTCOME = "moderation.outcome"
REASON = "moderation.reason"
TOKENS = "moderation.tokens"
POLICY = "moderation.policy.fingerprint"
POLICY_VERSION = "moderation.policy.version"
POLICY_DIGEST = "moderation.policy.digest"
RULE = "moderation.rule"
LEVEL = "moderation.level"
EXEMPTION = "moderation.exemption"
ALLOWED = "moderation.allowed"
CANDIDATE = "moderation.shadow.candidate"
MODEL = ("moderation.model.name", "moderation.model.revision", "moderation.model.dtype", "moderation.model.device")


class InstrumentKind(Enum):
    """How a metric is collected."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    OBSERVED_COUNTER = "observed counter"
    OBSERVED_GAUGE = "observed gauge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One instrument.

    Attributes:
        name: Name in OpenTelemetry.
        kind: Type of the instrument.
        unit: Unit by UCUM; braces name the counted things.
        about: Description, for the docs and the exporters.
        attributes: Attributes that its points may have.
        buckets: Upper bounds of a histogram's buckets.
    """

    name: str
    kind: InstrumentKind
    unit: str
    about: str
    attributes: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def prometheus(self) -> str:
        """The name in PromQL; a histogram adds ``_bucket``, ``_sum`` or ``_count``."""
        name = self.name.replace(".", "_")
        unit = {"s": "_seconds", "By": "_bytes"}.get(self.unit, "")
        counts = self.kind in {InstrumentKind.COUNTER, InstrumentKind.OBSERVED_COUNTER}
        return name + unit + ("_total" if counts else "")


# Source: the advice on buckets in the semantic conventions for messaging metrics.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
# A message may wait out a broker's restart, or a backlog of an hour.
_LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
_RECORDS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)
_TOKENS = (16.0, 64.0, 256.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

CONSUMED = Metric(
    name="messaging.client.consumed.messages",
    kind=InstrumentKind.COUNTER,
    unit="{message}",
    about="Polled messages. A message counts again when it is read again after an aborted transaction.",
    attributes=(SYSTEM, OPERATION, GROUP, DESTINATION),
)
SENT = Metric(
    name="messaging.client.sent.messages",
    kind=InstrumentKind.COUNTER,
    unit="{message}",
    about="Output records of committed transactions.",
    attributes=(SYSTEM, OPERATION, DESTINATION),
)
OPERATION_DURATION = Metric(
    name="messaging.client.operation.duration",
    kind=InstrumentKind.HISTOGRAM,
    unit="s",
    about="Calls to Kafka: a poll that returned messages, send (all outputs of a transaction), commit, and the "
    "other calls of a transaction. Each call has a time-out of a second: a call that takes longer counts again, "
    "with error.type.",
    attributes=(SYSTEM, OPERATION, OPERATION_TYPE, GROUP, ERROR),
    buckets=_SECONDS,
)
PROCESS_DURATION = Metric(
    name="messaging.process.duration",
    kind=InstrumentKind.HISTOGRAM,
    unit="s",
    about="From the poll of a transaction's oldest message to the end of the transaction.",
    attributes=(SYSTEM, OPERATION, OPERATION_TYPE, GROUP, ERROR),
    buckets=_SECONDS,
)
ABORTED = Metric(
    name="moderation.aborted.messages",
    kind=InstrumentKind.COUNTER,
    unit="{message}",
    about="Output records of transactions that were aborted or whose outcome is unknown.",
    attributes=(DESTINATION,),
)
TRANSACTIONS = Metric(
    name="moderation.transactions",
    kind=InstrumentKind.COUNTER,
    unit="{transaction}",
    about="Transactions with messages: committed, or aborted (their messages are read again).",
    attributes=(OUTCOME,),
)
TRANSACTION_EVENTS = Metric(
    name="moderation.transaction.events",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="{event}",
    about="Failures in a transaction or before one, by their name in the transaction table.",
    attributes=(EVENT,),
)
REBALANCES = Metric(
    name="moderation.rebalances",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="{rebalance}",
    about="Changes of the assignment: assigned, revoked, or lost (the group had removed this worker).",
    attributes=(CHANGE,),
)
THROTTLE_TIME = Metric(
    name="moderation.throttle.time",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="s",
    about="Delays that brokers announced to the worker's consumer and producer because of quotas, summed over all "
    "brokers.",
    attributes=(CLIENT,),
)
PARTITIONS = Metric(
    name="moderation.partitions",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="{partition}",
    about="Partitions that are assigned to this worker now.",
)
QUARANTINED = Metric(
    name="moderation.partitions.quarantined",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="{partition}",
    about="1 for each partition of this worker that is not read, because too many of its records would be dead "
    "letters.",
    attributes=(DESTINATION, PARTITION),
)
IN_FLIGHT = Metric(
    name="moderation.records.in_flight",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="{record}",
    about="Records in memory, from poll to commit.",
)
BACKLOG = Metric(
    name="moderation.backlog",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="{message}",
    about="Messages that a read_committed consumer could read and that have no committed verdict; no data point "
    "while the number is not known.",
    attributes=(DESTINATION, PARTITION),
)
BACKLOG_UNKNOWN = Metric(
    name="moderation.backlog.unknown",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="{partition}",
    about="Partitions of this worker whose backlog is not known. While it is above 0, the sum of the backlog is "
    "too small.",
)
INPUT_BLOCKED = Metric(
    name="moderation.input.blocked",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="s",
    about="How long another producer's open transaction has blocked a partition; no data point before 20 s, or "
    "while the time is not known.",
    attributes=(DESTINATION, PARTITION),
)
END_TO_END = Metric(
    name="moderation.end_to_end.duration",
    kind=InstrumentKind.HISTOGRAM,
    unit="s",
    about="From a message's timestamp to the commit of its verdict. Only the oldest of each 64 messages of a "
    "transaction is recorded, so the figures are never too low.",
    buckets=_LONG,
)
BATCH_RECORDS = Metric(
    name="moderation.batch.records",
    kind=InstrumentKind.HISTOGRAM,
    unit="{record}",
    about="Records of a batch, including those without a text to score.",
    buckets=_RECORDS,
)
BATCH_TOKENS = Metric(
    name="moderation.batch.tokens",
    kind=InstrumentKind.HISTOGRAM,
    unit="{token}",
    about="Tokens of a batch, before cached texts and duplicates are removed.",
    buckets=_TOKENS,
)
BATCH_FILL = Metric(
    name="moderation.batch.fill",
    kind=InstrumentKind.HISTOGRAM,
    unit="1",
    about="How full a batch was: its share of the limit on records or of the limit on tokens, the greater of both.",
    buckets=_SHARES,
)
BATCH_WAIT = Metric(
    name="moderation.batch.wait",
    kind=InstrumentKind.HISTOGRAM,
    unit="s",
    about="From the poll of a batch's oldest message until the device began it.",
    buckets=_SECONDS,
)
PREPARE_DURATION = Metric(
    name="moderation.prepare.duration",
    kind=InstrumentKind.HISTOGRAM,
    unit="s",
    about="Decoding and tokenising a chunk of messages.",
    buckets=_SECONDS,
)
SCORE_DURATION = Metric(
    name="moderation.score.duration",
    kind=InstrumentKind.HISTOGRAM,
    unit="s",
    about="Scoring a batch.",
    buckets=_SECONDS,
)
DEVICE_BUSY = Metric(
    name="moderation.device.busy",
    kind=InstrumentKind.COUNTER,
    unit="s",
    about="Time during which the device scored. The rate of this counter is the busy share.",
)
DEVICE_TOKENS = Metric(
    name="moderation.device.tokens",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="{token}",
    about="Tokens that the device scored.",
)
DEVICE_ROWS = Metric(
    name="moderation.device.rows",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="{row}",
    about="Rows that the device scored. A text has a row for each window and view; most texts have one.",
)
TOP_SHARE = Metric(
    name="moderation.tokens.top_share",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="1",
    about="Greatest share of the tokens to score that the records of one key have; tokens of a minute ago count "
    "half. Keys are counted by hash in 1,024 buckets, so the share is too great by 0.001 on average. No data point "
    "below 10,000 tokens.",
)
DEVICE_PADDING = Metric(
    name="moderation.device.padding",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="{token}",
    about="Padding tokens that the device computed. Texts share a row without padding, so only the CUDA graphs of "
    "small batches have padding.",
)
DEVICE_MEMORY = Metric(
    name="moderation.device.memory",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="By",
    about="Memory of the GPU that the worker has reserved; no data point on a CPU.",
)
CACHE_LOOKUPS = Metric(
    name="moderation.cache.lookups",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="{text}",
    about="Texts to score: hit (cached, or equal to another text of the batch), or miss (the model scored it).",
    attributes=(LOOKUP,),
)
SKIPPED = Metric(
    name="moderation.messages.skipped",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="{message}",
    about="Messages that the input's shape skips: typing notices, joins, deletes. They have no output.",
)
TRUNCATED = Metric(
    name="moderation.messages.truncated",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="{message}",
    about="Messages with a part that was not scored: their texts are longer than all windows.",
)
VERDICTS = Metric(
    name="moderation.verdicts",
    kind=InstrumentKind.COUNTER,
    unit="{verdict}",
    about="Committed verdicts, flagged or not.",
    attributes=(FLAGGED,),
)
DRIFT = Metric(
    name="moderation.scores.drift",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="1",
    about="Population stability index of a category's scores against the drift reference; no data point without a "
    "reference, or before 1,000 scored messages. The weight of a message halves with each 50,000 later messages.",
    attributes=(CATEGORY,),
)
FLAGS = Metric(
    name="moderation.flags",
    kind=InstrumentKind.COUNTER,
    unit="{flag}",
    about="Categories that committed verdicts flag; a verdict may flag several.",
    attributes=(CATEGORY,),
)
ALERTS = Metric(
    name="moderation.alerts",
    kind=InstrumentKind.COUNTER,
    unit="{alert}",
    about="Committed alerts, by their cause: flagged (a category), truncated (only that a part of the text was not "
    "scored), or window (the summary of counted messages).",
    attributes=(CAUSE,),
)
COALESCED = Metric(
    name="moderation.alerts.coalesced",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="{message}",
    about="Messages that were counted in a window instead of raising an alert of their own.",
)
WINDOWS = Metric(
    name="moderation.alerts.windows",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="{window}",
    about="Open windows of this worker's partitions: keys whose further messages are counted.",
)
UNFIT_KEYS = Metric(
    name="moderation.alerts.unfit",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="{key}",
    about="Keys without room in the metadata of a partition's offset: their messages alert as without coalescing.",
)
VERDICTS_BY_POLICY = Metric(
    name="moderation.policy.verdicts",
    kind=InstrumentKind.COUNTER,
    unit="{verdict}",
    about="Committed verdicts that a policy file decided, by the highest level reached and by the rule that set "
    "the thresholds; none: no level, or no rule.",
    attributes=(LEVEL, RULE),
)
EXEMPT = Metric(
    name="moderation.policy.exempt",
    kind=InstrumentKind.COUNTER,
    unit="{verdict}",
    about="Committed verdicts on messages that an exemption of the policy file keeps from alerting.",
    attributes=(EXEMPTION, FLAGGED),
)
ALLOWED_TEXTS = Metric(
    name="moderation.policy.allowed",
    kind=InstrumentKind.COUNTER,
    unit="{verdict}",
    about="Committed verdicts whose alert an entry of allowed texts withheld.",
    attributes=(ALLOWED,),
)
SHADOW_VERDICTS = Metric(
    name="moderation.shadow.verdicts",
    kind=InstrumentKind.COUNTER,
    unit="{verdict}",
    about="Committed verdicts, by what a shadow candidate decides: agree, newly_flagged, newly_passed, or "
    "other_level. Exempt messages and allowed texts count as agree: a candidate raises no alert for them either.",
    attributes=(CANDIDATE, OUTCOME),
)
SHADOW_FLAGS = Metric(
    name="moderation.shadow.flags",
    kind=InstrumentKind.COUNTER,
    unit="{flag}",
    about="Categories that the policy or a shadow candidate flags: agree (both do), newly_flagged (only the "
    "candidate), newly_passed (only the policy). Exempt messages and allowed texts do not count.",
    attributes=(CANDIDATE, CATEGORY, OUTCOME),
)
DEAD_LETTERS = Metric(
    name="moderation.dead_letters",
    kind=InstrumentKind.COUNTER,
    unit="{message}",
    about="Committed dead letters, by their reason.",
    attributes=(REASON,),
)
FIELDS_IGNORED = Metric(
    name="moderation.fields.ignored",
    kind=InstrumentKind.COUNTER,
    unit="{field}",
    about="Ids and sending times that could not be read and are null in committed verdicts.",
    attributes=(FIELD,),
)
POLICY_INFO = Metric(
    name="moderation.policy.info",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="",
    about="Always 1: the attributes name the version of the policy in force, a hash of its content, and the group "
    "of this worker.",
    attributes=(POLICY_VERSION, POLICY_DIGEST, GROUP),
)
POLICY_REFUSED = Metric(
    name="moderation.policy.file.refused",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="1",
    about="1 while the policy file is wrong or cannot be read, so that an older policy stays in force; otherwise "
    "0. No data point without a policy file.",
)
POLICY_RELOADS = Metric(
    name="moderation.policy.reloads",
    kind=InstrumentKind.OBSERVED_COUNTER,
    unit="{reload}",
    about="Changes of the policy file: adopted, or refused.",
    attributes=(OUTCOME,),
)
MODEL_INFO = Metric(
    name="moderation.model.info",
    kind=InstrumentKind.OBSERVED_GAUGE,
    unit="",
    about="Always 1: the attributes name the model, the thresholds and the group of this worker.",
    attributes=(*MODEL, POLICY, GROUP),
)

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All metrics, in the order of this file."""
