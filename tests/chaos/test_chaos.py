"""Chaos on a real Kafka, for a short time; ``make chaos`` runs it for longer: CHAOS_SECONDS, CHAOS_SEED.

Each case is a whole proof. Workers are killed, stopped, fenced, scaled, throttled and cut off from their broker,
and the input topic is created again, while messages keep coming. Two cases read events of platforms. Then each
message is accounted for. The seed repeats a case that failed.
"""

import os
import sys
from pathlib import Path

import pytest

from worker.commands.prove.command import write
from worker.commands.prove.environment import proof_environment
from worker.commands.prove.experiment import ProofOptions, prove
from worker.commands.prove.plan import FaultKind
from worker.commands.prove.report import summary

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SECONDS = int(os.environ.get("CHAOS_SECONDS", "40"))
PER_SECOND = int(os.environ.get("CHAOS_PER_SECOND", "500"))
SEED = int(os.environ.get("CHAOS_SEED", "984"))
"""With the default each case soon has a topic that is created again, and two cases have a quota."""
PICTURES = os.environ.get("CHAOS_PICTURES")
GROUPS = {
    "roundrobin": {},
    "roundrobin, static members": {
        "WORKER_KAFKA__GROUP_INSTANCE_ID": "set for each worker",
        "WORKER_INPUT__SHAPE": "discord",
    },
    "cooperative-sticky": {
        "WORKER_KAFKA__PARTITION_ASSIGNMENT_STRATEGY": "cooperative-sticky",
        "WORKER_INPUT__SHAPE": "slack",
    },
    "consumer protocol": {"WORKER_KAFKA__GROUP_PROTOCOL": "consumer"},
}


@pytest.mark.parametrize("number", range(len(GROUPS)), ids=list(GROUPS))
def test_no_message_is_lost_or_judged_twice(
    number: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name, settings = list(GROUPS.items())[number]
    # Each case has its own seed, so that the four cases begin with different faults.
    options = ProofOptions(seconds=SECONDS, seed=SEED + number, workers=3, per_second=PER_SECOND)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("WORKER_")}
    with proof_environment({**environ, **settings}, print) as (environment, timeouts):
        proof = prove(environment, timeouts, options, print)
        logs = "".join(environment.logs())
    with capsys.disabled():
        sys.stdout.write(f"\n{proof.description}: {summary(proof)}\n")
    if PICTURES is not None:
        write(proof, Path(PICTURES) / f"{name.replace(', ', '-').replace(' ', '-')}.svg", print)
    (tmp_path / "workers.log").write_text(logs)  # pytest keeps the folders of the last three runs
    findings = [*proof.ledger.examples, *proof.offset_regressions[:20]]
    state = f"readers agree: {proof.readers_agree}, lag: {proof.lag}; the workers' logs: {tmp_path}"
    assert proof.holds, "\n".join([summary(proof), *findings, state])
    kinds = {one.fault.kind for one in proof.faults}
    assert ("was deleted and created again: its id was " in logs) == (FaultKind.RECREATE in kinds)
    assert ("throttles this consumer" in logs) == (FaultKind.QUOTA in kinds)
