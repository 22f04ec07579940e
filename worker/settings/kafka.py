"""librdkafka's configuration, with the reason at each line; callbacks are the session's.

Source: librdkafka, CONFIGURATION.md.
"""

from typing import Literal

from pydantic import SecretStr

from worker.settings.groups import RECORD_OVERHEAD_BYTES_MAX, KafkaSettings
from worker.settings.properties import bare_name
from worker.settings.values import Scalar

Config = dict[str, Scalar]
"""Holds secrets: never for a log."""

Client = Literal["consumer", "producer"] | None
"""None: the admin client."""


def consumer_config(kafka: KafkaSettings) -> Config:
    """For the consumer of the input topics."""
    config: Config = {
        **_connection(kafka),
        "group.id": kafka.group_id,
        # Offsets are committed by the transaction that holds their outputs, and by nothing else.
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # No records of aborted transactions; it also makes OffsetFetch wait for a dead worker's pending ones.
        "isolation.level": "read_committed",
        # Says how far there is nothing more to read, past the control records of transactions.
        "enable.partition.eof": True,
        # The session decides where a partition starts: librdkafka's own resets skip records and say nothing.
        "auto.offset.reset": "error",
        "group.protocol": kafka.group_protocol,
        # After this long without a poll the partitions go to others, so that a hung worker doesn't hold them.
        "max.poll.interval.ms": kafka.max_poll_interval_ms,
        # Read ahead by about two seconds of a fast device's work, and no more: what waits here is delay for quiet
        # channels behind hot ones. 16 MB are some 80,000 chat messages.
        "queued.min.messages": 10_000,
        "queued.max.messages.kbytes": 16_384,
        # The default, 1000, stalls for a second each time that the queue was full.
        "fetch.queue.backoff.ms": 20,
    }
    if kafka.group_protocol == "classic":
        config |= {
            # Eager by default: no transaction is aborted by a rebalance, and many small topics spread evenly.
            "partition.assignment.strategy": kafka.partition_assignment_strategy,
            "session.timeout.ms": kafka.session_timeout_ms,
            # Several heartbeats fit into any session; 3000 is the default.
            "heartbeat.interval.ms": min(3000, kafka.session_timeout_ms // 5),
        }
    if kafka.group_instance_id is not None:
        # Static membership: a restarted worker has its partitions back before the dead one's session ends.
        config["group.instance.id"] = kafka.group_instance_id
    return config | properties_of(kafka, "consumer")


def producer_config(kafka: KafkaSettings) -> Config:
    """For the transactional producer; its id implies idempotence, acks=all and bounded requests in flight."""
    config: Config = {
        **_connection(kafka),
        # One per live process: a second process with this id fences the first.
        "transactional.id": kafka.transactional_id,
        # A dead worker's transaction blocks the readers of its partitions for this long, unless its id comes back.
        "transaction.timeout.ms": kafka.transaction_timeout_ms,
        # Long enough to fill requests, short beside a commit.
        "linger.ms": 5,
        # A transaction waits for the markers of the one before by trying again: back to back that took 33 ms at the
        # 95th percentile, and 103 to 118 at the default, 100.
        "retry.backoff.ms": 10,
        # Verdicts are JSON with the same keys over and over.
        "compression.type": "lz4",
        # Above any record within RECORD_BYTES_MAX, framing included: only our own count, which makes an
        # oversized record a dead letter, decides.
        "message.max.bytes": kafka.record_bytes_max + RECORD_OVERHEAD_BYTES_MAX,
        # The topics' limit counts whole batches: one of several records is no larger than one record may be.
        "batch.size": kafka.record_bytes_max,
    }
    return config | properties_of(kafka, "producer")


def admin_config(kafka: KafkaSettings) -> Config:
    """For what only asks, or creates topics."""
    config: Config = {
        **_connection(kafka),
        # How often librdkafka renews its choice of the broker that it asks about topics. With the default, five
        # minutes, the worker had no answer for as long after that broker had died.
        "topic.metadata.refresh.interval.ms": 1_000,
    }
    return config | properties_of(kafka, None)


def _connection(kafka: KafkaSettings) -> Config:
    settings: dict[str, Scalar | None] = {
        # The default, 10000, would keep a worker away for that long after its broker is back.
        "reconnect.backoff.max.ms": 1000,
        # Gateways forget idle connections without a word: Azure after 4 minutes, AWS after 350 s. The first verdict
        # after such a silence took 16 s, until a request timed out (librdkafka issue 3109). Close the connection
        # before, and have the kernel look after the ones that stay open.
        "connections.max.idle.ms": 180_000,
        "socket.keepalive.enable": True,
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": kafka.client_id,
        "client.rack": kafka.client_rack,
        "security.protocol": kafka.security_protocol,
        "sasl.mechanism": kafka.sasl_mechanism,
        "sasl.username": kafka.sasl_username,
        "sasl.password": _revealed(kafka.sasl_password),
        "ssl.ca.location": kafka.ssl_ca_location,
        "ssl.certificate.location": kafka.ssl_certificate_location,
        "ssl.key.location": kafka.ssl_key_location,
        "ssl.key.password": _revealed(kafka.ssl_key_password),
    }
    return {name: value for name, value in settings.items() if value is not None}


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def properties_of(kafka: KafkaSettings, client: Client) -> Config:
    """Give the properties of one client; its own win over those for all clients."""
    values = {name: value.get_secret_value() for name, value in kafka.properties.items()}
    both = {name: value for name, value in values.items() if bare_name(name) == name}
    return both | {bare_name(name): value for name, value in values.items() if name.startswith(f"{client}.")}
