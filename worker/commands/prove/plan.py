"""Which faults a proof injects, and when: a table and a seed. Pure.

Every kind comes once in a round, in the seed's order, so that a short proof is a fair sample and a long one covers
all of them evenly. One fault ends before the next begins: two at once would hide which of them cost what.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

WORKERS_MIN = 2
WORKERS_MAX = 5
REST_MS = (1500, 5000)
"""Between two faults: the group is to be found at work by the next one, mostly."""


class Kind(StrEnum):
    """A fault, as the report names it."""

    KILL = "kill -9"
    TERM = "SIGTERM, and a new process"
    PAUSE = "SIGSTOP, shorter than the session"
    PAUSE_SESSION = "SIGSTOP, longer than the session"
    PAUSE_ALL = "SIGSTOP, longer than every time-out"
    UP = "one worker more"
    DOWN = "one worker less"
    RIVAL = "a second process with the same ids"
    BROKER_KILL = "kill -9 of the broker"
    BROKER_STOP = "a clean restart of the broker"
    QUOTA = "a quota on the workers' fetches"
    TRANSACTION = "another producer's transaction stays open"
    RECREATE = "the input topic is deleted and created again"


BROKER_KINDS = frozenset({Kind.BROKER_KILL, Kind.BROKER_STOP, Kind.QUOTA, Kind.RECREATE})
"""What nobody wants on a cluster that others use."""


class Do(Enum):
    """A step of a fault."""

    KILL = "kill"
    TERM = "terminate"
    START = "start"
    STOP = "stop"
    GO_ON = "continue"
    RIVAL = "start beside"
    BROKER_KILL = "kill the broker"
    BROKER_STOP = "stop the broker"
    BROKER_START = "start the broker"
    LIMIT = "set the quota"
    UNLIMIT = "remove the quota"
    BEGIN = "begin a transaction in an input partition"
    COMMIT = "commit it"
    ABORT = "abort it"
    DELETE = "delete the input topic"
    CREATE = "create the input topic"


CREW_STEPS = frozenset({Do.KILL, Do.TERM, Do.START, Do.STOP, Do.GO_ON, Do.RIVAL})
"""What is done to a worker; the others are done to Kafka."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The time-outs that the faults are measured by, in milliseconds."""

    session_ms: int
    max_poll_interval_ms: int
    transaction_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do, and how long after the step before."""

    do: Do
    after_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        kind: Which.
        steps: In order.
        choice: In [0, 1): which of the workers that there are, or of the input partitions, is the victim.
        rest_ms: Until the next one, after the last step.
    """

    kind: Kind
    steps: Sequence[Step]
    choice: float
    rest_ms: int


def faults(seed: int, times: Times, *, with_broker: bool) -> Iterator[Fault]:
    """Faults without end, the same for a seed.

    Args:
        seed: Any number.
        times: The workers' time-outs.
        with_broker: Whether Kafka is ours to break.
    """
    dice = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    kinds = [kind for kind in Kind if with_broker or kind not in BROKER_KINDS]
    while True:
        for kind in dice.sample(kinds, len(kinds)):
            yield Fault(
                kind=kind, steps=_steps(kind, times, dice), choice=dice.random(), rest_ms=dice.randint(*REST_MS)
            )


def _steps(kind: Kind, times: Times, dice: random.Random) -> Sequence[Step]:
    session_ms = times.session_ms
    longest_ms = max(session_ms, times.max_poll_interval_ms, times.transaction_ms)
    back_ms = dice.choice([0, 500, 3000])
    short_ms = round(session_ms * dice.uniform(0.2, 0.6))
    slow_ms, open_ms, gone_ms = dice.randint(3000, 6000), dice.randint(2000, 6000), dice.choice([0, 200, 1000])
    end = dice.choice([Do.COMMIT, Do.ABORT])
    return {
        Kind.KILL: (Step(do=Do.KILL), Step(do=Do.START, after_ms=back_ms)),
        Kind.TERM: (Step(do=Do.TERM), Step(do=Do.START, after_ms=back_ms)),
        Kind.PAUSE: (Step(do=Do.STOP), Step(do=Do.GO_ON, after_ms=short_ms)),
        Kind.PAUSE_SESSION: (Step(do=Do.STOP), Step(do=Do.GO_ON, after_ms=session_ms + session_ms // 5 + 500)),
        Kind.PAUSE_ALL: (Step(do=Do.STOP), Step(do=Do.GO_ON, after_ms=longest_ms + longest_ms // 10 + 1000)),
        Kind.UP: (Step(do=Do.START),),
        Kind.DOWN: (Step(do=Do.TERM),),
        Kind.RIVAL: (Step(do=Do.RIVAL),),
        Kind.BROKER_KILL: (Step(do=Do.BROKER_KILL), Step(do=Do.BROKER_START, after_ms=back_ms)),
        Kind.BROKER_STOP: (Step(do=Do.BROKER_STOP), Step(do=Do.BROKER_START, after_ms=back_ms)),
        Kind.QUOTA: (Step(do=Do.LIMIT), Step(do=Do.UNLIMIT, after_ms=slow_ms)),
        Kind.TRANSACTION: (Step(do=Do.BEGIN), Step(do=end, after_ms=open_ms)),
        Kind.RECREATE: (Step(do=Do.DELETE), Step(do=Do.CREATE, after_ms=gone_ms)),
    }[kind]
