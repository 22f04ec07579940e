import json
from pathlib import Path

import pytest
from confluent_kafka import Producer

from worker.errors import ConfigurationError
from worker.settings import load_settings, producer_config


@pytest.fixture(autouse=True)
def _empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def environment(values: str) -> dict[str, str]:
    return {f"WORKER_{name}": value for name, value in (pair.split("=", 1) for pair in values.split())}


def the_fault(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(environ)
    [line] = str(refusal.value).splitlines()
    return line


SASL = "KAFKA__SECURITY_PROTOCOL=SASL_SSL KAFKA__SASL_MECHANISM=PLAIN"
SSL = "KAFKA__SECURITY_PROTOCOL=SSL"
CONSUMER = "KAFKA__GROUP_PROTOCOL=consumer"
USER = "KAFKA__SASL_USERNAME=someone"
PASSWORD = "KAFKA__SASL_PASSWORD=hunter2"  # noqa: S105 - nobody's
CERTIFICATE = f"KAFKA__SSL_CERTIFICATE_LOCATION={__file__}"
KEY = f"KAFKA__SSL_KEY_LOCATION={__file__}"
KEY_PASSWORD = "KAFKA__SSL_KEY_PASSWORD=hunter2"  # noqa: S105 - nobody's
OAUTH = "KAFKA__SECURITY_PROTOCOL=SASL_SSL KAFKA__SASL_MECHANISM=OAUTHBEARER"
GSSAPI = "KAFKA__SECURITY_PROTOCOL=SASL_SSL KAFKA__SASL_MECHANISM=GSSAPI"


@pytest.mark.parametrize(
    ("values", "name", "wants"),
    [
        (f"{CONSUMER} KAFKA__SESSION_TIMEOUT_MS=15000", "KAFKA__SESSION_TIMEOUT_MS", "no value with"),
        (
            f"{CONSUMER} KAFKA__PARTITION_ASSIGNMENT_STRATEGY=roundrobin",
            "KAFKA__PARTITION_ASSIGNMENT_STRATEGY",
            "no value with",
        ),
        (
            f'{CONSUMER} KAFKA__PROPERTIES={{"heartbeat.interval.ms":9}}',
            "KAFKA__PROPERTIES",
            "no heartbeat.interval.ms",
        ),
        ("KAFKA__MAX_POLL_INTERVAL_MS=14999", "KAFKA__MAX_POLL_INTERVAL_MS", "SESSION_TIMEOUT_MS, 15000"),
        ("KAFKA__VERDICT_TOPIC=chat.messages", "KAFKA__VERDICT_TOPIC", "WORKER_KAFKA__INPUT_TOPICS"),
        ("KAFKA__INPUT_TOPICS=a,moderation.alerts", "KAFKA__ALERT_TOPIC", "WORKER_KAFKA__INPUT_TOPICS"),
        ("KAFKA__DEAD_LETTER_TOPIC=moderation.alerts", "KAFKA__DEAD_LETTER_TOPIC", "WORKER_KAFKA__ALERT_TOPIC"),
        ("KAFKA__SASL_MECHANISM=PLAIN", "KAFKA__SASL_MECHANISM", "SASL_SSL or SASL_PLAINTEXT"),
        (USER, "KAFKA__SASL_USERNAME", "SASL_SSL or SASL_PLAINTEXT"),
        (f"{SSL} {PASSWORD}", "KAFKA__SASL_PASSWORD", "SASL_SSL or SASL_PLAINTEXT"),
        (f"KAFKA__SECURITY_PROTOCOL=SASL_SSL {USER}", "KAFKA__SASL_MECHANISM", "a mechanism with"),
        (f"{SASL} {USER}", "KAFKA__SASL_PASSWORD", "a value with"),
        (f"{SASL} {PASSWORD}", "KAFKA__SASL_USERNAME", "a value with"),
        (f"{GSSAPI} {PASSWORD}", "KAFKA__SASL_PASSWORD", "no value with"),
        (KEY_PASSWORD, "KAFKA__SSL_KEY_PASSWORD", "SSL or SASL_SSL"),
        ("KAFKA__SSL_CA_LOCATION=probe", "KAFKA__SSL_CA_LOCATION", "SSL or SASL_SSL"),
        (f"{SSL} {KEY_PASSWORD}", "KAFKA__SSL_KEY_PASSWORD", "WORKER_KAFKA__SSL_KEY_LOCATION"),
        (f"{SSL} {CERTIFICATE}", "KAFKA__SSL_KEY_LOCATION", "the key of"),
        (f"{SSL} {KEY}", "KAFKA__SSL_CERTIFICATE_LOCATION", "the certificate of"),
        ("BATCH__TOKENS_MAX=511", "BATCH__TOKENS_MAX", "at least WORKER_MODEL__TOKENS_MAX, 512"),
        ("INPUT__FORMAT=text INPUT__USER_ID_POINTER=/user", "INPUT__USER_ID_POINTER", "WORKER_INPUT__FORMAT=text"),
        ("MODEL__PATH=demo MODEL__REVISION=main", "MODEL__REVISION", "no revisions"),
        ("MODEL__PATH=. MODEL__REVISION=main", "MODEL__REVISION", "no revisions"),
        ("MODEL__TOKENIZER=. MODEL__TOKENIZER_REVISION=main", "MODEL__TOKENIZER_REVISION", "no revisions"),
    ],
)
def test_a_combination_that_cant_work_is_refused(values: str, name: str, wants: str) -> None:
    line = the_fault(environment(values))
    assert line.startswith(f"WORKER_{name}: got ")
    assert wants in line.partition("; wants ")[2]


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        (environment(USER), "WORKER_KAFKA__SECURITY_PROTOCOL (PLAINTEXT) to be"),
        (
            environment("KAFKA__VERDICT_TOPIC=moderation.alerts"),
            "WORKER_KAFKA__VERDICT_TOPIC (moderation.alerts) has",
        ),
        (environment(f"{SSL} {CERTIFICATE}"), f"WORKER_KAFKA__SSL_CERTIFICATE_LOCATION ({__file__})"),
        (environment(f"{SSL} {KEY_PASSWORD}"), "WORKER_KAFKA__SSL_KEY_LOCATION (unset) to be set too"),
        ({"WORKER_KAFKA__PROPERTIES": '{"group.id": "x"}'}, "WORKER_KAFKA__GROUP_ID (moderation) sets it"),
    ],
)
def test_another_variable_is_named_with_its_value(environ: dict[str, str], named: str) -> None:
    line = the_fault(environ)
    assert named in line.partition("; wants ")[2]
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "values",
    [
        f"{SASL} {USER} {PASSWORD}",
        f"KAFKA__SECURITY_PROTOCOL=SASL_PLAINTEXT KAFKA__SASL_MECHANISM=SCRAM-SHA-512 {USER} {PASSWORD}",
        GSSAPI,
        f"{SSL} {CERTIFICATE} {KEY} {KEY_PASSWORD} KAFKA__SSL_CA_LOCATION={__file__}",
        f'{SSL} KAFKA__PROPERTIES={{"ssl.certificate.pem":"x","ssl.key.pem":"x"}} {KEY_PASSWORD}',
        f"{CONSUMER} KAFKA__MAX_POLL_INTERVAL_MS=5000",
        "KAFKA__MAX_POLL_INTERVAL_MS=15000",
        "BATCH__TOKENS_MAX=512",
        "MODEL__PATH=DuoGuard/DuoGuard-0.5B MODEL__REVISION=main MODEL__TOKENIZER_REVISION=main",
        "MODEL__REVISION=main MODEL__TOKENIZER_REVISION=main",
        "KAFKA__BOOTSTRAP_SERVERS=a:9092,[::1]:9093,d",
    ],
)
def test_a_combination_that_works_is_taken(values: str) -> None:
    assert load_settings(environment(values)).origins


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bootstrap.servers", "WORKER_KAFKA__BOOTSTRAP_SERVERS"),
        ("group.id", "WORKER_KAFKA__GROUP_ID"),
        ("client.id", "WORKER_KAFKA__CLIENT_ID"),
        ("client.rack", "WORKER_KAFKA__CLIENT_RACK"),
        ("transactional.id", "WORKER_KAFKA__TRANSACTIONAL_ID"),
        ("group.instance.id", "WORKER_KAFKA__GROUP_INSTANCE_ID"),
        ("message.max.bytes", "WORKER_KAFKA__RECORD_BYTES_MAX"),
        ("group.protocol", "WORKER_KAFKA__GROUP_PROTOCOL"),
        ("partition.assignment.strategy", "WORKER_KAFKA__PARTITION_ASSIGNMENT_STRATEGY"),
        ("session.timeout.ms", "WORKER_KAFKA__SESSION_TIMEOUT_MS"),
        ("max.poll.interval.ms", "WORKER_KAFKA__MAX_POLL_INTERVAL_MS"),
        ("transaction.timeout.ms", "WORKER_KAFKA__TRANSACTION_TIMEOUT_MS"),
        ("security.protocol", "WORKER_KAFKA__SECURITY_PROTOCOL"),
        ("sasl.mechanism", "WORKER_KAFKA__SASL_MECHANISM"),
        ("sasl.mechanisms", "WORKER_KAFKA__SASL_MECHANISM"),
        ("sasl.username", "WORKER_KAFKA__SASL_USERNAME"),
        ("sasl.password", "WORKER_KAFKA__SASL_PASSWORD"),
        ("ssl.ca.location", "WORKER_KAFKA__SSL_CA_LOCATION"),
        ("ssl.certificate.location", "WORKER_KAFKA__SSL_CERTIFICATE_LOCATION"),
        ("ssl.key.location", "WORKER_KAFKA__SSL_KEY_LOCATION"),
        ("ssl.key.password", "WORKER_KAFKA__SSL_KEY_PASSWORD"),
        ("auto.offset.reset", "WORKER_KAFKA__AUTO_OFFSET_RESET"),
        ("enable.auto.commit", "exactly once"),
        ("enable.auto.offset.store", "exactly once"),
        ("isolation.level", "exactly once"),
        ("enable.idempotence", "exactly once"),
        ("acks", "exactly once"),
        ("max.in.flight.requests.per.connection", "exactly once"),
        ("retries", "exactly once"),
        ("partitioner", "partition"),
        ("enable.partition.eof", "exactly once"),
        ("offset.store.method", "exactly once"),
        ("topic.blacklist", "topic"),
        # These would run code.
        ("plugin.library.paths", "would run other code"),
        ("sasl.kerberos.kinit.cmd", "would run other code"),
        ("ssl.engine.location", "would run other code"),
        ("ssl.engine.id", "would run other code"),
        ("internal.termination.signal", "signals"),
        ("interceptors", "only code"),
        ("opaque", "only code"),
        # With these the worker would talk to nobody, or to nothing real.
        ("test.mock.num.brokers", "real broker"),
        ("test.mock.broker.rtt", "real broker"),
        # The same under librdkafka's other names.
        ("metadata.broker.list", "WORKER_KAFKA__BOOTSTRAP_SERVERS"),
        ("request.required.acks", "exactly once"),
        ("max.in.flight", "exactly once"),
        ("message.send.max.retries", "exactly once"),
        ("auto.commit.enable", "exactly once"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "consumer.", "producer."])
def test_a_property_that_is_ours_is_refused_by_name(prefix: str, name: str, reason: str) -> None:
    wants = the_fault({"WORKER_KAFKA__PROPERTIES": json.dumps({prefix + name: "x"})}).partition("; wants ")[2]
    assert wants.startswith(f"no {name}: ")
    assert reason in wants


@pytest.mark.parametrize("name", ["Plugin.Library.Paths", "Consumer.SASL.kerberos.kinit.cmd", "ACKS"])
def test_a_refused_property_is_refused_in_any_letter_case(name: str) -> None:
    line = the_fault({"WORKER_KAFKA__PROPERTIES": json.dumps({name: "x"})})
    assert line.startswith(f"WORKER_KAFKA__PROPERTIES: got the property {name}; wants no ")


@pytest.mark.parametrize("prefix", ["", "consumer."])
def test_openssl_providers_are_names_and_no_paths(prefix: str) -> None:
    name = f"{prefix}ssl.providers"
    line = the_fault({"WORKER_KAFKA__PROPERTIES": json.dumps({name: "default,/tmp/evil"})})
    assert line.startswith(f"WORKER_KAFKA__PROPERTIES: got a path in {name}; wants names")
    assert load_settings({"WORKER_KAFKA__PROPERTIES": json.dumps({name: "default, legacy"})}).origins


@pytest.mark.parametrize("name", ["error_cb", "enabled_events", "Linger.ms", "linger ms", ""])
def test_what_only_code_can_set_is_no_property(name: str) -> None:
    assert repr(name) in the_fault({"WORKER_KAFKA__PROPERTIES": json.dumps({name: "x"})})


@pytest.mark.parametrize(
    "text", ["{", "[]", '"linger.ms"', '{"linger.ms": null}', '{"linger.ms": [5]}', '{"linger.ms": NaN}']
)
def test_properties_are_a_json_object_of_plain_values(text: str) -> None:
    line = the_fault({"WORKER_KAFKA__PROPERTIES": text})
    assert line.startswith("WORKER_KAFKA__PROPERTIES: got a value that is not shown; wants ")


# OAUTHBEARER


def with_properties(login: str, **properties: object) -> dict[str, str]:
    """Write each name with underscores for its dots."""
    named = {name.replace("_", "."): value for name, value in properties.items()}
    return {**environment(login), "WORKER_KAFKA__PROPERTIES": json.dumps(named)}


OIDC = {
    "sasl_oauthbearer_method": "oidc",
    "sasl_oauthbearer_token_endpoint_url": "https://login.example/token",
    "sasl_oauthbearer_client_id": "moderation",
    "sasl_oauthbearer_client_secret": "hunter2",
}


def without(name: str) -> dict[str, object]:
    return {one: value for one, value in OIDC.items() if one != name}


@pytest.mark.parametrize(
    ("properties", "got"),
    [
        ({}, "sasl.oauthbearer.method=default and enable.sasl.oauthbearer.unsecure.jwt=false"),
        (
            {"sasl_oauthbearer_method": "Default", "enable_sasl_oauthbearer_unsecure_jwt": False},
            "sasl.oauthbearer.method=default and enable.sasl.oauthbearer.unsecure.jwt=false",
        ),
        ({"enable_sasl_oauthbearer_unsecure_jwt": "f"}, "enable.sasl.oauthbearer.unsecure.jwt=f"),
        ({"sasl_oauthbearer_metadata_authentication_type": "azure_imds"}, "sasl.oauthbearer.method=default"),
        (without("sasl_oauthbearer_client_id"), "oidc without sasl.oauthbearer.client.id or"),
        (without("sasl_oauthbearer_client_secret"), "oidc without sasl.oauthbearer.client.secret or"),
        (without("sasl_oauthbearer_token_endpoint_url"), "oidc without sasl.oauthbearer.token.endpoint.url"),
        (OIDC | {"sasl_oauthbearer_client_id": ""}, "oidc without sasl.oauthbearer.client.id or"),
        (
            {"sasl_oauthbearer_method": "oidc"},
            "oidc without sasl.oauthbearer.token.endpoint.url, sasl.oauthbearer.client.id or",
        ),
        (
            OIDC | {"sasl_oauthbearer_grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"},
            "oidc without sasl.oauthbearer.assertion.private.key.file or",
        ),
        (
            OIDC | {"sasl_oauthbearer_metadata_authentication_type": "aws_iam"},
            "sasl.oauthbearer.metadata.authentication.type=aws_iam",
        ),
        (OIDC | {"enable_sasl_oauthbearer_unsecure_jwt": True}, "enable.sasl.oauthbearer.unsecure.jwt=true"),
    ],
)
def test_a_login_without_a_token_source_is_refused_with_the_values_that_it_got(
    properties: dict[str, object], got: str
) -> None:
    line = the_fault(with_properties(OAUTH, **properties))
    assert line.startswith("WORKER_KAFKA__PROPERTIES: got sasl.oauthbearer.")
    assert got in line.partition("; wants ")[0]
    assert "hunter2" not in line


def test_every_client_needs_a_token_source() -> None:
    line = the_fault(with_properties(OAUTH, **{f"consumer_{name}": value for name, value in OIDC.items()}))
    assert "unsecure.jwt=false for the producer and the admin client; wants a token source" in line


@pytest.mark.parametrize(
    "properties",
    [
        OIDC,
        OIDC | {"sasl_oauthbearer_method": "OIDC"},
        without("sasl_oauthbearer_client_secret")
        | {"sasl_oauthbearer_client_credentials_client_secret": "hunter2"},
        {"enable_sasl_oauthbearer_unsecure_jwt": True},
        {"enable_sasl_oauthbearer_unsecure_jwt": "1"},
        {
            "sasl_oauthbearer_method": "oidc",
            "sasl_oauthbearer_metadata_authentication_type": "azure_imds",
            "sasl_oauthbearer_config": "query=resource=https://kafka.example&api-version=2018-02-01",
        },
    ],
)
def test_a_token_source_that_librdkafka_has_is_taken(properties: dict[str, object]) -> None:
    settings = load_settings(with_properties(OAUTH, **properties)).settings
    Producer({"log_level": 0, **producer_config(settings.kafka), "bootstrap.servers": "127.0.0.1:1"})


def test_iam_of_amazon_msk_is_refused_with_what_to_use_there() -> None:
    line = the_fault(environment("KAFKA__SECURITY_PROTOCOL=SASL_SSL KAFKA__SASL_MECHANISM=AWS_MSK_IAM"))
    assert "'SCRAM-SHA-512'" in line
    assert "client certificate" in line


# What is allowed and gives something away


@pytest.mark.parametrize(
    ("login", "properties", "words"),
    [
        (
            f"KAFKA__SECURITY_PROTOCOL=SASL_PLAINTEXT KAFKA__SASL_MECHANISM=PLAIN {USER} {PASSWORD}",
            {},
            ["SASL_PLAINTEXT", "PLAIN", "the password in clear text", "use SASL_SSL"],
        ),
        (SSL, {"enable_ssl_certificate_verification": False}, ["certificates", "WORKER_KAFKA__SSL_CA_LOCATION"]),
        (SSL, {"producer_enable_ssl_certificate_verification": "F"}, ["enable.ssl.certificate.verification=false"]),
        (SSL, {"ssl_endpoint_identification_algorithm": "NONE"}, ["host name"]),
        (OAUTH, {"enable_sasl_oauthbearer_unsecure_jwt": True}, ["not signed"]),
        (OAUTH, OIDC | {"sasl_oauthbearer_token_endpoint_url": "HTTP://login.example"}, ["secret", "https://"]),
    ],
)
def test_what_gives_a_login_away_is_a_warning(login: str, properties: dict[str, object], words: list[str]) -> None:
    [warning] = load_settings(with_properties(login, **properties)).warnings
    assert warning.startswith("WORKER_KAFKA__")
    assert [word for word in words if word not in warning] == []
    assert "hunter2" not in warning


@pytest.mark.parametrize(
    ("login", "properties"),
    [
        ("", {"enable_ssl_certificate_verification": False}),  # without TLS it says nothing
        (SSL, {"enable_ssl_certificate_verification": True, "ssl_endpoint_identification_algorithm": "https"}),
        (f"KAFKA__SECURITY_PROTOCOL=SASL_PLAINTEXT KAFKA__SASL_MECHANISM=SCRAM-SHA-512 {USER} {PASSWORD}", {}),
        (f"{SASL} {USER} {PASSWORD}", {}),
        (OAUTH, OIDC),
    ],
)
def test_what_gives_no_login_away_is_no_warning(login: str, properties: dict[str, object]) -> None:
    assert load_settings(with_properties(login, **properties)).warnings == ()
