"""The faults that strike Kafka: its broker, its quotas, the input topic, and a slow transaction in that topic.

Each call returns when Kafka has done it, which may take seconds. The experiment makes these calls on another
thread.
"""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaException, Message
from confluent_kafka.admin import AdminClient

from worker.commands.broker.embedded import Broker
from worker.commands.broker.node import HOST
from worker.commands.prove.client_quotas import set_fetch_quota
from worker.commands.prove.environment import Environment
from worker.commands.prove.feed import CALL_S_MAX, SlowTransaction
from worker.commands.prove.messages import messages_of
from worker.commands.prove.plan import Action
from worker.errors import KafkaFatalError
from worker.kafka.topics import create_topics

QUOTA_BYTES_PER_S = 5_000
"""For all workers together: a fraction of what they read."""


class KafkaFaults:
    """Actions on Kafka."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._transaction = SlowTransaction(
            environment.client, f"{environment.names.group}.upstream", messages_of(environment.shape)
        )

    def apply(self, action: Action, choice: float) -> Sequence[Message]:
        """Do a step of a fault.

        Args:
            action: The action.
            choice: A number in [0, 1) that selects the input partition of a transaction.

        Returns:
            The messages of a transaction that is committed now.

        Raises:
            KafkaFatalError: Kafka refuses the action.
        """
        topic, inputs = self._environment.names.input, self._environment.inputs
        try:
            match action:
                case Action.BEGIN:
                    self._transaction.begin(inputs[int(choice * len(inputs))])
                case Action.COMMIT:
                    return self._transaction.commit()
                case Action.ABORT:
                    self._transaction.abort()
                case Action.DELETE:
                    admin = AdminClient({"log_level": 0, **self._environment.client})
                    admin.delete_topics([topic])[topic].result(CALL_S_MAX)
                case Action.CREATE:
                    self._create_input()
                case _:
                    self._apply_to_broker(action)
        except KafkaException as error:
            raise KafkaFatalError(f"The proof could not {action.value}: {error.args[0].str()}.") from error
        return []

    def _create_input(self) -> None:
        """Create the input topic again. For a moment after the deletion the brokers may still show the old one."""
        names = self._environment.names
        specs = [spec for spec in names.specs if spec.name == names.input]
        deadline = time.monotonic() + CALL_S_MAX
        while not all(state.created for state in create_topics(self._environment.client, specs)):
            if time.monotonic() > deadline:
                raise KafkaFatalError(
                    f"The topic {names.input} was deleted, but Kafka still has it after {CALL_S_MAX} s."
                )

    def _apply_to_broker(self, action: Action) -> None:
        broker, client_id = self._broker(), self._environment.names.group
        match action:
            case Action.BROKER_KILL:
                broker.kill()
            case Action.BROKER_STOP:
                broker.stop()
            case Action.BROKER_START:
                broker.start()
            case Action.SET_QUOTA:
                set_fetch_quota((HOST, broker.nodes[0].port), client_id, QUOTA_BYTES_PER_S)
            case _:
                set_fetch_quota((HOST, broker.nodes[0].port), client_id, None)

    def _broker(self) -> Broker:
        broker = self._environment.broker
        assert broker is not None  # noqa: S101 - only plans for the embedded Kafka have these actions
        return broker
