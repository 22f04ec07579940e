"""The workers of a proof: processes in places, each place with ids of its own; and what is done to them.

A process that ends with exit code 3 (Kafka refused us: fenced, or a call that hangs) is started again, as an
orchestrator would. Any other end that nobody asked for makes the proof fail.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass

from worker.commands.prove.plan import WORKERS_MAX, WORKERS_MIN, Do, Fault, Kind
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.errors import ExitCode, FatalError

AGAIN_MS = 1000
"""After this long an ended process is started again."""

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a process that SIGTERM ended before it listened for signals."""

Make = Callable[[int, int], WorkerSubprocess]
"""A process for a place; the second number is new for each."""


class UnexpectedExitError(FatalError):
    """A worker ended as none should."""


@dataclass(slots=True, kw_only=True)
class Member:
    """A process in a place.

    Attributes:
        worker: The process.
        stopped: It has got a SIGSTOP.
        leaving: It has been asked to end.
    """

    worker: WorkerSubprocess
    stopped: bool = False
    leaving: bool = False


def has_drained(worker: WorkerSubprocess) -> bool:
    """Whether a worker that was asked to end ended well; one that still starts has nothing to drain."""
    return worker.exit_code == ExitCode.DONE or (worker.exit_code == TERMINATED and not worker.log_tail())


class Crew:
    """Who works."""

    def __init__(self, make: Make, workers: int, say: Callable[[str], None]) -> None:
        self._make = make
        self._say = say
        self._births = 0
        self._members: dict[int, Member] = {}
        self._others: list[Member] = []  # without a place: asked to end, or with a rival in it
        self._due_ms: dict[int, int] = {}
        self.restarts = 0
        for place in range(workers):
            self._start(place)

    @property
    def alive(self) -> int:
        """Workers that can work."""
        return sum(not member.stopped for member in self._members.values())

    def victim(self, fault: Fault) -> int | None:
        """The place that a fault strikes; None: it can't strike now."""
        if fault.kind is Kind.UP:
            free = [place for place in range(WORKERS_MAX) if place not in self._members]
            return free[0] if free else None
        if fault.kind is Kind.DOWN and len(self._members) <= WORKERS_MIN:
            return None
        places = sorted(self._members)
        return places[int(fault.choice * len(places))] if places else None

    def do(self, step: Do, place: int) -> None:
        """A step of a fault; nothing where the place has been emptied meanwhile."""
        member = self._members.get(place)
        if step is Do.START:
            if member is None:
                self._start(place)
            return
        if member is None:
            return
        match step:
            case Do.KILL:
                del self._members[place]
                member.worker.kill()
            case Do.TERM:
                del self._members[place]
                member.leaving = True
                self._others.append(member)
                member.worker.send(signal.SIGTERM)
            case Do.STOP:
                member.stopped = True
                member.worker.send(signal.SIGSTOP)
            case Do.GO_ON:
                member.stopped = False
                member.worker.send(signal.SIGCONT)
            case _:
                # The older of the two finds itself fenced, and ends.
                self._others.append(member)
                self._start(place)

    def look(self, now_ms: int) -> None:
        """Notices who has ended.

        Raises:
            UnexpectedExitError: With the end of its log.
        """
        for place, member in list(self._members.items()):
            if member.worker.exit_code is not None:
                del self._members[place]
                self._others.append(member)
                self.restarts += 1
                self._due_ms[place] = now_ms + AGAIN_MS
        for member in self._others:
            if member.worker.exit_code is not None:
                self._check(member)
                member.worker.kill()
        self._others = [member for member in self._others if member.worker.exit_code is None]
        for place, due_ms in list(self._due_ms.items()):
            if now_ms >= due_ms:
                del self._due_ms[place]
                self.do(Do.START, place)

    def drain(self) -> None:
        """SIGTERM to all.

        Raises:
            UnexpectedExitError: One did not end as one that has drained.
        """
        for member in [*self._members.values(), *self._others]:
            code = member.worker.drain()
            if code != ExitCode.KAFKA and not has_drained(member.worker):
                raise self._ended(member.worker)

    def close(self) -> None:
        """None is left."""
        for member in [*self._members.values(), *self._others]:
            member.worker.kill()

    def _start(self, place: int) -> None:
        self._births += 1
        self._members[place] = Member(worker=self._make(place, self._births))

    def _check(self, member: Member) -> None:
        code = member.worker.exit_code
        if code == ExitCode.KAFKA:
            self._say(f"{member.worker.name} ended: {member.worker.last_words()}")
        elif not (member.leaving and has_drained(member.worker)):
            raise self._ended(member.worker)

    @staticmethod
    def _ended(worker: WorkerSubprocess) -> UnexpectedExitError:
        return UnexpectedExitError(
            f"{worker.name} ended with exit code {worker.exit_code}; its log ends:\n{worker.log_tail()}"
        )
