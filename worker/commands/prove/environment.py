"""The command ``prove``: on the cluster that the settings name, or on the embedded Kafka when they name none.

It makes topics of its own, refuses any that are there already, and removes what it made. Its workers are a group of
their own with transactional ids of their own, so that a worker in production is left alone.
"""

import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from worker.commands.broker.embedded import QUICK_RETURN, Broker, running_broker
from worker.commands.prove.kafka_names import KafkaNames
from worker.commands.prove.plan import Times
from worker.commands.prove.proof import Stage
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.errors import KafkaFatalError
from worker.kafka.topics import create_topics
from worker.settings import Config, Settings, admin_config, load_settings

COMMAND = (sys.executable, "-m", "worker.commands.prove.stub_model")
SERVERS = "WORKER_KAFKA__BOOTSTRAP_SERVERS"
KAFKA_S_MAX = 30
IMPATIENT: Mapping[str, str] = {
    "WORKER_KAFKA__SESSION_TIMEOUT_MS": "3000",
    "WORKER_KAFKA__TRANSACTION_TIMEOUT_MS": "4000",
    "WORKER_KAFKA__MAX_POLL_INTERVAL_MS": "8000",
}
"""On the embedded Kafka, where nobody's settings count: every time-out comes within a short proof."""
QUICK_QUOTA: Mapping[str, str] = {"quota.window.num": "3"}
"""Of a second each. With the default, 11, the broker throttles after ten seconds' worth, for many seconds."""
SESSION_OF_BROKER_MS = 6000
"""The embedded Kafka's, for groups of the consumer protocol."""


@contextmanager
def proof_environment(environ: Mapping[str, str], say: Callable[[str], None]) -> Iterator[Stage]:
    """Where the settings say, or on the embedded Kafka, whose brokers are then among the victims.

    Args:
        environ: Our variables.
        say: Told of what takes long.

    Raises:
        ConfigurationError: The settings are wrong.
        KafkaFatalError: No Kafka, or it won't let us.
    """
    settings = load_settings(environ).settings
    if settings.kafka.bootstrap_servers:
        with _environment_on(settings, environ, None, say) as made:
            yield made
        return
    own = dict(IMPATIENT)
    if settings.kafka.group_protocol == "consumer":
        del own["WORKER_KAFKA__SESSION_TIMEOUT_MS"]  # the broker's
    with running_broker(extra_properties={**QUICK_RETURN, **QUICK_QUOTA}, progress=say) as broker:
        embedded = {**environ, **own, SERVERS: broker.bootstrap_servers}
        with _environment_on(load_settings(embedded).settings, embedded, broker, say) as made:
            yield made


@contextmanager
def _environment_on(
    settings: Settings, environ: Mapping[str, str], broker: Broker | None, say: Callable[[str], None]
) -> Iterator[Stage]:
    """Topics, a group and workers of the proof's own.

    Args:
        settings: Which Kafka, and how the workers use it.
        environ: That of the workers, but for the names.
        broker: The brokers, where they are ours to kill.
        say: Told of what takes long.

    Raises:
        KafkaFatalError: It won't let us.
    """
    kafka, prefix = settings.kafka, f"moderation-proof-{secrets.token_hex(6)}."
    names = KafkaNames.with_prefix(prefix)
    own = {
        **names.settings,
        "WORKER_LOG__FORMAT": "text",
        "WORKER_LOG__LEVEL": "info",
    }
    if broker is not None:
        own["WORKER_KAFKA__CLIENT_ID"] = names.group  # which the quota is set on
    folder = Path(tempfile.mkdtemp(prefix="moderation-proof-"))

    def make(place: int, birth: int) -> WorkerSubprocess:
        """Ids by place: a new process takes over what the dead one left."""
        ids = {"WORKER_KAFKA__TRANSACTIONAL_ID": f"{names.group}.{place}"}
        if kafka.group_instance_id is not None:
            ids["WORKER_KAFKA__GROUP_INSTANCE_ID"] = f"{names.group}.{place}"
        return WorkerSubprocess(
            name=f"worker {place}",
            folder=folder / f"{birth}",
            environ={**environ, **own, **ids},
            directory=Path.cwd(),
            command=COMMAND,
        )

    consumer_protocol = kafka.group_protocol == "consumer"
    client = admin_config(kafka)
    if strangers := [state.spec.name for state in create_topics(client, names.specs) if not state.created]:
        raise KafkaFatalError(
            f"Somebody else's topics have our names: {', '.join(strangers)}. Start the proof again."
        )
    say(f"Made topics and a group of its own: {prefix}*")
    try:
        yield Stage(
            what=f"{'the embedded Kafka' if broker else 'your Kafka'}, "
            f"{'consumer protocol' if consumer_protocol else kafka.partition_assignment_strategy}"
            f"{', static members' if kafka.group_instance_id else ''}",
            client=client,
            names=names,
            make=make,
            logs=lambda: [path.read_text(errors="replace") for path in sorted(folder.glob("*/log.txt"))],
            times=Times(
                session_ms=SESSION_OF_BROKER_MS if consumer_protocol else kafka.session_timeout_ms,
                max_poll_interval_ms=kafka.max_poll_interval_ms,
                transaction_ms=kafka.transaction_timeout_ms,
            ),
            broker=broker,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if broker is None:
            _remove(client, names)


def _remove(client: Config, names: KafkaNames) -> None:
    """What we made; what can't be removed is no reason to hide the result."""
    admin = AdminClient({"log_level": 0, **client})
    answers = [
        *admin.delete_topics(names.topics, request_timeout=KAFKA_S_MAX).values(),
        *admin.delete_consumer_groups([names.group], request_timeout=KAFKA_S_MAX).values(),
    ]
    for answer in answers:
        with suppress(KafkaException):
            answer.result()
