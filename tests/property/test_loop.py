"""The real loop on the fake log, with a simulated clock: whatever happens, no message is lost and none is doubled.

5,000 seeds run here: with 2,000 this suite catches all faults of ``tests/mutants.py`` that it should catch. Run
others by hand: ``make simulate SEEDS=200000 FROM=20000`` sets SIMULATION_SEEDS and SIMULATION_FROM. A seed that
fails prints how to run it again, and the shortest schedule that also fails.
"""

import os
from collections.abc import Collection

import pytest

from tests.fake_log import FakeLog
from tests.simulation.parts import WINDOW_S, Kind, is_summary
from tests.simulation.schedule import Step, report, schedule, shrink, wrong
from tests.simulation.world import BOUNDS, PARTITIONS, TRANSACTION_RECORDS, Process, World
from worker.kafka.ownership import Ownership
from worker.loop import LoopTimings
from worker.records import Partition

FROM = int(os.environ.get("SIMULATION_FROM", "0"))
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "5000"))
BLOCK = 1000


@pytest.mark.parametrize("first", range(FROM, FROM + SEEDS, BLOCK))
def test_whatever_happens_each_message_is_judged_once(first: int) -> None:
    for seed in range(first, min(first + BLOCK, FROM + SEEDS)):
        if failure := report(seed):
            pytest.fail(failure, pytrace=False)


def test_a_seed_always_gives_the_same_schedule() -> None:
    assert schedule(7) == schedule(7)
    assert schedule(7) != schedule(8)


def test_a_worker_that_must_end_finishes_the_batch_on_its_device_and_drops_the_rest() -> None:
    world = World()
    for step in (
        *[Step(World.produce, 0, Kind.HARMLESS)] * 10,
        Step(World.begin),
        Step(World.turn),
        *[Step(World.prepared), Step(World.turn)] * 2,
        Step(World.drain, 0, 100),
    ):
        step.do(world, step.who, step.how)
    assert len(world.cluster.outputs) == BOUNDS.records_max
    assert world.cluster.committed[PARTITIONS[0]] == BOUNDS.records_max
    assert not world.cluster.members


def committing(world: World) -> Process:
    """Return a worker that has just committed its first batch and has two messages left for the next batch."""
    for step in (
        *[Step(World.produce, 0, Kind.HARMLESS)] * (BOUNDS.records_max + 2),
        Step(World.begin),
        *[Step(World.turn), Step(World.prepared)] * 3,
        Step(World.turn),
        Step(World.scored),
        Step(World.turn),
    ):
        step.do(world, step.who, step.how)
    assert len(world.cluster.outputs) == BOUNDS.records_max
    return world.process(0)


def test_the_device_has_its_next_batch_while_the_previous_batch_is_committed() -> None:
    assert committing(World()).device.is_busy


def test_a_batch_that_waits_for_the_device_grows_until_the_device_starts_it() -> None:
    world = World()
    world.begin(0, None)
    for _ in range(3):  # the first is on the device, the second waits for the device, the third joins the second
        world.produce(0, Kind.HARMLESS)
        world.turn(0, None)
        world.prepared(0, None)
        world.turn(0, None)
        world.wait(0, BOUNDS.wait_ms_max)
        world.turn(0, None)
    for _ in range(2):
        world.scored(0, None)
    world.turn(0, None)
    assert len(world.cluster.outputs) == 3


def test_results_wait_for_the_pause_after_a_commit_and_not_longer() -> None:
    world = World()
    process = committing(world)
    world.produce(0, Kind.HARMLESS)  # without more work the next commit would be due immediately
    process.device.step()
    pause_ms = LoopTimings(commit_ms_max=0, slow_ms=0).commit_pause_ms
    outputs = []
    for _ in range(pause_ms + 1):
        world.turn(0, None)
        outputs.append(len(world.cluster.outputs))
        world.wait(0, 1)
    assert outputs == [BOUNDS.records_max] * pause_ms + [BOUNDS.records_max + 2]


def test_under_a_backlog_results_wait_until_they_fill_a_transaction() -> None:
    world = World()
    for _ in range(2 * TRANSACTION_RECORDS):
        world.produce(0, Kind.HARMLESS)
    world.begin(0, None)
    while not world.cluster.outputs:
        world.turn(0, None)
        world.prepared(0, None)
        world.scored(0, None)
    assert len(world.cluster.outputs) >= TRANSACTION_RECORDS
    assert world.now_ms == 0
    assert world.process(0).loop.records_in_memory


def test_after_a_quarantine_nothing_is_published_that_was_not_compared_with_the_bounds() -> None:
    world = World()
    for step in (
        Step(World.tighten_bounds),
        *[Step(World.produce, 0, Kind.BROKEN)] * TRANSACTION_RECORDS,
        *[Step(World.produce, 1, Kind.BROKEN)] * BOUNDS.records_max,
        Step(World.begin),
        *[Step(World.turn), Step(World.prepared)] * 3,
        Step(World.stop_brokers),  # so all results wait, more than a transaction may have
        *[Step(World.turn), Step(World.scored)] * 4,
        Step(World.restart_brokers),
        *[Step(World.turn)] * 2,  # each turn compares the results of one partition with the bounds
        Step(World.produce, 2, Kind.HARMLESS),
        *[Step(World.turn), Step(World.prepared), Step(World.scored)] * 3,
    ):
        step.do(world, step.who, step.how)
        world.sample()
    assert [output.source.partition for output in world.cluster.outputs] == [PARTITIONS[2]]
    assert world.cluster.committed == dict(zip(PARTITIONS, (0, 0, 1), strict=True))


def test_the_clock_ends_an_alert_window_also_while_each_turn_commits_records() -> None:
    world = World()
    for step in (
        *[Step(World.produce, 0, Kind.UNSAFE)] * 3,  # the third one has the first one's key, so it is counted
        Step(World.begin),
        *[Step(World.turn), Step(World.prepared), Step(World.scored)] * 3,
    ):
        step.do(world, step.who, step.how)
    totals, committed = world.process(0).loop.totals, []
    assert totals.counted == 1
    while not any(map(is_summary, world.cluster.outputs)):
        before = totals.records
        for step in (
            Step(World.produce, 1, Kind.HARMLESS),
            Step(World.wait, 0, 10),
            Step(World.prepared),
            Step(World.scored),
            Step(World.turn),
        ):
            step.do(world, step.who, step.how)
        committed.append(totals.records - before)
        assert 10 * len(committed) < 3000 * WINDOW_S, "the window does not end"
    assert set(committed[3:]) == {1}


def first_failing() -> int:
    """Return the first of a hundred seeds that fails."""
    return next(seed for seed in range(100) if wrong(schedule(seed)))


def test_work_that_outlives_its_ownership_is_found_and_reported_in_a_few_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Ownership, "owns", lambda *_: True)
    monkeypatch.setattr(Ownership, "refusal", lambda *_: None)
    seed = first_failing()
    about, again, count, *steps = report(seed).splitlines()
    assert about.startswith(f"seed {seed}: ")
    assert "doubled 1" in about
    assert again == f"again: make simulate FROM={seed} SEEDS=1"
    assert f"({len(steps)} of {len(schedule(seed))} steps)" in count
    assert len(steps) <= 5
    assert any("gets a message" in step for step in steps)


def test_a_schedule_is_shrunk_until_each_step_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    take_away = FakeLog._take_away  # noqa: SLF001 - the loop must fail if the log does not report a revoke

    def take_away_silently(log: FakeLog, partitions: Collection[Partition]) -> None:
        take_away(log, partitions)
        log.invalidations -= 1

    monkeypatch.setattr(FakeLog, "_take_away", take_away_silently)
    steps = shrink(schedule(first_failing()), wrong)
    assert "refused" in wrong(steps)
    assert len(steps) <= 15, [str(step) for step in steps]
    assert not any(wrong(steps[:at] + steps[at + 1 :]) for at in range(len(steps)))


def test_a_lost_record_is_found_immediately_and_not_only_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = World.turn

    def forgetful(world: World, worker: int, _: object) -> None:
        turn(world, worker, _)
        del world.cluster.outputs[3:]

    monkeypatch.setattr(World, "turn", forgetful)
    assert "committed without an answer" in wrong(schedule(first_failing()))
