"""A child process that writes a log and dies with this process, however this process dies (``die_with_parent``)."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LAUNCHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("die_with_parent.py")))
LOG_TAIL_LINES = 15


class ChildProcess:
    """A running command. Its parent is the launcher; this process talks to the launcher.

    Args:
        command: The command line.
        log: The file to which the command's output is appended.
        temporary_folder: The folder that the launcher removes when this process is gone; empty: none.
        directory: The working directory; None: the one of this process.
        environ: The environment; None: the one of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        temporary_folder: str,
        directory: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        with log.open("ab") as output:
            self._launcher = subprocess.Popen(  # noqa: S603 - the project's own commands
                [*LAUNCHER, temporary_folder, *command],
                cwd=directory,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in a terminal must reach this process only
            )

    @property
    def exit_code(self) -> int | None:
        """The command's exit code as a shell counts it; None while the command runs."""
        return self._launcher.poll()

    @property
    def pid(self) -> int | None:
        """The command's own process id, on Linux only; None until the command has started."""
        launcher = self._launcher.pid
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        return int(children[0]) if children else None

    def send(self, number: signal.Signals) -> None:
        """Pass a signal on to the command, and do not wait."""
        if self._launcher.stdin is not None and self.exit_code is None:
            with suppress(BrokenPipeError):  # the command has just ended by itself
                self._launcher.stdin.write(bytes([number]))
                self._launcher.stdin.flush()

    def join(self, seconds_max: float | None = None) -> int:
        """Wait for the end of the command, and return its exit code. Kill the command after ``seconds_max``."""
        try:
            self._launcher.wait(seconds_max)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._launcher.wait()
        if self._launcher.stdin is not None:
            self._launcher.stdin.close()
        return self._launcher.returncode

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end of the command."""
        self.send(signal.SIGKILL)
        self.join()


def log_tail(log: Path) -> list[str]:
    """Return the last lines of a log."""
    return log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
