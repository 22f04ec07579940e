"""Receive signals, and end the process when a thread hangs.

The owner's thread runs no signal handler while it is inside a C call, and a thread cannot end its own hanging call.

Why this is needed: librdkafka's ``send_offsets_to_transaction`` can hang for ever, even with a time-out (issues
5456 and 5511), while the consumer's heartbeats go on, so the group keeps the partitions assigned. A call of the
device can hang when its driver fails: the owner keeps polling, so neither the group nor ``/livez`` sees a fault.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from worker.errors import ExitCode
from worker.thread_stacks import thread_stacks

log = logging.getLogger(__name__)

_TICK_S = 0.25
# A transaction call has a time-out of one second. When the broker ends during the call, the call may return only
# when the broker is back (measured: after 2 to 15 s) or after the transaction's time-out. That is not a hang.
_OVERSTAY_MS = 18_000
_TO_SPARE_MS = 3_000
_OVERSTAY_STOPPING_MS = 4_000  # while stopping: the time-out of one second, and three seconds to spare
_LOG_MS_MAX = 5_000
"""Longest time for the last log lines: the log itself may hang."""

Watch = Callable[[str], AbstractContextManager[None]]
"""Watches a block; the argument names the work."""


class _Work:
    """What a watched thread is doing.

    Attributes:
        name: Name of the present work; None: the thread is idle.
        began: The tick at which the work began.
    """

    def __init__(self, ticks: Callable[[], int]) -> None:
        self.name: str | None = None
        self.began = 0
        self._ticks = ticks

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Watch the block."""
        self.began = self._ticks()  # before the name: the watchdog's thread reads the name first
        self.name = name
        try:
            yield
        finally:
            self.name = None

    def lasts_ms(self) -> tuple[str | None, int]:
        """Return the name of the present work, and its duration in milliseconds."""
        name = self.name
        return name, int((self._ticks() - self.began) * _TICK_S * 1000)


class Watchdog:
    """Two threads: one waits for signals, the other watches the owner, the preparer and the device.

    The first SIGTERM or SIGINT asks the worker to drain. The second ends the process immediately, even inside a C
    call and as PID 1. Python's own handlers cannot do that: they run between two instructions of the main thread.
    SIGHUP never ends the process, not even when a terminal closes: it is counted, and the owner acts on it.

    Time is counted in ticks of a thread, not by the clock: a process that was stopped (SIGSTOP, a suspended
    machine) must not mistake the time it slept for a hang.

    Args:
        overstay_ms: After this time a call counts as hanging.
        signal_code: The exit code when the first signal ends the process.

    Attributes:
        signal_code: As given.
    """

    def __init__(self, *, overstay_ms: int = _OVERSTAY_MS, signal_code: ExitCode = ExitCode.DONE) -> None:
        self._overstay_ms = overstay_ms
        self.signal_code = signal_code
        self._stopping = threading.Event()
        self._hangups = 0
        self._ticks = 0
        self._call = _Work(lambda: self._ticks)
        self._turn = _Work(lambda: self._ticks)
        self._guarded: list[tuple[_Work, str, int, ExitCode]] = []
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._begun = False
        self._grace_ms = 0
        self._grace_ticks: int | None = None
        self._grace_code = ExitCode.DONE

    @property
    def stopping(self) -> bool:
        """Whether SIGTERM or SIGINT was received."""
        return self._stopping.is_set()

    @property
    def hangups(self) -> int:
        """Number of SIGHUPs received: each asks the worker to read the partitions in quarantine again."""
        return self._hangups

    @property
    def grace_left_ms(self) -> int:
        """Milliseconds that the process has left to end by itself; 0: no signal came."""
        return int((self._grace_ticks or 0) * _TICK_S * 1000)

    def start(self) -> None:
        """Install the signal handling; call this in the main thread, before any slow import."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)  # the byte in the pipe is what counts
        threading.Thread(target=self._watch_signals, name="signals", daemon=True).start()
        threading.Thread(target=self._watch_calls, name="watchdog", daemon=True).start()

    @contextmanager
    def watch(self, call: str) -> Iterator[None]:
        """End the process with the exit code for Kafka if the block, a call of the owner, hangs."""
        try:
            with self._call(call):
                yield
        finally:
            self._turn.began = self._ticks  # the limit on a turn excludes the time inside these calls

    def turn(self) -> AbstractContextManager[None]:
        """Return a context that ends the process if a turn of the owner's loop hangs."""
        return self._turn("a turn of the loop")

    def guard(self, thread: str, overstay_ms: int, code: ExitCode) -> Watch:
        """Return a watch for a thread: for one block at a time, each with the same limit.

        Args:
            thread: Name of the thread in the log.
            overstay_ms: After this time the block counts as hanging.
            code: Exit code of the process then.
        """
        work = _Work(lambda: self._ticks)
        self._guarded.append((work, thread, overstay_ms, code))
        return work

    def arm(self, transaction_timeout_ms: int, grace_ms: int, turn_ms_max: int) -> None:
        """Begin to watch the loop, and drain on a signal.

        Before this call, a signal ends the process immediately. After this call, the process has ``grace_ms`` to
        drain. The time counts from the signal, even during a long transaction: the orchestrator also counts from
        the signal. A call may take as long as a transaction may.
        """
        self._overstay_ms = max(self._overstay_ms, transaction_timeout_ms + _TO_SPARE_MS)
        self._guarded.append((self._turn, "owner", turn_ms_max, ExitCode.OTHER))
        self._grace_ms = grace_ms
        self._begun = True

    def end_after(self, grace_ms: int, code: ExitCode) -> None:
        """Give the process this much time to end by itself, then end it with the code."""
        self._grace_code = code
        self._grace_ticks = int(grace_ms / 1000 / _TICK_S) + 1

    def _watch_signals(self) -> None:
        while True:
            for number in os.read(self._reader, 1):
                if number == signal.SIGHUP:
                    self._hangups += 1
                    continue
                if self._stopping.is_set():
                    end(ExitCode.OTHER)
                if not self._begun:
                    end(self.signal_code)
                log.info("signal received: finishing the batch on the device; a second signal ends the process now")
                self.end_after(self._grace_ms, self.signal_code)
                self._stopping.set()

    def _watch_calls(self) -> None:
        pause = threading.Event()
        while not pause.wait(_TICK_S):
            self._ticks += 1
            self._look_at_the_call()
            for work, thread, overstay_ms, code in self._guarded:
                name, lasts_ms = work.lasts_ms()
                in_a_call = work is self._turn and self._call.name is not None
                if name is None or lasts_ms < overstay_ms or in_a_call:
                    continue
                why = f"the {thread} thread has been in {name} for {lasts_ms} ms and hangs"
                end_with_stacks(
                    f"{why}: nothing is lost, the restarted worker judges the uncommitted messages", code
                )
            if self._grace_ticks is not None:
                self._grace_ticks -= 1
                if self._grace_ticks <= 0:
                    log.warning(
                        "the grace period is over: nothing is lost, the next owner judges the uncommitted messages"
                    )
                    end(self._grace_code)

    def _look_at_the_call(self) -> None:
        call, lasts_ms = self._call.lasts_ms()
        overstay_ms = min(self._overstay_ms, _OVERSTAY_STOPPING_MS) if self.stopping else self._overstay_ms
        if call is not None and lasts_ms >= overstay_ms:
            end_with_stacks(
                f"{call} does not return (librdkafka issues 5456, 5511): nothing is lost, the restart settles "
                "the transaction",
                ExitCode.KAFKA,
            )


def end_with_stacks(why: str, code: ExitCode) -> None:
    """Log the stack of every thread and the reason, then end the process."""
    late = threading.Timer(_LOG_MS_MAX / 1000, os._exit, (code,))
    late.daemon = True
    late.start()
    log.critical("the stacks of all threads of this process:\n%s", thread_stacks(), extra={"multiline": True})
    log.critical("%s; the process ends with exit code %d", why, code)
    end(code)


def end(code: ExitCode) -> None:
    """End the process immediately, whatever its threads do."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
