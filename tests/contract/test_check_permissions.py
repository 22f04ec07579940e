"""`check` on a Kafka with TLS and ACLs: missing permissions and rejected logins."""

import re
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tests.acls import binding, documented, grant
from tests.check_command import run_check, settings_for
from tests.conftest import SecuredKafka, login, new_topic_names
from worker.errors import ExitCode

pytestmark = pytest.mark.kafka


def test_a_missing_permission_is_shown_with_the_command_that_grants_it(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    topics = new_topic_names()
    client: dict[str, Any] = {"bootstrap.servers": secured_kafka.scram, **login("admin", "admin")}
    topics.create(client, partitions=1)
    settings = settings_for(secured_kafka.scram, topics, **secured_kafka.over_scram)
    outcome = run_check(settings, tmp_path)
    commands = re.findall("-> kafka-acls.sh (.*)", outcome.screen)
    assert (outcome.code, commands) == (ExitCode.KAFKA, documented(settings))
    grant(AdminClient(client), map(binding, commands))
    marks = run_check(settings, tmp_path).marks
    assert marks == "✓" * 10 + "---" + "✓" * 6 + "✗-"  # the topics' settings are hidden, and the model is missing


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("SASL_PASSWORD=not-the-password", "Authentication failed"),
        ("SASL_MECHANISM=SCRAM-SHA-256", "SCRAM-SHA-512"),
        ("SSL_CA_LOCATION={}/stranger.pem", "certificate verify failed"),
    ],
)
def test_a_rejected_login_names_the_setting(
    fault: str, text: str, secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    setting, value = fault.format(secured_kafka.certificates).split("=")
    wrong = secured_kafka.over_scram | {f"WORKER_KAFKA__{setting}": value}
    outcome = run_check(settings_for(secured_kafka.scram, new_topic_names(), **wrong), tmp_path)
    assert outcome.code is ExitCode.KAFKA
    assert text in outcome.line("broker")
    assert setting in outcome.screen
    assert "not-the-password" not in outcome.screen


def test_a_missing_client_certificate_names_the_settings(secured_kafka: SecuredKafka, tmp_path: Path) -> None:
    settings = settings_for(secured_kafka.mtls, new_topic_names(), **secured_kafka.over_mtls)
    for name in ("WORKER_KAFKA__SSL_CERTIFICATE_LOCATION", "WORKER_KAFKA__SSL_KEY_LOCATION"):
        del settings[name]
    outcome = run_check(settings, tmp_path)
    assert outcome.code is ExitCode.KAFKA
    assert "certificate required" in outcome.line("broker")
    assert "SSL_CERTIFICATE_LOCATION" in outcome.screen
