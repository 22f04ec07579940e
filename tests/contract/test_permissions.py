"""The permissions that the worker needs, no more and no less, and its message when one is missing."""

from collections.abc import Collection

import pytest
from confluent_kafka.admin import AclBindingFilter, AdminClient  # type: ignore[attr-defined] # exported at run time

from tests.acls import binding, documented, grant
from tests.conftest import SecuredKafka, login
from tests.in_process_worker import joined_worker
from tests.kafka_env import KafkaEnv, chat
from tests.worker_process import Start
from worker.classifier import Classifier
from worker.errors import ExitCode, KafkaFatalError
from worker.records import Topic

pytestmark = pytest.mark.kafka

# The smallest set that works, and what the message must name when a permission is missing.
GRANTS = {
    "READ the input topic": ("READ on the input topics",),
    "READ the group": ("READ on ", "group ", "WORKER_KAFKA__GROUP_ID"),
    "WRITE the transactional id": ("WRITE on the transactional id ", " (WORKER_KAFKA__TRANSACTIONAL_ID)"),
    "WRITE the verdict topic": ("WRITE on ", ".verdicts'"),
    "WRITE the alert topic": ("WRITE on ", ".alerts'"),
    "WRITE the dead letter topic": ("WRITE on ", ".dead-letters'"),
}
MESSAGES = [chat("good morning"), b"not JSON"]  # with a threshold of 0: one record for each output topic
WRONG_PASSWORD = "hunter2"  # noqa: S105 - not a real password


class Secured:
    """Topics on the Kafka with ACLs, and the permissions of its user ``worker``."""

    def __init__(self, kafka: SecuredKafka) -> None:
        self.scene = KafkaEnv(kafka.scram, "demo", inputs=(1,), partitions=1, login=login("admin", "admin"))
        self.scene.create()
        self.environ = self.scene.environ() | kafka.over_scram
        self._admin = AdminClient(self.scene.client)
        self._bindings = dict(zip(GRANTS, map(binding, documented(self.environ)), strict=True))

    def grant(self, names: Collection[str]) -> None:
        grant(self._admin, [self._bindings[name] for name in names])

    def remove(self, name: str) -> None:
        it = self._bindings[name]
        same = AclBindingFilter(
            it.restype,
            it.name,
            it.resource_pattern_type,
            it.principal,
            it.host,
            it.operation,
            it.permission_type,
        )
        [answer] = self._admin.delete_acls([same]).values()
        assert answer.result()


@pytest.fixture
def secured(secured_kafka: SecuredKafka) -> Secured:
    return Secured(secured_kafka)


def names_what_to_grant(refusal: KafkaFatalError, name: str) -> bool:
    return refusal.exit_code is ExitCode.KAFKA and all(words in str(refusal) for words in GRANTS[name])


def test_the_documented_permissions_are_enough(secured: Secured, classifier: Classifier) -> None:
    secured.grant(GRANTS)
    secured.scene.send(MESSAGES)
    with joined_worker(secured.environ, classifier) as worker:
        worker.turn_until_judged(2)
    assert len(secured.scene.read(*Topic)) == 3


def test_the_same_permissions_work_for_the_common_name_of_a_certificate(
    secured: Secured, secured_kafka: SecuredKafka, classifier: Classifier
) -> None:
    secured.grant(GRANTS)
    secured.scene.send(MESSAGES)
    with joined_worker(secured.scene.environ() | secured_kafka.over_mtls, classifier) as worker:
        worker.turn_until_judged(2)
    assert len(secured.scene.read(*Topic)) == 3


@pytest.mark.parametrize("missing", GRANTS)
def test_a_missing_permission_is_named(missing: str, secured: Secured, classifier: Classifier) -> None:
    secured.grant(GRANTS.keys() - {missing})
    secured.scene.send(MESSAGES)
    with joined_worker(secured.environ, classifier) as worker, pytest.raises(KafkaFatalError) as refusal:
        worker.turn_until_judged(2)
    assert names_what_to_grant(refusal.value, missing), refusal.value
    assert not secured.scene.read(*Topic)


@pytest.mark.parametrize("lost", GRANTS)
def test_a_permission_that_is_removed_is_named(lost: str, secured: Secured, classifier: Classifier) -> None:
    secured.grant(GRANTS)
    secured.scene.send(MESSAGES)
    with joined_worker(secured.environ, classifier) as worker:
        worker.turn_until_judged(2)
        secured.remove(lost)
        secured.scene.send(MESSAGES)
        with pytest.raises(KafkaFatalError) as refusal:
            worker.turn_until_judged(4)
    assert names_what_to_grant(refusal.value, lost), refusal.value
    assert len(secured.scene.read(*Topic)) == 3


def test_a_worker_with_a_wrong_password_ends_and_names_the_settings_but_not_the_secret(
    secured: Secured, start_stub: Start
) -> None:
    worker = start_stub({**secured.environ, "WORKER_KAFKA__SASL_PASSWORD": WRONG_PASSWORD})
    worker.wait_for(secured.scene.group)  # in the start-up line, which follows the loading of the model
    assert worker.end(seconds_max=15) == ExitCode.KAFKA
    assert "SASL_USERNAME (worker) and SASL_PASSWORD" in worker.said
    assert WRONG_PASSWORD not in worker.said


def test_a_broker_with_an_untrusted_certificate_is_refused_and_the_setting_is_named(
    secured: Secured, secured_kafka: SecuredKafka, classifier: Classifier
) -> None:
    stranger = str(secured_kafka.certificates / "stranger.pem")
    environ = {**secured.environ, "WORKER_KAFKA__SSL_CA_LOCATION": stranger}
    with joined_worker(environ, classifier) as worker, pytest.raises(KafkaFatalError, match="SSL_CA_LOCATION"):
        worker.turn_until_judged(1)


def test_a_worker_without_a_certificate_ends_and_names_the_settings_for_one(
    secured: Secured, secured_kafka: SecuredKafka, classifier: Classifier
) -> None:
    environ = secured.scene.environ() | secured_kafka.over_mtls
    for name in ("WORKER_KAFKA__SSL_CERTIFICATE_LOCATION", "WORKER_KAFKA__SSL_KEY_LOCATION"):
        del environ[name]
    with (
        joined_worker(environ, classifier) as worker,
        pytest.raises(KafkaFatalError, match="SSL_CERTIFICATE_LOCATION"),
    ):
        worker.turn_until_judged(1)
