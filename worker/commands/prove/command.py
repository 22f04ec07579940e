"""The command ``prove``, from the settings to the exit code."""

import argparse
import os
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
from worker.settings import variables_for
from worker.watchdog import end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the plan's and the picture's options."""
    parser.add_argument("--seconds", type=int, default=120, help="how long faults are injected (default: 120)")
    parser.add_argument("--seed", type=int, help="of the plan of faults; default: any, and printed")
    parser.add_argument("--workers", type=int, default=3, choices=range(2, 6), help="at the beginning (default: 3)")
    parser.add_argument("--per-second", type=int, default=500, metavar="N", help="messages (default: 500)")
    parser.add_argument("--picture", type=Path, help="the timeline as SVG; default: proof-SEED.svg")
    parser.epilog = variables_for("kafka")


def run(options: argparse.Namespace) -> ExitCode:
    """Inject faults into workers of this command's own, and end the process.

    The proof uses the cluster that the settings name, with topics and a group of its own that are removed at the
    end. Where the settings name none, it uses the embedded Kafka, and kills and restarts its broker as well.

    Raises:
        FatalError: It could not be done.
    """
    code = prove_and_show(
        os.environ,
        Console(highlight=False),
        seconds=options.seconds,
        seed=options.seed,
        workers=options.workers,
        per_second=options.per_second,
        picture=options.picture,
    )
    end(code)  # its clients have met brokers that went away: one may not let itself be closed
    return code


def prove_and_show(
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
