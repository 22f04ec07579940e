"""What the worker must be granted, no more and no less, and what it says when one of it is missing."""

from collections.abc import Collection

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined] # theirs to export
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.conftest import login
from tests.owner import owner
from tests.scene import Scene, chat
from tests.small_models import options
from tests.worker_process import Start
from worker.classifier import Classifier, load
from worker.errors import ExitCode, KafkaRefused
from worker.records import Topic

pytestmark = pytest.mark.kafka

# The least that works, and what the message must name when it is missing.
GRANTS = {
    "READ the input topic": ("READ on the input topics",),
    "READ the group": ("READ on the ", "group WORKER_KAFKA__GROUP_ID"),
    "WRITE the transactional id": ("WRITE on the transactional id WORKER_KAFKA__TRANSACTIONAL_ID",),
    "WRITE the verdict topic": ("WRITE on ", "verdict"),
    "WRITE the alert topic": ("WRITE on ", "alert"),
    "WRITE the dead letter topic": ("WRITE on ", "dead", "letter"),
}
OWED = [chat("good morning"), b"no JSON"]  # with a threshold of 0: one record for each of our topics
WRONG_PASSWORD = "hunter2"  # noqa: S105 - known to nobody


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load(options("demo"), lambda _: None)


class Secured:
    """A scene on the Kafka with ACLs, and what its user ``worker`` may do there."""

    def __init__(self, servers: str) -> None:
        self.scene = Scene(servers, "demo", inputs=(1,), partitions=1, login=login("admin", "admin"))
        self.scene.create()
        self.environ = self.scene.environ(
            KAFKA__SECURITY_PROTOCOL="SASL_PLAINTEXT",
            KAFKA__SASL_MECHANISM="PLAIN",
            KAFKA__SASL_USERNAME="worker",
            KAFKA__SASL_PASSWORD="worker",  # noqa: S106 - of the tests' own Kafka
            POLICY__THRESHOLD="0",
        )
        self._admin = AdminClient(self.scene.client)
        topic, outputs = ResourceType.TOPIC, self.scene.outputs
        name = self.environ["WORKER_KAFKA__TRANSACTIONAL_ID"]
        self._resources = {
            "READ the input topic": (topic, next(iter(self.scene.inputs))),
            "READ the group": (ResourceType.GROUP, self.scene.group),
            "WRITE the transactional id": (ResourceType.TRANSACTIONAL_ID, name),
            **{f"WRITE the {kind.value} topic": (topic, outputs[kind]) for kind in Topic},
        }

    def grant(self, names: Collection[str]) -> None:
        bindings = [AclBinding(*self._allowed(name)) for name in names]
        for answer in self._admin.create_acls(bindings).values():
            answer.result()

    def take_away(self, name: str) -> None:
        [answer] = self._admin.delete_acls([AclBindingFilter(*self._allowed(name))]).values()
        assert answer.result()

    def _allowed(
        self, name: str
    ) -> tuple[ResourceType, str, ResourcePatternType, str, str, AclOperation, AclPermissionType]:
        kind, resource = self._resources[name]
        operation = AclOperation.READ if name.startswith("READ") else AclOperation.WRITE
        allow = AclPermissionType.ALLOW
        return kind, resource, ResourcePatternType.LITERAL, "User:worker", "*", operation, allow


@pytest.fixture
def secured(secured_bootstrap_servers: str) -> Secured:
    return Secured(secured_bootstrap_servers)


def names_what_to_grant(refusal: KafkaRefused, name: str) -> bool:
    return refusal.exit_code is ExitCode.KAFKA and all(words in str(refusal) for words in GRANTS[name])


def test_six_grants_are_enough(secured: Secured, classifier: Classifier) -> None:
    secured.grant(GRANTS)
    secured.scene.send(OWED)
    with owner(secured.environ, classifier) as worker:
        worker.turn_until_judged(2)
    assert len(secured.scene.read(*Topic)) == 3


@pytest.mark.parametrize("missing", GRANTS)
def test_a_grant_that_is_missing_is_named(missing: str, secured: Secured, classifier: Classifier) -> None:
    secured.grant(GRANTS.keys() - {missing})
    secured.scene.send(OWED)
    with owner(secured.environ, classifier) as worker, pytest.raises(KafkaRefused) as refusal:
        worker.turn_until_judged(2)
    assert names_what_to_grant(refusal.value, missing), refusal.value
    assert not secured.scene.read(*Topic)


@pytest.mark.parametrize("lost", GRANTS)
def test_a_grant_that_is_taken_away_is_named(lost: str, secured: Secured, classifier: Classifier) -> None:
    secured.grant(GRANTS)
    secured.scene.send(OWED)
    with owner(secured.environ, classifier) as worker:
        worker.turn_until_judged(2)
        secured.take_away(lost)
        secured.scene.send(OWED)
        with pytest.raises(KafkaRefused) as refusal:
            worker.turn_until_judged(4)
    assert names_what_to_grant(refusal.value, lost), refusal.value
    assert len(secured.scene.read(*Topic)) == 3


def test_a_wrong_password_ends_the_worker_which_names_the_settings_and_no_secret(
    secured: Secured, start: Start
) -> None:
    worker = start({**secured.environ, "WORKER_KAFKA__SASL_PASSWORD": WRONG_PASSWORD})
    worker.wait_for(secured.scene.group)  # the start-up line: the model is loaded
    assert worker.end(seconds_max=30) == ExitCode.KAFKA
    assert "SASL_USERNAME, SASL_PASSWORD" in worker.said
    assert WRONG_PASSWORD not in worker.said
