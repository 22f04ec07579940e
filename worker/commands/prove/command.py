"""The command `prove`, from the options to the exit code."""

import argparse
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import orjson
from rich.console import Console

from worker.commands.option_values import whole_number
from worker.commands.prove.environment import proof_environment
from worker.commands.prove.experiment import ProofOptions, prove
from worker.commands.prove.picture import draw
from worker.commands.prove.plan import WORKERS_MAX, WORKERS_MIN
from worker.commands.prove.proof import Proof
from worker.commands.prove.report import show
from worker.errors import ExitCode
from worker.settings import variables_for
from worker.watchdog import end

PICTURE_NEEDS = "The timeline was not drawn: install matplotlib (pip install matplotlib), then run prove again."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the plan and of the picture."""
    parser.add_argument(
        "--seconds", type=whole_number(1), default=120, help="for how many seconds to inject faults (default: 120)"
    )
    parser.add_argument(
        "--seed", type=int, help="the seed of the plan of faults (default: random; the report prints it)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=3,
        choices=range(WORKERS_MIN, WORKERS_MAX + 1),
        help="number of workers at the beginning (default: 3)",
    )
    parser.add_argument(
        "--per-second",
        type=whole_number(1),
        default=500,
        metavar="N",
        help="messages to send each second (default: 500)",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="file for the timeline (default: proof-SEED.svg); the file with .json instead gets the result",
    )
    parser.epilog = variables_for("kafka")


def run(options: argparse.Namespace) -> ExitCode:
    """Run the proof, and end the process.

    Raises:
        FatalError: The proof cannot run.
    """
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    chosen = ProofOptions(
        seconds=options.seconds, seed=seed, workers=options.workers, per_second=options.per_second
    )
    console = Console(highlight=False)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does: what was created is removed
    with proof_environment(os.environ, say) as (environment, timeouts):
        proof = prove(environment, timeouts, chosen, say)
    show(proof, console)
    write(proof, options.picture or Path(f"proof-{seed}.svg"), say)
    code = ExitCode.DONE if proof.holds else ExitCode.OTHER
    end(code)  # a client whose broker went away may not let itself be closed
    return code


def write(proof: Proof, picture: Path, say: Callable[[str], None]) -> None:
    """Write the result as JSON and, where matplotlib is installed, the timeline as SVG."""
    result = picture.with_suffix(".json")
    result.write_bytes(orjson.dumps(proof.as_json(), option=orjson.OPT_INDENT_2))
    say(f"The result: {result}")
    try:
        draw(proof, picture)
    except ModuleNotFoundError:
        say(PICTURE_NEEDS)
    else:
        say(f"The timeline: {picture}")
