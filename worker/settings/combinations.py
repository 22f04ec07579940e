"""Find settings that are valid alone but cannot work together."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from worker.settings.groups import KafkaSettings, Settings
from worker.settings.logins import token_faults
from worker.settings.properties import REFUSED, bare_name, is_property_name


class InvalidCombination(NamedTuple):
    """A variable whose value does not fit the values of other variables.

    Attributes:
        variable: The variable to change.
        wants: Completes "wants ...".
        others: The other variables of the combination. If the value of one of them is invalid, this fault is not
            reported.
        got: The wrong part of the value; empty: the whole value.
    """

    variable: str
    wants: str
    others: tuple[str, ...] = ()
    got: str = ""


def invalid_combinations(settings: Settings) -> Iterator[InvalidCombination]:
    """Yield every invalid combination, in the order of the settings."""
    yield from _group_protocol(settings)
    yield from _topics(settings.kafka)
    yield from _sasl(settings.kafka)
    yield from _ssl(settings.kafka)
    yield from _properties(settings.kafka)
    yield from _input(settings)
    yield from _policy(settings)
    yield from _model(settings)
    yield from _windows(settings)


def _group_protocol(settings: Settings) -> Iterator[InvalidCombination]:
    kafka, protocol = settings.kafka, "WORKER_KAFKA__GROUP_PROTOCOL"
    if kafka.group_protocol == "consumer":
        for variable in ("WORKER_KAFKA__PARTITION_ASSIGNMENT_STRATEGY", "WORKER_KAFKA__SESSION_TIMEOUT_MS"):
            if settings.is_set(variable):
                yield InvalidCombination(
                    variable, f"no value with {protocol}=consumer: the broker decides it", (protocol,)
                )
    elif kafka.max_poll_interval_ms < kafka.session_timeout_ms:
        other = "WORKER_KAFKA__SESSION_TIMEOUT_MS"
        wants = f"at least {other}, {kafka.session_timeout_ms}"
        yield InvalidCombination("WORKER_KAFKA__MAX_POLL_INTERVAL_MS", wants, (other, protocol))


def _topics(kafka: KafkaSettings) -> Iterator[InvalidCombination]:
    """Refuse an output topic that is also an input topic: the worker would read its own verdicts."""
    owners = dict.fromkeys(kafka.input_topics, "WORKER_KAFKA__INPUT_TOPICS")
    for name in ("verdict_topic", "alert_topic", "dead_letter_topic"):
        variable, topic = f"WORKER_KAFKA__{name}".upper(), getattr(kafka, name)
        owner = owners.setdefault(topic, variable)
        if owner != variable:
            yield InvalidCombination(variable, f"another topic: {owner} has this topic", (owner,))


def _sasl(kafka: KafkaSettings) -> Iterator[InvalidCombination]:
    protocol, mechanism = "WORKER_KAFKA__SECURITY_PROTOCOL", "WORKER_KAFKA__SASL_MECHANISM"
    username, password = "WORKER_KAFKA__SASL_USERNAME", "WORKER_KAFKA__SASL_PASSWORD"
    named = {mechanism: kafka.sasl_mechanism, username: kafka.sasl_username, password: kafka.sasl_password}
    if not kafka.security_protocol.startswith("SASL_"):
        for variable in (variable for variable, value in named.items() if value is not None):
            yield InvalidCombination(variable, f"{protocol} to be SASL_SSL or SASL_PLAINTEXT", (protocol,))
    elif kafka.sasl_mechanism is None:
        yield InvalidCombination(mechanism, f"a mechanism with {protocol}={kafka.security_protocol}", (protocol,))
    elif kafka.sasl_mechanism == "OAUTHBEARER":
        for fault in token_faults(kafka):
            yield InvalidCombination("WORKER_KAFKA__PROPERTIES", fault.wants, (mechanism, protocol), fault.got)
    if kafka.security_protocol.startswith("SASL_") and kafka.sasl_mechanism is not None:
        takes_password = kafka.sasl_mechanism not in {"OAUTHBEARER", "GSSAPI"}
        for variable in (username, password):
            if (named[variable] is not None) != takes_password:
                wants = "a value" if takes_password else "no value"
                yield InvalidCombination(
                    variable, f"{wants} with {mechanism}={kafka.sasl_mechanism}", (mechanism, protocol)
                )


def _ssl(kafka: KafkaSettings) -> Iterator[InvalidCombination]:
    protocol, ca = "WORKER_KAFKA__SECURITY_PROTOCOL", "WORKER_KAFKA__SSL_CA_LOCATION"
    certificate, key = "WORKER_KAFKA__SSL_CERTIFICATE_LOCATION", "WORKER_KAFKA__SSL_KEY_LOCATION"
    password, properties = "WORKER_KAFKA__SSL_KEY_PASSWORD", "WORKER_KAFKA__PROPERTIES"
    named = {
        ca: kafka.ssl_ca_location,
        certificate: kafka.ssl_certificate_location,
        key: kafka.ssl_key_location,
        password: kafka.ssl_key_password,
    }
    if not kafka.security_protocol.endswith("SSL"):
        for variable in (variable for variable, value in named.items() if value is not None):
            yield InvalidCombination(variable, f"{protocol} to be SSL or SASL_SSL", (protocol,))
        return
    inline = set(map(bare_name, kafka.properties))
    has_certificate = named[certificate] is not None or "ssl.certificate.pem" in inline
    has_key = named[key] is not None or "ssl.key.pem" in inline
    if has_key and not has_certificate:
        yield InvalidCombination(certificate, f"the certificate of {key}", (key, properties))
    if has_certificate and not has_key:
        yield InvalidCombination(key, f"the key of {certificate}", (certificate, properties))
    if named[password] is not None and not has_key:
        yield InvalidCombination(password, f"{key} to be set too", (key, properties))


def _properties(kafka: KafkaSettings) -> Iterator[InvalidCombination]:
    variable, protocol = "WORKER_KAFKA__PROPERTIES", "WORKER_KAFKA__GROUP_PROTOCOL"
    for name, value in kafka.properties.items():
        bare = bare_name(name)
        # librdkafka's names are in lower case. The same name in upper case gets the same reason.
        if reason := REFUSED.get(bare_name(name.lower())):
            yield InvalidCombination(variable, f"no {bare}: {reason}", got=f"the property {name}")
        elif not is_property_name(bare):
            yield InvalidCombination(
                variable, f"the name of a librdkafka property instead of {bare!r}", got=f"the property {name!r}"
            )
        elif bare == "heartbeat.interval.ms" and kafka.group_protocol == "consumer":
            yield InvalidCombination(
                variable, f"no {bare} with {protocol}=consumer: the broker decides it", (protocol,)
            )
        elif bare == "ssl.providers" and not re.fullmatch(r"[\w, -]*", str(value.get_secret_value()), re.ASCII):
            wants = (
                "names of OpenSSL's own providers, such as default: a path would run other code inside the worker"
            )
            yield InvalidCombination(variable, wants, got=f"a path in {name}")


def _input(settings: Settings) -> Iterator[InvalidCombination]:
    if settings.input.format == "text":
        other, shape = "WORKER_INPUT__FORMAT", "WORKER_INPUT__SHAPE"
        if settings.input.shape != "plain":
            yield InvalidCombination(
                shape, f"nothing but plain with {other}=text; a shape file says wire: text itself", (other,)
            )
        for name in ("TEXT", "MESSAGE_ID", "CHANNEL_ID", "USER_ID", "SENT_AT"):
            variable = f"WORKER_INPUT__{name}_POINTER"
            if settings.is_set(variable):
                yield InvalidCombination(variable, f"no value with {other}=text: the input is not JSON", (other,))


def _policy(settings: Settings) -> Iterator[InvalidCombination]:
    """Refuse the variables that a policy file replaces: it would not be clear which of both decides."""
    if settings.policy.path is None:
        return
    replaced = {"POLICY": ("THRESHOLD", "THRESHOLDS", "VERSION"), "ALERT": ("TEXT",)}
    for variable in (f"WORKER_{group}__{name}" for group, names in replaced.items() for name in names):
        if settings.is_set(variable):
            wants = "no value with WORKER_POLICY__PATH: the policy file says it"
            yield InvalidCombination(variable, wants, ("WORKER_POLICY__PATH",))


def _model(settings: Settings) -> Iterator[InvalidCombination]:
    model, path = settings.model, "WORKER_MODEL__PATH"
    # `model fetch` needs no path. An empty path must not count as a folder: Path("") is the working directory.
    is_local = model.path == "demo" or (model.path != "" and Path(model.path).is_dir())
    if model.revision is not None and is_local:
        yield InvalidCombination(
            "WORKER_MODEL__REVISION", f"no value with a local {path}: a folder has no revisions", (path,)
        )
    if model.tokenizer_revision is not None and model.tokenizer is not None and Path(model.tokenizer).is_dir():
        other = "WORKER_MODEL__TOKENIZER"
        wants = f"no value with a local {other}: a folder has no revisions"
        yield InvalidCombination("WORKER_MODEL__TOKENIZER_REVISION", wants, (other,))
    longest, other = model.tokens_max, "WORKER_MODEL__TOKENS_MAX"
    if isinstance(settings.batch.tokens_max, int) and settings.batch.tokens_max < longest:
        yield InvalidCombination("WORKER_BATCH__TOKENS_MAX", f"at least {other}, {longest}, or auto", (other,))


def _windows(settings: Settings) -> Iterator[InvalidCombination]:
    overlap, other = settings.text.window_overlap_tokens, "WORKER_MODEL__TOKENS_MAX"
    if overlap is not None and overlap > settings.model.tokens_max // 2:
        wants = f"at most half of {other}, {settings.model.tokens_max // 2}: windows must advance"
        yield InvalidCombination("WORKER_TEXT__WINDOW_OVERLAP_TOKENS", wants, (other,))
