"""``moderation-worker run`` as a user starts it: a process, its log and its exit code."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from worker.commands.prove.worker_subprocess import COMMAND, WorkerSubprocess

LOOK_AGAIN_S = 0.02
STUB_COMMAND = (sys.executable, "-m", "worker.commands.prove.stub_model")
"""The same worker with a stub for the model: it starts in one second instead of ten."""


def eventually(done: Callable[[], bool], why: Callable[[], str], *, seconds_max: float) -> None:
    """Return once ``done`` returns True; fail with ``why`` after ``seconds_max``."""
    deadline = time.monotonic() + seconds_max
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds_max:.1f} s; {why()}"
        time.sleep(LOOK_AGAIN_S)


class WorkerProcess:
    """One worker. Its working directory has no ``.env``, and it inherits no ``WORKER_*`` from the test."""

    def __init__(self, folder: Path, environ: Mapping[str, str], command: Sequence[str] = COMMAND) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
        self._worker = WorkerSubprocess(
            name=folder.name,
            folder=folder,
            environ={**inherited, "WORKER_LOG__FORMAT": "text", **environ},
            command=command,
        )
        self.send = self._worker.send
        self.kill = self._worker.kill

    @property
    def pid(self) -> int | None:
        """The worker's process id, on Linux; None before the worker has one."""
        return self._worker.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code as a shell reports it; None while the worker runs."""
        return self._worker.exit_code

    @property
    def said(self) -> str:
        """Everything that the worker has logged."""
        return self._worker.log.read_text(errors="replace")

    def wait_until(self, done: Callable[[], bool], *, seconds_max: float = 60) -> None:
        """Return once ``done`` returns True; fail if the worker ends before."""

        def done_and_alive() -> bool:
            ended = self.exit_code  # read first, so that what the worker did before its end counts
            if done():
                return True
            assert ended is None, f"it ended with {ended}; {self.said}"
            return False

        eventually(done_and_alive, lambda: self.said, seconds_max=seconds_max)

    def wait_for(self, words: str, *, seconds_max: float = 60) -> None:
        """Return once the log contains the words."""
        self.wait_until(lambda: words in self.said, seconds_max=seconds_max)

    def end(self, *, seconds_max: float = 60) -> int:
        """Wait for the end of the worker; return the exit code."""
        eventually(lambda: self.exit_code is not None, lambda: self.said, seconds_max=seconds_max)
        code = self.exit_code
        assert code is not None
        return code

    def drain(self) -> None:
        """Send SIGTERM, and wait until the worker has drained and ended."""
        self.send(signal.SIGTERM)
        assert self.end() == 0, self.said
        assert ": drained: " in self.said, self.said


Start = Callable[[Mapping[str, str]], WorkerProcess]


@contextmanager
def workers(folder: Path, command: Sequence[str] = COMMAND, *, name: str = "worker") -> Iterator[Start]:
    """Give a function that starts workers. All of them are killed at the end of the block."""
    started: list[WorkerProcess] = []

    def start(environ: Mapping[str, str]) -> WorkerProcess:
        started.append(WorkerProcess(folder / f"{name}-{len(started)}", environ, command))
        return started[-1]

    try:
        yield start
    finally:
        for worker in started:
            worker.kill()
