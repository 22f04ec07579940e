"""The state of the worker, for health and telemetry, which read it from other threads.

No lock is needed: one thread, the owner, replaces each attribute as a whole and never changes the old value.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from worker.records import Partition
from worker.reported import DeviceUsage, ModelIdentity, PolicyStatus


class Phase(Enum):
    """What the process does now."""

    LOADING = "loading the model"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """The state of the session with Kafka.

    Attributes:
        is_member: Whether this worker is a member of the consumer group, with or without partitions.
        assigned: The partitions of this worker: read, waiting for a start offset, or in quarantine.
        positioned: The assigned partitions that are read.
        quarantined: Assigned partitions that are not read, because too many of their records would be dead letters.
        backlog: Messages without a committed verdict, for each partition where the number is known. The numbers are
            some seconds old.
        blocked_s: Seconds for which another producer's open transaction has blocked each blocked partition.
        events: Number of failures in or before a transaction, by name.
        rebalances: Number of rebalances, by kind: assigned, revoked, lost.
        throttled_s: Seconds for which quotas have delayed the consumer and the producer.
    """

    is_member: bool = False
    assigned: Collection[Partition] = ()
    positioned: Collection[Partition] = ()
    quarantined: Collection[Partition] = ()
    backlog: Mapping[Partition, int] = field(default_factory=dict)
    blocked_s: Mapping[Partition, float] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    rebalances: Mapping[str, int] = field(default_factory=dict)
    throttled_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSnapshot:
    """The state of the worker, at most a second old while the loop runs.

    Attributes:
        model: The model that scores; None until it is loaded.
        policy: The policy in force; None until it is loaded.
        session: The session with Kafka.
        in_flight: Records in memory, from poll to commit.
        cache_hits: Texts that needed no scoring.
        cache_misses: Texts that the model scored.
        skipped: Messages that were skipped, because the shape says that they are not chat messages.
        truncated: Messages with a part that was not scored.
        counted: Messages that were counted instead of raising an alert.
        windows: Open windows of alerts.
        keys_without_room: Keys that had no room in the metadata of a partition's offset.
        drift: By category, how much the scores differ from the drift reference; empty without an index.
        top_share: Greatest share of the tokens to score that one key has, in [0, 1]; None: too few tokens, or no
            telemetry.
        usage: Work and memory of the device.
    """

    model: ModelIdentity | None = None
    policy: PolicyStatus | None = None
    session: SessionStatus = field(default_factory=SessionStatus)
    in_flight: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    skipped: int = 0
    truncated: int = 0
    counted: int = 0
    windows: int = 0
    keys_without_room: int = 0
    drift: Mapping[str, float] = field(default_factory=dict)
    top_share: float | None = None
    usage: DeviceUsage = field(default_factory=DeviceUsage)


class WorkerStatus:
    """Written by the owner thread, read by others.

    Attributes:
        phase: What the process does now.
        last_iteration_ms: When the loop last finished a turn, in monotonic milliseconds.
        snapshot: The state at the last second.
    """

    def __init__(self) -> None:
        self.phase = Phase.LOADING
        self.last_iteration_ms = 0
        self.snapshot = StatusSnapshot()
