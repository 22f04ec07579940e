"""What the owner says of itself now and then, for whoever asks from another thread: health and telemetry.

Nobody needs a lock: each is replaced as a whole, by one thread, and never changed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from worker.records import DeviceUsage, ModelIdentity, Partition


class Phase(Enum):
    """Where the process stands."""

    LOADING = "loading the model"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSnapshot:
    """As of a second ago or less, while the loop runs.

    Attributes:
        model: What judges; None while it is loaded.
        is_member: Whether the group knows us, with partitions or without.
        partitions: How many are ours.
        quarantined: Those of them that are not read, because too many of their records would be dead letters.
        in_flight: Records in memory, from the poll to the commit.
        backlog: Messages that are not judged, of the partitions of which it is known.
        blocked_s: For how long another producer's open transaction has blocked each blocked partition.
        events: How often what went wrong in a transaction, or was refused before one.
        rebalances: How often partitions were assigned, revoked and lost.
        throttled_s: For how long brokers have delayed the consumer and the producer because of quotas.
        cache_hits: Texts that needed no scoring.
        cache_misses: Texts that the model was asked about.
        usage: Of the device.
    """

    model: ModelIdentity | None = None
    is_member: bool = False
    partitions: int = 0
    quarantined: Collection[Partition] = ()
    in_flight: int = 0
    backlog: Mapping[Partition, int] = field(default_factory=dict)
    blocked_s: Mapping[Partition, float] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    rebalances: Mapping[str, int] = field(default_factory=dict)
    throttled_s: Mapping[str, float] = field(default_factory=dict)
    cache_hits: int = 0
    cache_misses: int = 0
    usage: DeviceUsage = field(default_factory=DeviceUsage)


class WorkerStatus:
    """Written by the owner, read by others.

    Attributes:
        phase: Where the process stands.
        beat_ms: When the loop last went round.
        snapshot: What it said last.
    """

    def __init__(self) -> None:
        self.phase = Phase.LOADING
        self.last_iteration_ms = 0
        self.snapshot = StatusSnapshot()
