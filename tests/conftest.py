"""The session's real Kafka: one broker for all tests, or the one that TEST_KAFKA_BOOTSTRAP_SERVERS names."""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import settings

from worker.demo.broker import running_broker
from worker.topics import contract_topics, create_topics

# Started in the background, as CI may, we inherit a SIGINT that is ignored, and hand it on to what we start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Two cores that also run a Kafka: an example's time says nothing.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """Names of four topics of one test."""

    input: str
    verdicts: str
    alerts: str
    dead_letters: str


@pytest.fixture(scope="session")
def bootstrap_servers() -> Iterator[str]:
    """A real Kafka."""
    if elsewhere := os.environ.get("TEST_KAFKA_BOOTSTRAP_SERVERS"):
        yield elsewhere
        return
    with running_broker() as broker:
        yield broker.bootstrap_servers


def login(user: str, password: str) -> dict[str, str]:
    """How a client of the secured Kafka logs in."""
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": password,
    }


@pytest.fixture(scope="session")
def secured_bootstrap_servers() -> Iterator[str]:
    """A Kafka with ACLs: ``admin`` may do all, ``worker`` what it is granted; the passwords are the names."""
    module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    users = 'username="admin" password="admin" user_admin="admin" user_worker="worker"'
    secured = {
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.plaintext.plain.sasl.jaas.config": f"{module} {users};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",  # the controller's listener knows no names
    }
    with running_broker(extra_properties=secured, client_config=login("admin", "admin")) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def fresh_topics(bootstrap_servers: str) -> Callable[..., Topics]:
    """Makes four topics that no other test uses: ``fresh_topics(partitions=2)``."""

    def make(*, partitions: int = 1) -> Topics:
        prefix = f"test-{uuid.uuid4().hex[:12]}"
        topics = Topics(
            input=f"{prefix}.messages",
            verdicts=f"{prefix}.verdicts",
            alerts=f"{prefix}.alerts",
            dead_letters=f"{prefix}.dead-letters",
        )
        specs = contract_topics(
            inputs=[topics.input],
            verdicts=topics.verdicts,
            alerts=topics.alerts,
            dead_letters=topics.dead_letters,
            partitions=partitions,
        )
        create_topics({"bootstrap.servers": bootstrap_servers}, specs)
        return topics

    return make
