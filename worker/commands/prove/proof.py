"""The result of a proof."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from worker.commands.ledger import Ledger
from worker.commands.prove.observers import PartitionPause, Sample
from worker.commands.prove.plan import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedFault:
    """A fault that was injected.

    Attributes:
        at_ms: When, in milliseconds since the first message.
        fault: The fault.
        slot: The slot of the worker that it struck; None: it struck Kafka.
    """

    at_ms: int
    fault: Fault
    slot: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The result.

    Attributes:
        description: The Kafka, and how the group shared its partitions, in words.
        seed: The seed of the plan of faults.
        ledger: The audit of what a reader found at the end.
        readers_agree: Whether the reader during the faults found exactly the same records at the same offsets.
        offset_regressions: A line for each committed offset that went back.
        offset_samples: How many times the group's committed offsets were read.
        lag: Messages that the group had not committed at the end.
        faults: The injected faults, in order.
        samples: The timeline.
        assignments_ms: When workers were given partitions, in milliseconds since the first message.
        longest_pause: The longest pause of any partition; None: nothing was judged.
        restarts: Processes that ended with exit code 3 and were started again.
    """

    description: str
    seed: int
    ledger: Ledger
    readers_agree: bool
    offset_regressions: Sequence[str]
    offset_samples: int
    lag: int
    faults: Sequence[InjectedFault]
    samples: Sequence[Sample]
    assignments_ms: Sequence[int]
    longest_pause: PartitionPause | None
    restarts: int

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, doubled or out of order, by each of the checks."""
        return self.ledger.clean and self.readers_agree and not self.offset_regressions and self.lag == 0

    def as_json(self) -> dict[str, Any]:
        """Return everything as values of JSON."""
        faults = [{"at_ms": one.at_ms, "kind": one.fault.kind.value, "worker": one.slot} for one in self.faults]
        pause = None
        if self.longest_pause is not None:
            pause = {**asdict(self.longest_pause), "partition": str(self.longest_pause.partition)}
        return {"holds": self.holds, **asdict(self), "faults": faults, "longest_pause": pause}
