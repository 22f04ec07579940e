"""Where a demo or a proof runs: topics, a group and worker processes of its own.

It creates topics with new names, and fails if one of them exists. At the end it removes the topics and the group.
The workers have transactional ids of their own. So nothing of it touches a worker in production.
"""

import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from worker.commands.broker.embedded import QUICK_RETURN, Broker, running_broker
from worker.commands.prove.kafka_names import KafkaNames
from worker.commands.prove.messages import DEFAULT_SHAPE, EVENTS
from worker.commands.prove.plan import Timeouts
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.errors import KafkaFatalError
from worker.kafka.topics import PARTITIONS, create_topics
from worker.records import Partition
from worker.settings import Settings, admin_config, load_settings

STUB_MODEL_COMMAND = (sys.executable, "-m", "worker.commands.prove.stub_model")
SERVERS = "WORKER_KAFKA__BOOTSTRAP_SERVERS"
KAFKA_S_MAX = 30
SHORT_TIMEOUTS: Mapping[str, str] = {
    "WORKER_KAFKA__SESSION_TIMEOUT_MS": "3000",
    "WORKER_KAFKA__TRANSACTION_TIMEOUT_MS": "4000",
    "WORKER_KAFKA__MAX_POLL_INTERVAL_MS": "8000",
}
"""For the embedded Kafka, where the user has no settings to test: each time-out occurs within a short proof."""
QUICK_QUOTA: Mapping[str, str] = {"quota.window.num": "3"}
"""Windows of a second. With the default, 11, the broker throttles late, after ten seconds, and for many seconds."""
COALESCING_POLICY = """\
schema: policy/1
levels: [flagged]
thresholds: {default: {flagged: 0.5}}
alerts: {coalesce: {by: [channel_id], window_s: 4}}
"""
"""In a proof about two of three flagged messages are counted, and raise no alert of their own."""
_OF_THE_PROOF = ("WORKER_INPUT__", "WORKER_POLICY__", "WORKER_ALERT__")
"""The beginnings of the variables that the proof sets itself."""
BROKER_SESSION_TIMEOUT_MS = 6000
"""The embedded Kafka's session time-out for groups of the consumer protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Topics, a group and worker processes for one run.

    Attributes:
        description: The Kafka, and how the group shares its partitions, in words.
        client: librdkafka's properties: servers and security.
        names: The names of the topics and of the workers' group.
        start_worker: Starts a worker process in a slot.
        folder: The folder of the workers' logs and temporary files.
        broker: The embedded Kafka, which faults may strike; None: the user's Kafka.
        shape: The name of the shape that the workers read.
    """

    description: str
    client: Mapping[str, Any]
    names: KafkaNames
    start_worker: Callable[[int], WorkerSubprocess]
    folder: Path
    broker: Broker | None
    shape: str = DEFAULT_SHAPE

    @property
    def inputs(self) -> Sequence[Partition]:
        """The partitions of the input topic, in order."""
        return [Partition(self.names.input, number) for number in range(PARTITIONS)]

    def logs(self) -> Sequence[str]:
        """Return the log of each worker process, also of those that have ended."""
        return [path.read_text(errors="replace") for path in sorted(self.folder.glob("*/log.txt"))]


@contextmanager
def proof_environment(
    environ: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[tuple[Environment, Timeouts]]:
    """Yield an environment on the Kafka of the settings, or on an embedded one, with the workers' time-outs.

    Args:
        environ: The environment variables of the user.
        say: Prints a line about each long step.

    Raises:
        ConfigurationError: The settings are wrong.
        KafkaFatalError: No Kafka answers, or Kafka refuses.
    """
    settings = load_settings(environ).settings
    if settings.kafka.bootstrap_servers:
        with _stub_environment(settings, environ, None, say) as environment:
            yield environment, timeouts_of(settings)
        return
    timeouts = dict(SHORT_TIMEOUTS)
    if settings.kafka.group_protocol == "consumer":
        del timeouts["WORKER_KAFKA__SESSION_TIMEOUT_MS"]  # the broker has this time-out
    with running_broker(extra_properties={**QUICK_RETURN, **QUICK_QUOTA}, progress=say) as broker:
        environ = {**environ, **timeouts, SERVERS: broker.bootstrap_servers}
        settings = load_settings(environ).settings
        with _stub_environment(settings, environ, broker, say) as environment:
            yield environment, timeouts_of(settings)


@contextmanager
def isolated_environment(
    description: str,
    client: Mapping[str, Any],
    names: KafkaNames,
    broker: Broker | None,
    start_in: Callable[[Path, int], WorkerSubprocess],
    *,
    shape: str = DEFAULT_SHAPE,
) -> Iterator[Environment]:
    """Create topics and a temporary folder, and remove what was created.

    Args:
        description: As in ``Environment``, like the next three.
        client: See there.
        names: See there.
        broker: See there.
        start_in: Starts a worker process with this folder, for this slot.
        shape: The name of the shape that the workers read.

    Raises:
        KafkaFatalError: Kafka does not answer or refuses, or one of the topics exists.
    """
    existing = [state.spec.name for state in create_topics(client, names.specs) if not state.created]
    if existing:
        raise KafkaFatalError(f"Topics of these names exist: {', '.join(existing)}. Start the command again.")
    folder = Path(tempfile.mkdtemp(prefix="moderation-workers-"))
    numbers = count(1)
    try:
        yield Environment(
            description=description,
            client=client,
            names=names,
            start_worker=lambda slot: start_in(folder / str(next(numbers)), slot),
            folder=folder,
            broker=broker,
            shape=shape,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if broker is None:
            _remove(client, names)


def timeouts_of(settings: Settings) -> Timeouts:
    """Return the time-outs that the workers have with these settings."""
    kafka = settings.kafka
    by_broker = kafka.group_protocol == "consumer"
    return Timeouts(
        session_ms=BROKER_SESSION_TIMEOUT_MS if by_broker else kafka.session_timeout_ms,
        max_poll_interval_ms=kafka.max_poll_interval_ms,
        transaction_ms=kafka.transaction_timeout_ms,
    )


@contextmanager
def _stub_environment(
    settings: Settings, environ: Mapping[str, str], broker: Broker | None, say: Callable[[str], None]
) -> Iterator[Environment]:
    """Yield an environment: workers with the stub model and the user's settings, except names, input and policy.

    The proof writes its own messages, so the workers must read them: in the user's shape if the proof can write it,
    in the plain shape otherwise. The proof also has a policy of its own, which coalesces alerts, because the audit
    must know which messages alert.
    """
    kafka, prefix = settings.kafka, f"moderation-proof-{secrets.token_hex(6)}."
    names = KafkaNames.with_prefix(prefix)
    shape = settings.input.shape if settings.input.shape in EVENTS else DEFAULT_SHAPE
    environ = {name: value for name, value in environ.items() if not name.upper().startswith(_OF_THE_PROOF)}
    environ["WORKER_INPUT__SHAPE"] = shape
    own = {
        **names.settings,
        "WORKER_LOG__FORMAT": "text",
        "WORKER_LOG__LEVEL": "info",
    }
    if broker is not None:
        own["WORKER_KAFKA__CLIENT_ID"] = names.group  # the fault with a quota names this client id

    def start_in(folder: Path, slot: int) -> WorkerSubprocess:
        policy = folder.parent / "policy.yaml"
        policy.write_text(COALESCING_POLICY)
        ids = {"WORKER_POLICY__PATH": str(policy), "WORKER_KAFKA__TRANSACTIONAL_ID": f"{names.group}.{slot}"}
        if kafka.group_instance_id is not None:
            ids["WORKER_KAFKA__GROUP_INSTANCE_ID"] = f"{names.group}.{slot}"
        return WorkerSubprocess(
            name=f"worker {slot}",
            folder=folder,
            environ={**environ, **own, **ids},
            directory=Path.cwd(),
            command=STUB_MODEL_COMMAND,
        )

    consumer_protocol = kafka.group_protocol == "consumer"
    description = (
        f"{'the embedded Kafka' if broker else 'your Kafka'}, "
        f"{'consumer protocol' if consumer_protocol else kafka.partition_assignment_strategy}"
        f"{', static members' if kafka.group_instance_id else ''}"
        f"{'' if shape == DEFAULT_SHAPE else f', events of {shape}'}"
    )
    with isolated_environment(
        description, admin_config(kafka), names, broker, start_in, shape=shape
    ) as environment:
        say(f"Created topics and a group for this proof alone: {prefix}*")
        yield environment


def _remove(client: Mapping[str, Any], names: KafkaNames) -> None:
    """Delete the topics and the group. A failed deletion must not hide the result of the run."""
    admin = AdminClient({"log_level": 0, **client})
    answers = [
        *admin.delete_topics(names.topics, request_timeout=KAFKA_S_MAX).values(),
        *admin.delete_consumer_groups([names.group], request_timeout=KAFKA_S_MAX).values(),
    ]
    for answer in answers:
        with suppress(KafkaException):
            answer.result()
