"""``moderation-worker run`` as a user starts it: a process, its log, and its end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.demo import guard

LOOK_AGAIN_S = 0.02
GUARD = (sys.executable, "-I", "-S", guard.__file__, "")


def eventually(done: Callable[[], bool], why: Callable[[], str], *, seconds_max: float) -> None:
    """Returns once it is so."""
    deadline = time.monotonic() + seconds_max
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds_max:.1f} s; {why()}"
        time.sleep(LOOK_AGAIN_S)


class WorkerProcess:
    """One worker. Its working directory holds no ``.env``, and it sees none of our ``WORKER_*``.

    A guard between us passes signals on, and kills it when we die without a farewell.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        folder.mkdir()
        self._log = folder / "log.txt"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
        with self._log.open("wb") as log:
            self._guard = subprocess.Popen(
                [*GUARD, sys.executable, "-m", "worker", "run"],
                cwd=folder,
                env={**ours, "WORKER_LOG__FORMAT": "text", **environ},
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int | None:
        """The worker's own, on Linux; None: not yet."""
        children = Path(f"/proc/{self._guard.pid}/task/{self._guard.pid}/children").read_text().split()
        return int(children[0]) if children else None

    @property
    def exit_code(self) -> int | None:
        """As a shell counts it; None while it runs."""
        return self._guard.poll()

    @property
    def said(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")

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

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, and doesn't wait."""
        assert self._guard.stdin is not None
        with suppress(BrokenPipeError):  # it has ended
            self._guard.stdin.write(bytes([number]))

    def end(self, *, seconds_max: float = 60) -> int:
        """Waits for its end; gives the exit code."""
        eventually(lambda: self.exit_code is not None, lambda: self.said, seconds_max=seconds_max)
        return self._guard.wait()

    def drain(self) -> None:
        """SIGTERM, and the end that follows from it."""
        self.send(signal.SIGTERM)
        assert self.end() == 0, self.said
        assert ": drained: " in self.said, self.said

    def kill(self) -> None:
        """SIGKILL, also of one that is stopped; it is gone afterwards."""
        self.send(signal.SIGKILL)
        self._guard.wait()

    def close(self) -> None:
        """As ``kill``, and lets go of the guard."""
        self.kill()
        if self._guard.stdin is not None:
            self._guard.stdin.close()


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
            worker.close()
