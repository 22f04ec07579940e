"""A worker as a process of its own: ``moderation-worker run``, or ``run`` with another model."""

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from worker.commands.child_process import ChildProcess, log_tail

COMMAND = (sys.executable, "-m", "worker", "run")
DRAIN_S_MAX = 30


class WorkerSubprocess(ChildProcess):
    """A worker that dies with this process.

    Args:
        name: The name in messages to people.
        folder: A new folder for the worker's log and temporary files. The folder above it is removed when this
            process is killed.
        environ: The worker's environment.
        directory: The working directory, where the worker looks for ``.env``; None: ``folder``, which has none.
        command: The command line.
    """

    def __init__(
        self,
        *,
        name: str,
        folder: Path,
        environ: Mapping[str, str],
        directory: Path | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        folder.mkdir()
        self.name = name
        self.folder = folder
        self.log = folder / "log.txt"
        super().__init__(
            command,
            log=self.log,
            temporary_folder=str(folder.parent),
            directory=directory or folder,
            environ={**environ, "TMPDIR": str(folder)},
        )

    def drain(self) -> int:
        """Send SIGTERM, wait for the end of the worker, and return the exit code. Kill it after 30 seconds."""
        self.send(signal.SIGTERM)
        return self.join(DRAIN_S_MAX)

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(log_tail(self.log))

    def reason(self) -> str:
        """Return the log line that says why the worker ended, or else the last line."""
        lines = log_tail(self.log)
        return next((line for line in lines if " CRITICAL " in line), next(reversed(lines), "nothing logged"))
