"""What a proof does to Kafka: to its broker, to the input topic, to the quotas, and with a transaction of its own.

Each step returns once Kafka has done it, which may take seconds: the course takes them on a thread of their own.
"""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaException, Message
from confluent_kafka.admin import AdminClient

from worker.commands.broker.node import HOST
from worker.commands.prove.client_quotas import set_fetch_quota
from worker.commands.prove.feed import CALL_S_MAX, Upstream
from worker.commands.prove.plan import Do
from worker.commands.prove.proof import Stage
from worker.errors import KafkaFatalError
from worker.kafka.topics import create_topics

QUOTA_BYTES_PER_S = 5_000
"""Of all workers together: a fraction of what they read."""


class Cluster:
    """Kafka, as the faults treat it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._upstream = Upstream(stage.client, f"{stage.names.group}.upstream")

    def do(self, step: Do, choice: float) -> Sequence[Message]:
        """A step of a fault.

        Args:
            step: Which.
            choice: In [0, 1): which of the input partitions is the victim, where only one is.

        Returns:
            Messages that another producer has added.

        Raises:
            KafkaFatalError: Kafka does not let us.
        """
        names, inputs = self._stage.names, self._stage.inputs
        try:
            match step:
                case Do.BEGIN:
                    self._upstream.begin(inputs[int(choice * len(inputs))])
                case Do.COMMIT | Do.ABORT:
                    return self._upstream.end(commit=step is Do.COMMIT)
                case Do.DELETE:
                    admin = AdminClient({"log_level": 0, **self._stage.client})
                    admin.delete_topics([names.input])[names.input].result(CALL_S_MAX)
                case Do.CREATE:
                    self._create()
                case _:
                    self._do_to_broker(step)
        except KafkaException as error:
            raise KafkaFatalError(f"The proof could not {step.value}: {error.args[0].str()}.") from error
        return []

    def _create(self) -> None:
        """Returns once the topic is there; for a moment the brokers may still show the deleted one."""
        specs = [spec for spec in self._stage.names.specs if spec.name == self._stage.names.input]
        deadline = time.monotonic() + CALL_S_MAX
        while not all(state.created for state in create_topics(self._stage.client, specs)):
            if time.monotonic() > deadline:
                raise KafkaFatalError(f"The topic {self._stage.names.input} was deleted and is still there.")

    def _do_to_broker(self, step: Do) -> None:
        broker, client_id = self._stage.broker, self._stage.names.group
        assert broker is not None  # noqa: S101 - the plan holds no such fault without one
        match step:
            case Do.BROKER_KILL:
                broker.kill()
            case Do.BROKER_STOP:
                broker.stop()
            case Do.BROKER_START:
                broker.start()
            case Do.LIMIT:
                set_fetch_quota((HOST, broker.nodes[0].port), client_id, QUOTA_BYTES_PER_S)
            case _:
                set_fetch_quota((HOST, broker.nodes[0].port), client_id, None)
