"""The plan of a proof, and how it is told."""

from datetime import UTC, datetime
from itertools import islice
from xml.etree import ElementTree as ET

import pytest

from worker.commands.ledger import ObservedInput, ObservedOutput, audit
from worker.commands.prove.observers import Accounts, rebalances
from worker.commands.prove.picture import draw
from worker.commands.prove.plan import BROKER_KINDS, Do, Kind, Times, faults
from worker.commands.prove.proof import Happening, Proof, Sample
from worker.commands.prove.report import verdict
from worker.records import Partition, Topic

TIMES = Times(session_ms=3000, max_poll_interval_ms=8000, transaction_ms=4000)


def proof(**changes: object) -> Proof:
    plan = faults(7, TIMES, with_broker=True)
    made = {
        "seed": 7,
        "ledger": audit([], []),
        "readers_agree": True,
        "went_back": [],
        "samples": 3,
        "lag": 0,
        "happenings": [
            Happening(at_ms=1000 * n, fault=fault, place=n % 3) for n, fault in enumerate(islice(plan, 10))
        ],
        "beats": [Sample(at_ms=500 * n, fed=20 * n, judged=19 * n, alive=3) for n in range(30)],
        "rebalances": [100, 2000],
        "pause": None,
        "restarts": 0,
    }
    return Proof(**{**made, **changes})  # type: ignore[arg-type] # by name


@pytest.mark.parametrize("with_broker", [True, False])
def test_each_kind_comes_once_in_a_round(with_broker: bool) -> None:  # noqa: FBT001 - a parameter
    kinds = set(Kind) - (set() if with_broker else BROKER_KINDS)
    plan = faults(1, TIMES, with_broker=with_broker)
    for _ in range(3):
        assert {fault.kind for fault in islice(plan, len(kinds))} == kinds


def test_a_seed_is_a_plan() -> None:
    first, again, other = (list(islice(faults(seed, TIMES, with_broker=True), 30)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("kind", "longer", "shorter"),
    [(Kind.PAUSE, 0, 3000), (Kind.PAUSE_SESSION, 3000, 8000), (Kind.PAUSE_ALL, 8000, 60_000)],
)
def test_a_stop_is_as_long_as_it_says(kind: Kind, longer: int, shorter: int) -> None:
    for seed in range(20):
        fault = next(one for one in faults(seed, TIMES, with_broker=False) if one.kind is kind)
        stop, go_on = fault.steps
        assert (stop.do, go_on.do) == (Do.STOP, Do.GO_ON)
        assert longer < go_on.after_ms < shorter


def test_a_transaction_of_another_producer_ends_one_way_or_the_other() -> None:
    plan = (fault for fault in faults(1, TIMES, with_broker=False) if fault.kind is Kind.TRANSACTION)
    steps = [[step.do for step in fault.steps] for fault in islice(plan, 20)]
    assert {begin for begin, _ in steps} == {Do.BEGIN}
    assert {end for _, end in steps} == {Do.COMMIT, Do.ABORT}


def test_each_log_of_a_topic_has_an_account_of_its_own() -> None:
    def verdict_of(offset: int, stands_at: int) -> ObservedOutput:
        return ObservedOutput(topic=Topic.VERDICT, source=(partition, offset), partition=0, offset=stands_at)

    partition, accounts = Partition("messages", 0), Accounts()
    inputs = [ObservedInput(partition=partition, offset=offset) for offset in range(3)]
    old = [verdict_of(0, 0), verdict_of(1, 1), verdict_of(2, 2)]
    accounts.close_log(inputs, old)
    assert accounts.ledger.clean
    accounts.close_log(inputs, [*old, verdict_of(0, 3), verdict_of(2, 4)])  # the verdict of 1 is of the old log
    assert (accounts.ledger.inputs, accounts.ledger.verdicts, accounts.ledger.lost) == (6, 5, 1)
    assert accounts.ledger.examples == ("lost: messages[0] 1",)


@pytest.mark.parametrize("wrong", [{"readers_agree": False}, {"went_back": ["messages[0]"]}, {"lag": 1}])
def test_a_proof_holds_only_when_every_account_agrees(wrong: dict[str, object]) -> None:
    assert proof().holds
    assert not proof(**wrong).holds


def test_rebalances_are_found_in_the_logs_of_the_workers() -> None:
    log = """2026-01-02T03:04:05.500Z INFO    worker.session: reading from: messages[0]@0
2026-01-02T03:04:06.000Z INFO    worker.session: revoked: messages[0]
2026-01-02T03:04:06.250Z INFO    worker.session: reading from: nothing
2026-01-02T03:04:07.250Z INFO    worker.session: reading from: messages[0]@12, messages[1]@7
"""
    began_s = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert rebalances(["nothing", log], began_s) == [500, 2250]


def test_one_line_says_it_all() -> None:
    line = "in 0, verdicts 0, dead letters 0, lost 0, doubled 0, out of order 0; faults 10, seed 7"
    assert verdict(proof()) == line


def test_the_picture_shows_each_fault() -> None:
    picture = ET.fromstring(draw(proof(), "a < b & c"))  # noqa: S314 - ours
    lines = [one for one in picture.iter() if one.tag.endswith("}line") and one.get("stroke-dasharray")]
    assert len(lines) == 10
    assert "a < b & c" in "".join(picture.itertext())
