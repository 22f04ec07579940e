"""What a proof prints: the faults, the checks, and one line that says it all."""

from collections import Counter

from rich.console import Console
from rich.table import Table

from worker.commands.prove.proof import Proof


def summary(proof: Proof) -> str:
    """Return the one line."""
    ledger, pause = proof.ledger, proof.longest_pause
    line = (
        f"in {ledger.inputs}, verdicts {ledger.verdicts}, dead letters {ledger.dead_letters}, "
        f"lost {ledger.lost}, doubled {ledger.doubled}, out of order {ledger.out_of_order}; "
        f"alerts {ledger.alerts}, counted {ledger.counted} in {ledger.summaries} summaries, "
        f"in neither or both {ledger.alerts_wrong}; "
        f"faults {len(proof.faults)}, seed {proof.seed}"
    )
    return line if pause is None else f"{line}; longest pause of a partition {pause.lasted_ms / 1000:.1f} s"


def show(proof: Proof, console: Console) -> None:
    """Print the faults by kind, the checks, and examples of what is wrong, if anything is."""
    kinds = Counter(one.fault.kind for one in proof.faults)
    table = Table("fault", "times", box=None, pad_edge=False, show_header=False)
    for kind, count in sorted(kinds.items()):
        table.add_row(kind, str(count))
    console.print(table)
    ledger = proof.ledger
    checks = {
        "each message has exactly one verdict or one dead letter": not (
            ledger.lost or ledger.doubled or ledger.foreign
        ),
        "each flagged message has exactly one alert or is in exactly one count": not ledger.alerts_wrong,
        "the outputs of a partition have the order of its inputs": not ledger.out_of_order,
        "the reader during the faults and the reader at the end found the same records": proof.readers_agree,
        f"no committed offset went back ({proof.offset_samples} samples)": not proof.offset_regressions,
        "the group has committed all messages": proof.lag == 0,
    }
    for check, good in checks.items():
        console.print(f"{'✓' if good else '✗'} {check}", style=None if good else "bold red", highlight=False)
    for example in [*ledger.examples, *proof.offset_regressions]:
        console.print(f"  {example}", highlight=False, markup=False)
    console.print(f"Workers were given partitions {len(proof.assignments_ms)} times.", highlight=False)
    if proof.restarts:
        console.print(f"{proof.restarts} processes ended with exit code 3 and were started again.", highlight=False)
    console.print(
        summary(proof), style="bold green" if proof.holds else "bold red", highlight=False, soft_wrap=True
    )
