"""The real Kafka of the tests: one broker for all, or the cluster in TEST_KAFKA_BOOTSTRAP_SERVERS."""

import os
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported at run time
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from hypothesis import settings

from tests.java_archive import use_archive
from worker.commands.broker.embedded import running_broker
from worker.commands.broker.node import HOST, free_ports
from worker.kafka.topics import contract_topics, create_topics

# A process that CI starts in the background inherits an ignored SIGINT, and would pass it on to its workers.
signal.signal(signal.SIGINT, signal.default_int_handler)

use_archive()

# The machine has two cores and also runs a Kafka, so the time of an example shows nothing.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """The names of the four topics of one test."""

    input: str
    verdicts: str
    alerts: str
    dead_letters: str

    def create(self, client: Mapping[str, str], *, partitions: int) -> None:
        """Create the topics."""
        specs = contract_topics(
            inputs=[self.input],
            verdicts=self.verdicts,
            alerts=self.alerts,
            dead_letters=self.dead_letters,
            partitions=partitions,
        )
        create_topics(client, specs)


def new_topic_names() -> Topics:
    """Return names of topics that do not exist yet."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    return Topics(
        input=f"{prefix}.messages",
        verdicts=f"{prefix}.verdicts",
        alerts=f"{prefix}.alerts",
        dead_letters=f"{prefix}.dead-letters",
    )


@pytest.fixture(scope="session")
def bootstrap_servers() -> Iterator[str]:
    """The address of a real Kafka."""
    if elsewhere := os.environ.get("TEST_KAFKA_BOOTSTRAP_SERVERS"):
        yield elsewhere
        return
    with running_broker() as broker:
        yield broker.bootstrap_servers


@dataclass(frozen=True, slots=True, kw_only=True)
class SecuredKafka:
    """A Kafka with TLS and ACLs. ``admin`` may do everything, ``worker`` only what a test grants. Passwords equal
    names.

    Attributes:
        scram: The address of the listener for SASL_SSL with SCRAM-SHA-512.
        mtls: The address of the listener for SSL. The user is the common name of the client's certificate.
        certificates: The folder with ``ca.pem``, ``worker.pem`` and ``worker.key``, and with ``stranger.pem``
            of another authority.
    """

    scram: str
    mtls: str
    certificates: Path

    @property
    def over_scram(self) -> dict[str, str]:
        """The environment of a worker that logs in with a password."""
        return {
            "WORKER_KAFKA__BOOTSTRAP_SERVERS": self.scram,
            "WORKER_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "WORKER_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
            "WORKER_KAFKA__SASL_USERNAME": "worker",
            "WORKER_KAFKA__SASL_PASSWORD": "worker",
            "WORKER_KAFKA__SSL_CA_LOCATION": str(self.certificates / "ca.pem"),
        }

    @property
    def over_mtls(self) -> dict[str, str]:
        """The environment of a worker that logs in with a certificate."""
        return {
            "WORKER_KAFKA__BOOTSTRAP_SERVERS": self.mtls,
            "WORKER_KAFKA__SECURITY_PROTOCOL": "SSL",
            "WORKER_KAFKA__SSL_CA_LOCATION": str(self.certificates / "ca.pem"),
            "WORKER_KAFKA__SSL_CERTIFICATE_LOCATION": str(self.certificates / "worker.pem"),
            "WORKER_KAFKA__SSL_KEY_LOCATION": str(self.certificates / "worker.key"),
        }


@cache
def authority() -> trustme.CA:
    """The certificate authority that the secured Kafka and its clients trust."""
    return trustme.CA()


def login(user: str, password: str) -> dict[str, str]:
    """Return librdkafka's properties for a login to the secured Kafka."""
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
        "ssl.ca.pem": authority().cert_pem.bytes().decode(),
    }


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """One secured Kafka for all tests that log in."""
    folder = tmp_path_factory.mktemp("certificates")
    authority().cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "stranger.pem")
    worker = authority().issue_cert("worker.test", common_name="worker")
    worker.cert_chain_pems[0].write_to_path(folder / "worker.pem")
    worker.private_key_pem.write_to_path(folder / "worker.key")
    broker = authority().issue_cert(
        HOST, common_name="admin"
    )  # also for the client of the broker itself and of this test
    certificate, key = broker.cert_chain_pems[0].bytes().decode(), broker.private_key_pem.bytes()
    pkcs8 = load_pem_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    scram, mtls, controller = (f"{HOST}:{port}" for port in free_ports(3))
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    properties = {
        "listeners": f"SCRAM://{scram},MTLS://{mtls},CONTROLLER://{controller}",
        "advertised.listeners": f"SCRAM://{scram},MTLS://{mtls}",
        "listener.security.protocol.map": "SCRAM:SASL_SSL,MTLS:SSL,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": f"1@{controller}",
        "inter.broker.listener.name": "MTLS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.key": pkcs8.decode(),
        "ssl.keystore.certificate.chain": certificate,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": authority().cert_pem.bytes().decode(),
        "listener.name.mtls.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+),.*$/$1/",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{module} required;",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",  # the controller's listener has no user names
    }
    admin = {
        "security.protocol": "SSL",
        "ssl.ca.location": str(folder / "ca.pem"),
        "ssl.certificate.pem": certificate,
        "ssl.key.pem": key.decode(),
    }
    port = int(mtls.rpartition(":")[2])
    with running_broker(port=port, extra_properties=properties, client_config=admin):
        client = AdminClient({**admin, "bootstrap.servers": mtls})
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        users: list[UserScramCredentialAlteration] = [
            UserScramCredentialUpsertion(user, how, user.encode()) for user in ("admin", "worker")
        ]
        for answer in client.alter_user_scram_credentials(users).values():
            answer.result(10)
        yield SecuredKafka(scram=scram, mtls=mtls, certificates=folder)


@pytest.fixture(scope="session")
def secured_bootstrap_servers(secured_kafka: SecuredKafka) -> str:
    """The address for a client with the properties of ``login``."""
    return secured_kafka.scram


@pytest.fixture
def fresh_topics(bootstrap_servers: str) -> Callable[..., Topics]:
    """Creates four topics that no other test uses: ``fresh_topics(partitions=2)``."""

    def make(*, partitions: int = 1) -> Topics:
        topics = new_topic_names()
        topics.create({"bootstrap.servers": bootstrap_servers}, partitions=partitions)
        return topics

    return make
