"""What an error of Kafka that ends the worker says: the setting, its value, and what to do."""

import pytest

from worker.kafka.client_errors import Membership
from worker.kafka.login import Login
from worker.settings import consumer_config, load_settings

VARIABLES = {
    "WORKER_KAFKA__BOOTSTRAP_SERVERS": "kafka-1:9093",
    "WORKER_KAFKA__GROUP_ID": "the-group",
    "WORKER_KAFKA__GROUP_INSTANCE_ID": "pod-0",
    "WORKER_KAFKA__INPUT_TOPICS": "lobby,arena",
    "WORKER_KAFKA__SESSION_TIMEOUT_MS": "7000",
    "WORKER_KAFKA__PARTITION_ASSIGNMENT_STRATEGY": "range",
    "WORKER_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    "WORKER_KAFKA__SASL_MECHANISM": "PLAIN",
    "WORKER_KAFKA__SASL_USERNAME": "someone",
    "WORKER_KAFKA__SASL_PASSWORD": "hunter2",
    "WORKER_KAFKA__SSL_CA_LOCATION": __file__,
}


def membership(**changes: str) -> Membership:
    kafka = load_settings({**VARIABLES, **changes}).settings.kafka
    return Membership.of(consumer_config(kafka), kafka.input_topics)


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("TOPIC_AUTHORIZATION_FAILED", "lobby, arena (WORKER_KAFKA__INPUT_TOPICS)"),
        ("GROUP_AUTHORIZATION_FAILED", "READ on the group 'the-group' (WORKER_KAFKA__GROUP_ID)"),
        ("INVALID_SESSION_TIMEOUT", "WORKER_KAFKA__SESSION_TIMEOUT_MS (7000)"),
        ("INCONSISTENT_GROUP_PROTOCOL", "WORKER_KAFKA__PARTITION_ASSIGNMENT_STRATEGY (range)"),
        ("INCONSISTENT_GROUP_PROTOCOL", "WORKER_KAFKA__GROUP_PROTOCOL (classic)"),
        ("FENCED_INSTANCE_ID", "WORKER_KAFKA__GROUP_INSTANCE_ID (pod-0)"),
        ("GROUP_MAX_SIZE_REACHED", "'the-group'"),
        ("_FATAL", "WORKER_KAFKA__GROUP_INSTANCE_ID (pod-0)"),
        ("UNSUPPORTED_VERSION", "WORKER_KAFKA__GROUP_PROTOCOL (classic)"),
    ],
)
def test_a_hint_names_the_setting_with_its_value(code: str, named: str) -> None:
    assert named in membership().hint(code)
    assert "hunter2" not in repr(membership())


@pytest.mark.parametrize(
    ("code", "text", "named"),
    [
        (
            "_AUTHENTICATION",
            "",
            ["SECURITY_PROTOCOL (SASL_SSL)", "SASL_MECHANISM (PLAIN)", "(someone)", "SASL_PASSWORD"],
        ),
        ("SASL_AUTHENTICATION_FAILED", "", ["SASL_USERNAME (someone)"]),
        ("_SSL", "", [f"SSL_CA_LOCATION ({__file__})", "SSL_CERTIFICATE_LOCATION (not set)"]),
        ("_TRANSPORT", "SSL alert number 116", ["SSL_KEY_LOCATION (not set)"]),
    ],
)
def test_a_failed_login_names_the_settings_with_their_values_but_not_the_password(
    code: str, text: str, named: list[str]
) -> None:
    said = membership().login.settings_to_look_at(code, text)
    assert [words for words in named if words not in said] == []
    assert "hunter2" not in said


def test_a_failed_login_with_tokens_points_at_the_properties() -> None:
    login = Login.of({"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"})
    assert "sasl.oauthbearer.* in WORKER_KAFKA__PROPERTIES" in login.settings_to_look_at("_AUTHENTICATION", "")


def test_another_error_is_not_a_failed_login() -> None:
    assert membership().login.settings_to_look_at("_TRANSPORT", "Connection refused") == ""


def test_the_settings_that_lead_to_the_brokers_are_named_with_their_values() -> None:
    way = membership().login.way
    assert "WORKER_KAFKA__BOOTSTRAP_SERVERS (kafka-1:9093)" in way
    assert "WORKER_KAFKA__SECURITY_PROTOCOL (SASL_SSL)" in way
