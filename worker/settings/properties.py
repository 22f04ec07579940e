"""Which librdkafka properties may be set in ``WORKER_KAFKA__PROPERTIES``, and which of their values may be shown.

Source: librdkafka, CONFIGURATION.md, and ``rd_kafka_conf_properties_show`` of librdkafka 2.16.
"""

import re

_GUARANTEE = "exactly once depends on the worker's own value"
_RUNS_CODE = "it would run other code inside the worker, which has the worker's password and permissions"
_OWN_LOG = "the worker detects broken connections by librdkafka's log; WORKER_LOG__LEVEL sets what is shown"
_ONLY_CODE = "only code can set it"

REFUSED: dict[str, str] = {
    "bootstrap.servers": "WORKER_KAFKA__BOOTSTRAP_SERVERS sets it",
    "metadata.broker.list": "WORKER_KAFKA__BOOTSTRAP_SERVERS sets it",
    "group.id": "WORKER_KAFKA__GROUP_ID sets it",
    "client.id": "WORKER_KAFKA__CLIENT_ID sets it",
    "client.rack": "WORKER_KAFKA__CLIENT_RACK sets it",
    "transactional.id": "WORKER_KAFKA__TRANSACTIONAL_ID sets it",
    "group.instance.id": "WORKER_KAFKA__GROUP_INSTANCE_ID sets it",
    "auto.offset.reset": "WORKER_KAFKA__AUTO_OFFSET_RESET replaces it; librdkafka's reset would lose messages",
    "message.max.bytes": "WORKER_KAFKA__RECORD_BYTES_MAX sets it",
    "batch.size": "WORKER_KAFKA__RECORD_BYTES_MAX sets it",
    "group.protocol": "WORKER_KAFKA__GROUP_PROTOCOL sets it",
    "partition.assignment.strategy": "WORKER_KAFKA__PARTITION_ASSIGNMENT_STRATEGY sets it",
    "session.timeout.ms": "WORKER_KAFKA__SESSION_TIMEOUT_MS sets it",
    "max.poll.interval.ms": "WORKER_KAFKA__MAX_POLL_INTERVAL_MS sets it",
    "transaction.timeout.ms": "WORKER_KAFKA__TRANSACTION_TIMEOUT_MS sets it",
    "security.protocol": "WORKER_KAFKA__SECURITY_PROTOCOL sets it",
    "sasl.mechanism": "WORKER_KAFKA__SASL_MECHANISM sets it",
    "sasl.mechanisms": "WORKER_KAFKA__SASL_MECHANISM sets it",
    "sasl.username": "WORKER_KAFKA__SASL_USERNAME sets it",
    "sasl.password": "WORKER_KAFKA__SASL_PASSWORD sets it",
    "ssl.ca.location": "WORKER_KAFKA__SSL_CA_LOCATION sets it",
    "ssl.certificate.location": "WORKER_KAFKA__SSL_CERTIFICATE_LOCATION sets it",
    "ssl.key.location": "WORKER_KAFKA__SSL_KEY_LOCATION sets it",
    "ssl.key.password": "WORKER_KAFKA__SSL_KEY_PASSWORD sets it",
    "enable.auto.commit": _GUARANTEE,
    "auto.commit.enable": _GUARANTEE,
    "enable.auto.offset.store": _GUARANTEE,
    "offset.store.method": _GUARANTEE,
    "isolation.level": _GUARANTEE,
    "enable.idempotence": _GUARANTEE,
    "acks": _GUARANTEE,
    "request.required.acks": _GUARANTEE,
    "max.in.flight.requests.per.connection": _GUARANTEE,
    "max.in.flight": _GUARANTEE,
    "retries": _GUARANTEE,
    "message.send.max.retries": _GUARANTEE,
    "partitioner": "the worker chooses the partition of each output",
    "enable.partition.eof": _GUARANTEE,
    "topic.blacklist": "for the worker, a topic on this list would not exist",
    "log_level": _OWN_LOG,
    "log.connection.close": _OWN_LOG,
    "log.queue": _OWN_LOG,
    "logger": "WORKER_LOG__LEVEL and WORKER_LOG__FORMAT decide what is logged",
    # Each of these names a library to load, or a command to run.
    "plugin.library.paths": _RUNS_CODE,
    "sasl.kerberos.kinit.cmd": _RUNS_CODE,
    "ssl.engine.location": _RUNS_CODE,
    "ssl.engine.id": _RUNS_CODE,
    # For these, librdkafka misreads a text, or refuses it only when it creates a client.
    "interceptors": _ONLY_CODE,
    "opaque": _ONLY_CODE,
    "internal.termination.signal": "the worker uses signals to stop",
    # Not documented: all clients would connect to a mock broker inside librdkafka.
    "test.mock.num.brokers": "the worker needs a real broker; librdkafka's mock keeps nothing",
    "test.mock.broker.rtt": "the worker needs a real broker; librdkafka's mock keeps nothing",
}
"""Properties that must not be set, including librdkafka's aliases, each with the reason."""

_MASK = "***"
_LOGIN_WORDS = (
    "password|passwd|passphrase|pwd|secret|credential|token|jaas|key|pem|assertion|config|extension|private|auth"
)
_LOGIN = ("sasl.", "ssl.", "https.")
_SHOWN = frozenset(
    {
        # Logins: every other property that begins with sasl, ssl or https is masked.
        "enable.sasl.oauthbearer.unsecure.jwt",
        "enable.ssl.certificate.verification",
        "https.ca.location",
        "sasl.kerberos.keytab",
        "sasl.kerberos.min.time.before.relogin",
        "sasl.kerberos.principal",
        "sasl.kerberos.service.name",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.grant.type",
        "sasl.oauthbearer.metadata.authentication.type",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.sub.claim.name",
        "sasl.oauthbearer.token.endpoint.url",
        "ssl.ca.certificate.stores",
        "ssl.cipher.suites",
        "ssl.crl.location",
        "ssl.curves.list",
        "ssl.endpoint.identification.algorithm",
        "ssl.keystore.location",
        "ssl.providers",
        "ssl.sigalgs.list",
        # Other properties whose values are words.
        "broker.address.family",
        "client.dns.lookup",
        "compression.codec",
        "compression.type",
        "debug",
        "group.protocol.type",
        "group.remote.assignor",
        "metadata.recovery.strategy",
        "queuing.strategy",
    }
)


def bare_name(name: str) -> str:
    """Return a property's name without ``consumer.`` or ``producer.``."""
    return re.sub("^(consumer|producer)[.]", "", name)


def is_property_name(name: str) -> bool:
    """Return whether a text can set the property. A name with an underscore is a callback or a pointer."""
    return name == "log_level" or re.fullmatch("[a-z0-9]+([.][a-z0-9]+)*", name) is not None


def shown_value(name: str, value: str | float) -> str | float:
    """Mask a value, unless it is known not to be a secret.

    A word is shown only for the properties in ``_SHOWN``. A number, true or false is shown for any property
    whose name does not look like a login's. A URL is masked when it holds a login or a query.
    """
    bare = bare_name(name.lower())
    if bare in _SHOWN:
        is_plain = not (bare.endswith(".url") and re.search("[@?#]", str(value)))
    else:
        is_number = isinstance(value, int | float) or re.fullmatch("true|false|-?[0-9]{1,10}", value) is not None
        is_plain = is_number and not bare.startswith(_LOGIN) and not re.search(_LOGIN_WORDS, bare)
    return value if is_plain else _MASK
