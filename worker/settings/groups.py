"""Every setting: its name, default, range and description.

``WORKER_KAFKA__GROUP_ID`` is the field ``group_id`` of the group ``kafka``; ``VARIABLES`` lists them all.
"""

from datetime import datetime
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, Secret, SecretStr

from worker.settings.properties import shown_value
from worker.settings.values import (
    DIGITS,
    Brokers,
    CertificateAuthorities,
    ContentDigest,
    Device,
    HeaderNames,
    Pointer,
    Properties,
    ReadableFile,
    SaslMechanism,
    Share,
    Start,
    Switch,
    Thresholds,
    TopicName,
    TopicNames,
    Views,
)

INT32_MAX = 2**31 - 1
RECORD_OVERHEAD_BYTES_MAX = 64 * 1024
"""Room for the framing of a record. ``RECORD_BYTES_MAX`` counts only key, value and headers."""

WINDOW_OVERLAP_TOKENS = 64
CHARACTERS_PER_TOKEN_MAX = 128
"""Bytes of the longest token of Qwen2's vocabulary. A token never has more characters than bytes."""


class Group(BaseModel):
    """Variables that share a prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class KafkaSettings(Group):
    """``WORKER_KAFKA__*``."""

    bootstrap_servers: Brokers = ""
    """Required: host:port of one or several brokers, separated by commas; without a port it is 9092."""
    group_id: str = "moderation"
    """The consumer group."""
    client_id: str | None = None
    """The name in the brokers' logs and quotas."""
    client_rack: str | None = None
    """The rack or zone of this worker: it then reads from the nearest replica."""
    input_topics: TopicNames = ("chat.messages",)
    """The topics to moderate, separated by commas."""
    verdict_topic: TopicName = "moderation.verdicts"
    """The topic of verdicts: one record for every judged message."""
    alert_topic: TopicName = "moderation.alerts"
    """The topic of alerts: one record for every flagged message."""
    dead_letter_topic: TopicName = "moderation.dead-letters"
    """The topic of dead letters: messages that can't be decoded or judged."""
    transactional_id: str = ""
    """The producer's id: unique per process, stable across restarts; by default the group and the host name."""
    group_instance_id: str | None = None
    """The id for static membership: a restarted worker then continues in about a second."""
    auto_offset_reset: Start = "earliest"
    """Where a partition without a committed offset starts: earliest, error, or an RFC 3339 time."""
    # Source of the greatest: librdkafka, CONFIGURATION.md, message.max.bytes.
    record_bytes_max: Annotated[int, Field(ge=1000, le=1_000_000_000 - RECORD_OVERHEAD_BYTES_MAX), DIGITS] = (
        1_000_000
    )
    """Largest output, in bytes of key, value and headers; keep it well under the topics' limit."""
    group_protocol: Literal["classic", "consumer"] = "classic"
    """The group protocol: classic, or consumer (KIP-848)."""
    partition_assignment_strategy: Literal["roundrobin", "range", "cooperative-sticky"] = "roundrobin"
    """How the group assigns partitions: roundrobin, range or cooperative-sticky; classic only."""
    # Source of the three ranges' ends: librdkafka, CONFIGURATION.md; transaction.max.timeout.ms of Kafka's brokers.
    session_timeout_ms: Annotated[int, Field(ge=1000, le=3_600_000), DIGITS] = 15_000
    """After this time without a heartbeat, other workers get the partitions; classic only."""
    max_poll_interval_ms: Annotated[int, Field(ge=1000, le=86_400_000), DIGITS] = 60_000
    """A worker that doesn't poll for this long leaves the group."""
    transaction_timeout_ms: Annotated[int, Field(ge=1000, le=900_000), DIGITS] = 15_000
    """The broker aborts a transaction that is open for longer."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """The security protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    sasl_mechanism: SaslMechanism | None = None
    """The SASL mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI."""
    sasl_username: str | None = None
    """The user name for PLAIN and SCRAM."""
    sasl_password: SecretStr | None = None
    """The password for PLAIN and SCRAM; best as the file kafka__sasl_password in WORKER_SECRETS_DIR."""
    ssl_ca_location: CertificateAuthorities | None = None
    """File or folder of the trusted certificates, PEM; or probe, which searches for them."""
    ssl_certificate_location: ReadableFile | None = None
    """File of the client's certificate, PEM."""
    ssl_key_location: ReadableFile | None = None
    """File of the client's private key, PEM."""
    ssl_key_password: SecretStr | None = None
    """The private key's password."""
    properties: Properties = {}
    """JSON object of librdkafka properties; the prefix consumer. or producer. sets one for that client only."""


class InputSettings(Group):
    """``WORKER_INPUT__*``."""

    shape: str = "plain"
    """The shape of the events: the name of a built-in shape, or the path of a YAML file."""
    envelope: str | None = None
    """The envelope around the events: cloudevents, connect or debezium."""
    format: Literal["json", "text"] = "json"
    """The input format of the shape plain: json, or text (the value is the text itself)."""
    text_pointer: Pointer | None = None
    """Location of the text in the JSON (JSON Pointer, RFC 6901), in place of the shape's."""
    message_id_pointer: Pointer | None = None
    """Location of the message's id (JSON Pointer), in place of the shape's."""
    channel_id_pointer: Pointer | None = None
    """Location of the channel's id (JSON Pointer), in place of the shape's."""
    user_id_pointer: Pointer | None = None
    """Location of the user's id (JSON Pointer), in place of the shape's."""
    sent_at_pointer: Pointer | None = None
    """Location of the sending time (JSON Pointer), in place of the shape's."""
    bytes_max: Annotated[int, Field(ge=1, le=INT32_MAX), DIGITS] = 1_048_576
    """Largest input value, in bytes, packed and unpacked; a larger value is a dead letter."""
    characters_max: Annotated[int, Field(ge=1, le=INT32_MAX), DIGITS] = 0
    """A text is cut to this many characters before tokenisation; by default 128 times MODEL__TOKENS_MAX."""


class ModelSettings(Group):
    """``WORKER_MODEL__*``."""

    path: str = ""
    """Required: the model: a local folder, a hub name, or demo (the bundled model)."""
    revision: str | None = None
    """The model's commit, tag or branch on the hub."""
    tokenizer: str | None = None
    """The tokenizer: a folder or a hub name; by default the one of the model."""
    tokenizer_revision: str | None = None
    """The tokenizer's commit, tag or branch on the hub."""
    digest: ContentDigest | None = None
    """Expected digest of the model's and tokenizer's files: 16 to 64 digits of the digest that check shows."""
    device: Device = "auto"
    """The device: auto, cpu, cuda or cuda:N; a missing device is an error."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """The numbers' type: auto, float32 or bfloat16."""
    tokens_max: Annotated[int, Field(ge=2, le=1_000_000), DIGITS] = 512
    """A text is cut to this many tokens, special tokens included."""
    threads: Annotated[int, Field(ge=1, le=1024), DIGITS] | None = None
    """CPU threads; by default one less than the CPUs of the cgroup."""


class TextSettings(Group):
    """``WORKER_TEXT__*``."""

    views: Views = ("raw", "plain")
    """Views of a text to score: raw (as received), or raw,plain (also what a reader sees, if that differs)."""
    windows_max: Annotated[int, Field(ge=1, le=1000), DIGITS] = 9
    """Largest number of windows of MODEL__TOKENS_MAX tokens in a long text; 1: only the beginning is scored."""
    window_overlap_tokens: Annotated[int, Field(ge=0, le=100_000), DIGITS] | None = None
    """Tokens that two neighbouring windows share; by default 64, at most a quarter of MODEL__TOKENS_MAX."""
    truncated: Literal["pass", "alert"] = "pass"
    """alert: a message with a part that was not scored raises an alert, whatever its scores; pass: it does not."""


class BatchSettings(Group):
    """``WORKER_BATCH__*``."""

    records_max: Annotated[int, Field(ge=1, le=100_000), DIGITS] = 1024
    """Largest number of records in a batch."""
    tokens_max: Literal["auto"] | Annotated[int, Field(ge=1, le=INT32_MAX), DIGITS] = "auto"
    """Largest number of tokens in a batch; auto: as many as fill the device."""
    wait_ms_max: Annotated[int, Field(ge=0, le=60_000), DIGITS] = 20
    """Longest wait of a message for a batch; an idle device ends the wait."""
    commit_ms_max: Annotated[int, Field(ge=0, le=60_000), DIGITS] = 100
    """Longest wait of scored messages for a transaction."""
    # A batch takes about a second (TOKENS_MAX=auto). A batch in which every text breaks the model is halved down to
    # single texts. That takes a minute: 2,048 passes and 1,024 probes, and each takes 20 ms to start on a GPU.
    score_ms_max: Annotated[int, Field(ge=1000, le=86_400_000), DIGITS] = 180_000
    """Longest time to score a batch; after it the process ends with exit code 4."""


class PolicySettings(Group):
    """``WORKER_POLICY__*``."""

    path: str | None = None
    """A policy file (YAML), in place of the other POLICY__* and ALERT__* variables; read again when it changes."""
    threshold: Share = 0.5
    """A category is flagged when its probability is greater than this."""
    thresholds: Thresholds = {}
    """JSON object {slug: number}: thresholds of single categories."""
    version: str | None = None
    """The policy's version in verdicts; by default a hash of the thresholds."""


class AlertSettings(Group):
    """``WORKER_ALERT__*``."""

    text: Literal["none", "full"] = "none"
    """none, or full: alerts hold the message's text."""


class CoalescingSettings(Group):
    """``WORKER_COALESCING__*``."""

    secret: SecretStr | None = None
    """The key of the digests in the group's metadata, the same for all workers; by default the group's id."""


class OutputSettings(Group):
    """``WORKER_OUTPUT__*``."""

    headers: HeaderNames = ()
    """Input headers to copy to verdicts and alerts, separated by commas."""
    cloudevents: Switch = False
    """true: verdicts and alerts are CloudEvents in binary mode."""


class CacheSettings(Group):
    """``WORKER_CACHE__*``."""

    bytes_max: Annotated[int, Field(ge=0, le=INT32_MAX), DIGITS] = 67_108_864
    """Memory for the scores of repeated texts, in bytes, about 450 a text; 0: off."""


class DeadLetterSettings(Group):
    """``WORKER_DEAD_LETTER__*``."""

    model_share_max: Share = 0.1
    """If a greater share of a partition's messages breaks the model: quarantine; in all partitions: exit 4."""
    input_share_max: Share = 0.5
    """If a greater share of a partition's messages can't be decoded: quarantine; in all partitions: exit 5."""
    # The worker judges a share from 50 records on, so a smaller window would never be judged.
    window_records: Annotated[int, Field(ge=50, le=1_000_000), DIGITS] = 1000
    """Number of a partition's latest records over which the shares are counted."""


class DriftSettings(Group):
    """``WORKER_DRIFT__*``."""

    reference: ReadableFile | None = None
    """A file of calibrate --reference: the metric moderation.scores.drift compares later scores with it."""


class HealthSettings(Group):
    """``WORKER_HEALTH__*``."""

    port: Annotated[int, Field(ge=0, le=65_535), DIGITS] = 0
    """The port of /livez, /readyz and /metrics; 0: none."""


class LogSettings(Group):
    """``WORKER_LOG__*``."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged: debug, info, warning or error."""
    format: Literal["text", "json"] | None = None
    """The log format: text or json; by default text when standard error is a terminal."""


class ShutdownSettings(Group):
    """``WORKER_SHUTDOWN__*``."""

    grace_ms_max: Annotated[int, Field(ge=0, le=3_600_000), DIGITS] = 20_000
    """Longest time that the process takes to end after SIGTERM."""


class Settings(Group):
    """All settings; read-only."""

    kafka: KafkaSettings = KafkaSettings()
    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    text: TextSettings = TextSettings()
    batch: BatchSettings = BatchSettings()
    policy: PolicySettings = PolicySettings()
    alert: AlertSettings = AlertSettings()
    coalescing: CoalescingSettings = CoalescingSettings()
    output: OutputSettings = OutputSettings()
    cache: CacheSettings = CacheSettings()
    dead_letter: DeadLetterSettings = DeadLetterSettings()
    drift: DriftSettings = DriftSettings()
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()
    shutdown: ShutdownSettings = ShutdownSettings()

    def value(self, variable: str) -> object:
        """Return the value of a variable."""
        group, field = VARIABLES[variable]
        return getattr(getattr(self, group), field)

    def is_set(self, variable: str) -> bool:
        """Return whether the variable was given, even if its value is the default."""
        group, field = VARIABLES[variable]
        return field in getattr(self, group).model_fields_set


GROUPS: dict[str, type[Group]] = {name: type(group.default) for name, group in Settings.model_fields.items()}

VARIABLES: dict[str, tuple[str, str]] = {
    f"WORKER_{group}__{field}".upper(): (group, field)
    for group, fields in GROUPS.items()
    for field in fields.model_fields
}
"""Every variable, with its group and field."""

SECRETS = frozenset(
    {
        "WORKER_KAFKA__SASL_PASSWORD",
        "WORKER_KAFKA__SSL_KEY_PASSWORD",
        "WORKER_KAFKA__PROPERTIES",
        "WORKER_COALESCING__SECRET",
    }
)
"""Variables whose wrong value is not shown."""


def shown(value: object) -> str:
    """Return a value as text, with every secret masked."""
    match value:
        case None | "" | ():
            return "(unset)"
        case Secret() | SecretStr():
            return "***"
        case tuple():
            return ",".join(value)
        case dict():
            return orjson.dumps({name: _entry(name, entry) for name, entry in value.items()}).decode()
        case datetime():
            return value.isoformat()
        case _:
            return value if isinstance(value, str) else orjson.dumps(value).decode()


def _entry(name: str, value: object) -> object:
    """Return an entry of a JSON variable; a librdkafka property that may be secret is masked."""
    return shown_value(name, value.get_secret_value()) if isinstance(value, Secret) else value
