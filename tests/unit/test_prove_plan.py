"""The plan of a proof, what a proof observes, and how it reports."""

import sys
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree as ET

import orjson
import pytest

from worker.commands.ledger import ObservedInput, ObservedOutput, audit
from worker.commands.prove.command import PICTURE_NEEDS, write
from worker.commands.prove.observers import LedgerByLog, PartitionPause, Sample, assignment_times_ms
from worker.commands.prove.picture import draw
from worker.commands.prove.plan import EMBEDDED_ONLY, Action, FaultKind, Timeouts, faults
from worker.commands.prove.proof import InjectedFault, Proof
from worker.commands.prove.report import summary
from worker.records import Partition, Topic

TIMEOUTS = Timeouts(session_ms=3000, max_poll_interval_ms=8000, transaction_ms=4000)


def proof(**changes: object) -> Proof:
    plan = faults(7, TIMEOUTS, with_broker=True)
    made = {
        "description": "a < b & c",
        "seed": 7,
        "ledger": audit([], []),
        "readers_agree": True,
        "offset_regressions": [],
        "offset_samples": 3,
        "lag": 0,
        "faults": [
            InjectedFault(at_ms=1000 * n, fault=fault, slot=n % 3) for n, fault in enumerate(islice(plan, 10))
        ],
        "samples": [Sample(at_ms=500 * n, owed=20 * n, judged=19 * n, workers=3) for n in range(30)],
        "assignments_ms": [100, 2000],
        "longest_pause": None,
        "restarts": 0,
    }
    return Proof(**{**made, **changes})  # type: ignore[arg-type] # by name


@pytest.mark.parametrize("with_broker", [True, False])
def test_each_kind_comes_once_in_a_round(with_broker: bool) -> None:  # noqa: FBT001 - a parameter
    kinds = set(FaultKind) - (set() if with_broker else EMBEDDED_ONLY)
    plan = faults(1, TIMEOUTS, with_broker=with_broker)
    for _ in range(3):
        assert {fault.kind for fault in islice(plan, len(kinds))} == kinds


def test_the_same_seed_gives_the_same_plan() -> None:
    first, again, other = (list(islice(faults(seed, TIMEOUTS, with_broker=True), 30)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("kind", "longer", "shorter"),
    [(FaultKind.STOP, 0, 3000), (FaultKind.STOP_SESSION, 3000, 8000), (FaultKind.STOP_ALL, 8000, 60_000)],
)
def test_a_stop_is_as_long_as_its_name_says(kind: FaultKind, longer: int, shorter: int) -> None:
    for seed in range(20):
        fault = next(one for one in faults(seed, TIMEOUTS, with_broker=False) if one.kind is kind)
        stop, continues = fault.steps
        assert (stop.action, continues.action) == (Action.STOP, Action.CONTINUE)
        assert longer < continues.after_ms < shorter


def test_a_transaction_of_another_producer_ends_one_way_or_the_other() -> None:
    plan = (fault for fault in faults(1, TIMEOUTS, with_broker=False) if fault.kind is FaultKind.TRANSACTION)
    steps = [[step.action for step in fault.steps] for fault in islice(plan, 20)]
    assert {begin for begin, _ in steps} == {Action.BEGIN}
    assert {end for _, end in steps} == {Action.COMMIT, Action.ABORT}


def test_each_log_of_a_topic_has_a_ledger_of_its_own() -> None:
    def verdict_of(offset: int, output_offset: int) -> ObservedOutput:
        return ObservedOutput(topic=Topic.VERDICT, source=(partition, offset), partition=0, offset=output_offset)

    partition, by_log = Partition("messages", 0), LedgerByLog()
    inputs = [ObservedInput(partition=partition, offset=offset) for offset in range(3)]
    old = [verdict_of(0, 0), verdict_of(1, 1), verdict_of(2, 2)]
    by_log.close_log(inputs, old)
    assert by_log.ledger.clean
    by_log.close_log(inputs, [*old, verdict_of(0, 3), verdict_of(2, 4)])  # the verdict of 1 is of the old log
    assert (by_log.ledger.inputs, by_log.ledger.verdicts, by_log.ledger.lost) == (6, 5, 1)
    assert by_log.ledger.examples == ("lost: messages[0] 1",)


@pytest.mark.parametrize("wrong", [{"readers_agree": False}, {"offset_regressions": ["messages[0]"]}, {"lag": 1}])
def test_a_proof_holds_only_when_every_check_is_good(wrong: dict[str, object]) -> None:
    assert proof().holds
    assert not proof(**wrong).holds


def test_assignments_are_found_in_the_logs_of_the_workers() -> None:
    log = """2026-01-02T03:04:05.500Z INFO    worker.session: reading from: messages[0]@0
2026-01-02T03:04:06.000Z INFO    worker.session: revoked: messages[0]
2026-01-02T03:04:06.250Z INFO    worker.session: reading from: nothing
2026-01-02T03:04:07.250Z INFO    worker.session: reading from: messages[0]@12, messages[1]@7
"""
    began_s = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert assignment_times_ms(["nothing", log], began_s) == [500, 2250]


def test_one_line_has_all_the_counts() -> None:
    line = (
        "in 0, verdicts 0, dead letters 0, lost 0, doubled 0, out of order 0; alerts 0, counted 0 in 0 summaries, "
        "in neither or both 0; faults 10, seed 7"
    )
    assert summary(proof()) == line


def test_the_picture_has_a_line_for_each_fault_and_its_title_as_text(tmp_path: Path) -> None:
    draw(proof(), tmp_path / "proof.svg")
    picture = ET.parse(tmp_path / "proof.svg")  # noqa: S314 - made here
    lines = {one.get("id") for one in picture.iter() if (one.get("id") or "").startswith("fault-")}
    assert lines == {f"fault-{number}" for number in range(1, 11)}
    assert "a < b & c, seed 7" in "".join(picture.getroot().itertext())


def test_the_result_is_written_as_json_also_without_matplotlib(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said: list[str] = []
    pause = PartitionPause(partition=Partition("messages", 1), began_ms=100, lasted_ms=900)
    write(proof(longest_pause=pause), tmp_path / "proof.svg", said.append)
    result = orjson.loads((tmp_path / "proof.json").read_bytes())
    assert result["holds"] is True
    assert result["ledger"]["lost"] == 0
    assert len(result["faults"]) == 10
    assert result["longest_pause"] == {"partition": "messages[1]", "began_ms": 100, "lasted_ms": 900}
    assert said == [f"The result: {tmp_path / 'proof.json'}", PICTURE_NEEDS]
    assert not (tmp_path / "proof.svg").exists()
