import json
from pathlib import Path

import pytest

from worker.errors import ConfigurationRefused
from worker.settings import load_settings


@pytest.fixture(autouse=True)
def _empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def environment(values: str) -> dict[str, str]:
    return {f"WORKER_{name}": value for name, value in (pair.split("=", 1) for pair in values.split())}


def the_fault(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigurationRefused) as refusal:
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
        (f"{CONSUMER} KAFKA__SESSION_TIMEOUT_MS=15000", "KAFKA__SESSION_TIMEOUT_MS", "nothing beside"),
        (f"{CONSUMER} KAFKA__ASSIGNMENT_STRATEGY=roundrobin", "KAFKA__ASSIGNMENT_STRATEGY", "nothing beside"),
        (
            f'{CONSUMER} KAFKA__PROPERTIES={{"heartbeat.interval.ms":9}}',
            "KAFKA__PROPERTIES",
            "no heartbeat.interval.ms",
        ),
        ("KAFKA__POLL_INTERVAL_MS_MAX=14999", "KAFKA__POLL_INTERVAL_MS_MAX", "SESSION_TIMEOUT_MS, 15000"),
        ("KAFKA__VERDICT_TOPIC=chat.messages", "KAFKA__VERDICT_TOPIC", "WORKER_KAFKA__INPUT_TOPICS"),
        ("KAFKA__INPUT_TOPICS=a,moderation.alerts", "KAFKA__ALERT_TOPIC", "WORKER_KAFKA__INPUT_TOPICS"),
        ("KAFKA__DEAD_LETTER_TOPIC=moderation.alerts", "KAFKA__DEAD_LETTER_TOPIC", "WORKER_KAFKA__ALERT_TOPIC"),
        ("KAFKA__SASL_MECHANISM=PLAIN", "KAFKA__SASL_MECHANISM", "SASL_SSL or SASL_PLAINTEXT"),
        (USER, "KAFKA__SASL_USERNAME", "SASL_SSL or SASL_PLAINTEXT"),
        (f"{SSL} {PASSWORD}", "KAFKA__SASL_PASSWORD", "SASL_SSL or SASL_PLAINTEXT"),
        (f"KAFKA__SECURITY_PROTOCOL=SASL_SSL {USER}", "KAFKA__SASL_MECHANISM", "one beside"),
        (f"{SASL} {USER}", "KAFKA__SASL_PASSWORD", "something beside"),
        (f"{SASL} {PASSWORD}", "KAFKA__SASL_USERNAME", "something beside"),
        (f"{GSSAPI} {PASSWORD}", "KAFKA__SASL_PASSWORD", "nothing beside"),
        (OAUTH, "KAFKA__SASL_MECHANISM", "sasl.oauthbearer.method"),
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
    "values",
    [
        f"{SASL} {USER} {PASSWORD}",
        f"KAFKA__SECURITY_PROTOCOL=SASL_PLAINTEXT KAFKA__SASL_MECHANISM=SCRAM-SHA-512 {USER} {PASSWORD}",
        f'{OAUTH} KAFKA__PROPERTIES={{"sasl.oauthbearer.method":"oidc"}}',
        GSSAPI,
        f"{SSL} {CERTIFICATE} {KEY} {KEY_PASSWORD} KAFKA__SSL_CA_LOCATION={__file__}",
        f'{SSL} KAFKA__PROPERTIES={{"ssl.certificate.pem":"x","ssl.key.pem":"x"}} {KEY_PASSWORD}',
        f"{CONSUMER} KAFKA__POLL_INTERVAL_MS_MAX=5000",
        "KAFKA__POLL_INTERVAL_MS_MAX=15000",
        "BATCH__TOKENS_MAX=512",
        "MODEL__PATH=DuoGuard/DuoGuard-0.5B MODEL__REVISION=main MODEL__TOKENIZER_REVISION=main",
        "MODEL__REVISION=main MODEL__TOKENIZER_REVISION=main",
        "KAFKA__BOOTSTRAP_SERVERS=a:9092,[::1]:9093,SASL_SSL://c.example:9094,d",
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
        ("partition.assignment.strategy", "WORKER_KAFKA__ASSIGNMENT_STRATEGY"),
        ("session.timeout.ms", "WORKER_KAFKA__SESSION_TIMEOUT_MS"),
        ("max.poll.interval.ms", "WORKER_KAFKA__POLL_INTERVAL_MS_MAX"),
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


@pytest.mark.parametrize("name", ["error_cb", "enabled_events", "Linger.ms", "linger ms", ""])
def test_what_only_code_can_set_is_no_property(name: str) -> None:
    assert repr(name) in the_fault({"WORKER_KAFKA__PROPERTIES": json.dumps({name: "x"})})


@pytest.mark.parametrize(
    "text", ["{", "[]", '"linger.ms"', '{"linger.ms": null}', '{"linger.ms": [5]}', '{"linger.ms": NaN}']
)
def test_properties_are_a_json_object_of_plain_values(text: str) -> None:
    line = the_fault({"WORKER_KAFKA__PROPERTIES": text})
    assert line.startswith("WORKER_KAFKA__PROPERTIES: got a value that is not shown; wants ")
