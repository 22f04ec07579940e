"""The worker processes of a demo or a proof, and the faults that strike them.

Workers have slots, and a slot has its own ids. A new process in a slot has the ids of the process before it.

A proof restarts a process that ends with exit code 3 (Kafka refused the worker: it was fenced, or a call hangs), as
an orchestrator would. Any other end that nobody asked for is an error.
"""

import signal
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from worker.commands.prove.plan import WORKERS_MAX, WORKERS_MIN, Action, Fault, FaultKind
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.errors import ExitCode, FatalError

RESTART_AFTER_MS = 1000

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a process that SIGTERM ended before the process had a handler for it."""


class UnexpectedExitError(FatalError):
    """A worker ended with an exit code that the demo or the proof does not allow."""


@dataclass(slots=True, kw_only=True)
class _Member:
    """A process of the pool.

    Attributes:
        worker: The process.
        stopped: Whether it got SIGSTOP and no SIGCONT since.
        draining: Whether it got SIGTERM.
    """

    worker: WorkerSubprocess
    stopped: bool = False
    draining: bool = False


def has_drained(worker: WorkerSubprocess) -> bool:
    """Return whether a worker that got SIGTERM ended as it should. A worker that still starts may just end."""
    return worker.exit_code == ExitCode.DONE or (worker.exit_code == TERMINATED and not worker.log_tail())


class WorkerPool:
    """Worker processes by slot.

    Args:
        start: Starts a worker for a slot.
        slots: The slots to fill at the beginning.
        restart_on: The exit codes after which a process is started again.
        say: Prints a line to people.

    Attributes:
        restarts: How many processes were started again.
    """

    def __init__(
        self,
        start: Callable[[int], WorkerSubprocess],
        slots: Iterable[int],
        *,
        restart_on: Collection[int],
        say: Callable[[str], None],
    ) -> None:
        self.restarts = 0
        self._start = start
        self._restart_on = restart_on
        self._say = say
        self._members: dict[int, _Member] = {}
        self._without_slot: list[_Member] = []  # draining, or replaced in its slot by a second process
        self._restart_at_ms: dict[int, int] = {}
        for slot in slots:
            self._fill(slot)

    @property
    def working(self) -> int:
        """Number of workers that have a slot and are not stopped."""
        return sum(not member.stopped for member in self._members.values())

    def target(self, fault: Fault) -> int | None:
        """Return the slot that a fault strikes; None: the fault is not possible now."""
        if fault.kind is FaultKind.SCALE_UP:
            return next((slot for slot in range(WORKERS_MAX) if slot not in self._members), None)
        if fault.kind is FaultKind.SCALE_DOWN and len(self._members) <= WORKERS_MIN:
            return None
        slots = sorted(self._members)
        return slots[int(fault.choice * len(slots))] if slots else None

    def apply(self, action: Action, slot: int) -> None:
        """Do a step of a fault; do nothing where the slot was emptied since the step before."""
        member = self._members.get(slot)
        if action is Action.START and member is None:
            self._fill(slot)
        if action is Action.START or member is None:
            return
        match action:
            case Action.KILL:
                del self._members[slot]
                member.worker.kill()
            case Action.TERM:
                del self._members[slot]
                member.draining = True
                self._without_slot.append(member)
                member.worker.send(signal.SIGTERM)
            case Action.STOP:
                member.stopped = True
                member.worker.send(signal.SIGSTOP)
            case Action.CONTINUE:
                member.stopped = False
                member.worker.send(signal.SIGCONT)
            case _:
                # START_SECOND. Both have the same ids: Kafka fences the older process, which then ends.
                self._without_slot.append(member)
                self._fill(slot)

    def check(self, now_ms: int) -> None:
        """Find the processes that ended, and restart those that may be restarted.

        Raises:
            UnexpectedExitError: Another one ended. The message has the end of its log.
        """
        for slot, member in list(self._members.items()):
            if member.worker.exit_code is not None:
                del self._members[slot]
                self._without_slot.append(member)
                self.restarts += 1
                self._restart_at_ms[slot] = now_ms + RESTART_AFTER_MS
        for member in self._without_slot:
            if member.worker.exit_code is not None:
                self._check_exit(member)
                member.worker.kill()
        self._without_slot = [member for member in self._without_slot if member.worker.exit_code is None]
        for slot, at_ms in list(self._restart_at_ms.items()):
            if now_ms >= at_ms:
                del self._restart_at_ms[slot]
                self.apply(Action.START, slot)

    def drain(self) -> None:
        """Send SIGTERM to one process after another, and wait for the end of each.

        Raises:
            UnexpectedExitError: A process did not end as a drained worker does.
        """
        for member in self._all():
            if member.worker.drain() not in self._restart_on and not has_drained(member.worker):
                raise _unexpected_exit(member.worker)

    def close(self) -> None:
        """Kill all processes."""
        for member in self._all():
            member.worker.kill()

    def _all(self) -> list[_Member]:
        return [*self._members.values(), *self._without_slot]

    def _fill(self, slot: int) -> None:
        self._members[slot] = _Member(worker=self._start(slot))

    def _check_exit(self, member: _Member) -> None:
        if member.worker.exit_code in self._restart_on:
            self._say(f"{member.worker.name} ended: {member.worker.reason()}")
        elif not (member.draining and has_drained(member.worker)):
            raise _unexpected_exit(member.worker)


def _unexpected_exit(worker: WorkerSubprocess) -> UnexpectedExitError:
    return UnexpectedExitError(
        f"{worker.name} ended with exit code {worker.exit_code}; its log ends:\n{worker.log_tail()}"
    )
