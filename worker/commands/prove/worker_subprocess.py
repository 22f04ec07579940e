"""A worker as a process of its own: ``moderation-worker run``, or ``run`` with another model."""

import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.commands.child_process import ChildProcess, log_tail

COMMAND = (sys.executable, "-m", "worker", "run")
DRAIN_S_MAX = 30


@dataclass(slots=True, kw_only=True)
class WorkerSubprocess:
    """A worker that dies with this process.

    Attributes:
        name: The name in messages to people.
        folder: A new folder for the worker's log and temporary files. The folder above it is removed when this
            process is killed.
        environ: The worker's environment.
        directory: The working directory, where the worker looks for ``.env``; None: ``folder``, which has none.
        command: The command line.
    """

    name: str
    folder: Path
    environ: Mapping[str, str]
    directory: Path | None = None
    command: Sequence[str] = COMMAND
    _process: ChildProcess = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self._process = ChildProcess(
            self.command,
            log=self.log,
            temporary_folder=str(self.folder.parent),
            directory=self.directory or self.folder,
            environ={**self.environ, "TMPDIR": str(self.folder)},
        )

    @property
    def exit_code(self) -> int | None:
        """The exit code as a shell counts it; None while the worker runs."""
        return self._process.exit_code

    @property
    def pid(self) -> int | None:
        """The worker's process id, on Linux only; None until the worker has started."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """The file with the worker's output."""
        return self.folder / "log.txt"

    def send(self, number: signal.Signals) -> None:
        """Send a signal, and do not wait."""
        self._process.send(number)

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end of the worker."""
        self._process.kill()

    def drain(self) -> int:
        """Send SIGTERM, wait for the end of the worker, and return the exit code. Kill it after 30 seconds."""
        self.send(signal.SIGTERM)
        return self._process.join(DRAIN_S_MAX)

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(log_tail(self.log))

    def reason(self) -> str:
        """Return the log line that says why the worker ended, or else the last line."""
        lines = log_tail(self.log)
        return next((line for line in lines if " CRITICAL " in line), next(reversed(lines), "nothing logged"))
