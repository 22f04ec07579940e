"""Every setting: its name, default, range, and one sentence.

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
)

INT32_MAX = 2**31 - 1
RECORD_OVERHEAD_BYTES_MAX = 64 * 1024
"""Room for a record's framing, above the key, value and headers that ``RECORD_BYTES_MAX`` counts."""

CHARACTERS_PER_TOKEN_MAX = 128
"""Bytes, so at least as many characters, of the longest token of Qwen2's vocabulary."""


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
    """Where this worker stands, to read from the nearest replica."""
    input_topics: TopicNames = ("chat.messages",)
    """The topics to moderate, separated by commas."""
    verdict_topic: TopicName = "moderation.verdicts"
    """One record for every message that could be judged."""
    alert_topic: TopicName = "moderation.alerts"
    """One record for every flagged message."""
    dead_letter_topic: TopicName = "moderation.dead-letters"
    """What can't be decoded or judged."""
    transactional_id: str = ""
    """Unique per live process and stable across restarts; by default the group and the host name."""
    group_instance_id: str | None = None
    """Static membership: a restarted worker goes on in about a second."""
    auto_offset_reset: Start = "earliest"
    """Where a partition without a committed offset starts: earliest, error, or an RFC 3339 time."""
    # Source of the greatest: librdkafka, CONFIGURATION.md, message.max.bytes.
    record_bytes_max: Annotated[int, Field(ge=1000, le=1_000_000_000 - RECORD_OVERHEAD_BYTES_MAX), DIGITS] = (
        1_000_000
    )
    """The bytes of an output's key, value and headers; keep it well under the topics' limit."""
    group_protocol: Literal["classic", "consumer"] = "classic"
    """classic, or consumer (KIP-848)."""
    partition_assignment_strategy: Literal["roundrobin", "range", "cooperative-sticky"] = "roundrobin"
    """How the group shares the partitions: roundrobin, range or cooperative-sticky; classic only."""
    # Source of the three ranges' ends: librdkafka, CONFIGURATION.md; transaction.max.timeout.ms of Kafka's brokers.
    session_timeout_ms: Annotated[int, Field(ge=1000, le=3_600_000), DIGITS] = 15_000
    """After this silence the group gives a worker's partitions to others; classic only."""
    max_poll_interval_ms: Annotated[int, Field(ge=1000, le=86_400_000), DIGITS] = 60_000
    """A worker that doesn't poll for this long leaves the group."""
    transaction_timeout_ms: Annotated[int, Field(ge=1000, le=900_000), DIGITS] = 15_000
    """A transaction that is open for longer is aborted by the broker."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    sasl_mechanism: SaslMechanism | None = None
    """PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI."""
    sasl_username: str | None = None
    """For PLAIN and SCRAM."""
    sasl_password: SecretStr | None = None
    """For PLAIN and SCRAM; best as the file kafka__sasl_password in WORKER_SECRETS_DIR."""
    ssl_ca_location: CertificateAuthorities | None = None
    """The certificates to trust, PEM."""
    ssl_certificate_location: ReadableFile | None = None
    """This client's certificate, PEM."""
    ssl_key_location: ReadableFile | None = None
    """This client's private key, PEM."""
    ssl_key_password: SecretStr | None = None
    """The private key's password."""
    properties: Properties = {}
    """JSON: librdkafka properties for both clients, or for one with consumer. or producer. in front."""


class InputSettings(Group):
    """``WORKER_INPUT__*``."""

    format: Literal["json", "text"] = "json"
    """json, or text: the value is the text itself."""
    text_pointer: Pointer = "/text"
    """Where in the JSON the text stands (JSON Pointer, RFC 6901)."""
    message_id_pointer: Pointer = "/message_id"
    """Where the message's id stands."""
    channel_id_pointer: Pointer = "/channel_id"
    """Where the channel's id stands."""
    user_id_pointer: Pointer = "/user_id"
    """Where the user's id stands."""
    sent_at_pointer: Pointer = "/sent_at"
    """Where the time of sending stands."""
    bytes_max: Annotated[int, Field(ge=1, le=INT32_MAX), DIGITS] = 1_048_576
    """A larger value is a dead letter."""
    characters_max: Annotated[int, Field(ge=1, le=INT32_MAX), DIGITS] = 0
    """A text is cut to this before it is tokenised; by default 128 times MODEL__TOKENS_MAX."""


class ModelSettings(Group):
    """``WORKER_MODEL__*``."""

    path: str = ""
    """Required: a local folder, a hub name, or demo (the bundled model)."""
    revision: str | None = None
    """The hub's commit, tag or branch."""
    tokenizer: str | None = None
    """A folder or a hub name; by default the model's own."""
    tokenizer_revision: str | None = None
    """The tokenizer's commit, tag or branch."""
    digest: ContentDigest | None = None
    """What the files of model and tokenizer must hold: 16 to 64 digits of the digest that check shows."""
    device: Device = "auto"
    """auto, cpu, cuda or cuda:N; a named device that isn't there is an error."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto, float32 or bfloat16."""
    tokens_max: Annotated[int, Field(ge=2, le=1_000_000), DIGITS] = 512
    """A text is cut to this many tokens, special ones included."""
    threads: Annotated[int, Field(ge=1, le=1024), DIGITS] | None = None
    """Threads on the CPU; by default the cgroup's CPUs but one."""


class BatchSettings(Group):
    """``WORKER_BATCH__*``."""

    records_max: Annotated[int, Field(ge=1, le=100_000), DIGITS] = 1024
    """Records in a batch."""
    tokens_max: Literal["auto"] | Annotated[int, Field(ge=1, le=INT32_MAX), DIGITS] = "auto"
    """Tokens in a batch, or auto: what fills the device."""
    wait_ms_max: Annotated[int, Field(ge=0, le=60_000), DIGITS] = 20
    """How long the oldest message waits for a batch; an idle device cuts it short."""
    commit_ms_max: Annotated[int, Field(ge=0, le=60_000), DIGITS] = 100
    """How long results wait for a transaction."""
    # A batch takes about a second (TOKENS_MAX=auto). One in which every text breaks the model is halved down to
    # single texts: 2,048 passes and 1,024 probes, each of which takes 20 ms to start on a GPU, are a minute.
    score_ms_max: Annotated[int, Field(ge=1000, le=86_400_000), DIGITS] = 180_000
    """A batch that the model has not scored after this time ends the process: exit 4."""


class PolicySettings(Group):
    """``WORKER_POLICY__*``."""

    threshold: Share = 0.5
    """A category is flagged when its probability is greater."""
    thresholds: Thresholds = {}
    """JSON {slug: number}: where a category's threshold differs."""
    version: str | None = None
    """The policy's name in verdicts; by default a hash of the thresholds."""


class AlertSettings(Group):
    """``WORKER_ALERT__*``."""

    text: Literal["none", "full"] = "none"
    """none, or full: alerts hold the message's text."""


class OutputSettings(Group):
    """``WORKER_OUTPUT__*``."""

    headers: HeaderNames = ()
    """The input's headers to copy to verdicts and alerts, separated by commas."""
    cloudevents: Switch = False
    """true: verdicts and alerts are CloudEvents in binary mode."""


class CacheSettings(Group):
    """``WORKER_CACHE__*``."""

    bytes_max: Annotated[int, Field(ge=0, le=INT32_MAX), DIGITS] = 67_108_864
    """Memory for the verdicts of texts that come again, about 450 bytes each; 0: off."""


class DeadLetterSettings(Group):
    """``WORKER_DEAD_LETTER__*``."""

    model_share_max: Share = 0.1
    """A partition in which a greater share of messages breaks the model goes into quarantine; all: exit 4."""
    input_share_max: Share = 0.5
    """A partition in which a greater share of messages can't be decoded goes into quarantine; all: exit 5."""
    # A smaller window would never be judged: that takes at least 50 records.
    window_records: Annotated[int, Field(ge=50, le=1_000_000), DIGITS] = 1000
    """Over how many of a partition's last records the shares are counted."""


class HealthSettings(Group):
    """``WORKER_HEALTH__*``."""

    port: Annotated[int, Field(ge=0, le=65_535), DIGITS] = 0
    """The port of /livez, /readyz and /metrics; 0: none."""


class LogSettings(Group):
    """``WORKER_LOG__*``."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""
    format: Literal["text", "json"] | None = None
    """text or json; by default text when standard error is a terminal."""


class ShutdownSettings(Group):
    """``WORKER_SHUTDOWN__*``."""

    grace_ms_max: Annotated[int, Field(ge=0, le=3_600_000), DIGITS] = 20_000
    """How long the process may take to end after SIGTERM."""


class Settings(Group):
    """All of them; read-only."""

    kafka: KafkaSettings = KafkaSettings()
    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    batch: BatchSettings = BatchSettings()
    policy: PolicySettings = PolicySettings()
    alert: AlertSettings = AlertSettings()
    output: OutputSettings = OutputSettings()
    cache: CacheSettings = CacheSettings()
    dead_letter: DeadLetterSettings = DeadLetterSettings()
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()
    shutdown: ShutdownSettings = ShutdownSettings()

    def value(self, variable: str) -> object:
        """What a variable amounts to."""
        group, field = VARIABLES[variable]
        return getattr(getattr(self, group), field)

    def is_set(self, variable: str) -> bool:
        """Whether it was given, be it at its default."""
        group, field = VARIABLES[variable]
        return field in getattr(self, group).model_fields_set


GROUPS: dict[str, type[Group]] = {name: type(group.default) for name, group in Settings.model_fields.items()}

VARIABLES: dict[str, tuple[str, str]] = {
    f"WORKER_{group}__{field}".upper(): (group, field)
    for group, fields in GROUPS.items()
    for field in fields.model_fields
}
"""Every variable, and the group and field that it sets."""

SECRETS = frozenset({"WORKER_KAFKA__SASL_PASSWORD", "WORKER_KAFKA__SSL_KEY_PASSWORD", "WORKER_KAFKA__PROPERTIES"})
"""What is not shown when it is wrong."""


def shown(value: object) -> str:
    """A value as it is set, with every secret masked."""
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
    """A value of a JSON variable: of the properties, only what is no secret."""
    return shown_value(name, value.get_secret_value()) if isinstance(value, Secret) else value
