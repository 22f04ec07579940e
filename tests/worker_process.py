"""``moderation-worker run`` as a user starts it: a process, its log, and its end."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from worker.commands.prove.worker_subprocess import COMMAND, WorkerSubprocess

LOOK_AGAIN_S = 0.02


def eventually(done: Callable[[], bool], why: Callable[[], str], *, seconds_max: float) -> None:
    """Returns once it is so."""
    deadline = time.monotonic() + seconds_max
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds_max:.1f} s; {why()}"
        time.sleep(LOOK_AGAIN_S)


class WorkerProcess:
    """One worker. Its working directory holds no ``.env``, and it sees none of our ``WORKER_*``."""

    def __init__(self, folder: Path, environ: Mapping[str, str], command: Sequence[str] = COMMAND) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
        self._worker = WorkerSubprocess(
            name=folder.name,
            folder=folder,
            environ={**ours, "WORKER_LOG__FORMAT": "text", **environ},
            command=command,
        )
        self.send = self._worker.send
        self.kill = self._worker.kill

    @property
    def pid(self) -> int | None:
        """The worker's own, on Linux; None: not yet."""
        return self._worker.pid

    @property
    def exit_code(self) -> int | None:
        """As a shell counts it; None while it runs."""
        return self._worker.exit_code

    @property
    def said(self) -> str:
        """Its log."""
        return self._worker.log.read_text(errors="replace")

    def wait_until(self, done: Callable[[], bool], *, seconds_max: float = 60) -> None:
        """Returns once it is so; the worker must not end before."""

        def done_and_alive() -> bool:
            ended = self.exit_code  # asked first: what it did before its end counts
            if done():
                return True
            assert ended is None, f"it ended with {ended}; {self.said}"
            return False

        eventually(done_and_alive, lambda: self.said, seconds_max=seconds_max)

    def wait_for(self, words: str, *, seconds_max: float = 60) -> None:
        """Returns once the log holds the words."""
        self.wait_until(lambda: words in self.said, seconds_max=seconds_max)

    def end(self, *, seconds_max: float = 60) -> int:
        """Waits for its end; gives the exit code."""
        eventually(lambda: self.exit_code is not None, lambda: self.said, seconds_max=seconds_max)
        code = self.exit_code
        assert code is not None
        return code

    def drain(self) -> None:
        """SIGTERM, and the end that follows from it."""
        self.send(signal.SIGTERM)
        assert self.end() == 0, self.said
        assert ": drained: " in self.said, self.said


Start = Callable[[Mapping[str, str]], WorkerProcess]


@contextmanager
def workers(folder: Path) -> Iterator[Start]:
    """Starts workers; none outlives the block."""
    started: list[WorkerProcess] = []

    def start(environ: Mapping[str, str]) -> WorkerProcess:
        started.append(WorkerProcess(folder / f"worker-{len(started)}", environ))
        return started[-1]

    try:
        yield start
    finally:
        for worker in started:
            worker.kill()
