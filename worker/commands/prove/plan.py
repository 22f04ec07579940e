"""Which faults a proof injects, and when: a table and a seed. Pure.

Each kind of fault comes once in a round, in an order that the seed determines. So a short proof is a fair sample,
and a long one covers all kinds evenly. One fault ends before the next begins: with two faults together nobody could
tell the cost of each.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

WORKERS_MIN = 2
WORKERS_MAX = 5
PAUSE_MS = (1500, 5000)
"""Shortest and longest time between two faults: the next fault shall usually find the group at work."""


class FaultKind(StrEnum):
    """A fault, with its name in the report."""

    KILL = "kill -9"
    TERM = "SIGTERM, and a new process"
    STOP = "SIGSTOP, shorter than the session"
    STOP_SESSION = "SIGSTOP, longer than the session"
    STOP_ALL = "SIGSTOP, longer than every time-out"
    SCALE_UP = "one worker more"
    SCALE_DOWN = "one worker less"
    SAME_IDS = "a second process with the same ids"
    BROKER_KILL = "kill -9 of the broker"
    BROKER_RESTART = "a clean restart of the broker"
    QUOTA = "a quota on the workers' fetches"
    TRANSACTION = "another producer's transaction stays open"
    RECREATE = "the input topic is deleted and created again"


EMBEDDED_ONLY = frozenset({FaultKind.BROKER_KILL, FaultKind.BROKER_RESTART, FaultKind.QUOTA, FaultKind.RECREATE})
"""Faults that would harm the other users of a cluster: they are for the embedded Kafka only."""


class Action(Enum):
    """What a step of a fault does."""

    KILL = "kill"
    TERM = "terminate"
    START = "start"
    STOP = "stop"
    CONTINUE = "continue"
    START_SECOND = "start a second process"
    BROKER_KILL = "kill the broker"
    BROKER_STOP = "stop the broker"
    BROKER_START = "start the broker"
    SET_QUOTA = "set the quota"
    REMOVE_QUOTA = "remove the quota"
    BEGIN = "begin a transaction in an input partition"
    COMMIT = "commit the transaction"
    ABORT = "abort the transaction"
    DELETE = "delete the input topic"
    CREATE = "create the input topic"


WORKER_ACTIONS = frozenset(
    {Action.KILL, Action.TERM, Action.START, Action.STOP, Action.CONTINUE, Action.START_SECOND}
)
"""The actions on a worker; the others are actions on Kafka."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The workers' time-outs in milliseconds. The length of some faults depends on them."""

    session_ms: int
    max_poll_interval_ms: int
    transaction_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultStep:
    """An action, and how many milliseconds it comes after the step before."""

    action: Action
    after_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        kind: The kind of fault.
        steps: The steps in order.
        choice: A number in [0, 1) that selects the target among the workers or the input partitions.
        pause_ms: Time from the last step to the next fault, in milliseconds.
    """

    kind: FaultKind
    steps: Sequence[FaultStep]
    choice: float
    pause_ms: int


def faults(seed: int, timeouts: Timeouts, *, with_broker: bool) -> Iterator[Fault]:
    """Yield faults without end. The same seed yields the same faults.

    Args:
        seed: Any number.
        timeouts: The workers' time-outs.
        with_broker: Whether the proof has the embedded Kafka, whose brokers it may break.
    """
    dice = random.Random(seed)  # noqa: S311 - must be repeatable, not secret
    kinds = [kind for kind in FaultKind if with_broker or kind not in EMBEDDED_ONLY]
    while True:
        for kind in dice.sample(kinds, len(kinds)):
            steps = tuple(
                FaultStep(action=action, after_ms=after_ms) for action, after_ms in _steps(kind, timeouts, dice)
            )
            yield Fault(kind=kind, steps=steps, choice=dice.random(), pause_ms=dice.randint(*PAUSE_MS))


def _steps(kind: FaultKind, timeouts: Timeouts, dice: random.Random) -> Sequence[tuple[Action, int]]:
    """Return the actions, each with the milliseconds since the action before."""
    session_ms = timeouts.session_ms
    longest_ms = max(session_ms, timeouts.max_poll_interval_ms, timeouts.transaction_ms)
    # Every number is drawn for every kind: so the draws that follow do not depend on the kind.
    back_ms = dice.choice([0, 500, 3000])
    short_ms = round(session_ms * dice.uniform(0.2, 0.6))
    quota_ms, open_ms, gone_ms = dice.randint(3000, 6000), dice.randint(2000, 6000), dice.choice([0, 200, 1000])
    end = dice.choice([Action.COMMIT, Action.ABORT])
    return {
        FaultKind.KILL: [(Action.KILL, 0), (Action.START, back_ms)],
        FaultKind.TERM: [(Action.TERM, 0), (Action.START, back_ms)],
        FaultKind.STOP: [(Action.STOP, 0), (Action.CONTINUE, short_ms)],
        FaultKind.STOP_SESSION: [(Action.STOP, 0), (Action.CONTINUE, session_ms + session_ms // 5 + 500)],
        FaultKind.STOP_ALL: [(Action.STOP, 0), (Action.CONTINUE, longest_ms + longest_ms // 10 + 1000)],
        FaultKind.SCALE_UP: [(Action.START, 0)],
        FaultKind.SCALE_DOWN: [(Action.TERM, 0)],
        FaultKind.SAME_IDS: [(Action.START_SECOND, 0)],
        FaultKind.BROKER_KILL: [(Action.BROKER_KILL, 0), (Action.BROKER_START, back_ms)],
        FaultKind.BROKER_RESTART: [(Action.BROKER_STOP, 0), (Action.BROKER_START, back_ms)],
        FaultKind.QUOTA: [(Action.SET_QUOTA, 0), (Action.REMOVE_QUOTA, quota_ms)],
        FaultKind.TRANSACTION: [(Action.BEGIN, 0), (end, open_ms)],
        FaultKind.RECREATE: [(Action.DELETE, 0), (Action.CREATE, gone_ms)],
    }[kind]
