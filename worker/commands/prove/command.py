"""The command ``prove``, from the settings to the exit code."""

import random
import signal
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from worker.commands.prove.environment import proof_environment
from worker.commands.prove.experiment import prove
from worker.commands.prove.picture import draw
from worker.commands.prove.report import show
from worker.errors import ExitCode


def run(
    environ: Mapping[str, str],
    console: Console,
    *,
    seconds: int,
    seed: int | None,
    workers: int,
    per_second: int,
    picture: Path | None,
) -> ExitCode:
    """Proves, shows and draws.

    Args:
        environ: Where the settings come from.
        console: For people.
        seconds: How long faults are injected.
        seed: Of the plan; None: any.
        workers: At the beginning.
        per_second: Messages.
        picture: Where to; None: ``proof-SEED.svg`` here.

    Raises:
        FatalError: It could not be done.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does: what was made is removed
    if seed is None:
        seed = random.SystemRandom().randrange(10**6)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with proof_environment(environ, say) as place:
        proof = prove(place, seconds=seconds, seed=seed, workers=workers, per_second=per_second, say=say)
    picture = picture or Path(f"proof-{seed}.svg")
    picture.write_text(draw(proof, f"{place.what}, seed {seed}"), encoding="utf-8")
    show(proof, console)
    say(f"The timeline: {picture}")
    return ExitCode.DONE if proof.holds else ExitCode.OTHER
