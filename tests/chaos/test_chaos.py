"""Chaos on a real Kafka, in a short form; ``make chaos`` runs it for longer: CHAOS_SECONDS, CHAOS_SEED.

Each case is a whole proof: workers that are killed, stopped, fenced, scaled, throttled and cut off from their
broker, and topics that are created again, while messages keep coming, and the account of every one of them. A
failing case is repeated by its seed.
"""

import os
import sys
from pathlib import Path

import pytest

from worker.commands.prove.environment import proof_environment
from worker.commands.prove.experiment import prove
from worker.commands.prove.picture import draw
from worker.commands.prove.plan import Kind
from worker.commands.prove.report import verdict

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SECONDS = int(os.environ.get("CHAOS_SECONDS", "40"))
PER_SECOND = int(os.environ.get("CHAOS_PER_SECOND", "500"))
SEED = int(os.environ.get("CHAOS_SEED", "984"))
"""The default brings a topic that is created again early in each case, and a quota in two of them."""
PICTURES = os.environ.get("CHAOS_PICTURES")
GROUPS = {
    "roundrobin": {},
    "roundrobin, static members": {"WORKER_KAFKA__GROUP_INSTANCE_ID": "by place"},
    "cooperative-sticky": {"WORKER_KAFKA__PARTITION_ASSIGNMENT_STRATEGY": "cooperative-sticky"},
    "consumer protocol": {"WORKER_KAFKA__GROUP_PROTOCOL": "consumer"},
}


@pytest.mark.parametrize("number", range(len(GROUPS)), ids=list(GROUPS))
def test_no_message_is_lost_or_judged_twice(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    name, settings = list(GROUPS.items())[number]
    seed = SEED + number  # so that a round of them begins with other faults
    environ = {key: value for key, value in os.environ.items() if not key.startswith("WORKER_")}
    with proof_environment({**environ, **settings}, print) as place:
        proof = prove(place, seconds=SECONDS, seed=seed, workers=3, per_second=PER_SECOND, say=print)
        said = "".join(place.logs())
    with capsys.disabled():
        sys.stdout.write(f"\n{place.what}: {verdict(proof)}\n")
    if PICTURES is not None:
        picture = Path(PICTURES) / f"{name.replace(', ', '-').replace(' ', '-')}.svg"
        picture.write_text(draw(proof, f"{place.what}, seed {seed}"), encoding="utf-8")
    assert proof.holds, (verdict(proof), proof.ledger.examples, proof.went_back, proof.readers_agree, proof.lag)
    kinds = {happening.fault.kind for happening in proof.happenings}
    assert ("was deleted and created again: its id was " in said) == (Kind.RECREATE in kinds)
    assert ("throttles this consumer" in said) == (Kind.QUOTA in kinds)
