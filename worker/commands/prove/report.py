"""What a proof tells people: a table, and the one line that counts."""

from collections import Counter

from rich.console import Console
from rich.table import Table

from worker.commands.prove.proof import Proof


def verdict(proof: Proof) -> str:
    """The line."""
    ledger, pause = proof.ledger, proof.pause
    line = (
        f"in {ledger.inputs}, verdicts {ledger.verdicts}, dead letters {ledger.dead_letters}, "
        f"lost {ledger.lost}, doubled {ledger.doubled}, out of order {ledger.out_of_order}; "
        f"faults {len(proof.happenings)}, seed {proof.seed}"
    )
    return line if pause is None else f"{line}; longest pause of a partition {pause.lasted_ms / 1000:.1f} s"


def show(proof: Proof, console: Console) -> None:
    """Faults by kind, the checks, and what is wrong, if anything is."""
    kinds = Counter(happening.fault.kind for happening in proof.happenings)
    table = Table("fault", "times", box=None, pad_edge=False, show_header=False)
    for kind, count in sorted(kinds.items()):
        table.add_row(kind, str(count))
    console.print(table)
    ledger = proof.ledger
    checks = {
        "each message has its one verdict or dead letter": not (ledger.lost or ledger.doubled or ledger.foreign),
        "alerts are exactly the flagged verdicts": not ledger.alerts_wrong,
        "outputs stand in the order of their partition": not ledger.out_of_order,
        "the reader that ran beside the faults and the one at the end saw the same": proof.readers_agree,
        f"no committed offset ever went back ({proof.samples} samples)": not proof.went_back,
        "the group has committed all there is": proof.lag == 0,
    }
    for check, good in checks.items():
        console.print(f"{'✓' if good else '✗'} {check}", style=None if good else "bold red", highlight=False)
    for example in [*ledger.examples, *proof.went_back]:
        console.print(f"  {example}", highlight=False, markup=False)
    console.print(f"{len(proof.rebalances)} times a worker was given partitions.", highlight=False)
    if proof.restarts:
        console.print(f"{proof.restarts} processes ended with exit code 3 and were started again.", highlight=False)
    console.print(
        verdict(proof), style="bold green" if proof.holds else "bold red", highlight=False, soft_wrap=True
    )
