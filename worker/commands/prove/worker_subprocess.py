"""The workers of the trial run: the very ``moderation-worker run``, as processes that we may kill."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

GUARD = (sys.executable, "-I", "-S", str(Path(__file__).parents[1] / "die_with_parent.py"))
COMMAND = (sys.executable, "-m", "worker", "run")
STOP_MS_MAX = 30_000
LOG_TAIL_LINES = 15


@dataclass(slots=True, kw_only=True)
class WorkerSubprocess:
    """A process that dies with this one, however this one dies (``guard``).

    Attributes:
        name: For people, and its client id.
        folder: Made for it; its log and temporary files lie there.
        environ: Its environment.
        directory: Where it looks for a ``.env``; by default in its folder, where none lies.
        command: What it runs.
    """

    name: str
    folder: Path
    environ: Mapping[str, str]
    directory: Path | None = None
    command: Sequence[str] = COMMAND
    _guard: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        with self.log.open("wb") as log:
            self._guard = subprocess.Popen(  # noqa: S603 - our own command
                [*GUARD, str(self.folder.parent), *self.command],
                cwd=self.directory or self.folder,
                env={**self.environ, "TMPDIR": str(self.folder)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is ours to deal with
            )

    @property
    def exit_code(self) -> int | None:
        """As a shell counts it; None while it runs."""
        return self._guard.poll()

    @property
    def pid(self) -> int | None:
        """The worker's own, on Linux; None: not yet. Ours is the guard's, whose child it is."""
        children = Path(f"/proc/{self._guard.pid}/task/{self._guard.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def kill(self) -> None:
        """SIGKILL: returns once it is gone."""
        self.send(signal.SIGKILL)
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()

    def drain(self) -> int:
        """SIGTERM: returns its exit code; one that overstays is killed."""
        self.send(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._guard.wait(STOP_MS_MAX / 1000)
        self.kill()
        return self._guard.wait()

    def log_tail(self) -> str:
        """The last lines of what it said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def last_words(self) -> str:
        """Why it ended, or the last line of what it said."""
        lines = self.log_tail().splitlines()
        return next((line for line in lines if " CRITICAL " in line), next(reversed(lines), "nothing"))

    @property
    def log(self) -> Path:
        """What it says goes there."""
        return self.folder / "log.txt"

    def send(self, number: signal.Signals) -> None:
        """Passes a signal on, and doesn't wait."""
        if self._guard.stdin is not None and self.exit_code is None:
            with suppress(BrokenPipeError):  # it ended on its own, just now
                self._guard.stdin.write(bytes([number]))
                self._guard.stdin.flush()
