"""The command `broker`, from the options to the exit code."""

import argparse
import threading
from pathlib import Path

from worker.commands.broker.embedded import serve
from worker.commands.option_values import whole_number
from worker.commands.terminal import say
from worker.errors import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the broker listens and where it keeps its data."""
    parser.add_argument("--port", type=whole_number(1, 65_535), help="the port (default: a free port)")
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="folder for the data, which is kept (default: a temporary folder, which is removed)",
    )


def run(options: argparse.Namespace) -> ExitCode:
    """Run a broker until SIGTERM or Ctrl-C.

    Raises:
        KafkaFatalError: The broker does not start, or ends by itself.
    """
    serve(port=options.port, data_dir=options.data_dir, stop=threading.Event(), say=say)
    return ExitCode.DONE
