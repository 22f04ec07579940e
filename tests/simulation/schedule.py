"""Turns seeds into schedules before anything runs, so what happens depends only on the list of steps.

Any part of a schedule is a schedule too, so a schedule that fails can be reduced to the few steps that matter.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fake_cluster import Outcome
from tests.simulation.parts import Kind
from tests.simulation.world import PARTITIONS, WORKERS, World


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a schedule."""

    do: Callable[[World, int, Any], None]
    who: int = 0
    how: int | str | Kind | Outcome | None = None

    def __str__(self) -> str:
        how = self.how.name.lower() if isinstance(self.how, Kind) else getattr(self.how, "value", self.how)
        return (self.do.__doc__ or "").format(who=self.who, how=how)


CALLS = ("poll", "poll", "ready", "publish", "publish", "rewind", "quarantine", "pause", "resume")
MOMENTS = [f"{end} {call}" for call in CALLS for end in ("before", "after")]
FAULTS: list[Callable[[random.Random, int], Step]] = [
    lambda dice, _: Step(World.skip, dice.randrange(len(PARTITIONS))),
    lambda dice, _: Step(World.retain, dice.randrange(len(PARTITIONS)), dice.randrange(1, 5)),
    lambda dice, _: Step(World.rebalance, 0, dice.randrange(64)),
    lambda dice, who: Step(World.drain, who, dice.randrange(10)),
    lambda dice, who: Step(World.die, who, dice.choice(MOMENTS)),
    lambda dice, who: Step(World.set_outcome, who, dice.choice(list(Outcome)[1:])),
    lambda dice, who: Step(World.set_outcome, who, dice.choice(list(Outcome)[1:])),
    lambda _, who: Step(World.expel, who),
    lambda _, who: Step(World.read_again, who),
    lambda _, who: Step(World.deliver_out_of_order, who),
    lambda _, who: Step(World.break_device, who),
    lambda _, __: Step(World.stop_brokers),
    lambda dice, _: Step(World.shift_times, 0, dice.choice([None, -1500, -300, 0, 400, 10**9])),
    lambda dice, _: Step(World.overwrite_metadata, dice.randrange(len(PARTITIONS))),
    lambda _, __: Step(World.wait, 0, 600),
]
REMEDIES = (
    World.begin,
    World.begin,
    World.notice_death,
    World.settle_transaction,
    World.restart_brokers,
    World.release,
)


def schedule(seed: int) -> list[Step]:
    """Return the schedule of a seed: its own kinds of faults, their number, and the speed of the threads."""
    dice = random.Random(seed)  # noqa: S311 - a seed must always give the same schedule
    faults = [fault for fault in FAULTS if dice.random() < 0.4] or FAULTS
    fault_share = dice.choice([0.05, 0.15, 0.3])
    busy = dice.choice([0.3, 0.7, 0.95])
    workers = dice.randrange(1, WORKERS + 1)
    steps = [Step(World.rebalance_incrementally)] if dice.random() < 0.5 else []
    steps += [Step(World.delay_start_offsets)] * (seed % 2)
    steps += [Step(World.tighten_bounds)] * (seed % 3 == 0)
    if seed % 5 == 0:
        steps.append(Step(World.limit_metadata, 0, dice.choice([40, 120, 250])))
    steps += [Step(World.begin, worker) for worker in range(workers)]
    for _ in range(dice.randrange(20, 100)):
        event = dice.random()
        who = dice.randrange(workers)
        if event < fault_share:
            steps.append(dice.choice(faults)(dice, who))
        elif event < fault_share + 0.1:
            steps.append(Step(dice.choice(REMEDIES), who))
        elif event < fault_share + 0.3:
            kinds = [8, 5, 1, 1, 1, 1, 1, 0, 0] if seed % 3 else [8, 5, 1, 4, 8, 1, 1, 0, 0]
            kinds = [4, 2, 1, 1, 1, 0, 1, 4, 6] if seed % 4 == 1 else kinds
            kind = dice.choices(list(Kind), kinds)[0]
            steps += [Step(World.produce, dice.randrange(len(PARTITIONS)), kind)] * dice.choice([1, 1, 4])
        else:
            for _ in range(dice.choice([1, 2, 5])):
                steps += [Step(World.prepared, who)] * (dice.random() < busy)
                steps += [Step(World.scored, who)] * (dice.random() < busy)
                steps += [Step(World.wait, 0, ms) for ms in dice.choice([(), (1,), (5,), (30,)])]
                steps.append(Step(World.turn, who))
    return steps


def wrong(steps: Sequence[Step]) -> str:
    """Run the steps and return what goes wrong; empty if nothing does."""
    world = World()
    try:
        for step in steps:
            step.do(world, step.who, step.how)
            world.sample()
        world.finish()
        world.check()
    except Exception as error:  # noqa: BLE001 - any exception of the loop is a finding, and is reduced like the others
        return f"{type(error).__name__}: {error}"
    return ""


def shrink(steps: Sequence[Step], fails: Callable[[Sequence[Step]], object]) -> list[Step]:
    """Remove steps, in ever smaller pieces, while the schedule still fails. Each step that is left is needed."""
    left = list(steps)
    size = max(1, len(left) // 2)
    while True:
        before, at = len(left), 0
        while at < len(left):
            shorter = left[:at] + left[at + size :]
            if fails(shorter):
                left = shorter
            else:
                at += size
        if size == 1 and len(left) == before:
            return left
        size = max(1, size // 2)


def report(seed: int) -> str:
    """Run a seed. Return how to reproduce its failure and the shortest failing schedule; empty if nothing fails."""
    steps = schedule(seed)
    if not wrong(steps):
        return ""
    shortest = shrink(steps, wrong)
    lines = [f"{number:3}. {step}" for number, step in enumerate(shortest, 1)]
    return "\n".join(
        [
            f"seed {seed}: {wrong(shortest)}",
            f"again: make simulate FROM={seed} SEEDS=1",
            f"the shortest schedule that fails like this ({len(shortest)} of {len(steps)} steps):",
            *lines,
        ]
    )
