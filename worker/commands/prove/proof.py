"""The nouns of a proof: where it takes place, what happens, and what comes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.commands.broker.embedded import Broker
from worker.commands.ledger import Ledger
from worker.commands.prove.kafka_names import KafkaNames
from worker.commands.prove.observers import Pause
from worker.commands.prove.plan import Fault, Times
from worker.commands.prove.processes import Make
from worker.kafka.topics import PARTITIONS
from worker.records import Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where a proof takes place.

    Attributes:
        what: For people: where, and how the group shares its partitions.
        client: librdkafka's properties: servers and security.
        names: Of the topics and the workers' group.
        make: Starts a worker.
        logs: The workers' logs, the dead ones' too: what each process said.
        times: The workers' time-outs.
        broker: The brokers, where they are ours to kill.
    """

    what: str
    client: Mapping[str, Any]
    names: KafkaNames
    make: Make
    logs: Callable[[], Sequence[str]]
    times: Times
    broker: Broker | None

    @property
    def inputs(self) -> Sequence[Partition]:
        """The partitions of the input topic, in order."""
        return [Partition(self.names.input, number) for number in range(PARTITIONS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """A fault that was injected, and when, since the first message."""

    at_ms: int
    fault: Fault
    place: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Where it stood at a moment, since the first message.

    Attributes:
        at_ms: When.
        fed: Messages that Kafka has; tombstones are not counted.
        judged: Verdicts and dead letters that a read_committed reader has seen.
        alive: Workers that were not stopped.
    """

    at_ms: int
    fed: int
    judged: int
    alive: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What came of it.

    Attributes:
        seed: The plan's.
        ledger: Of what a reader finds at the end.
        readers_agree: Whether the concurrent reader saw exactly the same records in the same places.
        went_back: Samples in which a committed offset was lower than before.
        samples: How often the group's offsets were asked for.
        lag: Messages that the group had not committed at the end.
        happenings: The faults.
        beats: The timeline.
        rebalances: When a worker was given partitions, in milliseconds since the first message.
        pause: The longest of a partition.
        restarts: Processes that ended with exit code 3 and were started again.
    """

    seed: int
    ledger: Ledger
    readers_agree: bool
    went_back: Sequence[str]
    samples: int
    lag: int
    happenings: Sequence[Happening]
    beats: Sequence[Sample]
    rebalances: Sequence[int]
    pause: Pause | None
    restarts: int

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, doubled or out of order, by every account."""
        return self.ledger.clean and self.readers_agree and not self.went_back and self.lag == 0
